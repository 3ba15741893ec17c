"""Write batch_norm_backward: the gradients of batch norm, which reach x along
three ways.

Forward, for each map c over the batch and all pixels (n = N·H·W numbers):

    μ = 1/n Σ x        σ² = 1/n Σ (x − μ)²        x̂ = (x − μ) / √(σ² + eps)
                       y = w · x̂ + b

One x changes y in three ways: by itself, by moving the mean, by moving the
variance. (S. Ioffe and C. Szegedy, "Batch normalization", ICML 2015, section
3, has the chain rule written out; it becomes much shorter.)

Check it:  minicnn exercise batch_norm_backward THIS_FILE
"""

import numpy as np


def batch_norm(x, w, b, eps):
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    var = x.var(axis=(0, 2, 3), keepdims=True)
    return w[:, None, None] * (x - mean) / np.sqrt(var + eps) + b[:, None, None]


def batch_norm_backward(gy, x, w, eps):
    """gy and x (N, C, H, W), w (C,). Returns gx, of x's shape, gw (C,) and gb (C,)."""
    raise NotImplementedError
