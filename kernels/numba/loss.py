"""Softmax and cross-entropy in one: a row of outputs stays in the first-level cache from its maximum on."""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.elementwise import CHUNK
from minicnn.kernels.numba.exponential import exp
from minicnn.kernels.registry import kernel


@compiled(reorder=True)
def _forward(core, x, labels, weight, smoothing, losses, p):
    R, C = x.shape
    zero, one = x.dtype.type(0), x.dtype.type(1)
    rows = max(CHUNK // C, 1)  # in a job
    for index in share(core, (R + rows - 1) // rows):
        for r in range(index * rows, min((index + 1) * rows, R)):
            row, powers = x[r], p[r]
            largest = row[0]
            for c in range(1, C):
                largest = row[c] if row[c] > largest else largest
            total = zero
            for c in range(C):
                e = exp(row[c] - largest)
                powers[c] = e
                total += e
            for c in range(C):
                powers[c] *= one / total
            log_total = np.log(total)
            loss = zero
            t = labels[r]
            if t >= 0:
                loss = -(one - smoothing) * weight[t] * ((row[t] - largest) - log_total)
                if smoothing != zero:
                    of_all = zero
                    for c in range(C):
                        of_all += weight[c] * ((row[c] - largest) - log_total)
                    loss -= smoothing / x.dtype.type(C) * of_all
            losses[r] = loss


@kernel("cross_entropy.forward", "numba", "by_rows")
def cross_entropy(x, labels, weight, smoothing):
    """x (R, C), labels (R,), −1 where nothing counts, weight (C,) -> the losses (R,), and p (R, C)."""
    losses, p = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    _forward(plain(x), plain(labels), plain(weight), x.dtype.type(smoothing), losses, p)
    return losses, p


@compiled
def _backward(core, gy, p, labels, weight, smoothing, gx):
    R, C = p.shape
    zero, one = p.dtype.type(0), p.dtype.type(1)
    of_each = smoothing / p.dtype.type(C)
    rows = max(CHUNK // C, 1)
    all_weights = zero
    for c in range(C):
        all_weights += weight[c]
    for index in share(core, (R + rows - 1) // rows):
        for r in range(index * rows, min((index + 1) * rows, R)):
            row, out = p[r], gx[r]
            t = labels[r]
            if t < 0:
                out[:] = zero
                continue
            own = (one - smoothing) * weight[t]
            sum_q = own + of_each * all_weights
            g = gy[r]
            for c in range(C):
                out[c] = g * (row[c] * sum_q - of_each * weight[c])
            out[t] = g * (row[t] * sum_q - (of_each * weight[t] + own))


@kernel("cross_entropy.backward", "numba", "by_rows")
def cross_entropy_backward(gy, p, labels, weight, smoothing):
    """The gradient to x."""
    gx = np.empty(p.shape, p.dtype)
    _backward(plain(gy), plain(p), plain(labels), plain(weight), p.dtype.type(smoothing), gx)
    return gx
