"""Which of the kernels for convolution "auto" takes on a GPU, and why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn.kernels.cuda import depthwise, first_layer, tables, tensor, winograd
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import chooser

FEW_ROWS = 8
"""Below, even the smallest tile of conv_tiled.cu, of 32 rows, is mostly empty: more is lost than its
registers save. A thread for each number of the result fetches every factor anew, but only those it needs."""

SHORT = 100
"""Terms of a sum for which tiles do not pay. Half of what the loop of first_layer.cu does is multiplying, and
three quarters in a tile's; but a tile takes the time of a hundred terms to find its place and be stored."""


@chooser("conv2d.forward", "cuda")
@chooser("conv2d.forward_clipped", "cuda")
def for_forward(x: Any, w: Any, b: Any, g: Window, *bounds: Any) -> list[str]:
    """What "auto" means for y, whose rows are output channels.

    Where there are few channels and sums are short, as in a first layer of 3×3, there is a kernel for that.
    """
    names = choose(x, w.shape, g, w.shape[0] // g.groups)
    if first_layer.suits(x, w, b, g) and math.prod(w.shape[1:]) <= SHORT:
        return ["first", *names]
    return with_fewer_products(names, x, w.shape, g, g.output_size(*x.shape[2:]))


@chooser("conv2d.grad_input", "cuda")
def for_grad_input(gy: Any, w: Any, x_shape: tuple[int, ...], g: Window) -> list[str]:
    """What "auto" means for the gradient to x, whose rows are input channels."""
    return with_fewer_products(choose(gy, w.shape, g, w.shape[1]), gy, w.shape, g, x_shape[2:])


@chooser("conv2d.grad_weight", "cuda")
def for_grad_weight(gy: Any, x: Any, w_shape: tuple[int, ...], g: Window) -> list[str]:
    """What "auto" means for the gradient to w.

    It has few numbers, each of them a long sum: a thread for each would leave nearly all of a GPU idle.
    """
    names = choose(gy, w_shape, g, max(FEW_ROWS, w_shape[0] // g.groups))
    return with_fewer_products(names, gy, w_shape, g, gy.shape[2:])


def with_fewer_products(
    names: list[str], like: Any, w_shape: tuple[int, ...], g: Window, size: tuple[int, ...]
) -> list[str]:
    """Winograd's first, where exact tiles would be, and fewer products are worth its ways through memory.

    Not in float64, which is there for its accuracy.
    """
    fits = winograd.suits(g) and like.dtype == np.float32 and names[0] == "tiled"
    return ["winograd", *names] if fits and winograd.pays(w_shape[0], w_shape[1], size) else names


def choose(like: Any, w_shape: tuple[int, ...], g: Window, rows: int) -> list[str]:
    """The algorithms for a geometry, the best first, where the result's matrix has so many rows.

    Filters of one channel each only move memory, and have kernels for that. All else is a product of
    matrices, which register tiles compute, or tensor cores where ``mc.use(precision=…)`` lets them round,
    unless it has so few rows that tiles stay empty, or the filters are enormous.
    """
    if not tables.suits(g):
        return ["naive"]
    if g.groups > 1 and depthwise.known(w_shape, g):
        return ["depthwise", "tiled", "shared", "naive"]
    if rows < FEW_ROWS:
        return ["naive", "tiled", "shared"]
    return [*tensor.allowed(like), "tiled", "shared", "naive"]
