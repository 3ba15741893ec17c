"""Memory that is used again: a fresh array's first pages cost as much as the arithmetic on them."""

from __future__ import annotations

import ctypes
import math
import os
import threading

import numpy as np

from minicnn.kernels.geometry import Pair
from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.rows import clear, copy

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as malloc.h numbers them
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


def keep_freed_memory() -> None:
    """Let freed memory stay with the process, where the C library has a way to say so (glibc's mallopt).

    A step of training frees all that it asked for, and the next asks for the same again. Meanwhile malloc
    hands large blocks back to the system, and pages new from there are cleared at the first touch: 5 ms for
    25 MB, twice as long as the batch norm that fills them. Steps of MobileNet took 15 % less time without.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # no blocks straight from the system, which go back there when freed
        mallopt(M_TRIM_THRESHOLD, -1)  # and never give back the end of the heap


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


def padded(x: np.ndarray, padding: tuple[Pair, Pair]) -> np.ndarray:
    """(N, C, H, W) with zeros around each image, in scratch memory; x itself where there are none."""
    x = plain(x)
    (top, bottom), (left, right) = padding
    if top == bottom == left == right == 0:
        return x
    N, C, H, W = x.shape
    out = scratch("padded", (N, C, H + top + bottom, W + left + right), x.dtype)
    _pad(x.reshape(-1), (H, W, *out.shape[2:], top, left), out.reshape(-1))
    return out
