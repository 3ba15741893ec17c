"""The fully connected layer: three matrix products."""

from minicnn.kernels.registry import kernel


@kernel("linear.forward", "numpy", "gemm")
def forward(x, w, b):
    """x (M, K), w (O, K), b (O,) or None -> x wᵀ + b (M, O)."""
    y = x @ w.T
    if b is not None:
        y += b
    return y


@kernel("linear.grad_input", "numpy", "gemm")
def grad_input(gy, w):
    """gy (M, O), w (O, K) -> gy w (M, K)."""
    return gy @ w


@kernel("linear.grad_weight", "numpy", "gemm")
def grad_weight(gy, x):
    """gy (M, O), x (M, K) -> gyᵀ x (O, K)."""
    return gy.T @ x
