"""Receptive fields: which part of the image a unit depends on, by walking the recorded graph back to it."""

from __future__ import annotations

from typing import NamedTuple

from minicnn.autograd import Array, Edge, Function, Variable
from minicnn.functional.excitation import SqueezeExcitation
from minicnn.functional.shape import GetItem, Pad


class Box(NamedTuple):
    """Rows and columns of an image, each from the first to one after the last."""

    top: int
    bottom: int
    left: int
    right: int

    def joined(self, other: Box | None) -> Box:
        """The smallest box around both."""
        if other is None:
            return self
        (a, b, c, d), (e, f, g, h) = self, other
        return Box(min(a, e), max(b, f), min(c, g), max(d, h))

    def cut(self, image: Array) -> Array:
        """What lies in the box of an image (C, H, W)."""
        return image[:, self.top : self.bottom, self.left : self.right]


def reach(last: Function, shape: tuple[int, ...], row: int, column: int, image: Variable) -> Box:
    """A receptive field: the box of ``image`` on which a function's result at a row and column can depend.

    What a convolution or pooling needs is its window, cut off at the edges; element by element, a unit needs
    its own place; any other operation may need its whole input. ``shape`` is that of the result.

    >>> import minicnn as mc
    >>> x = mc.zeros(1, 1, 9, 9, requires_grad=True)
    >>> conv, pool = mc.nn.Conv2d(1, 1, 3, padding=1), mc.nn.MaxPool2d(2)
    >>> y = pool(conv(x))
    >>> reach(y.grad_fn, y.shape, 0, 2, x)
    Box(top=0, bottom=3, left=3, right=7)
    """
    place = Box(row, row + 1, column, column + 1) if len(shape) == 4 else Box(0, 1, 0, 1)
    needed: dict[Function | Variable, tuple[Box, tuple[int, ...]]] = {last: (place, shape)}
    while functions := [target for target in needed if isinstance(target, Function)]:
        function = max(functions, key=lambda one: one.order)  # after all that used its result
        box, y_shape = needed.pop(function)
        for edge in function.inputs:
            if edge is None or (isinstance(edge.target, Variable) and edge.target is not image):
                continue
            found = _inputs(function, box, y_shape, edge)
            before = needed.get(edge.target)
            needed[edge.target] = (found.joined(before and before[0]), edge.shape)
    return needed[image][0] if image in needed else Box(0, 0, 0, 0)


def _inputs(function: Function, box: Box, y_shape: tuple[int, ...], edge: Edge) -> Box:
    """The box of one of a function's inputs that a box of its result needs."""
    if len(edge.shape) != 4:
        return Box(0, 1, 0, 1)
    H, W = edge.shape[2:]
    if isinstance(function, SqueezeExcitation) or len(y_shape) != 4:
        return Box(0, H, 0, W)
    strides = _strides(function, H, W)
    if strides is None:
        return box if edge.shape[2:] == y_shape[2:] else Box(0, H, 0, W)
    down, right = strides
    return Box(*down.needed(box.top, box.bottom, H), *right.needed(box.left, box.right, W))


class _Stride(NamedTuple):
    """Along one axis, result number i needs ``extent`` inputs from start + i·step on."""

    start: int
    step: int = 1
    extent: int = 1

    def needed(self, first: int, end: int, size: int) -> tuple[int, int]:
        """What results from ``first`` to before ``end`` need of an axis, as much as there is of it."""
        low, high = self.start + first * self.step, self.start + (end - 1) * self.step + self.extent
        return min(max(low, 0), size), min(max(high, 0), size)


def _strides(function: Function, H: int, W: int) -> tuple[_Stride, _Stride] | None:
    """How a function goes over its input's rows and columns; None if it does not go step by step."""
    if (window := getattr(function, "window", None)) is not None:
        (top, _), (left, _) = window.padding
        (down, right), (high, wide) = window.stride, window.extent
        return _Stride(-top, down, high), _Stride(-left, right, wide)
    if isinstance(function, Pad):
        (top, _), (left, _) = function.widths[2:]
        return _Stride(-top), _Stride(-left)
    if isinstance(function, GetItem) and isinstance(function.index, tuple) and len(function.index) == 4:
        rows, columns = function.index[2:]
        if isinstance(rows, slice) and isinstance(columns, slice):
            (top, _, down), (left, _, right) = rows.indices(H), columns.indices(W)
            return (_Stride(top, down), _Stride(left, right)) if min(down, right) > 0 else None
    return None
