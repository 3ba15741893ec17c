"""Grids that nearly every page has: a gradient, with its finite differences."""

from __future__ import annotations

from collections.abc import Sequence

from minicnn.autograd import Array
from minicnn.explain.document import Grid, Made
from minicnn.explain.point import Point


def labels(name: str, array: Array) -> list[str]:
    """What the cells of an array are called.

    >>> import numpy as np
    >>> labels("b", np.zeros(2))
    ['b[0]', 'b[1]']
    """
    grid = Grid(name, name, array)
    return [grid.label(cell) for cell in range(array.size)]


def gradient(point: Point, name: str, made: Made, caption: str = "") -> Grid:
    """The whole gradient to an input, and the same by finite differences."""
    return Grid(
        f"g{name}",
        f"g{name}",
        point.gradients[name],
        caption or f"g{name}, the gradient to {name}",
        made=made,
        differences=point.differences(name),
    )


def gradient_alone(point: Point, name: str, made: Sequence[Made] = ()) -> Grid:
    """The gradient to an input from each output alone, one a step, and the same by finite differences."""
    gradients, differences = point.alone
    return Grid(
        f"g{name}.alone",
        f"g{name}",
        gradients[name],
        f"g{name}, from this output alone",
        frames=True,
        made=made,
        differences=differences[name],
    )
