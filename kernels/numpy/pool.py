"""Pooling: the largest, or the mean, of each window; as naive loops and as a loop over taps.

    max      y[n, c, oh, ow] = max over the window's pixels      gx: the winner receives all of gy
    average  y[n, c, oh, ow] = sum over them / divisor           gx: each receives gy / divisor

Padding never wins a maximum (it is −∞), and among equal pixels the first in reading order wins. Which
tap won is kept as one small number per output pixel. Windows that overlap (stride below the window)
hand a pixel several gradients, which add up.
"""

import numpy as np

from minicnn.kernels.geometry import Window, pad, unpad
from minicnn.kernels.registry import kernel


def reach(padding, size, extent, stride, out):
    """Padding, extended after the image so that the last window fits (ceil mode may need more, or less)."""
    before, after = padding
    return before, max(after, (out - 1) * stride + extent - size - before)


def covered(x_shape, shape, g: Window):
    """The padding that the windows of this output really reach."""
    return tuple(
        reach(g.padding[axis], x_shape[axis + 2], g.extent[axis], g.stride[axis], shape[axis])
        for axis in (0, 1)
    )


def first_taps(x_shape, OH, OW, g: Window):
    """The index of each window's first tap within the image (0 if it has none), (OH, OW).

    It is the winner where all pixels are −∞, as those in the padding are.
    """
    rows, columns = (
        _first_taps(size, windows, g.kernel[axis], g.stride[axis], g.dilation[axis], g.padding[axis][0])
        for axis, (size, windows) in enumerate(zip(x_shape[2:], (OH, OW), strict=True))
    )
    return rows[:, None] * g.kernel[1] + columns


