"""Activations, a thread for four entries: see activation.cu."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.arrays import empty, plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.registry import kernel

FILE = "activation.cu"
THREADS = 256
OF_THREAD = 4

declare(FILE)


def entry_by_entry(name: str, *arrays: Any, slope: float | None = None) -> Any:
    """A new array like the first, computed by the kernel of this name."""
    result = empty(arrays[0].shape, like=arrays[0])
    size, settings = result.size, () if slope is None else (result.dtype.type(slope),)
    grid = spread(size, OF_THREAD * THREADS)
    args = (*map(plain, arrays), result, size, *settings)
    launch(function(FILE, name, result.dtype), grid, THREADS, args)
    return result


@kernel("relu.forward", "cuda", "one_pass")
def relu(x: Any) -> Any:
    """max(x, 0); a NaN stays one."""
    return entry_by_entry("relu", x)


@kernel("relu.backward", "cuda", "one_pass")
def relu_backward(gy: Any, y: Any) -> Any:
    """gy where y > 0, else 0."""
    return entry_by_entry("relu_backward", gy, y)


@kernel("relu6.forward", "cuda", "one_pass")
def relu6(x: Any) -> Any:
    """min(max(x, 0), 6); a NaN stays one."""
    return entry_by_entry("relu6", x)


@kernel("relu6.backward", "cuda", "one_pass")
def relu6_backward(gy: Any, y: Any) -> Any:
    """gy where 0 < y < 6, else 0."""
    return entry_by_entry("relu6_backward", gy, y)


@kernel("leaky_relu.forward", "cuda", "one_pass")
def leaky_relu(x: Any, slope: float) -> Any:
    """x where x > 0, else slope · x."""
    return entry_by_entry("leaky_relu", x, slope=slope)


@kernel("leaky_relu.backward", "cuda", "one_pass")
def leaky_relu_backward(gy: Any, x: Any, slope: float) -> Any:
    """gy where x > 0, else slope · gy."""
    return entry_by_entry("leaky_relu_backward", gy, x, slope=slope)


@kernel("tanh.forward", "cuda", "one_pass")
def tanh(x: Any) -> Any:
    """tanh x."""
    return entry_by_entry("tanh_forward", x)


@kernel("tanh.backward", "cuda", "one_pass")
def tanh_backward(gy: Any, y: Any) -> Any:
    """gy · (1 − y²)."""
    return entry_by_entry("tanh_backward", gy, y)


@kernel("sigmoid.forward", "cuda", "one_pass")
def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ)."""
    return entry_by_entry("sigmoid", x)


@kernel("sigmoid.backward", "cuda", "one_pass")
def sigmoid_backward(gy: Any, y: Any) -> Any:
    """gy · y (1 − y)."""
    return entry_by_entry("sigmoid_backward", gy, y)


@kernel("silu.forward", "cuda", "one_pass")
def silu(x: Any) -> Any:
    """x · σ(x)."""
    return entry_by_entry("silu", x)


@kernel("silu.backward", "cuda", "one_pass")
def silu_backward(gy: Any, x: Any) -> Any:
    """gy · (σ + x σ (1 − σ))."""
    return entry_by_entry("silu_backward", gy, x)
