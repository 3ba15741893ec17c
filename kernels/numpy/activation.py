"""Activations, entry by entry. Backward takes what forward can spare the least memory for: x, or y."""

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


@kernel("relu6.forward", "numpy", "one_pass")
def relu6(x):
    """min(max(x, 0), 6); a NaN stays one."""
    return np.clip(x, 0, 6)


@kernel("relu6.backward", "numpy", "one_pass")
def relu6_backward(gy, y):
    """gy where 0 < y < 6, else 0."""
    return gy * ((y > 0) & (y < 6))


@kernel("leaky_relu.forward", "numpy", "one_pass")
def leaky_relu(x, slope):
    """x where x > 0, else slope · x."""
    return np.where(x > 0, x, x * x.dtype.type(slope))


@kernel("leaky_relu.backward", "numpy", "one_pass")
def leaky_relu_backward(gy, x, slope):
    """gy where x > 0, else slope · gy."""
    return np.where(x > 0, gy, gy * gy.dtype.type(slope))


@kernel("tanh.forward", "numpy", "one_pass")
def tanh(x):
    """tanh x."""
    return np.tanh(x)


@kernel("tanh.backward", "numpy", "one_pass")
def tanh_backward(gy, y):
    """gy · (1 − y²)."""
    return gy * (1 - y * y)


@kernel("sigmoid.forward", "numpy", "one_pass")
def sigmoid(x):
    """1 / (1 + e⁻ˣ). Where e⁻ˣ overflows to infinity, the quotient is 0, as it should be.

    (1 + tanh(x/2)) / 2 overflows nowhere, but loses all digits of small results: 0 for x = −20 in float32.
    """
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@kernel("sigmoid.backward", "numpy", "one_pass")
def sigmoid_backward(gy, y):
    """gy · y (1 − y)."""
    return gy * y * (1 - y)


@kernel("silu.forward", "numpy", "one_pass")
def silu(x):
    """x · σ(x)."""
    return x * sigmoid(x)


@kernel("silu.backward", "numpy", "one_pass")
def silu_backward(gy, x):
    """gy · (σ + x σ (1 − σ)); σ is computed again rather than kept, as memory is slower than it."""
    s = sigmoid(x)
    return gy * (s + x * s * (1 - s))
