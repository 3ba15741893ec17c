"""Sums, means, extremes and variances over axes.

NumPy's names ``axis`` and ``keepdims`` may be said for PyTorch's ``dim`` and ``keepdim``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.autograd import Array, Function, as_variable
from minicnn.functional.check import dimension, floating
from minicnn.functional.shape import reshape

Axes = tuple[int, ...]


def resolve_axes(name: str, ndim: int, dim: Any, axis: Any = None) -> Axes:
    """The axes meant, as non-negative numbers: all of them where None was given."""
    if dim is not None and axis is not None:
        raise ValueError(f"{name}: dim and axis are two names for one thing; give one")
    dim = axis if dim is None else dim
    if dim is None:
        return tuple(range(ndim))
    wanted = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    axes = tuple(dimension(name, one, ndim) for one in wanted)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: dim {dim} names an axis twice")
    return axes


def count(shape: tuple[int, ...], axes: Axes) -> int:
    """How many entries each result of a reduction over these axes is made of."""
    total = 1
    for axis in axes:
        total *= shape[axis]
    return total


class Reduction(Function):
    """Over some axes, which stay with size 1 if keepdim. ``spread`` undoes the change of shape."""

    def __init__(self, axes: Axes, keepdim: bool) -> None:
        self.axes, self.keepdim = axes, keepdim

    def spread(self, g: Array) -> Array:
        """A result or its gradient with the reduced axes back in place, size 1."""
        if self.keepdim:
            return g
        return np.expand_dims(g, tuple(sorted(self.axes)))


class Sum(Reduction):
    """y = Σ x;  every entry of x receives gy."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.sum(axis=self.axes, keepdims=self.keepdim)

    def backward(self, gy: Array) -> Array:
        return np.broadcast_to(self.spread(gy), self.shape)


class Mean(Reduction):
    """y = Σ x / M;  every entry of x receives gy / M."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.mean(axis=self.axes, keepdims=self.keepdim)

    def backward(self, gy: Array) -> Array:
        return np.broadcast_to(self.spread(gy / count(self.shape, self.axes)), self.shape)


class Var(Reduction):
    """y = Σ (x − mean)² / (M − correction);  gx = gy · 2 (x − mean) / (M − correction)."""

    def __init__(self, axes: Axes, keepdim: bool, correction: int) -> None:
        super().__init__(axes, keepdim)
        self.correction = correction

    def forward(self, x: Array) -> Array:
        self.save(x)
        return x.var(axis=self.axes, keepdims=self.keepdim, ddof=self.correction)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        deviation = x - x.mean(axis=self.axes, keepdims=True)
        deviation *= 2 / (count(x.shape, self.axes) - self.correction)
        return deviation * self.spread(gy)


class Amax(Reduction):
    """y = max x;  gy goes to the largest entry, in equal shares where several are equal."""

    def forward(self, x: Array) -> Array:
        y = x.max(axis=self.axes, keepdims=self.keepdim)
        self.save(x, y)
        return y

    def backward(self, gy: Array) -> Array:
        x, y = self.saved
        winners = x == self.spread(y)
        return winners * self.spread(gy) / winners.sum(axis=self.axes, keepdims=True, dtype=x.dtype)


class Amin(Amax):
    """y = min x;  gy goes to the smallest entry, in equal shares where several are equal."""

    def forward(self, x: Array) -> Array:
        y = x.min(axis=self.axes, keepdims=self.keepdim)
        self.save(x, y)
        return y


class TakeAlong(Function):
    """y = the entries of x at the given indices along one axis;  gy goes back to those entries."""

    def __init__(self, indices: Array, axis: int) -> None:
        self.indices, self.axis = indices, axis

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return np.take_along_axis(x, self.indices, self.axis)

    def backward(self, gy: Array) -> Array:
        gx = backend.module_of(gy).zeros(self.shape, gy.dtype)
        np.put_along_axis(gx, self.indices, gy, self.axis)
        return gx


class Extreme(NamedTuple):
    """What max and min along one axis return, as in PyTorch."""

    values: Any
    indices: Array


def sum(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over the axes ``dim`` (an int, several, or None for all).

    >>> import minicnn as mc
    >>> mc.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    x = as_variable(x)
    return Sum(resolve_axes("sum", x.ndim, dim, axis), keepdim or keepdims)(x)


def mean(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over the axes ``dim``.

    Raises:
        TypeError: integers.
    """
    x = floating("mean", x)
    return Mean(resolve_axes("mean", x.ndim, dim, axis), keepdim or keepdims)(x)


def var(
    x: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    correction: int = 1,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """The variance over the axes ``dim``: squared deviations, summed, over M − correction.

    As in PyTorch, correction is 1 (the unbiased estimate) unless told otherwise.

    Raises:
        ValueError: M is no more than the correction.

    >>> import minicnn as mc
    >>> x = mc.tensor([1.0, 2.0, 3.0])
    >>> x.var(), x.var(correction=0)
    (tensor(1.), tensor(0.6666667))
    """
    x = floating("var", x)
    axes = resolve_axes("var", x.ndim, dim, axis)
    if count(x.shape, axes) <= correction:
        raise ValueError(f"var: {count(x.shape, axes)} entries are too few for correction {correction}")
    return Var(axes, keepdim or keepdims, correction)(x)


def amax(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest entry over the axes ``dim``; equal entries share the gradient."""
    return _any_axes("amax", Amax, x, dim, axis, keepdim or keepdims)


def amin(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest entry over the axes ``dim``; equal entries share the gradient."""
    return _any_axes("amin", Amin, x, dim, axis, keepdim or keepdims)


def _any_axes(name: str, operation: type[Amax], x: Any, dim: Any, axis: Any, keepdim: bool) -> Any:
    x = as_variable(x)
    axes = resolve_axes(name, x.ndim, dim, axis)
    if count(x.shape, axes) == 0:
        raise ValueError(f"{name}: shape {x.shape} has no entries along {axes}")
    return operation(axes, keepdim)(x)


def max(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest entry of all, or with one axis ``dim`` the pair (values, indices), as in PyTorch.

    With ``dim`` the gradient goes to the entry at the index, the first where several are equal.
    For several axes at once there is :func:`amax`.

    >>> import minicnn as mc
    >>> values, indices = mc.tensor([[1.0, 5.0], [7.0, 2.0]]).max(dim=1)
    >>> values, indices
    (tensor([5., 7.]), array([1, 0]))
    """
    return _extreme("max", x, dim, keepdim or keepdims, axis)


def min(x: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest entry of all, or with one axis ``dim`` the pair (values, indices); see :func:`max`."""
    return _extreme("min", x, dim, keepdim or keepdims, axis)


def _extreme(name: str, x: Any, dim: Any, keepdim: bool, axis: Any) -> Any:
    x = as_variable(x)
    if dim is None and axis is None:
        return (amax if name == "max" else amin)(x)
    axes = resolve_axes(name, x.ndim, dim, axis)
    if len(axes) != 1:
        raise ValueError(f"{name}: expected one axis, got {dim if axis is None else axis}; see a{name}")
    find = np.argmax if name == "max" else np.argmin
    indices = find(x._data, axis=axes[0], keepdims=True)
    values = TakeAlong(indices, axes[0])(x)
    if keepdim:
        return Extreme(values, indices)
    shape = values.shape[: axes[0]] + values.shape[axes[0] + 1 :]
    return Extreme(reshape(values, shape), indices.squeeze(axes[0]))
