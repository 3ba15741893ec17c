"""The fully connected layer, in loops over rows that the compiler vectorises.

At the batch sizes of training, these products are a matter of reading the weights once: VGG-16's first
fully connected layer alone has 411 MB of them. Written here rather than left to BLAS, whose threads go on
spinning after each call and would take the cores from the kernels that follow.
"""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.registry import kernel

COLUMNS, ROWS = 256, 16  # of gx, at a time: they and four rows of w fit the first-level cache


@compiled(reorder=True)
def _forward(core, x, w, b, y):
    M, K = x.shape
    for index in share(core, (w.shape[0] + 1) // 2):
        o = 2 * index
        p = min(o + 1, w.shape[0] - 1)  # two outputs at a time; the last may be one output twice
        w0, w1 = w[o], w[p]
        for m in range(0, M, 4):
            # Four rows, the last of which may be one row several times.
            x0, x1, x2, x3 = x[m], x[min(m + 1, M - 1)], x[min(m + 2, M - 1)], x[min(m + 3, M - 1)]
            zero = x0[0] * 0
            a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
            for k in range(K):
                a0 += x0[k] * w0[k]
                a1 += x1[k] * w0[k]
                a2 += x2[k] * w0[k]
                a3 += x3[k] * w0[k]
                b0 += x0[k] * w1[k]
                b1 += x1[k] * w1[k]
                b2 += x2[k] * w1[k]
                b3 += x3[k] * w1[k]
            y[m, o], y[m, p] = a0 + b[o], b0 + b[p]
            if m + 1 < M:
                y[m + 1, o], y[m + 1, p] = a1 + b[o], b1 + b[p]
            if m + 2 < M:
                y[m + 2, o], y[m + 2, p] = a2 + b[o], b2 + b[p]
            if m + 3 < M:
                y[m + 3, o], y[m + 3, p] = a3 + b[o], b3 + b[p]


@kernel("linear.forward", "numba", "rows")
def forward(x, w, b):
    """x (M, K), w (O, K), b (O,) or None -> x wᵀ + b (M, O)."""
    y = np.empty((x.shape[0], w.shape[0]), x.dtype)
    if y.size == 0 or x.shape[1] == 0:
        return y * 0 if b is None else np.broadcast_to(b, y.shape).copy()
    b = np.zeros(w.shape[0], x.dtype) if b is None else plain(b)
    _forward(plain(x), plain(w), b, y)
    return y


@compiled(reorder=True)
def _grad_input(core, gy, w, gx):
    M, K = gx.shape
    O = gy.shape[1]
    for index in share(core, (K + COLUMNS - 1) // COLUMNS):
        first = index * COLUMNS
        last = min(first + COLUMNS, K)
        for m in range(M):
            gx[m, first:last] = 0
        for m in range(0, M, ROWS):
            rows = min(ROWS, M - m)
            for o in range(0, O - 3, 4):  # four at a time: a number of gx is fetched and stored once for all
                w0, w1 = w[o, first:last], w[o + 1, first:last]
                w2, w3 = w[o + 2, first:last], w[o + 3, first:last]
                for r in range(m, m + rows):
                    g0, g1, g2, g3 = gy[r, o], gy[r, o + 1], gy[r, o + 2], gy[r, o + 3]
                    out = gx[r, first:last]
                    for k in range(last - first):
                        out[k] += (g0 * w0[k] + g1 * w1[k]) + (g2 * w2[k] + g3 * w3[k])
            for o in range(O - O % 4, O):
                w0 = w[o, first:last]
                for r in range(m, m + rows):
                    g0 = gy[r, o]
                    out = gx[r, first:last]
                    for k in range(last - first):
                        out[k] += g0 * w0[k]


@kernel("linear.grad_input", "numba", "rows")
def grad_input(gy, w):
    """gy (M, O), w (O, K) -> gy w (M, K)."""
    gx = np.empty((gy.shape[0], w.shape[1]), gy.dtype)
    _grad_input(plain(gy), plain(w), gx)
    return gx


@compiled(reorder=True)
def _grad_weight(core, gy, x, gw):
    M, K = x.shape
    for o in share(core, gw.shape[0]):
        row = gw[o]
        row[:] = 0
        for m in range(0, M - 3, 4):
            x0, x1, x2, x3 = x[m], x[m + 1], x[m + 2], x[m + 3]
            g0, g1, g2, g3 = gy[m, o], gy[m + 1, o], gy[m + 2, o], gy[m + 3, o]
            for k in range(K):
                row[k] += (g0 * x0[k] + g1 * x1[k]) + (g2 * x2[k] + g3 * x3[k])
        for m in range(M - M % 4, M):
            g0, x0 = gy[m, o], x[m]
            for k in range(K):
                row[k] += g0 * x0[k]


@kernel("linear.grad_weight", "numba", "rows")
def grad_weight(gy, x):
    """gy (M, O), x (M, K) -> gyᵀ x (O, K)."""
    gw = np.empty((gy.shape[1], x.shape[1]), gy.dtype)
    _grad_weight(plain(gy), plain(x), gw)
    return gw
