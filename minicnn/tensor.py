"""Tensor: a Variable with operators and methods, and the functions that make one."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicnn import backend, random
from minicnn import functional as F
from minicnn.autograd import Array, Function, Variable, check_one_device, is_grad_enabled


class Tensor(Variable):
    """An array with a gradient: what every operation takes and returns.

    ``Tensor(array)`` wraps an array of NumPy's, or of CuPy's on the GPU, as it is, without a copy;
    :func:`tensor` copies, and also takes numbers and lists. Operators work element by element and
    broadcast; an array or a number may stand on either side.

    >>> import minicnn as mc
    >>> x = mc.tensor([[1.0, -2.0], [3.0, 0.5]], requires_grad=True)
    >>> y = (x * 2 + 1).relu().sum()
    >>> y
    tensor(12., grad_fn=Sum)
    >>> y.backward()
    >>> x.grad
    array([[2., 0.],
           [2., 2.]], dtype=float32)
    """

    __slots__ = ()

    # The array

    def numpy(self) -> Array:
        """The values as a NumPy array, outside the graph and without a copy.

        Raises TypeError for a tensor on the GPU: a copy takes time, and is made when ``.cpu()`` says so.
        """
        if not isinstance(self._data, np.ndarray):
            raise TypeError(f"numpy: the tensor is on {self.device!r}; copy it first, with .cpu().numpy()")
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype, copy=copy)

    def detach(self) -> Tensor:
        """The same memory, outside the graph."""
        result = Tensor(self._data)
        result._changes = self._changes
        return result

    def clone(self) -> Tensor:
        """A copy, inside the graph."""
        return F.mul(self, 1)

    def to(self, target: Any) -> Tensor:
        """The tensor on a device ("cuda") or in a dtype ("float64"); itself if it is there already.

        Backward brings the gradient to where this tensor is.
        """
        if is_device(target):
            return F.to_device(self, target)
        dtype = np.dtype(target)
        if dtype == self.dtype:
            return self
        return F.cast(self, dtype)

    def cpu(self) -> Tensor:
        """On the CPU."""
        return F.to_device(self, "cpu")

    def cuda(self) -> Tensor:
        """On the GPU."""
        return F.to_device(self, "cuda")

    def double(self) -> Tensor:
        """In float64."""
        return self.to(np.float64)

    def float(self) -> Tensor:
        """In float32."""
        return self.to(np.float32)

    def item(self) -> Any:
        """The value of a tensor with one entry, as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item: the tensor has {self._data.size} entries, not one")
        return self._data.item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._data.tolist()

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return self.ndim

    def numel(self) -> int:
        """The number of entries."""
        return self._data.size

    def argmax(self, dim: int | None = None) -> Any:
        """The index of the largest entry, of all or along an axis: an array, outside the graph."""
        return self._data.argmax(axis=dim)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len: a single number has no length")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ValueError(
                f"bool: a tensor of shape {self.shape} is neither true nor false; use .item() on one entry"
            )
        return bool(self._data.item())

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        values = np.array2string(backend.move(self._data, "cpu"), separator=", ", prefix="tensor(")
        dtype = "" if self.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.dtype}"
        dtype += "" if self.device == "cpu" else f", device={self.device!r}"
        graph = ""
        if self.grad_fn is not None:
            graph = f", grad_fn={type(self.grad_fn).__name__}"
        elif self.requires_grad:
            graph = ", requires_grad=True"
        return f"tensor({values}{dtype}{graph})"

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether backward should leave a gradient here; for leaves of the graph."""
        if not self.is_leaf:
            raise RuntimeError("requires_grad_: only a leaf can be told; this is the result of an operation")
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad_: only floating-point data has gradients, not {self.dtype}")
        self.requires_grad = requires_grad
        return self

    # Operators. Comparisons return tensors of booleans, outside the graph.

    def __add__(self, other: Any) -> Any:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Any:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Any:
        return F.sub(self, other)

    def __rsub__(self, other: Any) -> Any:
        return F.sub(other, self)

    def __mul__(self, other: Any) -> Any:
        return F.mul(self, other)

    def __rmul__(self, other: Any) -> Any:
        return F.mul(other, self)

    def __truediv__(self, other: Any) -> Any:
        return F.div(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return F.div(other, self)

    def __pow__(self, other: Any) -> Any:
        return F.pow(self, other)

    def __rpow__(self, other: Any) -> Any:
        return F.pow(other, self)

    def __matmul__(self, other: Any) -> Any:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return F.matmul(other, self)

    def __neg__(self) -> Any:
        return F.neg(self)

    def __abs__(self) -> Any:
        return F.abs(self)

    def __getitem__(self, index: Any) -> Any:
        return F.getitem(self, index)

    def __eq__(self, other: Any) -> Any:
        return Tensor(_array(self._data == self._beside("==", other)))

    def __ne__(self, other: Any) -> Any:
        return Tensor(_array(self._data != self._beside("!=", other)))

    def __lt__(self, other: Any) -> Any:
        return Tensor(_array(self._data < self._beside("<", other)))

    def __le__(self, other: Any) -> Any:
        return Tensor(_array(self._data <= self._beside("<=", other)))

    def __gt__(self, other: Any) -> Any:
        return Tensor(_array(self._data > self._beside(">", other)))

    def __ge__(self, other: Any) -> Any:
        return Tensor(_array(self._data >= self._beside(">=", other)))

    __hash__ = Variable.__hash__  # by identity, although == compares entries

    # In place: for parameters in a no_grad block, and for data. The graph cannot follow such a change,
    # so an intermediate result becomes a new tensor instead, and a leaf that needs gradients refuses.

    def __iadd__(self, other: Any) -> Any:
        return self._in_place("+=", np.add, F.add, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place("-=", np.subtract, F.sub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place("*=", np.multiply, F.mul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place("/=", np.divide, F.div, other)

    def _in_place(self, symbol: str, ufunc: np.ufunc, operation: Any, other: Any) -> Any:
        if is_grad_enabled() and (self.requires_grad or getattr(other, "requires_grad", False)):
            if self.is_leaf and self.requires_grad:
                raise RuntimeError(f"{symbol}: a leaf that requires a gradient changes only inside no_grad()")
            return operation(self, other)
        ufunc(self._data, self._beside(symbol, other), out=self._data, casting="same_kind")
        self.mark_changed()
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if is_grad_enabled() and (self.requires_grad or getattr(value, "requires_grad", False)):
            raise RuntimeError(
                "tensor[index] = value: the graph cannot follow this change; use where or cat, or no_grad()"
            )
        parts = index if isinstance(index, tuple) else (index,)
        plain = tuple(_values(part) for part in parts)
        self._data[plain if isinstance(index, tuple) else plain[0]] = self._beside("[] =", value)
        self.mark_changed()

    def _beside(self, symbol: str, other: Any) -> Any:
        """What stands on the other side: an array on the same device, or a number."""
        values = _values(other)
        if backend.is_array(values):
            check_one_device(symbol, {"the right side": values, "the left": self})
        return backend.move(values, self.device) if isinstance(values, list | tuple) else values

    # Methods that are functions of minicnn.functional, with this tensor as their first argument.

    abs = F.abs
    amax = F.amax
    amin = F.amin
    clip = F.clip
    exp = F.exp
    expand = F.expand
    flatten = F.flatten
    log = F.log
    log_softmax = F.log_softmax
    matmul = F.matmul
    max = F.max
    mean = F.mean
    min = F.min
    permute = F.permute
    pow = F.pow
    relu = F.relu
    reshape = F.reshape
    sigmoid = F.sigmoid
    softmax = F.softmax
    split = F.split
    sqrt = F.sqrt
    squeeze = F.squeeze
    sum = F.sum
    tanh = F.tanh
    transpose = F.transpose
    unsqueeze = F.unsqueeze
    var = F.var
    view = F.reshape

    @property
    def T(self) -> Any:
        """The axes in reverse order: for a matrix, its transpose."""
        return F.permute(self, range(self.ndim)[::-1])


Function.result_type = Tensor  # from here on every operation returns a Tensor


def _array(result: Any) -> Array:
    """A result of NumPy's, which makes scalars of arrays without axes, as an array."""
    return np.asarray(result) if isinstance(result, np.generic | bool) else result


