"""Normalisation: over the batch (Ioffe, Szegedy 2015) and over neighbouring channels (Krizhevsky 2012).

Batch norm takes x as (N, C, …) and works on each channel by itself, over the M = N·… other entries:

    mean = Σ x / M        var = Σ (x − mean)² / M        x̂ = (x − mean) / √(var + ε)        y = w·x̂ + b

mean and var depend on every x, so that the gradient to x has three terms; in inference mode they are
constants, and it has one:

    training    gx = w / √(var + ε) · (gy − mean(gy) − x̂ · mean(gy · x̂))
    inference   gx = w / √(var + ε) · gy
    both        gw = Σ gy · x̂        gb = Σ gy

Local response normalisation divides by a power of the energy in a window of n channels:

    d[c] = k + (α/n) Σ_{c' in window of c} x[c']²        y[c] = x[c] · d[c]^−β
    gx[c] = gy[c] · d[c]^−β − (2αβ/n) · x[c] · Σ_{c' whose window holds c} gy[c'] · x[c'] · d[c']^(−β−1)
"""

import numpy as np

from minicnn.kernels.registry import kernel


def per_channel(x):
    """The axes to reduce over, and the shape that lines a vector of C numbers up with x."""
    return (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)


@kernel("batch_norm.training", "numpy", "two_pass")
def batch_norm_training(x, w, b, eps):
    """x (N, C, …), w and b (C,) -> y, mean, var and 1/√(var + ε)."""
    axes, line_up = per_channel(x)
    mean = x.mean(axis=axes)
    y = x - mean.reshape(line_up)
    var = np.square(y).mean(axis=axes)
    inverse_std = 1 / np.sqrt(var + eps)
    y *= (w * inverse_std).reshape(line_up)
    y += b.reshape(line_up)
    return y, mean, var, inverse_std


@kernel("batch_norm.training_backward", "numpy", "two_pass")
def batch_norm_training_backward(gy, x, mean, inverse_std, w):
    """The gradients to x, w and b where mean and var were the batch's own."""
    axes, line_up = per_channel(gy)
    xhat = (x - mean.reshape(line_up)) * inverse_std.reshape(line_up)
    M = gy.size // gy.shape[1]
    gb = gy.sum(axis=axes)
    gw = (gy * xhat).sum(axis=axes)
    gx = gy - (gb / M).reshape(line_up)
    gx -= xhat * (gw / M).reshape(line_up)
    gx *= (w * inverse_std).reshape(line_up)
    return gx, gw, gb


@kernel("batch_norm.inference", "numpy", "one_pass")
def batch_norm_inference(x, mean, var, w, b, eps):
    """x normalised by a given mean and var (C,): one multiplication and one addition per entry."""
    _, line_up = per_channel(x)
    scale = w / np.sqrt(var + eps)
    y = x * scale.reshape(line_up)
    y += (b - mean * scale).reshape(line_up)
    return y


@kernel("batch_norm.update", "numpy", "in_place")
def batch_norm_update(mean, var, running_mean, running_var, momentum, unbiased):
    """Move the running statistics, in place: running ← (1 − momentum) · running + momentum · new.

    Either may be None. ``unbiased``, M / (M − 1), makes of a batch's variance an estimate without bias.
    """
    for running, new in ((running_mean, mean), (running_var, unbiased * var)):
        if running is not None:
            running *= 1 - momentum
            running += momentum * new


@kernel("batch_norm.inference_backward", "numpy", "one_pass")
def batch_norm_inference_backward(gy, x, mean, var, w, eps):
    """The gradients to x, w and b where mean and var were given."""
    axes, line_up = per_channel(gy)
    inverse_std = 1 / np.sqrt(var + eps)
    gb = gy.sum(axis=axes)
    gw = ((x - mean.reshape(line_up)) * gy).sum(axis=axes) * inverse_std
    return gy * (w * inverse_std).reshape(line_up), gw, gb


def window_sum(x, before, after):
    """Over channels (axis 1): out[c] = Σ x[c − before … c + after], cut off at both ends."""
    C = x.shape[1]
    total = x.copy()
    for shift in range(1, min(before, C - 1) + 1):
        total[:, shift:] += x[:, : C - shift]
    for shift in range(1, min(after, C - 1) + 1):
        total[:, : C - shift] += x[:, shift:]
    return total


@kernel("local_response_norm.forward", "numpy", "shifted_sums")
def lrn_forward(x, size, alpha, beta, k):
    """(N, C, …) -> y and the denominator's base d. The window holds size//2 channels before its own."""
    d = window_sum(np.square(x), size // 2, (size - 1) // 2)
    d *= alpha / size
    d += k
    return x * d**-beta, d


@kernel("local_response_norm.backward", "numpy", "shifted_sums")
def lrn_backward(gy, x, d, size, alpha, beta):
    """The gradient to x; the windows that hold channel c are c's own window, mirrored."""
    power = d**-beta
    through_d = window_sum(gy * x * power / d, (size - 1) // 2, size // 2)
    return gy * power - x * through_d * (2 * alpha * beta / size)
