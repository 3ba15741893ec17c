"""Element-wise operations on all cores, each a single pass over memory."""

import numpy as np
from numba import prange

from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.registry import kernel

CHUNK = 1 << 14  # entries in a job: enough that starting a job costs nothing, few enough for all cores


@compiled
def _relu(x, y):
    zero = x.dtype.type(0)  # a plain 0 would turn each entry into float64 and back
    for index in prange((x.size + CHUNK - 1) // CHUNK):
        first = np.int64(index) * CHUNK
        for i in range(first, min(first + CHUNK, x.size)):
            y[i] = zero if x[i] <= zero else x[i]  # so that a NaN passes


@kernel("relu.forward", "numba", "one_pass")
def relu(x):
    """max(x, 0)."""
    x = plain(x)
    y = np.empty_like(x)
    _relu(x.reshape(-1), y.reshape(-1))
    return y


@compiled
def _relu_backward(gy, y, gx):
    zero = y.dtype.type(0)
    for index in prange((y.size + CHUNK - 1) // CHUNK):
        first = np.int64(index) * CHUNK
        for i in range(first, min(first + CHUNK, y.size)):
            g = gy[i]  # read in any case: a read under a condition is a branch, and keeps vectors away
            gx[i] = g if y[i] > zero else zero


@kernel("relu.backward", "numba", "one_pass")
def relu_backward(gy, y):
    """gy where y > 0, else 0."""
    gy, y = plain(gy), plain(y)
    gx = np.empty_like(gy)
    _relu_backward(gy.reshape(-1), y.reshape(-1), gx.reshape(-1))
    return gx
