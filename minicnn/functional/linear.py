"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from minicnn import kernels
from minicnn.autograd import Array, Function, as_variable
from minicnn.functional.check import same_dtype


class Linear(Function):
    """y = x wᵀ + b;  gx = gy w, gw = gyᵀ x, gb = Σ gy."""

    def forward(self, x: Array, w: Array, b: Array | None) -> Array:
        self.save(x, w)
        y = kernels.run("linear.forward", x.reshape(-1, x.shape[-1]), w, b)
        return y.reshape(*x.shape[:-1], w.shape[0])

    def backward(self, gy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = self.saved
        rows = gy.reshape(-1, gy.shape[-1])
        gx = gw = gb = None
        if self.needs[0]:
            gx = kernels.run("linear.grad_input", rows, w).reshape(x.shape)
        if self.needs[1]:
            gw = kernels.run("linear.grad_weight", rows, x.reshape(-1, x.shape[-1]))
        if self.needs[2]:
            gb = rows.sum(axis=0)
        return gx, gw, gb


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """y = x wᵀ + b.

    Shapes:
        x (…, in), weight (out, in), bias (out,) or None -> (…, out)

    Raises:
        ValueError: the sizes do not fit together.
        TypeError: the dtypes differ.

    >>> import minicnn as mc
    >>> mc.functional.linear(mc.ones(8, 120), mc.ones(84, 120), mc.zeros(84)).shape
    (8, 84)
    """
    x, w = as_variable(x), as_variable(weight)
    b = None if bias is None else as_variable(bias)
    if w.ndim != 2 or x.ndim == 0:
        raise ValueError(
            f"linear: expected x (…, in) and weight (out, in), got shapes {x.shape} and {w.shape}"
        )
    if x.shape[-1] != w.shape[1]:
        raise ValueError(
            f"linear: x has {x.shape[-1]} features (shape {x.shape}), but weight expects {w.shape[1]} "
            f"(shape {w.shape})"
        )
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"linear: bias has shape {b.shape}, expected {w.shape[:1]}")
    same_dtype("linear", x=x, weight=w, bias=b)
    return Linear()(x, w, b)
