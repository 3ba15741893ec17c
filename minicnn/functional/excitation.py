"""Squeeze-and-excitation: each map of an image, weighed by what all of its maps show."""

from __future__ import annotations

from typing import Any

from minicnn import backend, kernels
from minicnn.autograd import Array, Function, as_variable
from minicnn.functional.activation import relu, sigmoid, silu
from minicnn.functional.arithmetic import mul
from minicnn.functional.check import images, same_dtype
from minicnn.functional.linear import linear
from minicnn.functional.pool import adaptive_avg_pool2d
from minicnn.functional.shape import reshape

ACTIVATIONS = {"relu": relu, "silu": silu}


class SqueezeExcitation(Function):
    """y = x · s,  s = σ(h w2ᵀ + b2),  h = a(z),  z = m w1ᵀ + b1,  m = the mean of each map's pixels.

    gs = Σ gy · x over the pixels of a map, which goes back through both dense layers to gm; and then

        gx = gy · s + gm / pixels

    in one pass over memory, where a product, a mean and their sum take four.
    """

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def forward(self, x: Array, w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
        m = kernels.run("squeeze_excitation.means", x)
        z = kernels.run("linear.forward", m, w1, b1)
        h = kernels.run(f"{self.activation}.forward", z)
        s = kernels.run("sigmoid.forward", kernels.run("linear.forward", h, w2, b2))
        self.save(x, m, z, h, s, w1, w2)
        return kernels.run("squeeze_excitation.scale", x, s)

    def backward(self, gy: Array) -> tuple[Array, ...]:
        x, m, z, h, s, w1, w2 = self.saved
        gs = kernels.run("squeeze_excitation.grad_scale", gy, x)
        g2 = kernels.run("sigmoid.backward", gs, s)
        gh = kernels.run("linear.grad_input", g2, w2)
        # ReLU's takes y, whose entries are above 0 where those of z are.
        g1 = kernels.run(f"{self.activation}.backward", gh, z)
        gm = kernels.run("linear.grad_input", g1, w1)
        return (
            kernels.run("squeeze_excitation.grad_input", gy, s, gm),
            kernels.run("linear.grad_weight", g1, m),
            g1.sum(axis=0),
            kernels.run("linear.grad_weight", g2, h),
            g2.sum(axis=0),
        )


def squeeze_excitation(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, activation: str = "relu") -> Any:
    """Multiply each map by a number between 0 and 1 that two dense layers make of the means of all maps.

        y = x · s,    s = σ(w2 · a(w1 · mean(x) + b1) + b2)

    with the activation a and the logistic σ, and the mean over the pixels of each map.

    Shapes:
        x (N, C, H, W), w1 (M, C), b1 (M,), w2 (C, M), b2 (C,) -> (N, C, H, W); s is (N, C)

    Args:
        activation: ``"relu"``, as in the paper, or ``"silu"``, as in EfficientNet.

    Raises:
        ValueError: shapes that do not fit; another activation.
        TypeError: dtypes that differ.

    Source: Hu, Shen, Sun 2018, "Squeeze-and-excitation networks", section 3, equations 2 to 4.

    >>> import minicnn as mc
    >>> x, (w1, b1, w2, b2) = mc.ones(1, 2, 1, 1), (mc.zeros(*s) for s in ((3, 2), (3,), (2, 3), (2,)))
    >>> mc.functional.squeeze_excitation(x, w1, b1, w2, b2).flatten()  # half open, as σ(0) is
    tensor([0.5, 0.5])
    """
    x = as_variable(x)
    images("squeeze_excitation", x)
    w1, b1, w2, b2 = (as_variable(value, x.device) for value in (w1, b1, w2, b2))
    C, M = x.shape[1], w1.shape[0] if w1.ndim else 0
    expected = {"w1": (w1, (M, C)), "b1": (b1, (M,)), "w2": (w2, (C, M)), "b2": (b2, (C,))}
    for name, (value, shape) in expected.items():
        if value.shape != shape:
            raise ValueError(
                f"squeeze_excitation: {name} has shape {value.shape}, expected {shape} for x {x.shape}"
            )
    same_dtype("squeeze_excitation", x=x, w1=w1, b1=b1, w2=w2, b2=b2)
    if activation not in ACTIVATIONS:
        raise ValueError(f"squeeze_excitation: activation {backend.unknown(activation, ACTIVATIONS)}")
    if kernels.offers("squeeze_excitation.scale", x._data):
        return SqueezeExcitation(activation)(x, w1, b1, w2, b2)
    m = reshape(adaptive_avg_pool2d(x, 1), x.shape[:2])
    s = sigmoid(linear(ACTIVATIONS[activation](linear(m, w1, b1)), w2, b2))
    return mul(x, reshape(s, (*s.shape, 1, 1)))
