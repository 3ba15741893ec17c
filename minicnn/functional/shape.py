"""Operations that move entries about without computing: their gradients move the other way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend, kernels
from minicnn.autograd import Array, Function, Variable, as_variable, check_one_device
from minicnn.functional.arithmetic import unbroadcast
from minicnn.functional.check import dimension


class Reshape(Function):
    """The same entries in the same order, in another shape."""

    returns_view = True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, gy: Array) -> Array:
        return gy.reshape(self.x_shape)


class Permute(Function):
    """The axes in another order; backward puts them back."""

    returns_view = True

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def backward(self, gy: Array) -> Array:
        return gy.transpose([self.axes.index(axis) for axis in range(len(self.axes))])


class Expand(Function):
    """x repeated along axes of size 1;  gx = the sum over the repetitions."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return np.broadcast_to(x, self.shape).copy()

    def backward(self, gy: Array) -> Array:
        return unbroadcast(gy, self.x_shape)


class GetItem(Function):
    """y = x[index];  gy is added where the entries came from (an entry picked twice receives both)."""

    returns_view = True

    def __init__(self, index: Any) -> None:
        self.index = index

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x[self.index]

    def backward(self, gy: Array) -> Array:
        gx = backend.module_of(gy).zeros(self.shape, gy.dtype)
        parts = self.index if isinstance(self.index, tuple) else (self.index,)
        if all(part is None or part is ... or isinstance(part, int | np.integer | slice) for part in parts):
            gx[self.index] += gy  # numbers and slices meet no entry twice
        else:
            np.add.at(gx, self.index, gy)
        return gx


class Pad(Function):
    """x with a border of one value along each axis;  gx = gy without the border."""

    def __init__(self, widths: tuple[tuple[int, int], ...], value: float) -> None:
        self.widths, self.value = widths, value

    def forward(self, x: Array) -> Array:
        shape = tuple(
            size + before + after for size, (before, after) in zip(x.shape, self.widths, strict=True)
        )
        self.inner = tuple(
            slice(before, before + size) for size, (before, _) in zip(x.shape, self.widths, strict=True)
        )
        y = backend.module_of(x).full(shape, self.value, x.dtype)
        y[self.inner] = x
        return y

    def backward(self, gy: Array) -> Array:
        return gy[self.inner]


class Move(Function):
    """The same entries in the memory of a device;  gy goes back to where x was."""

    def __init__(self, device: str) -> None:
        self.device = device

    def forward(self, x: Array) -> Array:
        self.home = backend.device_of(x)
        return backend.move(x, self.device)

    def backward(self, gy: Array) -> Array:
        return backend.move(gy, self.home)


class Concat(Function):
    """Arrays one after another along an axis;  each receives its own part of gy."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: Array) -> Array:
        self.sizes = [array.shape[self.axis] for array in arrays]
        return kernels.run("cat.forward", list(arrays), self.axis)

    def backward(self, gy: Array) -> tuple[Array, ...]:
        return kernels.run("cat.backward", gy, self.sizes, self.axis)


def reshape(x: Any, *shape: Any) -> Any:
    """The same entries in another shape; one size may be −1, for "what is left".

    Raises:
        ValueError: a shape of more or fewer entries.

    >>> import minicnn as mc
    >>> mc.zeros(2, 3, 4).reshape(2, -1).shape
    (2, 12)
    """
    x = as_variable(x)
    wanted = _sizes(shape)
    total = x._data.size
    known = math.prod(size for size in wanted if size != -1)
    unknown = wanted.count(-1)
    fits = known == total if not unknown else known > 0 and total % known == 0
    if unknown > 1 or not fits or any(size < -1 for size in wanted):
        raise ValueError(f"reshape: {x.shape} ({total} entries) cannot become {wanted}")
    return Reshape(wanted)(x)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The axes from start_dim to end_dim (included) as one.

    Raises:
        ValueError: an axis that there is not; the last before the first.

    >>> import minicnn as mc
    >>> mc.zeros(8, 16, 5, 5).flatten(1).shape
    (8, 400)
    """
    x = as_variable(x)
    start, end = dimension("flatten", start_dim, x.ndim), dimension("flatten", end_dim, x.ndim)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return Reshape((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))(x)


def permute(x: Any, *dims: Any) -> Any:
    """The axes in the order given.

    Raises:
        ValueError: axes that are not all there, once each.

    >>> import minicnn as mc
    >>> mc.zeros(8, 3, 32, 24).permute(0, 2, 3, 1).shape
    (8, 32, 24, 3)
    """
    x = as_variable(x)
    axes = tuple(dimension("permute", axis, x.ndim) for axis in _sizes(dims))
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(f"permute: {_sizes(dims)} is no order of the {x.ndim} axes of shape {x.shape}")
    return Permute(axes)(x)


def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    x = as_variable(x)
    axes = list(range(x.ndim))
    one, other = dimension("transpose", dim0, x.ndim), dimension("transpose", dim1, x.ndim)
    axes[one], axes[other] = axes[other], axes[one]
    return Permute(tuple(axes))(x)


def expand(x: Any, *shape: Any) -> Any:
    """x repeated to a shape, by the rules of broadcasting; −1 keeps a size.

    Raises:
        ValueError: a shape to which it cannot be repeated.

    >>> import minicnn as mc
    >>> mc.tensor([[1.0], [2.0]]).expand(-1, 3)
    tensor([[1., 1., 1.],
            [2., 2., 2.]])
    """
    x = as_variable(x)
    wanted = _sizes(shape)
    added = len(wanted) - x.ndim
    full = tuple(x.shape[i - added] if size == -1 and i >= added else size for i, size in enumerate(wanted))
    try:
        fits = np.broadcast_shapes(x.shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"expand: shape {x.shape} cannot be repeated to {wanted}")
    return Expand(full)(x)