def _values(value: Any) -> Any:
    return value._data if isinstance(value, Variable) else value


def is_device(target: Any) -> bool:
    """Whether this is a device's name rather than a dtype's: "cpu", "cuda", "cuda:0"."""
    return isinstance(target, str) and target.partition(":")[0] in backend.DEVICES


# Making tensors. All take ``device``: "cpu" or "cuda", else what ``mc.use`` set.


def tensor(values: Any, dtype: Any = None, requires_grad: bool = False, device: str | None = None) -> Tensor:
    """A tensor from numbers, lists or an array, always a copy.

    Python's floating-point numbers become float32 unless ``dtype`` says otherwise; an array keeps its dtype.
    The copy of a tensor, or of an array on the GPU, is where that is, unless ``device`` says otherwise.

    Raises:
        TypeError: what is no number; a gradient for what is not floating-point.
        ValueError: lists of uneven lengths; a device that is not there.

    >>> import minicnn as mc
    >>> mc.tensor([[1, 2], [3, 4]]).dtype
    dtype('int64')
    >>> mc.tensor([0.5], dtype="float64", requires_grad=True)
    tensor([0.5], dtype=float64, requires_grad=True)
    """
    if dtype is not None and np.dtype(dtype).kind not in "fiub":
        raise TypeError(f"tensor: dtype {np.dtype(dtype)} is neither numbers nor booleans")
    source = _values(values)
    known = backend.is_array(source)
    if device is None and known and (isinstance(values, Variable) or not isinstance(source, np.ndarray)):
        device = backend.device_of(source)
    array = source.astype(dtype or source.dtype) if known else np.array(source, dtype)
    if dtype is None and not hasattr(source, "dtype") and array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"tensor: expected numbers, got {type(values).__name__} ({array.dtype})")
    return _made(array, device, requires_grad)


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares its memory with a NumPy array."""
    return Tensor(array)


def empty(
    *shape: Any, dtype: Any = np.float32, requires_grad: bool = False, device: str | None = None
) -> Tensor:
    """A tensor of whatever lies in its memory."""
    return Tensor(_module(device).empty(_shape(shape), dtype), requires_grad)


def zeros(
    *shape: Any, dtype: Any = np.float32, requires_grad: bool = False, device: str | None = None
) -> Tensor:
    """A tensor of zeros; the sizes one by one or as one tuple."""
    return Tensor(_module(device).zeros(_shape(shape), dtype), requires_grad)


def ones(
    *shape: Any, dtype: Any = np.float32, requires_grad: bool = False, device: str | None = None
) -> Tensor:
    """A tensor of ones."""
    return Tensor(_module(device).ones(_shape(shape), dtype), requires_grad)


def arange(*args: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """Start (0), stop, step (1): evenly spaced numbers, without the stop."""
    return tensor(np.arange(*args, dtype=dtype), device=device)


def rand(
    *shape: Any,
    dtype: Any = np.float32,
    requires_grad: bool = False,
    generator: random.Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """Uniform random numbers, 0 ≤ x < 1; the same on every device."""
    draw = (generator or random.default_generator).uniform
    return _made(draw(_shape(shape), dtype=dtype), device, requires_grad)


def randn(
    *shape: Any,
    dtype: Any = np.float32,
    requires_grad: bool = False,
    generator: random.Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """Normal random numbers, mean 0 and standard deviation 1; the same on every device.

    >>> import minicnn as mc
    >>> _ = mc.manual_seed(0)
    >>> mc.randn(2, 3).shape
    (2, 3)
    """
    draw = (generator or random.default_generator).normal
    return _made(draw(_shape(shape), dtype=dtype), device, requires_grad)


def _made(array: Array, device: str | None, requires_grad: bool) -> Tensor:
    """A tensor of a new array, on the device where it is to be."""
    wanted = backend.default_device() if device is None else backend.check_device(device)
    return Tensor(backend.move(array, wanted), requires_grad)


def _module(device: str | None) -> Any:
    """The module that makes arrays there, or on the device that is set."""
    return backend.module_of(backend.default_device() if device is None else device)


def _shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int | np.integer) else shape
