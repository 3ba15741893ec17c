"""Convolution, one thread for each number of the result: see conv_naive.cu."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.arrays import FREE, empty, plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel

FILE = "conv_naive.cu"
THREADS = 256  # of one block

declare(FILE)


def geometry(x_shape: tuple[int, ...], OC: int, y_size: tuple[int, int], g: Window) -> tuple[int, ...]:
    """The last arguments of a convolution kernel, in C's order."""
    (top, _), (left, _) = g.padding
    return (*x_shape, OC, *g.kernel, *y_size, *g.stride, top, left, *g.dilation, g.groups)


def run(name: str, result: Any, arrays: tuple, sizes: tuple[Any, ...]) -> Any:
    """Launch with a thread for each number of the result, unless that is more than a grid should have."""
    launch(
        function(FILE, name, result.dtype), spread(result.size, THREADS), THREADS, (*arrays, result, *sizes)
    )
    return result


@kernel("conv2d.forward", "cuda", "naive")
@kernel("conv2d.forward_clipped", "cuda", "naive")
def forward(x: Any, w: Any, b: Any, g: Window, bounds: tuple[float, float] = FREE) -> Any:
    """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    OC, size = w.shape[0], g.output_size(*x.shape[2:])
    y = empty((x.shape[0], OC, *size), like=x)
    bias = None if b is None else plain(b)
    limits = (y.dtype.type(bound) for bound in bounds)
    return run("forward", y, (plain(x), plain(w), bias), (*geometry(x.shape, OC, size, g), *limits))


@kernel("conv2d.grad_input", "cuda", "naive")
def grad_input(gy: Any, w: Any, x_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    sizes = geometry(x_shape, w.shape[0], gy.shape[2:], g)
    return run("grad_input", empty(x_shape, like=gy), (plain(gy), plain(w)), sizes)


@kernel("conv2d.grad_weight", "cuda", "naive")
def grad_weight(gy: Any, x: Any, w_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
    sizes = geometry(x.shape, w_shape[0], gy.shape[2:], g)
    return run("grad_weight", empty(w_shape, like=gy), (plain(gy), plain(x)), sizes)