def getitem(x: Any, index: Any) -> Any:
    """x[index], as in NumPy: numbers, slices, lists, arrays of integers or booleans, None, ``...``.

    Arrays and tensors among them may be on the CPU wherever x is.
    """
    x = as_variable(x)
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, Variable) and part.device != "cpu":
            check_one_device("getitem", {"index": part, "x": x})
    plain = tuple(part._data if isinstance(part, Variable) else part for part in parts)
    return GetItem(plain if isinstance(index, tuple) else plain[0])(x)


def squeeze(x: Any, dim: int | None = None) -> Any:
    """x without its axes of size 1, or without axis ``dim`` if its size is 1."""
    x = as_variable(x)
    drop = range(x.ndim) if dim is None else (dimension("squeeze", dim, x.ndim),)
    return Reshape(tuple(size for axis, size in enumerate(x.shape) if axis not in drop or size != 1))(x)


def unsqueeze(x: Any, dim: int) -> Any:
    """x with a new axis of size 1 at position ``dim``."""
    x = as_variable(x)
    axis = dimension("unsqueeze", dim, x.ndim + 1)
    return Reshape((*x.shape[:axis], 1, *x.shape[axis:]))(x)


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Any:
    """A border of ``value`` around the last axes.

    Args:
        pad: (left, right) of the last axis, then (top, bottom) of the one before, and so on: an even
            number of sizes ≥ 0, from the last axis backwards, as in PyTorch.
        mode: "constant", the only one there is.

    Raises:
        ValueError: sizes that are negative, odd in number or too many; another mode.

    >>> import minicnn as mc
    >>> mc.pad(mc.zeros(1, 1, 28, 28), (2, 2, 2, 2)).shape
    (1, 1, 32, 32)
    """
    x = as_variable(x)
    if mode != "constant":
        raise ValueError(f"pad: mode {mode!r} is unknown; only 'constant' is there")
    sizes_fit = isinstance(pad, Sequence) and all(isinstance(p, int | np.integer) and p >= 0 for p in pad)
    if not sizes_fit or len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(f"pad: expected an even number of sizes ≥ 0, at most {2 * x.ndim}, got {pad!r}")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    return Pad(tuple(widths), value)(x)


def to_device(x: Any, device: str) -> Any:
    """x on a device, "cpu" or "cuda"; x itself if it is there already. Gradients move the other way."""
    x, device = as_variable(x), backend.check_device(device)
    return x if x.device == device else Move(device)(x)


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors one after another along an axis.

    Raises:
        ValueError: their shapes differ along another.

    >>> import minicnn as mc
    >>> mc.cat([mc.zeros(2, 64, 8, 8), mc.zeros(2, 32, 8, 8)], dim=1).shape
    (2, 96, 8, 8)
    """
    variables = _alike("cat", tensors)
    first = variables[0]
    axis = dimension("cat", dim, first.ndim)
    for position, other in enumerate(variables):
        same = other.ndim == first.ndim and all(
            a == b for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if i != axis
        )
        if not same:
            raise ValueError(
                f"cat: tensor {position} has shape {other.shape}, but tensor 0 has {first.shape}; "
                f"they may differ along dim {axis} only"
            )
    return Concat(axis)(*variables)


concat = cat


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape side by side along a new axis.

    Raises:
        ValueError: their shapes differ.

    >>> import minicnn as mc
    >>> mc.stack([mc.zeros(3), mc.ones(3)]).shape
    (2, 3)
    """
    variables = _alike("stack", tensors)
    for position, other in enumerate(variables):
        if other.shape != variables[0].shape:
            raise ValueError(
                f"stack: tensor {position} has shape {other.shape}, but tensor 0 has {variables[0].shape}"
            )
    axis = dimension("stack", dim, variables[0].ndim + 1)
    return Concat(axis)(*[unsqueeze(variable, axis) for variable in variables])


def split(x: Any, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Any, ...]:
    """x cut along an axis: into pieces of one size (the last may be smaller), or of the sizes given.

    Raises:
        ValueError: a size below 1; sizes that do not add up to that of the axis.

    >>> import minicnn as mc
    >>> [part.shape for part in mc.split(mc.zeros(5, 2), 2)]
    [(2, 2), (2, 2), (1, 2)]
    """
    x = as_variable(x)
    axis = dimension("split", dim, x.ndim)
    size = x.shape[axis]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step < 1:
            raise ValueError(f"split: expected a size ≥ 1, got {step}")
        sections = [min(step, size - start) for start in range(0, size, step)]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != size or any(section < 0 for section in sections):
            raise ValueError(f"split: sizes {sections} do not add up to {size}, the size of dim {axis}")
    before = (slice(None),) * axis
    starts = [sum(sections[:i]) for i in range(len(sections))]
    return tuple(
        getitem(x, (*before, slice(start, start + section)))
        for start, section in zip(starts, sections, strict=True)
    )


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        shape = tuple(shape[0])
    return tuple(int(size) for size in shape)


def _alike(name: str, tensors: Sequence[Any]) -> list[Variable]:
    """Variables of one dtype, at least one."""
    variables = [as_variable(tensor) for tensor in tensors]
    if not variables:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    for position, variable in enumerate(variables):
        if variable.dtype != variables[0].dtype:
            raise TypeError(
                f"{name}: tensor {position} is {variable.dtype}, but tensor 0 is {variables[0].dtype}"
            )
        if variable.ndim == 0 and name == "cat":
            raise ValueError(f"cat: tensor {position} is a single number, without an axis to join along")
    return variables
