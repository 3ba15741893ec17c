"""Batch norm, a channel at a time: one trip to memory for all of its passes.

A channel of a batch is N rows of H·W numbers, which mostly fit the second-level cache. Mean, deviations
and result are three passes over them, but only the first comes from memory. Rows are summed in the dtype
given, in several partial sums at once, and the rows' sums added up in float64. What often follows, the
addition of a shortcut and an activation that clips, or SiLU, is done on the same trip.

An activation that clips is undone from its results y. SiLU is not: what it was given is computed once more,
from x, and is never in memory at all.
"""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.elementwise import logistic
from minicnn.kernels.numba.turning import FREE, bounds_of
from minicnn.kernels.registry import kernel


def as_rows(x):
    """(N, C, …) -> (N, C, P), contiguous; None as it is."""
    return None if x is None else plain(x).reshape(x.shape[0], x.shape[1], -1)


@compiled(reorder=True)
def _forward(core, x, w, b, eps, shortcut, low, high, silu, y, mean, var, inverse_std):
    N, C, P = x.shape
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for c in share(core, C):
        total = 0.0
        for n in range(N):
            row = x[n, c]
            part = row[0] * 0
            for p in range(P):
                part += row[p]
            total += part
        m = x.dtype.type(total / (N * P))
        total = 0.0
        for n in range(N):
            row = x[n, c]
            part = row[0] * 0
            for p in range(P):
                d = row[p] - m
                part += d * d
            total += part
        v = total / (N * P)
        s = x.dtype.type(1 / np.sqrt(v + eps))
        scale = w[c] * s
        shift = b[c]
        for n in range(N):
            row, out = x[n, c], y[n, c]
            for p in range(P):
                value = (row[p] - m) * scale + shift
                if shortcut is not None:
                    value += shortcut[n, c, p]
                if silu is not None:
                    value *= logistic(value, zero, one)
                value = low if value < low else value
                out[p] = high if value > high else value
        mean[c], var[c], inverse_std[c] = m, v, s


@kernel("batch_norm.training", "numba", "one_trip")
@kernel("batch_norm.training_clipped", "numba", "one_trip")
def batch_norm_training(x, w, b, eps, shortcut=None, bounds=FREE, silu=None):
    """x (N, C, …), w and b (C,), perhaps a shortcut like x -> y, mean, var and 1/√(var + ε)."""
    rows = as_rows(x)
    y = np.empty_like(rows)
    mean, var, inverse_std = np.empty((3, x.shape[1]), x.dtype)
    given = plain(w), plain(b), eps, as_rows(shortcut), *bounds_of(bounds, x.dtype), silu
    _forward(rows, *given, y, mean, var, inverse_std)
    return y.reshape(x.shape), mean, var, inverse_std


@kernel("batch_norm.training_silu", "numba", "one_trip")
def batch_norm_training_silu(x, w, b, eps):
    """The same for y = z · σ(z), of batch norm's results z."""
    return batch_norm_training(x, w, b, eps, silu=True)


@compiled(reorder=True)
def _backward(core, gy, x, mean, inverse_std, w, b, y, low, high, gx, gw, gb, gs, through_statistics):
    N, C, P = x.shape
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for c in share(core, C):
        m, s = mean[c], inverse_std[c]
        per_g = w[c] * s
        shift = zero if b is None else b[c]
        total_g, total_gx = 0.0, 0.0
        for n in range(N):
            g, row = gy[n, c], x[n, c]
            part_g = zero
            part_gx = zero
            for p in range(P):
                upstream = g[p]
                if y is not None:  # the activation passes on what it did not clip
                    result = y[n, c, p]
                    upstream = upstream if (result > low) & (result < high) else zero
                if b is not None:  # SiLU passes on gy times its slope at z
                    z = (row[p] - m) * per_g + shift
                    sigma = logistic(z, zero, one)
                    upstream *= sigma + z * sigma * (one - sigma)
                    gx[n, c, p] = upstream
                if gs is not None:
                    gs[n, c, p] = upstream
                part_g += upstream
                part_gx += upstream * (row[p] - m)
            total_g += part_g
            total_gx += part_gx
        gb[c], gw[c] = total_g, total_gx * s
        # gx = w s (gy − mean(gy) − x̂ mean(gy x̂)), as one number times gy, one times x, and a constant.
        per_x = zero
        constant = zero
        if through_statistics:
            per_x = x.dtype.type(-per_g * s * (total_gx * s / (N * P)))
            constant = x.dtype.type(-per_g * (total_g / (N * P)))
        for n in range(N):
            g, row, out = gy[n, c], x[n, c], gx[n, c]
            for p in range(P):
                upstream = g[p]
                if y is not None:
                    result = y[n, c, p]
                    upstream = upstream if (result > low) & (result < high) else zero
                if b is not None:
                    upstream = out[p]
                out[p] = upstream * per_g + (row[p] - m) * per_x + constant


