"""The rectifier, which as the commonest activation is worth a kernel of its own on every backend."""

import numpy as np

from minicnn.kernels.registry import kernel


@kernel("relu.forward", "numpy", "one_pass")
def relu(x):
    """max(x, 0); a NaN stays one."""
    return np.maximum(x, 0)


@kernel("relu.backward", "numpy", "one_pass")
def relu_backward(gy, y):
    """gy where y > 0, else 0."""
    return gy * (y > 0)
