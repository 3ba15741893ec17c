"""Local response normalisation: a run of pixels at a time, with all of its channels in the cache."""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, helper, share
from minicnn.kernels.numba.norm import as_rows
from minicnn.kernels.registry import kernel

PIXELS = 256  # in a job: with a hundred channels they fill half a second-level cache


@helper
def _power(d, beta, out):
    """d^−β. AlexNet's β = 3/4 needs two square roots only, where a power takes ten times as long."""
    one = d.dtype.type(1)
    if beta == d.dtype.type(0.75):
        for p in range(d.size):
            root = np.sqrt(d[p])
            out[p] = one / (root * np.sqrt(root))
    else:
        for p in range(d.size):
            out[p] = d[p] ** -beta


@compiled
def _forward(core, x, before, after, scale, beta, k, y, d):
    N, C, P = x.shape
    jobs = (P + PIXELS - 1) // PIXELS
    for index in share(core, N * jobs):
        n, job = divmod(index, jobs)
        run = slice(job * PIXELS, (job + 1) * PIXELS)
        for c in range(C):
            base, out, own = d[n, c, run], y[n, c, run], x[n, c, run]
            base[:] = k
            for near in range(max(c - before, 0), min(c + after + 1, C)):
                row = x[n, near, run]
                for p in range(row.size):
                    base[p] += scale * row[p] * row[p]
            _power(base, beta, out)
            for p in range(own.size):
                out[p] *= own[p]


@kernel("local_response_norm.forward", "numba", "runs")
def forward(x, size, alpha, beta, k):
    """(N, C, …) -> y and the denominator's base d. The window holds size//2 channels before its own."""
    rows, number = as_rows(x), x.dtype.type
    y, d = np.empty_like(rows), np.empty_like(rows)
    _forward(rows, size // 2, (size - 1) // 2, number(alpha / size), number(beta), number(k), y, d)
    return y.reshape(x.shape), d.reshape(x.shape)


@compiled
def _backward(core, gy, x, d, before, after, factor, beta, gx):
    N, C, P = x.shape
    jobs = (P + PIXELS - 1) // PIXELS
    for index in share(core, N * jobs):
        n, job = divmod(index, jobs)
        run = slice(job * PIXELS, (job + 1) * PIXELS)
        through_d = np.empty((C, min(PIXELS, P - job * PIXELS)), x.dtype)
        for c in range(C):
            g, own, base, out, term = gy[n, c, run], x[n, c, run], d[n, c, run], gx[n, c, run], through_d[c]
            _power(base, beta, out)
            for p in range(own.size):
                gain = g[p] * out[p]
                out[p] = gain
                term[p] = factor * gain * own[p] / base[p]
        for c in range(C):
            own, out = x[n, c, run], gx[n, c, run]
            for near in range(max(c - after, 0), min(c + before + 1, C)):  # whose windows hold c
                term = through_d[near]
                for p in range(own.size):
                    out[p] -= own[p] * term[p]


@kernel("local_response_norm.backward", "numba", "runs")
def backward(gy, x, d, size, alpha, beta):
    """The gradient to x."""
    number = x.dtype.type
    gx = np.empty(x.shape, x.dtype)
    factor = number(2 * alpha * beta / size)
    arrays = as_rows(gy), as_rows(x), as_rows(d)
    _backward(*arrays, size // 2, (size - 1) // 2, factor, number(beta), as_rows(gx))
    return gx
