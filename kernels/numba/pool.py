"""Max and average pooling, an image's channel at a time on all cores."""

import numpy as np
from numba import prange

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.registry import kernel


def geometry(g: Window):
    """The window's numbers as compiled functions take them: kernel, stride, dilation, first padding."""
    return (*g.kernel, *g.stride, *g.dilation, g.padding[0][0], g.padding[1][0])


def planes(x):
    """(N, C, H, W) -> (N·C, H, W), contiguous."""
    return plain(x).reshape(-1, *x.shape[2:])


@compiled
def _max_forward(x, y, winner, g):
    KH, KW, sh, sw, dh, dw, top, left = g
    planes, H, W = x.shape
    _, OH, OW = y.shape
    for index in prange(planes):
        plane, out, won = x[index], y[index], winner[index]
        for oh in range(OH):
            for ow in range(OW):
                best = plane.dtype.type(-np.inf)
                tap = 0
                for i in range(KH):
                    h = oh * sh + i * dh - top
                    if 0 <= h < H:
                        for j in range(KW):
                            v = ow * sw + j * dw - left
                            if 0 <= v < W:
                                pixel = plane[h, v]
                                if pixel > best or pixel != pixel:
                                    best, tap = pixel, i * KW + j
                out[oh, ow] = best
                won[oh, ow] = tap


@kernel("max_pool2d.forward", "numba", "loops")
def max_forward(x, OH, OW, g: Window):
    """(N, C, H, W) -> the maxima (N, C, OH, OW), and the index of each window's winning tap."""
    y = np.empty((*x.shape[:2], OH, OW), x.dtype)
    winner = np.empty(y.shape, np.uint8 if g.kernel[0] * g.kernel[1] <= 256 else np.int32)
    _max_forward(planes(x), planes(y), planes(winner), geometry(g))
    return y, winner


@compiled
def _max_backward(gy, winner, gx, g):
    _, KW, sh, sw, dh, dw, top, left = g
    planes, OH, OW = gy.shape
    _, H, W = gx.shape
    for index in prange(planes):
        plane, won, out = gy[index], winner[index], gx[index]
        for h in range(H):
            for v in range(W):
                out[h, v] = 0
        for oh in range(OH):
            for ow in range(OW):
                i, j = divmod(np.int64(won[oh, ow]), KW)
                h = oh * sh + i * dh - top
                v = ow * sw + j * dw - left
                if 0 <= h < H and 0 <= v < W:  # a window of −∞ alone may name a tap in the padding
                    out[h, v] += plane[oh, ow]


@kernel("max_pool2d.backward", "numba", "loops")
def max_backward(gy, winner, x_shape, g: Window):
    """The gradient to x: each window's gy goes to the tap that won."""
    gx = np.empty(x_shape, gy.dtype)
    _max_backward(planes(gy), planes(winner), planes(gx), geometry(g))
    return gx


@compiled
def _avg_forward(x, divisor, y, g):
    KH, KW, sh, sw, _, _, top, left = g
    planes, H, W = x.shape
    _, OH, OW = y.shape
    for index in prange(planes):
        plane, out = x[index], y[index]
        for oh in range(OH):
            rows = range(max(oh * sh - top, 0), min(oh * sh - top + KH, H))
            for ow in range(OW):
                total = plane.dtype.type(0)
                for h in rows:
                    for v in range(max(ow * sw - left, 0), min(ow * sw - left + KW, W)):
                        total += plane[h, v]
                out[oh, ow] = total / divisor[oh, ow]


@kernel("avg_pool2d.forward", "numba", "loops")
def avg_forward(x, divisor, g: Window):
    """(N, C, H, W) and the number (OH, OW) by which each window is divided -> (N, C, OH, OW)."""
    y = np.empty((*x.shape[:2], *divisor.shape), x.dtype)
    _avg_forward(planes(x), divisor, planes(y), geometry(g))
    return y


@compiled
def _avg_backward(gy, divisor, gx, g):
    KH, KW, sh, sw, _, _, top, left = g
    planes, OH, OW = gy.shape
    _, H, W = gx.shape
    for index in prange(planes):
        plane, out = gy[index], gx[index]
        for h in range(H):
            for v in range(W):
                out[h, v] = 0
        for oh in range(OH):
            rows = range(max(oh * sh - top, 0), min(oh * sh - top + KH, H))
            for ow in range(OW):
                share = plane[oh, ow] / divisor[oh, ow]
                for h in rows:
                    for v in range(max(ow * sw - left, 0), min(ow * sw - left + KW, W)):
                        out[h, v] += share


@kernel("avg_pool2d.backward", "numba", "loops")
def avg_backward(gy, divisor, x_shape, g: Window):
    """The gradient to x: every pixel of a window receives gy / divisor."""
    gx = np.empty(x_shape, gy.dtype)
    _avg_backward(planes(gy), divisor, planes(gx), geometry(g))
    return gx
