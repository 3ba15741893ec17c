"""Depthwise convolution: each channel by its own filters, a plane at a time.

Too little arithmetic for register tiles to matter: it is a question of memory. A plane and its results
stay in the cache while all taps pass over them, a row at a time, in loops that the compiler vectorises.
"""

import numpy as np
from numba import prange

from minicnn.kernels.geometry import Window, unpad
from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.numba.scratch import padded
from minicnn.kernels.registry import kernel


def one_channel(_, w, *__):
    """Whether these are depthwise filters, for a call (x, w, …) or (gy, w, …)."""
    return w.shape[1] == 1


@compiled(reorder=True)
def _forward(x, w, b, y, sh, sw, dh, dw):
    N, C, _, _ = x.shape
    OC, KH, KW = w.shape
    _, _, OH, OW = y.shape
    for index in prange(N * OC):
        n, oc = divmod(np.int64(index), OC)
        plane, out = x[n, oc // (OC // C)], y[n, oc]
        for oh in range(OH):
            row = out[oh]
            for ow in range(OW):
                row[ow] = b[oc]
            for i in range(KH):
                pixels = plane[oh * sh + i * dh]
                for j in range(KW):
                    weight = w[oc, i, j]
                    if sw == 1:
                        for ow in range(OW):
                            row[ow] += pixels[ow + j * dw] * weight
                    else:
                        for ow in range(OW):
                            row[ow] += pixels[ow * sw + j * dw] * weight


@kernel("conv2d.forward", "numba", "depthwise", suits=one_channel)
def forward(x, w, b, g: Window):
    """(N, C, H, W), (C·m, 1, KH, KW), (C·m,) or None -> (N, C·m, OH, OW)."""
    y = np.empty((x.shape[0], w.shape[0], *g.output_size(*x.shape[2:])), x.dtype)
    x = padded(x, g.padding)
    b = np.zeros(w.shape[0], x.dtype) if b is None else plain(b)
    _forward(x, plain(w[:, 0]), b, y, *g.stride, *g.dilation)
    return y


@compiled(reorder=True)
def _grad_input(gy, w, gx, sh, sw, dh, dw):
    N, OC, OH, OW = gy.shape
    _, C, H, W = gx.shape
    _, KH, KW = w.shape
    m = OC // C
    for index in prange(N * C):
        n, c = divmod(np.int64(index), C)
        out = gx[n, c]
        for h in range(H):
            for v in range(W):
                out[h, v] = 0
        for oc in range(c * m, (c + 1) * m):
            for oh in range(OH):
                row = gy[n, oc, oh]
                for i in range(KH):
                    pixels = out[oh * sh + i * dh]
                    for j in range(KW):
                        weight = w[oc, i, j]
                        if sw == 1:
                            for ow in range(OW):
                                pixels[ow + j * dw] += row[ow] * weight
                        else:
                            for ow in range(OW):
                                pixels[ow * sw + j * dw] += row[ow] * weight


@kernel("conv2d.grad_input", "numba", "depthwise", suits=one_channel)
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    N, C, H, W = x_shape
    (top, bottom), (left, right) = g.padding
    gx = np.empty((N, C, H + top + bottom, W + left + right), gy.dtype)
    _grad_input(plain(gy), plain(w[:, 0]), gx, *g.stride, *g.dilation)
    return unpad(gx, g.padding)


@compiled(reorder=True)
def _grad_weight(gy, x, gw, sh, sw, dh, dw):
    N, OC, OH, OW = gy.shape
    C = x.shape[1]
    _, KH, KW = gw.shape
    for index in prange(OC):
        oc = np.int64(index)
        c = oc // (OC // C)
        sums = np.zeros((KH, KW), np.float64)
        for n in range(N):
            for oh in range(OH):
                row = gy[n, oc, oh]
                for i in range(KH):
                    pixels = x[n, c, oh * sh + i * dh]
                    for j in range(KW):
                        part = row[0] * 0
                        if sw == 1:
                            for ow in range(OW):
                                part += pixels[ow + j * dw] * row[ow]
                        else:
                            for ow in range(OW):
                                part += pixels[ow * sw + j * dw] * row[ow]
                        sums[i, j] += part
        for i in range(KH):
            for j in range(KW):
                gw[oc, i, j] = sums[i, j]


@kernel("conv2d.grad_weight", "numba", "depthwise", suits=lambda gy, x, w_shape, g: w_shape[1] == 1)
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (C·m, 1, KH, KW)."""
    gw = np.empty((w_shape[0], *w_shape[2:]), gy.dtype)
    x = padded(x, g.padding)
    _grad_weight(plain(gy), x, gw, *g.stride, *g.dilation)
    return gw[:, None]
