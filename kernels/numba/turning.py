"""Between pixels side by side, as images are stored, and channels side by side, as tiles read them."""

from __future__ import annotations

import numpy as np

from minicnn.kernels.geometry import Pair
from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.micro import transpose
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.vectors import VECTOR_BYTES


@helper
def turn(x, x0, x_step, rows, y, y0, y_step, columns, bias, bias0, bounds, x_spare, y_spare):
    """y[y0 + c · y_step + r] = clip(x[x0 + r · x_step + c] + bias[bias0 + c]).

    Clipped to bounds = (low, high). Where bias is None, the numbers are only moved. ``x_spare`` says that
    whole vectors may be read from each row of x, and from bias, although there are fewer columns;
    ``y_spare``, that they may be written.
    """
    side = VECTOR_BYTES // x.itemsize
    if (rows < side and not y_spare) or (columns < side and not x_spare):
        for c in range(columns):
            for r in range(rows):
                value = x[x0 + r * x_step + c]
                if bias is not None:
                    value += bias[bias0 + c]
                    value = bounds[0] if value < bounds[0] else value
                    value = bounds[1] if value > bounds[1] else value
                y[y0 + c * y_step + r] = value
        return
    for r in range(0, rows, side):
        r = max(0, min(r, rows - side))  # the last square begins in the one before, and repeats some of it
        for c in range(0, columns, side):
            c = max(0, min(c, columns - side))
            transpose(
                x,
                x0 + r * x_step + c,
                x_step,
                rows,
                y,
                y0 + c * y_step + r,
                y_step,
                columns,
                bias,
                bias0 + c,
                bounds,
            )


FREE = (-np.inf, np.inf)  # bounds that bound nothing


def bounds_of(bounds: tuple[float, float], dtype: np.dtype) -> tuple:
    """The bounds that an activation sets to results, in their dtype."""
    return dtype.type(bounds[0]), dtype.type(bounds[1])


def bias_of(b: np.ndarray | None, channels: int, dtype: np.dtype) -> np.ndarray:
    """b, or zeros, with room for a whole vector to be read anywhere."""
    bias = np.zeros(channels + VECTOR_BYTES // dtype.itemsize, dtype)
    if b is not None:
        bias[:channels] = b
    return bias


@compiled
def _channels_last(core, x, top, left, out):
    N, C, H, W = x.shape
    _, PH, PW, CP = out.shape
    source, target = x.reshape(-1), out.reshape(-1)
    for index in share(core, N * PH):
        n, ph = divmod(index, PH)
        row = out[n, ph]
        h = ph - top
        if h < 0 or h >= H:
            row[:] = 0
            continue
        to = ((n * PH + ph) * PW + left) * CP
        turn(source, (n * C * H + h) * W, H * W, C, target, to, CP, W, None, 0, None, False, True)
        row[:left] = 0
        row[left + W :] = 0
        if CP > C:
            row[left : left + W, C:] = 0


def channels_last(use: str, x: np.ndarray, first: Pair, size: Pair, channels: int) -> np.ndarray:
    """(N, C, H, W) -> (N, *size, channels) in scratch memory: zeros, but the image from ``first`` on."""
    out = scratch(use, (x.shape[0], *size, channels), x.dtype)
    _channels_last(plain(x), *first, out)
    return out


@compiled
def _turned(core, x, y):
    rows, columns = x.shape
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    for index in share(core, (rows + 31) // 32):
        r = index * 32
        here = min(32, rows - r)
        turn(flat_x, r * columns, columns, here, flat_y, r, rows, columns, None, 0, None, False, False)


def turned(x: np.ndarray) -> np.ndarray:
    """The transpose of a matrix, in scratch memory."""
    y = scratch("turned", x.shape[::-1], x.dtype)
    _turned(x, y)
    return y
