"""Max and average pooling, an image's channel at a time on all cores.

The innermost loops go over a row of outputs, and are vectorised: which of them a tap serves, or which windows
lie within the image, is known before the loop, and inside it nothing needs to be asked. The rows of the image
that one row of outputs needs stay in the first-level cache.
"""

import numpy as np
from numba import njit, prange

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.numpy.pool import first_taps
from minicnn.kernels.registry import kernel


def geometry(g: Window):
    """The window's numbers as compiled functions take them: kernel, stride, dilation, first padding."""
    return (*g.kernel, *g.stride, *g.dilation, g.padding[0][0], g.padding[1][0])


def planes(x):
    """(N, C, H, W) -> (N·C, H, W), contiguous."""
    return plain(x).reshape(-1, *x.shape[2:])


@njit(error_model="numpy")
def _served(offset, stride, size, windows):
    """The first and last + 1 window whose tap at this offset lies within the image."""
    return max((stride - 1 - offset) // stride, 0), min((size - 1 - offset) // stride + 1, windows)


@njit(error_model="numpy")
def _largest(rows, KH, KW, step, dh, dw, best, winner):
    """The maxima of windows within the image, of which the first begins with the rows' first pixel.

    The winner's index is the number of taps before the first that equals the maximum: a sum in the place of
    conditions, which random numbers mislead where they are not compiled to vectors.
    """
    nan = best.dtype.type(np.nan)
    for k in range(best.size):
        largest, numbers = rows[0, k * step], np.int64(1)
        for i in range(KH):
            for j in range(KW):
                pixel = rows[i * dh, k * step + j * dw]
                numbers &= np.int64(pixel == pixel)
                largest = max(largest, pixel)
        before, won = np.int64(1), np.int64(0)
        for i in range(KH):
            for j in range(KW):
                before &= np.int64(rows[i * dh, k * step + j * dw] != largest)
                won += before
        best[k] = largest if numbers else nan
        winner[k] = won
    for k in range(best.size):
        if best[k] != best[k]:  # the last NaN wins
            for i in range(KH):
                for j in range(KW):
                    if np.isnan(rows[i * dh, k * step + j * dw]):
                        winner[k] = i * KW + j


# The usual windows are said in numbers, so that the compiler can unroll the loops over taps. Each has a
# function of its own: all in one place would be too much for it to work into the loop around them.


@njit(error_model="numpy")
def _largest_2x2_stride_2(rows, best, winner):
    _largest(rows, 2, 2, 2, 1, 1, best, winner)


@njit(error_model="numpy")
def _largest_3x3_stride_2(rows, best, winner):
    _largest(rows, 3, 3, 2, 1, 1, best, winner)


@njit(error_model="numpy")
def _largest_3x3_stride_1(rows, best, winner):
    _largest(rows, 3, 3, 1, 1, 1, best, winner)


@njit(error_model="numpy")
def _largest_within(plane, h, v, g, won):
    """The maximum of one window's pixels within the image; ``won`` where they are all −∞."""
    KH, KW, _, _, dh, dw, _, _ = g
    largest = plane.dtype.type(-np.inf)
    for i in range(KH):
        for j in range(KW):
            row, column = h + i * dh, v + j * dw
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                pixel = plane[row, column]
                if pixel > largest or pixel != pixel:
                    largest, won = pixel, i * KW + j
    return largest, won


@njit(error_model="numpy")
def _add(pixels, step, totals):
    for k in range(totals.size):
        totals[k] += pixels[k * step]


@njit(error_model="numpy")
def _add_to(pixels, step, shares):
    for k in range(shares.size):
        pixels[k * step] += shares[k]


@compiled
def _max_forward(x, first, y, winner, g):
    KH, KW, sh, sw, dh, dw, top, left = g
    planes, H, W = x.shape
    _, OH, OW = y.shape
    for index in prange(planes):
        plane, out, won = x[index], y[index], winner[index]
        for oh in range(OH):
            h = oh * sh - top
            begin = _served(-left, sw, W, OW)[0]  # of the windows with all of their columns in the image
            end = max(_served((KW - 1) * dw - left, sw, W, OW)[1], begin)
            if h < 0 or h + (KH - 1) * dh >= H:
                begin = end = 0
            if begin < end:
                rows, best, taps = plane[h:, begin * sw - left :], out[oh, begin:end], won[oh, begin:end]
                if KH == KW == sw == 2 and dh == dw == 1:
                    _largest_2x2_stride_2(rows, best, taps)
                elif KH == KW == 3 and sw == 2 and dh == dw == 1:
                    _largest_3x3_stride_2(rows, best, taps)
                elif KH == KW == 3 and sw == 1 and dh == dw == 1:
                    _largest_3x3_stride_1(rows, best, taps)
                else:
                    _largest(rows, KH, KW, sw, dh, dw, best, taps)
            for ow in range(begin):
                out[oh, ow], won[oh, ow] = _largest_within(plane, h, ow * sw - left, g, first[oh, ow])
            for ow in range(end, OW):
                out[oh, ow], won[oh, ow] = _largest_within(plane, h, ow * sw - left, g, first[oh, ow])


@kernel("max_pool2d.forward", "numba", "loops")
def max_forward(x, OH, OW, g: Window):
    """(N, C, H, W) -> the maxima (N, C, OH, OW), and the index of each window's winning tap."""
    y = np.empty((*x.shape[:2], OH, OW), x.dtype)
    winner = np.empty(y.shape, np.uint8 if g.kernel[0] * g.kernel[1] <= 256 else np.int32)
    first = first_taps(x.shape, OH, OW, g)
    _max_forward(planes(x), first, planes(y), planes(winner), geometry(g))
    return y, winner


@compiled
def _max_backward(gy, winner, rows, columns, gx, stride):
    sh, sw = stride
    planes, OH, OW = gy.shape
    _, H, W = gx.shape
    for index in prange(planes):
        plane, won, out = gy[index], winner[index], gx[index]
        out[:] = 0
        for oh in range(OH):
            for ow in range(OW):
                tap = won[oh, ow]
                h = oh * sh + rows[tap]
                v = ow * sw + columns[tap]
                if 0 <= h < H and 0 <= v < W:  # a dilated window may have no pixel in the image
                    out[h, v] += plane[oh, ow]


@kernel("max_pool2d.backward", "numba", "loops")
def max_backward(gy, winner, x_shape, g: Window):
    """The gradient to x: each window's gy goes to the tap that won."""
    gx = np.empty(x_shape, gy.dtype)
    i, j = np.divmod(np.arange(g.kernel[0] * g.kernel[1]), g.kernel[1])
    rows, columns = i * g.dilation[0] - g.padding[0][0], j * g.dilation[1] - g.padding[1][0]
    _max_backward(planes(gy), planes(winner), rows, columns, planes(gx), g.stride)
    return gx


@compiled
def _avg_forward(x, divisor, y, g):
    KH, KW, sh, sw, _, _, top, left = g
    planes, H, W = x.shape
    _, OH, OW = y.shape
    for index in prange(planes):
        plane, out = x[index], y[index]
        for oh in range(OH):
            out[oh] = 0
            for h in range(max(oh * sh - top, 0), min(oh * sh - top + KH, H)):
                for j in range(KW):
                    begin, end = _served(j - left, sw, W, OW)
                    if begin >= end:
                        continue
                    pixels, totals = plane[h, j - left + begin * sw :], out[oh, begin:end]
                    if sw == 1:
                        _add(pixels, 1, totals)
                    elif sw == 2:
                        _add(pixels, 2, totals)
                    else:
                        _add(pixels, sw, totals)
            for ow in range(OW):
                out[oh, ow] /= divisor[oh, ow]


@kernel("avg_pool2d.forward", "numba", "loops")
def avg_forward(x, divisor, g: Window):
    """(N, C, H, W) and the number (OH, OW) by which each window is divided -> (N, C, OH, OW)."""
    y = np.empty((*x.shape[:2], *divisor.shape), x.dtype)
    _avg_forward(planes(x), plain(divisor), planes(y), geometry(g))
    return y


@compiled
def _avg_backward(gy, divisor, gx, g):
    KH, KW, sh, sw, _, _, top, left = g
    planes, OH, OW = gy.shape
    _, H, W = gx.shape
    for index in prange(planes):
        plane, out = gy[index], gx[index]
        out[:] = 0
        share = np.empty(OW, gx.dtype)
        for oh in range(OH):
            for ow in range(OW):
                share[ow] = plane[oh, ow] / divisor[oh, ow]
            for h in range(max(oh * sh - top, 0), min(oh * sh - top + KH, H)):
                for j in range(KW):
                    begin, end = _served(j - left, sw, W, OW)
                    if begin >= end:
                        continue
                    pixels, shares = out[h, j - left + begin * sw :], share[begin:end]
                    if sw == 1:
                        _add_to(pixels, 1, shares)
                    elif sw == 2:
                        _add_to(pixels, 2, shares)
                    else:
                        _add_to(pixels, sw, shares)


@kernel("avg_pool2d.backward", "numba", "loops")
def avg_backward(gy, divisor, x_shape, g: Window):
    """The gradient to x: every pixel of a window receives gy / divisor."""
    gx = np.empty(x_shape, gy.dtype)
    _avg_backward(planes(gy), plain(divisor), planes(gx), geometry(g))
    return gx


def as_one_row(x, rows, columns):
    """Planes and bins; where the whole image is the only bin, its rows are laid end to end, as one."""
    if len(rows) == len(columns) == 1:
        pixels = x.shape[2] * x.shape[3]
        return plain(x).reshape(-1, 1, pixels), np.array([[0, 1]]), np.array([[0, pixels]])
    return planes(x), rows, columns


@compiled(reorder=True)
def _adaptive_avg_forward(x, rows, columns, y):
    for index in prange(x.shape[0]):
        plane, out = x[index], y[index]
        for oh in range(len(rows)):
            for ow in range(len(columns)):
                top, bottom, left, right = rows[oh, 0], rows[oh, 1], columns[ow, 0], columns[ow, 1]
                total = x.dtype.type(0)
                for h in range(top, bottom):
                    pixels = plane[h, left:right]
                    for v in range(pixels.size):
                        total += pixels[v]
                out[oh, ow] = total / x.dtype.type((bottom - top) * (right - left))


@kernel("adaptive_avg_pool2d.forward", "numba", "loops")
def adaptive_avg_forward(x, rows, columns):
    """(N, C, H, W), the bins of rows (OH, 2) and of columns (OW, 2) -> the means (N, C, OH, OW)."""
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    _adaptive_avg_forward(*as_one_row(x, rows, columns), planes(y))
    return y


@compiled
def _adaptive_avg_backward(gx, rows, columns, gy):
    for index in prange(gy.shape[0]):
        plane, out = gy[index], gx[index]
        out[:] = 0
        for oh in range(len(rows)):
            for ow in range(len(columns)):
                top, bottom, left, right = rows[oh, 0], rows[oh, 1], columns[ow, 0], columns[ow, 1]
                share = plane[oh, ow] / gy.dtype.type((bottom - top) * (right - left))
                for h in range(top, bottom):
                    pixels = out[h, left:right]
                    for v in range(pixels.size):
                        pixels[v] += share


@kernel("adaptive_avg_pool2d.backward", "numba", "loops")
def adaptive_avg_backward(gy, rows, columns, x_shape):
    """The gradient to x: each pixel of a bin receives gy / pixels; bins may overlap."""
    gx = np.empty(x_shape, gy.dtype)
    _adaptive_avg_backward(*as_one_row(gx, rows, columns), planes(gy))
    return gx
