"""Element-wise arithmetic with broadcasting, and the matrix product.

Where an operand was broadcast, each of its entries took part several times, so that its gradient is
the sum over those times (:func:`unbroadcast`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import backend
from minicnn.autograd import Array, Function, Variable, as_variable, check_one_device
from minicnn.functional.check import floating


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which an operand of this shape was repeated."""
    if g.shape == shape:
        return g
    added = tuple(range(g.ndim - len(shape)))
    repeated = tuple(
        axis + len(added) for axis, size in enumerate(shape) if size == 1 and g.shape[axis + len(added)] != 1
    )
    return g.sum(axis=added + repeated).reshape(shape)


def operands(name: str, a: Any, b: Any) -> tuple[Variable, Variable]:
    """Both sides of a binary operation as Variables of one dtype.

    Python numbers and lists take the other side's dtype and device, integers and booleans the other's
    floating dtype. Two floating dtypes never mix: a float64 slipped into a float32 network would double the
    work in silence.
    """
    a_typed, b_typed = _has_dtype(a), _has_dtype(b)
    if not (a_typed and b_typed):
        typed = as_variable(a) if a_typed else (as_variable(b) if b_typed else None)
        a, b = _as_operand(name, a, typed), _as_operand(name, b, typed)
    a, b = as_variable(a), as_variable(b)
    if a._data.dtype != b._data.dtype:
        a, b = _one_dtype(name, a, b)
    if a._data.shape != b._data.shape:
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(f"{name}: shapes {a.shape} and {b.shape} cannot be broadcast together") from None
    return a, b


def _has_dtype(value: Any) -> bool:
    """Whether a value insists on its dtype: tensors and arrays do, numbers do not, NumPy's included."""
    return hasattr(value, "dtype") and not isinstance(value, np.generic)


def _as_operand(name: str, value: Any, like: Variable | None) -> Any:
    if _has_dtype(value):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected a tensor, an array or a number, got {type(value).__name__}")
    if like is None:
        return backend.move(array, backend.default_device())
    if array.dtype.kind != "f" or like.dtype.kind == "f":
        array = array.astype(like.dtype)
    return backend.move(array, like.device)


def _one_dtype(name: str, a: Variable, b: Variable) -> tuple[Variable, Variable]:
    kinds = a.dtype.kind + b.dtype.kind
    if kinds == "ff":
        raise TypeError(f"{name}: {a.dtype} and {b.dtype} do not mix; convert one with .to(dtype)")
    if kinds[0] == "f":
        return a, as_variable(b._data.astype(a.dtype))
    if kinds[1] == "f":
        return as_variable(a._data.astype(b.dtype)), b
    return a, b


class Add(Function):
    """y = a + b;  ga = gy, gb = gy."""

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, gy: Array) -> tuple[Array, Array]:
        return unbroadcast(gy, self.shapes[0]), unbroadcast(gy, self.shapes[1])


class Sub(Function):
    """y = a − b;  ga = gy, gb = −gy."""

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return a - b

    def backward(self, gy: Array) -> tuple[Array, Array]:
        return unbroadcast(gy, self.shapes[0]), unbroadcast(-gy, self.shapes[1])


class Mul(Function):
    """y = a · b;  ga = gy · b, gb = gy · a."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a * b

    def backward(self, gy: Array) -> tuple[Array | None, Array | None]:
        a, b = self.saved
        return (
            unbroadcast(gy * b, a.shape) if self.needs[0] else None,
            unbroadcast(gy * a, b.shape) if self.needs[1] else None,
        )


class Div(Function):
    """y = a / b;  ga = gy / b, gb = −gy · a / b²."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a / b

    def backward(self, gy: Array) -> tuple[Array | None, Array | None]:
        a, b = self.saved
        ga = gy / b
        return (
            unbroadcast(ga, a.shape) if self.needs[0] else None,
            unbroadcast(-ga * a / b, b.shape) if self.needs[1] else None,
        )


class Neg(Function):
    """y = −x;  gx = −gy."""

    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, gy: Array) -> Array:
        return -gy


