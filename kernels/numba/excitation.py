"""Squeeze-and-excitation: what goes over all pixels of all maps; its dense layers are those of linear.py.

Its gradient to x is two passes over memory: one reads gy and x, the other gy again, and writes. Between them
are the dense layers, which need the sums of all maps of an image.
"""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.registry import kernel


def maps(x):
    """(N, C, H, W) -> (N·C, H·W), contiguous."""
    return plain(x).reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3])


@compiled(reorder=True)
def _means(core, x, m):
    count, P = x.shape
    for i in share(core, count):
        total = x.dtype.type(0)
        for p in range(P):
            total += x[i, p]
        m[i] = total / x.dtype.type(P)


@kernel("squeeze_excitation.means", "numba", "one_pass")
def means(x):
    """(N, C, H, W) -> (N, C), the mean of each map."""
    m = np.empty(x.shape[:2], x.dtype)
    _means(maps(x), m.reshape(-1))
    return m


@compiled
def _scale(core, x, s, y):
    count, P = x.shape
    for i in share(core, count):
        factor = s[i]
        for p in range(P):
            y[i, p] = x[i, p] * factor


@kernel("squeeze_excitation.scale", "numba", "one_pass")
def scale(x, s):
    """x (N, C, H, W), s (N, C) -> y = x · s."""
    y = np.empty(x.shape, x.dtype)
    _scale(maps(x), plain(s).reshape(-1), maps(y))
    return y


@compiled(reorder=True)
def _grad_scale(core, gy, x, gs):
    count, P = x.shape
    for i in share(core, count):
        total = x.dtype.type(0)
        for p in range(P):
            total += gy[i, p] * x[i, p]
        gs[i] = total


@kernel("squeeze_excitation.grad_scale", "numba", "one_pass")
def grad_scale(gy, x):
    """The gradient to s: Σ gy · x over the pixels of each map, (N, C)."""
    gs = np.empty(x.shape[:2], x.dtype)
    _grad_scale(maps(gy), maps(x), gs.reshape(-1))
    return gs


@compiled
def _grad_input(core, gy, s, gm, gx):
    count, P = gy.shape
    for i in share(core, count):
        factor, share_of_mean = s[i], gm[i] / gy.dtype.type(P)
        for p in range(P):
            gx[i, p] = gy[i, p] * factor + share_of_mean


@kernel("squeeze_excitation.grad_input", "numba", "one_pass")
def grad_input(gy, s, gm):
    """The gradient to x, given that to the means: gy · s + gm / pixels."""
    gx = np.empty(gy.shape, gy.dtype)
    _grad_input(maps(gy), plain(s).reshape(-1), plain(gm).reshape(-1), maps(gx))
    return gx
