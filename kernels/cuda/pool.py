"""Pooling: see max_pool.cu and avg_pool.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.arrays import empty, plain
from minicnn.kernels.cuda.compiling import MOST_NUMBERS, declare, function, launch
from minicnn.kernels.cuda.divide import divisor
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel

MAX, AVG = "max_pool.cu", "avg_pool.cu"
THREADS = 256
"""Of a block. Each thread of max pooling asks for a window at a time, 4 to 9 numbers, so that the 2,048
threads of a multiprocessor have 32 KiB and more on their way: what it takes while memory answers."""

KNOWN = ((2, 2), (3, 2), (3, 1))
"""Windows and strides that have kernels of their own, the same along both axes: what classic networks use.
(0, 0) stands for all others."""

MANY = 32  # pixels for one number of the result: a warp shares the work

PLACES = {np.uint8: "unsigned char", np.int32: "int"}
"""What winners are counted with: as in the other families, a byte where there are no more taps than that."""

SIZES: list[dict[str, str | int]] = [{"K": K, "S": S, "THREADS": THREADS} for K, S in (*KNOWN, (0, 0))]
declare(MAX, ("float32", "float64"), *({**size, "place": PLACES[np.uint8]} for size in SIZES))
declare(MAX, ("float32", "float64"), {**SIZES[-1], "place": PLACES[np.int32]})
declare(AVG, ("float32", "float64"), *({**size, "LANES": 1} for size in SIZES), {**SIZES[-1], "LANES": 32})


def known(g: Window) -> dict[str, int]:
    """What the compiler is told of a window."""
    square = g.kernel[0] == g.kernel[1] and g.stride[0] == g.stride[1] and g.dilation == (1, 1)
    size = (g.kernel[0], g.stride[0])
    K, S = size if square and size in KNOWN else (0, 0)
    return {"K": K, "S": S, "THREADS": THREADS}


def geometry(result: Any, x_shape: tuple[int, ...], y_size: tuple[int, ...], g: Window) -> tuple[Any, ...]:
    """The last arguments of a pooling kernel, in C's order."""
    (top, _), (left, _) = g.padding
    return (*planes_of(result, x_shape, y_size), *g.kernel, *g.stride, top, left, *g.dilation)


def planes_of(result: Any, x_shape: tuple[int, ...], y_size: tuple[int, ...]) -> tuple[Any, ...]:
    """The planes' number and sizes, and how a number of the result is divided by its columns and rows."""
    rows, columns = result.shape[2:]
    return (math.prod(x_shape[:2]), *x_shape[2:], *y_size, divisor(columns), divisor(rows))


def run(file: str, name: str, threads: int, result: Any, args: tuple, **constants: str | int) -> Any:
    """Launch with so many threads, unless that is more than a grid should have."""
    launch(function(file, name, result.dtype, **constants), spread(threads, THREADS), THREADS, args)
    return result


def winners_type(g: Window) -> Any:
    """The dtype that can count a window's taps."""
    return np.uint8 if math.prod(g.kernel) <= 256 else np.int32


@kernel("max_pool2d.forward", "cuda", "gather")
def max_forward(x: Any, OH: int, OW: int, g: Window) -> tuple[Any, Any]:
    """(N, C, H, W) -> the maxima (N, C, OH, OW), and the index of each window's winning tap."""
    y = empty((*x.shape[:2], OH, OW), like=x)
    dtype = winners_type(g)
    winner = devices.module_of(x).empty(y.shape, dtype)
    args = (plain(x), y, winner, x.dtype.type(-np.inf), *geometry(y, x.shape, (OH, OW), g))
    run(MAX, "forward", y.size, y, args, **known(g), place=PLACES[dtype])
    return y, winner


