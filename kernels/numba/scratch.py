"""Memory that is used again: a fresh array's first pages cost as much as the arithmetic on them."""

from __future__ import annotations

import math
import threading

import numpy as np

from minicnn.kernels.geometry import Pair
from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.rows import clear, copy

LINE = 64  # bytes in a line of the cache; a vector that lies across two costs two loads

_buffers = threading.local()


def scratch(use: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array with anything in it; the next call for the same use, in this thread, takes its memory back."""
    size = math.prod(shape)
    buffers = _buffers.__dict__.setdefault("all", {})
    buffer = buffers.get((use, dtype))
    if buffer is None or buffer.size < size:
        spare = np.empty(size + LINE // dtype.itemsize, dtype)
        start = -spare.ctypes.data % LINE // dtype.itemsize
        buffer = buffers[use, dtype] = spare[start : start + size]
    return buffer[:size].reshape(shape)


@compiled
def _pad(core, x, sizes, out):
    H, W, PH, PW, top, left = sizes
    for index in share(core, out.size // (PH * PW)):
        for ph in range(PH):
            h, to = ph - top, (index * PH + ph) * PW
            if h < 0 or h >= H:
                clear(out, to, PW)
                continue
            clear(out, to, left)
            copy(x, (index * H + h) * W, out, to + left, W)
            clear(out, to + left + W, PW - left - W)


def padded(x: np.ndarray, padding: tuple[Pair, Pair], room: int = 0) -> np.ndarray:
    """(N, C, H, W) with zeros around each image, in scratch memory; x itself where there are none.

    Behind the last image there is room for so many numbers to be read, which are zeros.
    """
    x = plain(x)
    (top, bottom), (left, right) = padding
    if top == bottom == left == right == room == 0:
        return x
    N, C, H, W = x.shape
    shape = N, C, H + top + bottom, W + left + right
    memory = scratch("padded", (math.prod(shape) + room,), x.dtype)
    out, memory[math.prod(shape) :] = memory[: math.prod(shape)].reshape(shape), 0
    _pad(x.reshape(-1), (H, W, *out.shape[2:], top, left), out.reshape(-1))
    return out
