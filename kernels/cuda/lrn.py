"""Local response normalisation: see lrn.cu."""

from __future__ import annotations

import math
from typing import Any

from minicnn.kernels.cuda.arrays import empty, plain
from minicnn.kernels.cuda.compiling import blocks, declare, function, launch
from minicnn.kernels.registry import kernel

FILE = "lrn.cu"
THREADS = 128

KNOWN = (3, 5)
"""Widths of windows that have kernels of their own: AlexNet and GoogLeNet use 5. 0 stands for all others."""

# Where pixels are few, channels are cut into segments, each with threads of its own.
ENOUGH_THREADS = 1 << 17  # for a GPU to be busy: 1,024 on each of 128 multiprocessors, for 4 numbers each
CHANNELS_OF_SEGMENT = 16  # at least: a segment begins and ends with channels that are its neighbours'

declare(FILE, ("float32", "float64"), *({"SIZE": size, "THREADS": THREADS} for size in (0, *KNOWN)))


def segment(pixels: int, C: int) -> int:
    """The channels that a thread goes through, where there are so many pixels in the whole batch.

    >>> segment(1 << 17, 96), segment(27 * 27, 256)
    (96, 16)
    """
    segments = min(blocks(ENOUGH_THREADS, max(pixels, 1)), C // CHANNELS_OF_SEGMENT)
    return blocks(C, max(segments, 1))


def run(name: str, shape: tuple[int, ...], size: int, dtype: Any, args: tuple) -> None:
    """Launch with a thread for each pixel of each segment."""
    N, C, P = *shape[:2], math.prod(shape[2:])
    of_segment = max(1, segment(N * P, C))
    before, after = size // 2, (size - 1) // 2
    if size not in KNOWN:
        before, after = min(before, C), min(after, C)  # there is nothing beyond
    kernel = function(FILE, name, dtype, SIZE=size if size in KNOWN else 0, THREADS=THREADS)
    grid = blocks(N * P, THREADS), blocks(C, of_segment)
    launch(kernel, grid, THREADS, (*args, N, C, P, before, after, of_segment))


@kernel("local_response_norm.forward", "cuda", "pixels")
def forward(x: Any, size: int, alpha: float, beta: float, k: float) -> tuple[Any, Any]:
    """(N, C, …) -> y and the denominator's base d. The window holds size//2 channels before its own."""
    y, d, number = empty(x.shape, like=x), empty(x.shape, like=x), x.dtype.type
    args = plain(x), y, d, number(alpha / size), number(beta), number(k)
    run("forward", x.shape, size, x.dtype, args)
    return y, d


@kernel("local_response_norm.backward", "cuda", "pixels")
def backward(gy: Any, x: Any, d: Any, size: int, alpha: float, beta: float) -> Any:
    """The gradient to x."""
    gx, number = empty(x.shape, like=x), x.dtype.type
    args = plain(gy), plain(x), plain(d), gx, number(2 * alpha * beta / size), number(beta)
    run("backward", x.shape, size, x.dtype, args)
    return gx
