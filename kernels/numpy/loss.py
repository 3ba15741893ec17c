"""Softmax and cross-entropy together, for target classes.

    p = softmax(x[n])        L_n = −(1 − s) · weight[t] · ln p[t] − s/C · Σ_c weight[c] · ln p[c]

with the class t = labels[n] and label smoothing s. As ∂ ln p[c] / ∂x[i] = [c = i] − p[i],

    gx[n, i] = gy[n] · (p[i] · Σ_c q[c] − q[i]),    q[c] = weight[c] · ((1 − s) · [c = t] + s/C)
"""

import numpy as np

from minicnn.kernels.registry import kernel


@kernel("cross_entropy.forward", "numpy", "by_rows")
def cross_entropy(x, labels, weight, smoothing):
    """x (R, C), labels (R,), −1 where nothing counts, weight (C,) -> the losses (R,), and p (R, C)."""
    log_p = x - x.max(axis=1, keepdims=True)  # the maximum cancels, and keeps e^x from overflowing
    p = np.exp(log_p)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    log_p -= np.log(total)
    losses = -(1 - smoothing) * weight[labels] * log_p[np.arange(len(x)), labels]
    if smoothing:
        losses -= smoothing / x.shape[1] * (weight * log_p).sum(axis=1)
    losses[labels < 0] = 0
    return losses, p


@kernel("cross_entropy.backward", "numpy", "by_rows")
def cross_entropy_backward(gy, p, labels, weight, smoothing):
    """The gradient to x."""
    q = np.empty_like(p)
    q[:] = smoothing / p.shape[1]
    q[np.arange(len(p)), labels] += 1 - smoothing
    q *= weight
    gx = p * q.sum(axis=1, keepdims=True)
    gx -= q
    gx *= gy[:, None]
    gx[labels < 0] = 0
    return gx
