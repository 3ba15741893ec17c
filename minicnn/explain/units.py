"""One unit of a layer: its inputs, their products and sum, and what its gradient sends to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minicnn import nn
from minicnn.autograd import Array, Variable, enable_grad
from minicnn.explain.receptive import Box, reach
from minicnn.explain.watch import Call
from minicnn.functional.conv import Conv2d
from minicnn.kernels import Window
from minicnn.tensor import from_numpy

TERMS = 25
"""The most inputs of a unit that are written out: those with the largest products. A 5×5 filter has 25."""

Unit = tuple[int, ...]
"""Where a unit is in its layer's output: (channel, row, column), or (feature,)."""

Derivatives = Callable[[Unit], tuple[Array, Array]]
"""Of a unit: its inputs' places (T, axes), without the batch, and ∂y/∂x of each (T,)."""


@dataclass(frozen=True, eq=False)
class Worked:
    """A unit worked out: y = Σ x · ∂y/∂x + constant, over ``count`` inputs.

    ``places`` (T, axes) are those of the inputs whose products are largest, with ``x``, ``derivatives``,
    ``products`` and ``sent`` = gy · ∂y/∂x, each (T,). ``others`` is the sum of the products left out. The
    constant is a convolution's or dense layer's bias. ``to_weights`` = gy · x is what it sends to the weight
    at each place; None where the layer has no filter.
    """

    unit: Unit
    y: float
    gy: float
    box: Box
    count: int
    places: Array
    x: Array
    derivatives: Array
    products: Array
    sent: Array
    to_weights: Array | None
    others: float
    constant: float


def work_out(call: Call, units: list[Unit], image: Variable) -> list[Worked]:
    """The units of one call; those of a module that has others inside it, without their inputs."""
    layer = call.leaf and call.x is not None
    derivatives = _derivatives(call) if layer else None
    return [_unit(call, unit, derivatives, image) for unit in units]


def strongest(y: Array, gy: Array | None, count: int) -> list[Unit]:
    """The unit of the largest |y| in each of the first maps (C, H, W), or the ``count`` largest of (F,).

    Those that a gradient reaches go before the others.

    >>> strongest(np.array([[[0.0, 1.0]], [[-3.0, 2.0]]]), None, 2), strongest(np.array([1, -5, 2]), None, 2)
    ([(0, 0, 1), (1, 0, 0)], [(1,), (2,)])
    >>> strongest(np.array([[[4.0, 1.0]]]), np.array([[[0.0, 0.1]]]), 1)
    [(0, 0, 1)]
    """
    size = np.abs(y.astype(np.float64))
    if gy is not None:
        size = size + (gy != 0) * size.max(initial=0)  # their order among themselves stays
    if y.ndim == 1:
        return [(int(i),) for i in np.argsort(-size, kind="stable")[:count]]
    best = [np.unravel_index(int(size[c].argmax()), y.shape[1:]) for c in range(min(count, len(y)))]
    return [(c, *map(int, place)) for c, place in enumerate(best)]


def _unit(call: Call, unit: Unit, derivatives: Derivatives | None, image: Variable) -> Worked:
    y = float(call.y._data[(0, *unit)])
    gy = 0.0 if call.gy is None else float(call.gy[(0, *unit)])
    row, column = unit[1:] if len(unit) == 3 else (0, 0)
    box = reach(call.watch, call.y.shape, row, column, image)
    if derivatives is None or call.x is None:
        none = np.zeros(0)
        return Worked(unit, y, gy, box, 0, np.zeros((0, 1), int), none, none, none, none, None, 0.0, y)
    places, slopes = derivatives(unit)
    x = call.x._data[0][tuple(places.T)].astype(np.float64)
    products = x * slopes
    order = np.argsort(-np.abs(products), kind="stable")[:TERMS]
    total = float(products.sum())
    has_filter = isinstance(call.module, nn.Conv2d | nn.Linear)
    return Worked(
        unit,
        y,
        gy,
        box,
        len(places),
        places[order],
        x[order],
        slopes[order],
        products[order],
        gy * slopes[order],
        gy * x[order] if has_filter else None,
        total - float(products[order].sum()),
        y - total,
    )


def _derivatives(call: Call) -> Derivatives:
    """How to find a unit's inputs: of a filter by its window, of any other layer by its own backward."""
    edge = call.watch.inputs[0]
    function = None if edge is None else edge.target
    if type(call.module) is nn.Conv2d and isinstance(function, Conv2d):
        w, window, shape = call.module.weight._data, function.window, call.x.shape  # type: ignore[union-attr]
        return lambda unit: _of_convolution(w, window, shape, unit)
    if type(call.module) is nn.Linear and call.y.ndim == 2:
        rows = call.module.weight._data
        return lambda unit: (np.arange(rows.shape[1])[:, None], rows[unit[0]].astype(np.float64))
    return _by_backward(call)


def _of_convolution(w: Array, window: Window, shape: tuple[int, ...], unit: Unit) -> tuple[Array, Array]:
    oc, *position = unit
    group = oc // (len(w) // window.groups)
    taps, inside = [], []
    for axis in (0, 1):
        steps = np.arange(w.shape[2 + axis]) * window.dilation[axis]
        at = position[axis] * window.stride[axis] - window.padding[axis][0] + steps
        inside.append((at >= 0) & (at < shape[2 + axis]))
        taps.append(at[inside[-1]])
    channels = group * w.shape[1] + np.arange(w.shape[1])
    places = np.stack([grid.ravel() for grid in np.meshgrid(channels, *taps, indexing="ij")], axis=1)
    slopes = w[oc][:, inside[0]][:, :, inside[1]].astype(np.float64).ravel()
    return places, slopes


def _by_backward(call: Call) -> Derivatives:
    x = from_numpy(call.x._data.copy()).requires_grad_()  # type: ignore[union-attr]
    with enable_grad():
        y = call.module.forward(x)

    def found(unit: Unit) -> tuple[Array, Array]:
        one = np.zeros_like(y._data)
        one[(0, *unit)] = 1
        x.grad = None
        y.backward(one, retain_graph=True)
        places = np.argwhere(x.grad[0] != 0)  # type: ignore[index]
        return places, x.grad[0][tuple(places.T)].astype(np.float64)  # type: ignore[index]

    return found
