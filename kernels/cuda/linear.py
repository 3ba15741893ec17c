"""The fully connected layer: three products of matrices as they lie in memory, see gemm.cu."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.gemm import product
from minicnn.kernels.registry import kernel


@kernel("linear.forward", "cuda", "gemm")
def forward(x: Any, w: Any, b: Any) -> Any:
    """x (M, K), w (O, K), b (O,) or None -> x wᵀ + b (M, O)."""
    return product(x, w.T, b)


@kernel("linear.grad_input", "cuda", "gemm")
def grad_input(gy: Any, w: Any) -> Any:
    """gy (M, O), w (O, K) -> gy w (M, K)."""
    return product(gy, w)


@kernel("linear.grad_weight", "cuda", "gemm")
def grad_weight(gy: Any, x: Any) -> Any:
    """gy (M, O), x (M, K) -> gyᵀ x (O, K)."""
    return product(gy.T, x)
