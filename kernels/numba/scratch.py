"""Memory that is used again: a fresh array's first pages cost as much as the arithmetic on them."""

from __future__ import annotations

import math
import threading

import numpy as np
from numba import prange

from minicnn.kernels.geometry import Pair
from minicnn.kernels.numba.compiling import compiled, plain

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
def _pad(x, top, left, out):
    planes, H, W = x.shape
    _, PH, PW = out.shape
    zero = x.dtype.type(0)
    for index in prange(planes):
        plane, padded = x[index], out[index]
        for h in range(PH):
            row = padded[h]
            if h < top or h >= top + H:
                for v in range(PW):
                    row[v] = zero
                continue
            for v in range(left):
                row[v] = zero
            pixels = plane[h - top]
            for v in range(W):
                row[left + v] = pixels[v]
            for v in range(left + W, PW):
                row[v] = zero


def padded(x: np.ndarray, padding: tuple[Pair, Pair]) -> np.ndarray:
    """(N, C, H, W) with zeros around each image, in scratch memory; x itself where there are none."""
    x = plain(x)
    (top, bottom), (left, right) = padding
    if top == bottom == left == right == 0:
        return x
    N, C, H, W = x.shape
    out = scratch("padded", (N, C, H + top + bottom, W + left + right), x.dtype)
    _pad(x.reshape(-1, H, W), top, left, out.reshape(-1, *out.shape[2:]))
    return out
