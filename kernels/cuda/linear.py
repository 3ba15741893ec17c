"""The fully connected layer: three products of matrices as they lie in memory, see gemm.cu."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minicnn.kernels.cuda import gemm, gemm_tensor, tensor
from minicnn.kernels.registry import chooser, kernel


class Linear:
    """A layer's three passes by one way to multiply matrices."""

    def __init__(self, product: Callable[..., Any]) -> None:
        self.product = product

    def forward(self, x: Any, w: Any, b: Any) -> Any:
        """x (M, K), w (O, K), b (O,) or None -> x wᵀ + b (M, O)."""
        return self.product(x, w.T, b)

    def grad_input(self, gy: Any, w: Any) -> Any:
        """gy (M, O), w (O, K) -> gy w (M, K)."""
        return self.product(gy, w)

    def grad_weight(self, gy: Any, x: Any) -> Any:
        """gy (M, O), x (M, K) -> gyᵀ x (O, K)."""
        return self.product(gy.T, x)


def choose(like: Any, *_: Any) -> list[str]:
    """What "auto" means: tensor cores where ``mc.use(precision=…)`` lets them round."""
    return [*tensor.allowed(like), "gemm"]


exact = Linear(gemm.product)
rounding = {name: Linear(functools.partial(gemm_tensor.product, name)) for name in tensor.TILES}
for part in ("forward", "grad_input", "grad_weight"):
    operation = f"linear.{part}"
    chooser(operation, "cuda")(choose)
    kernel(operation, "cuda", "gemm")(getattr(exact, part))
    for name, layer in rounding.items():
        kernel(operation, "cuda", name, functools.partial(tensor.suits, name))(getattr(layer, part))