def _first_taps(size, windows, kernel, stride, dilation, padding):
    start = np.arange(windows) * stride - padding
    tap = np.maximum(-(start // dilation), 0)
    return np.where((tap < kernel) & (start + tap * dilation < size), tap, 0)


# Taps: one pass over the whole batch for each position in the window.


@kernel("max_pool2d.forward", "numpy", "taps")
def max_forward(x, OH, OW, g: Window):
    """(N, C, H, W) -> the maxima (N, C, OH, OW), and the index of each window's winning tap."""
    padded = pad(x, covered(x.shape, (OH, OW), g), -np.inf)
    y = np.full((*x.shape[:2], OH, OW), -np.inf, x.dtype)
    winner = np.empty(y.shape, np.uint8 if g.kernel[0] * g.kernel[1] <= 256 else np.int32)
    winner[:] = first_taps(x.shape, OH, OW, g)
    for tap, (_, _, (rows, cols)) in enumerate(g.taps(OH, OW)):
        pixels = padded[:, :, rows, cols]
        larger = (pixels > y) | (pixels != pixels)  # NaN, alone unequal to itself, wins and stays
        np.copyto(y, pixels, where=larger)
        np.copyto(winner, winner.dtype.type(tap), where=larger)
    return y, winner


@kernel("max_pool2d.backward", "numpy", "taps")
def max_backward(gy, winner, x_shape, g: Window):
    """The gradient to x: each window's gy goes to the tap that won."""
    OH, OW = gy.shape[2:]
    padding = covered(x_shape, (OH, OW), g)
    gx = pad(np.zeros(x_shape, gy.dtype), padding)
    for tap, (_, _, (rows, cols)) in enumerate(g.taps(OH, OW)):
        gx[:, :, rows, cols] += gy * (winner == tap)
    return unpad(gx, padding)


@kernel("avg_pool2d.forward", "numpy", "taps")
def avg_forward(x, divisor, g: Window):
    """(N, C, H, W) and the number (OH, OW) by which each window is divided -> (N, C, OH, OW)."""
    padded = pad(x, covered(x.shape, divisor.shape, g))
    y = np.zeros((*x.shape[:2], *divisor.shape), x.dtype)
    for _, _, (rows, cols) in g.taps(*divisor.shape):
        y += padded[:, :, rows, cols]
    y /= divisor
    return y


@kernel("avg_pool2d.backward", "numpy", "taps")
def avg_backward(gy, divisor, x_shape, g: Window):
    """The gradient to x: every pixel of a window receives gy / divisor."""
    padding = covered(x_shape, divisor.shape, g)
    gx = pad(np.zeros(x_shape, gy.dtype), padding)
    share = gy / divisor
    for _, _, (rows, cols) in g.taps(*divisor.shape):
        gx[:, :, rows, cols] += share
    return unpad(gx, padding)


# Naive: one window at a time, pixel by pixel.


def windows(shape, x_shape, g: Window):
    """Each output position with its window's pixels: [(tap, position in x)], padding left out."""
    N, C, OH, OW = shape
    _, _, H, W = x_shape
    for n, c, oh, ow in np.ndindex(N, C, OH, OW):
        pixels = []
        for i, j in np.ndindex(*g.kernel):
            h = oh * g.stride[0] + i * g.dilation[0] - g.padding[0][0]
            v = ow * g.stride[1] + j * g.dilation[1] - g.padding[1][0]
            if 0 <= h < H and 0 <= v < W:
                pixels.append((i * g.kernel[1] + j, (n, c, h, v)))
        yield (n, c, oh, ow), pixels


@kernel("max_pool2d.forward", "numpy", "naive")
def max_forward_naive(x, OH, OW, g: Window):
    """The same as :func:`max_forward`."""
    y = np.full((*x.shape[:2], OH, OW), -np.inf, x.dtype)
    winner = np.zeros(y.shape, np.int32)
    for at_y, pixels in windows(y.shape, x.shape, g):
        winner[at_y] = pixels[0][0] if pixels else 0  # unless one of them is above −∞
        for tap, at_x in pixels:
            if x[at_x] > y[at_y] or np.isnan(x[at_x]):
                y[at_y], winner[at_y] = x[at_x], tap
    return y, winner


@kernel("max_pool2d.backward", "numpy", "naive")
def max_backward_naive(gy, winner, x_shape, g: Window):
    """The same as :func:`max_backward`."""
    gx = np.zeros(x_shape, gy.dtype)
    for at_y, pixels in windows(gy.shape, x_shape, g):
        for tap, at_x in pixels:
            if tap == winner[at_y]:
                gx[at_x] += gy[at_y]
    return gx


@kernel("avg_pool2d.forward", "numpy", "naive")
def avg_forward_naive(x, divisor, g: Window):
    """The same as :func:`avg_forward`."""
    y = np.zeros((*x.shape[:2], *divisor.shape), x.dtype)
    for at_y, pixels in windows(y.shape, x.shape, g):
        for _, at_x in pixels:
            y[at_y] += x[at_x] / divisor[at_y[2:]]
    return y


@kernel("avg_pool2d.backward", "numpy", "naive")
def avg_backward_naive(gy, divisor, x_shape, g: Window):
    """The same as :func:`avg_backward`."""
    gx = np.zeros(x_shape, gy.dtype)
    for at_y, pixels in windows(gy.shape, x_shape, g):
        for _, at_x in pixels:
            gx[at_x] += gy[at_y] / divisor[at_y[2:]]
    return gx


# Adaptive: bins that divide the image as evenly as can be, given by their first and last + 1 row or column.


@kernel("adaptive_max_pool2d.forward", "numpy", "bins")
def adaptive_max_forward(x, rows, columns):
    """As below -> the maxima (N, C, OH, OW), and where the winners are, as h·W + w."""
    N, C, _, W = x.shape
    y = np.empty((N, C, len(rows), len(columns)), x.dtype)
    winner = np.empty(y.shape, np.int32)
    for oh, (top, bottom) in enumerate(rows):
        for ow, (left, right) in enumerate(columns):
            pixels = x[:, :, top:bottom, left:right].reshape(N, C, -1)
            best = pixels.argmax(axis=2)
            y[:, :, oh, ow] = np.take_along_axis(pixels, best[..., None], 2)[..., 0]
            row, column = np.divmod(best, right - left)
            winner[:, :, oh, ow] = (top + row) * W + left + column
    return y, winner


@kernel("adaptive_max_pool2d.backward", "numpy", "bins")
def adaptive_max_backward(gy, winner, x_shape):
    """The gradient to x: each winner receives the gy of its bins, which may overlap."""
    N, C, H, W = x_shape
    gx = np.zeros((N, C, H * W), gy.dtype)
    for oh, ow in np.ndindex(gy.shape[2:]):  # one bin at a time, so that they add up
        at = winner[:, :, oh, ow, None]
        np.put_along_axis(gx, at, np.take_along_axis(gx, at, 2) + gy[:, :, oh, ow, None], 2)
    return gx.reshape(x_shape)


@kernel("adaptive_avg_pool2d.forward", "numpy", "bins")
def adaptive_avg_forward(x, rows, columns):
    """(N, C, H, W), the bins of rows (OH, 2) and of columns (OW, 2) -> the means (N, C, OH, OW)."""
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    for oh, (top, bottom) in enumerate(rows):
        for ow, (left, right) in enumerate(columns):
            y[:, :, oh, ow] = x[:, :, top:bottom, left:right].mean(axis=(2, 3))
    return y


@kernel("adaptive_avg_pool2d.backward", "numpy", "bins")
def adaptive_avg_backward(gy, rows, columns, x_shape):
    """The gradient to x: each pixel of a bin receives gy / pixels; bins may overlap."""
    gx = np.zeros(x_shape, gy.dtype)
    for oh, (top, bottom) in enumerate(rows):
        for ow, (left, right) in enumerate(columns):
            pixels = gx[:, :, top:bottom, left:right]
            pixels += gy[:, :, oh, ow, None, None] / ((bottom - top) * (right - left))
    return gx
