"""Depthwise convolution: see depthwise.cu."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.arrays import FREE, empty, plain
from minicnn.kernels.cuda.compiling import blocks, declare, function, launch
from minicnn.kernels.cuda.divide import divisor
from minicnn.kernels.cuda.parts import add_parts, place_for
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel

FILE = "depthwise.cu"
THREADS = 128
ROWS = 7  # outputs below each other that a thread computes: 224 and its halves are multiples of it
FILTERS = (3, 5, 7)
STRIDES = (1, 2)

ENOUGH_BLOCKS = 1000  # for a GPU to be busy: a gradient to weights is cut into parts until there are so many,
COLUMNS_OF_PART = 512  # of strips, but none of them shorter than this

for K in FILTERS:
    for S in STRIDES:
        declare(FILE, ("float32", "float64"), {"K": K, "S": S, "ROWS": ROWS, "THREADS": THREADS})


def known(w_shape: tuple[int, ...], g: Window) -> bool:
    """Whether there is a kernel for these filters: of one channel each, and of one of the sizes above."""
    square = g.kernel[0] == g.kernel[1] and g.stride[0] == g.stride[1]
    listed = g.kernel[0] in FILTERS and g.stride[0] in STRIDES and g.dilation == (1, 1)
    return w_shape[1] == 1 and square and listed


def suits(_: Any, w: Any, *rest: Any) -> bool:
    """Whether this is for the arguments of forward or grad_input."""
    return known(w.shape, rest[1])


def run(name: str, like: Any, g: Window, grid: int | tuple[int, ...], args: tuple) -> None:
    """Launch a kernel for a window."""
    table = {"K": g.kernel[0], "S": g.stride[0], "ROWS": ROWS, "THREADS": THREADS}
    launch(function(FILE, name, like.dtype, **table), grid, THREADS, args)


def before(g: Window) -> tuple[int, int]:
    """Rows above and columns left of an image."""
    return g.padding[0][0], g.padding[1][0]


@kernel("conv2d.forward", "cuda", "depthwise", suits=suits)
@kernel("conv2d.forward_clipped", "cuda", "depthwise", suits=suits)
def forward(x: Any, w: Any, b: Any, g: Window, bounds: tuple[float, float] = FREE) -> Any:
    """(N, C, H, W), (OC, 1, K, K), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    (N, C, H, W), OC = x.shape, w.shape[0]
    OH, OW = g.output_size(H, W)
    y = empty((N, OC, OH, OW), like=x)
    limits = (x.dtype.type(bound) for bound in bounds)
    strips = blocks(OH, ROWS)
    by = map(divisor, (OW, strips, OC, OC // C))
    sizes = (N * OC, OC, H, W, OH, OW, *before(g), *limits, *by)
    grid = blocks(N * OC * strips * OW, THREADS)
    run("forward", y, g, grid, (plain(x), plain(w), None if b is None else plain(b), y, *sizes))
    return y


@kernel("conv2d.grad_input", "cuda", "depthwise", suits=suits)
def grad_input(gy: Any, w: Any, x_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    (N, C, H, W), (_, OC, OH, OW), S = x_shape, gy.shape, g.stride[0]
    gx = empty(x_shape, like=gy)
    rows, columns = (
        (size - 1 + pad) // S - pad // S + 1 for size, pad in zip((H, W), before(g), strict=True)
    )
    strips = blocks(rows, ROWS)
    by = map(divisor, (columns, strips, C))
    sizes = (N * C, C, OC // C, H, W, OH, OW, *before(g), rows, columns, *by)
    grid = blocks(N * C * strips * columns, THREADS)
    run("grad_input", gx, g, grid, (plain(gy), plain(w), gx, *sizes))
    return gx


@kernel("conv2d.grad_weight", "cuda", "depthwise", suits=lambda gy, x, w_shape, g: known(w_shape, g))
def grad_weight(gy: Any, x: Any, w_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to w, given the gradient gy to y: (OC, 1, K, K)."""
    (N, C, H, W), (_, OC, OH, OW) = x.shape, gy.shape
    gw = empty(w_shape, like=gy)
    strips = blocks(OH, ROWS)
    columns = N * strips * OW
    number = max(1, min(ENOUGH_BLOCKS // OC, columns // COLUMNS_OF_PART))
    of_part = blocks(columns, number)
    parts = place_for(number, gw)
    sizes = (of_part, N, OC, C, OC // C, H, W, OH, OW, *before(g), divisor(OW), divisor(strips))
    run("grad_weight", gw, g, (OC, number), (plain(gy), plain(x), parts, *sizes))
    return add_parts(parts, gw)