def _run_backward(gy, x, mean, inverse_std, w, through_statistics, b=None, y=None, bounds=FREE, gs=None):
    gx = np.empty(x.shape, x.dtype)
    gw, gb = np.empty((2, x.shape[1]), x.dtype)
    _backward(
        as_rows(gy),
        as_rows(x),
        plain(mean),
        plain(inverse_std),
        plain(w),
        b,
        as_rows(y),
        *bounds_of(bounds, x.dtype),
        as_rows(gx),
        gw,
        gb,
        as_rows(gs),
        through_statistics,
    )
    return gx, gw, gb


@kernel("batch_norm.training_backward", "numba", "one_trip")
def batch_norm_training_backward(gy, x, mean, inverse_std, w):
    """The gradients to x, w and b where mean and var were the batch's own."""
    return _run_backward(gy, x, mean, inverse_std, w, True)


@kernel("batch_norm.training_backward_clipped", "numba", "one_trip")
def batch_norm_training_backward_clipped(gy, x, mean, inverse_std, w, y, bounds, to_shortcut):
    """The gradients to x, w, b and the shortcut (or None) where the results y were clipped to the bounds."""
    gs = np.empty(x.shape, x.dtype) if to_shortcut else None
    return *_run_backward(gy, x, mean, inverse_std, w, True, None, y, bounds, gs), gs


@kernel("batch_norm.training_backward_silu", "numba", "one_trip")
def batch_norm_training_backward_silu(gy, x, mean, inverse_std, w, b):
    """The gradients to x, w and b where SiLU followed."""
    return _run_backward(gy, x, mean, inverse_std, w, True, plain(b))


@kernel("batch_norm.inference_backward", "numba", "one_trip")
def batch_norm_inference_backward(gy, x, mean, var, w, eps):
    """The gradients to x, w and b where mean and var were given."""
    return _run_backward(gy, x, mean, (1 / np.sqrt(var + eps)).astype(x.dtype), w, False)


@compiled
def _affine(core, x, scale, shift, shortcut, low, high, y):
    N, C, P = x.shape
    for index in share(core, N * C):
        n, c = divmod(index, C)
        row, out = x[n, c], y[n, c]
        a, b = scale[c], shift[c]
        for p in range(P):
            value = row[p] * a + b
            if shortcut is not None:
                value += shortcut[n, c, p]
            value = low if value < low else value
            out[p] = high if value > high else value


@kernel("batch_norm.inference", "numba", "one_trip")
@kernel("batch_norm.inference_clipped", "numba", "one_trip")
def batch_norm_inference(x, mean, var, w, b, eps, shortcut=None, bounds=FREE):
    """x normalised by a given mean and var (C,): one multiplication and one addition per entry."""
    scale = (w / np.sqrt(var + eps)).astype(x.dtype)
    rows = as_rows(x)
    y = np.empty_like(rows)
    shift = (b - mean * scale).astype(x.dtype)
    _affine(rows, scale, shift, as_rows(shortcut), *bounds_of(bounds, x.dtype), y)
    return y.reshape(x.shape)