@kernel("max_pool2d.backward", "cuda", "gather")
def max_backward(gy: Any, winner: Any, x_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient to x: each pixel receives the gy of the windows that it won."""
    gx = empty(x_shape, like=gy)
    args = (plain(gy), plain(winner), gx, *geometry(gx, x_shape, gy.shape[2:], g))
    return run(MAX, "backward", gx.size, gx, args, **known(g), place=PLACES[winners_type(g)])


@kernel("avg_pool2d.forward", "cuda", "gather")
def avg_forward(x: Any, divisors: Any, g: Window) -> Any:
    """(N, C, H, W) and the number (OH, OW) by which each window is divided -> (N, C, OH, OW)."""
    y = empty((*x.shape[:2], *divisors.shape), like=x)
    side_by_side = g.stride[1] >= g.kernel[1]  # else neighbouring threads read much of the same
    lanes = 32 if side_by_side and math.prod(g.kernel) >= MANY else 1
    args = (plain(x), plain(divisors), y, *geometry(y, x.shape, divisors.shape, g))
    return run(AVG, "forward", y.size * lanes, y, args, **known(g), LANES=lanes)


@kernel("avg_pool2d.backward", "cuda", "gather")
def avg_backward(gy: Any, divisors: Any, x_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient to x: each pixel receives gy / divisor of the windows that it is in."""
    gx = empty(x_shape, like=gy)
    args = (plain(gy), plain(divisors), gx, *geometry(gx, x_shape, divisors.shape, g))
    return run(AVG, "backward", gx.size, gx, args, **known(g), LANES=1)


BINS: dict[str, str | int] = {"K": 0, "S": 0, "THREADS": THREADS}
WINNERS = {**BINS, "place": PLACES[np.int32]}


def evenly(name: str, result: Any, x_shape: tuple[int, ...], y_size: tuple[int, int]) -> tuple[Any, ...]:
    """The last arguments of a kernel for bins, which it works out from their number."""
    (H, W), (OH, OW) = x_shape[2:], y_size
    if max(H * OH, W * OW) > MOST_NUMBERS:
        raise OverflowError(
            f"{name}: {OH} by {OW} bins of images of {H} by {W}: rows times rows, and columns "
            f"times columns, must not exceed {MOST_NUMBERS}"
        )
    return planes_of(result, x_shape, y_size)


@kernel("adaptive_avg_pool2d.forward", "cuda", "gather")
def adaptive_avg_forward(x: Any, rows: Any, columns: Any) -> Any:
    """(N, C, H, W), the bins of rows (OH, 2) and of columns (OW, 2) -> the means (N, C, OH, OW)."""
    y = empty((*x.shape[:2], len(rows), len(columns)), like=x)
    lanes = 32 if math.prod(x.shape[2:]) >= MANY * len(rows) * len(columns) else 1
    args = (plain(x), y, *evenly("adaptive_avg_pool2d", y, x.shape, y.shape[2:]))
    return run(AVG, "adaptive_forward", y.size * lanes, y, args, **BINS, LANES=lanes)


@kernel("adaptive_avg_pool2d.backward", "cuda", "gather")
def adaptive_avg_backward(gy: Any, rows: Any, columns: Any, x_shape: tuple[int, ...]) -> Any:
    """The gradient to x: each pixel of a bin receives gy / pixels; bins may overlap."""
    gx = empty(x_shape, like=gy)
    args = (plain(gy), gx, *evenly("adaptive_avg_pool2d", gx, x_shape, gy.shape[2:]))
    return run(AVG, "adaptive_backward", gx.size, gx, args, **BINS, LANES=1)


@kernel("adaptive_max_pool2d.forward", "cuda", "gather")
def adaptive_max_forward(x: Any, rows: Any, columns: Any) -> tuple[Any, Any]:
    """As above -> the maxima (N, C, OH, OW), and where the winners are, as h·W + w."""
    y = empty((*x.shape[:2], len(rows), len(columns)), like=x)
    winner = devices.module_of(x).empty(y.shape, np.int32)
    args = (plain(x), y, winner, *evenly("adaptive_max_pool2d", y, x.shape, y.shape[2:]))
    return run(MAX, "adaptive_forward", y.size, y, args, **WINNERS), winner


@kernel("adaptive_max_pool2d.backward", "cuda", "gather")
def adaptive_max_backward(gy: Any, winner: Any, x_shape: tuple[int, ...]) -> Any:
    """The gradient to x: each winner receives the gy of its bins, which may overlap."""
    gx = empty(x_shape, like=gy)
    args = (plain(gy), plain(winner), gx, *evenly("adaptive_max_pool2d", gx, x_shape, gy.shape[2:]))
    return run(MAX, "adaptive_backward", gx.size, gx, args, **WINNERS)