class Pow(Function):
    """y = aᵇ;  ga = gy · b · aᵇ⁻¹, gb = gy · y · ln a (0 where a = 0)."""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.save(a, b, y)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, Array | None]:
        a, b, y = self.saved
        ga = gb = None
        if self.needs[0]:
            # Where b = 0 the power is a constant, even at a = 0, where a⁻¹ is no number.
            slope = b * np.power(a, np.where(b == 0, 1, b - 1).astype(a.dtype))
            ga = unbroadcast(gy * slope, a.shape)
        if self.needs[1]:
            log_a = np.log(np.where(a == 0, 1, a))
            gb = unbroadcast(gy * y * log_a, b.shape)
        return ga, gb


class Exp(Function):
    """y = eˣ;  gx = gy · y."""

    def forward(self, x: Array) -> Array:
        y = np.exp(x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return gy * y


class Log(Function):
    """y = ln x;  gx = gy / x."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.log(x)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        return gy / x


class Sqrt(Function):
    """y = √x;  gx = gy / 2y."""

    def forward(self, x: Array) -> Array:
        y = np.sqrt(x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return gy / (2 * y)


class Abs(Function):
    """y = |x|;  gx = gy · sign x."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.abs(x)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        return gy * np.sign(x)


class Maximum(Function):
    """y = max(a, b);  gy goes to the larger, half to each where they are equal."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return np.maximum(a, b)

    def backward(self, gy: Array) -> tuple[Array, Array]:
        a, b = self.saved
        share = ((a > b) + 0.5 * (a == b)).astype(gy.dtype)
        return unbroadcast(gy * share, a.shape), unbroadcast(gy * (1 - share), b.shape)


class Minimum(Function):
    """y = min(a, b);  gy goes to the smaller, half to each where they are equal."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return np.minimum(a, b)

    def backward(self, gy: Array) -> tuple[Array, Array]:
        a, b = self.saved
        share = ((a < b) + 0.5 * (a == b)).astype(gy.dtype)
        return unbroadcast(gy * share, a.shape), unbroadcast(gy * (1 - share), b.shape)


class Clip(Function):
    """y = min(max(x, low), high);  gx = gy where low ≤ x ≤ high, else 0."""

    def __init__(self, low: float | None, high: float | None) -> None:
        self.low, self.high = low, high

    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.clip(x, self.low, self.high)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        inside = np.ones_like(x, bool)
        if self.low is not None:
            inside &= x >= self.low
        if self.high is not None:
            inside &= x <= self.high
        return gy * inside


class Where(Function):
    """y = a where the condition holds, else b;  gy goes the same way."""

    def __init__(self, condition: Array) -> None:
        self.condition = condition

    def forward(self, a: Array, b: Array) -> Array:
        self.shapes = a.shape, b.shape
        return np.where(self.condition, a, b)

    def backward(self, gy: Array) -> tuple[Array, Array]:
        zero = gy.dtype.type(0)
        return (
            unbroadcast(np.where(self.condition, gy, zero), self.shapes[0]),
            unbroadcast(np.where(self.condition, zero, gy), self.shapes[1]),
        )


class Cast(Function):
    """x in another floating dtype;  gx = gy in the dtype of x."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def forward(self, x: Array) -> Array:
        self.x_dtype = x.dtype
        return x.astype(self.dtype)

    def backward(self, gy: Array) -> Array:
        return gy.astype(self.x_dtype)


class MatMul(Function):
    """y = a @ b on the last two axes, the others broadcast;  ga = gy @ bᵀ, gb = aᵀ @ gy."""

    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a @ b

    def backward(self, gy: Array) -> tuple[Array | None, Array | None]:
        a, b = self.saved
        # A vector is a matrix with one row (left) or column (right) that the product then drops.
        rows = a[None, :] if a.ndim == 1 else a
        columns = b[:, None] if b.ndim == 1 else b
        if b.ndim == 1:
            gy = gy[..., None]
        if a.ndim == 1:
            gy = gy[..., None, :]
        ga = gb = None
        if self.needs[0]:
            ga = unbroadcast(gy @ columns.swapaxes(-1, -2), rows.shape).reshape(a.shape)
        if self.needs[1]:
            gb = unbroadcast(rows.swapaxes(-1, -2) @ gy, columns.shape).reshape(b.shape)
        return ga, gb


def add(a: Any, b: Any) -> Any:
    """a + b, element by element, with broadcasting."""
    return Add()(*operands("add", a, b))


def sub(a: Any, b: Any) -> Any:
    """a − b, element by element, with broadcasting."""
    return Sub()(*operands("sub", a, b))


def mul(a: Any, b: Any) -> Any:
    """a · b, element by element, with broadcasting."""
    return Mul()(*operands("mul", a, b))


def div(a: Any, b: Any) -> Any:
    """a / b, element by element, with broadcasting.

    Raises:
        TypeError: integers; their quotients are no integers.
    """
    a, b = operands("div", a, b)
    return Div()(floating("div", a), b)


def neg(x: Any) -> Any:
    """−x."""
    return Neg()(x)


def pow(a: Any, b: Any) -> Any:
    """aᵇ, element by element, with broadcasting; both may need gradients."""
    return Pow()(*operands("pow", a, b))


def exp(x: Any) -> Any:
    """eˣ, element by element."""
    return Exp()(floating("exp", x))


def log(x: Any) -> Any:
    """The natural logarithm, element by element."""
    return Log()(floating("log", x))


def sqrt(x: Any) -> Any:
    """√x, element by element."""
    return Sqrt()(floating("sqrt", x))


def abs(x: Any) -> Any:
    """|x|, element by element."""
    return Abs()(x)


def maximum(a: Any, b: Any) -> Any:
    """The larger of a and b, element by element; equal entries share the gradient."""
    return Maximum()(*operands("maximum", a, b))


def minimum(a: Any, b: Any) -> Any:
    """The smaller of a and b, element by element; equal entries share the gradient."""
    return Minimum()(*operands("minimum", a, b))


def clip(x: Any, min: float | None = None, max: float | None = None) -> Any:
    """x, held between min and max: one of them, or both.

    Raises:
        ValueError: neither is given.

    >>> import minicnn as mc
    >>> mc.clip(mc.tensor([-2.0, 0.5, 9.0]), 0.0, 1.0)
    tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ValueError("clip: at least one of min and max must be given")
    # As Python numbers: a NumPy scalar would press its own dtype upon x.
    low, high = (bound.item() if isinstance(bound, np.generic) else bound for bound in (min, max))
    return Clip(low, high)(x)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition is true, b elsewhere, with broadcasting.

    Raises:
        TypeError: a condition that is not of booleans.
        ValueError: shapes that do not go together.

    >>> import minicnn as mc
    >>> x = mc.tensor([-1.0, 2.0])
    >>> mc.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    a, b = operands("where", a, b)
    condition = as_variable(condition, a.device)
    if condition.dtype != bool:
        raise TypeError(f"where: condition must be boolean, got {condition.dtype}")
    check_one_device("where", {"condition": condition, "a": a, "b": b})
    return Where(condition._data)(a, b)


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype; gradients pass where both are floating-point.

    Raises:
        TypeError: a dtype that is neither of numbers nor of booleans.
    """
    x, dtype = as_variable(x), np.dtype(dtype)
    if dtype.kind not in "fiub":
        raise TypeError(f"cast: dtype {dtype} is neither numbers nor booleans")
    return Cast(dtype)(x) if x.dtype.kind == dtype.kind == "f" else as_variable(x._data.astype(dtype))


def matmul(a: Any, b: Any) -> Any:
    """The matrix product of the last two axes; the axes before them are broadcast.

    Shapes:
        (…, n, k) @ (…, k, m) -> (…, n, m); a vector on the left counts as one row, on the right as
        one column, and the product drops that axis.

    Raises:
        ValueError: the inner sizes differ, or an operand is a single number.

    >>> import minicnn as mc
    >>> (mc.ones(5, 2, 3) @ mc.ones(3, 4)).shape
    (5, 2, 4)
    """
    a, b = as_variable(a), as_variable(b)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape}; a single number is no matrix (use *)")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: inner sizes differ in {a.shape} @ {b.shape}")
    if a.dtype != b.dtype:
        a, b = _one_dtype("matmul", a, b)
    return MatMul()(a, b)
