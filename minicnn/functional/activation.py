"""Activations: the bend between linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.autograd import Array, Function
from minicnn.backend import unknown
from minicnn.functional.check import dimension, floating


class ReLU(Function):
    """y = max(x, 0);  gx = gy where x > 0, else 0 (Nair & Hinton 2010)."""

    def forward(self, x: Array) -> Array:
        y = kernels.run("relu.forward", x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return kernels.run("relu.backward", gy, y)


class LeakyReLU(Function):
    """y = x where x > 0, else slope · x;  gx = gy, or slope · gy (Maas, Hannun, Ng 2013)."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.run("leaky_relu.forward", x, self.slope)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        return kernels.run("leaky_relu.backward", gy, x, self.slope)


class ReLU6(Function):
    """y = min(max(x, 0), 6);  gx = gy where 0 < x < 6, else 0 (Krizhevsky 2010)."""

    def forward(self, x: Array) -> Array:
        y = kernels.run("relu6.forward", x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return kernels.run("relu6.backward", gy, y)


class Tanh(Function):
    """y = tanh x;  gx = gy · (1 − y²)."""

    def forward(self, x: Array) -> Array:
        y = kernels.run("tanh.forward", x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return kernels.run("tanh.backward", gy, y)


class Sigmoid(Function):
    """y = 1 / (1 + e⁻ˣ);  gx = gy · y (1 − y)."""

    def forward(self, x: Array) -> Array:
        y = kernels.run("sigmoid.forward", x)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return kernels.run("sigmoid.backward", gy, y)


class SiLU(Function):
    """y = x · σ(x), with the logistic σ;  gx = gy · (σ + x σ (1 − σ)) (Elfwing et al. 2017; "swish")."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.run("silu.forward", x)

    def backward(self, gy: Array) -> Array:
        (x,) = self.saved
        return kernels.run("silu.backward", gy, x)


class Softmax(Function):
    """y_i = e^x_i / Σ_j e^x_j along an axis;  gx = y · (gy − Σ gy · y)."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        y = np.exp(x - x.max(axis=self.axis, keepdims=True))  # the shift cancels, and nothing overflows
        y /= y.sum(axis=self.axis, keepdims=True)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return y * (gy - (gy * y).sum(axis=self.axis, keepdims=True))


class LogSoftmax(Function):
    """y_i = x_i − ln Σ_j e^x_j along an axis;  gx = gy − e^y · Σ gy."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, x: Array) -> Array:
        y = log_softmax_array(x, self.axis)
        self.save(y)
        return y

    def backward(self, gy: Array) -> Array:
        (y,) = self.saved
        return gy - np.exp(y) * gy.sum(axis=self.axis, keepdims=True)


def log_softmax_array(x: Array, axis: int) -> Array:
    """x − max − ln Σ e^(x − max): the maximum cancels, and keeps e^x from overflowing."""
    y = x - x.max(axis=axis, keepdims=True)
    y -= np.log(np.exp(y).sum(axis=axis, keepdims=True))
    return y


CLIPPING = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
"""The activations that only clip, which the kernels of other operations can do on the way; and to what."""


def bounds(name: str, activation: str | None) -> tuple[float, float]:
    """To what an activation clips: to nothing if there is none."""
    if activation is None:
        return -np.inf, np.inf
    if activation not in CLIPPING:
        raise ValueError(f"{name}: activation {unknown(activation, CLIPPING)}")
    return CLIPPING[activation]


def activated(x: Any, activation: str | None) -> Any:
    """The activation of that name, as an operation of its own."""
    return x if activation is None else {"relu": relu, "relu6": relu6, "silu": silu}[activation](x)


def relu(x: Any) -> Any:
    """max(x, 0), element by element. At 0 the gradient is 0.

    >>> import minicnn as mc
    >>> mc.functional.relu(mc.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return ReLU()(floating("relu", x))


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6), element by element. At 0 and at 6 the gradient is 0.

    >>> import minicnn as mc
    >>> mc.functional.relu6(mc.tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """
    return ReLU6()(floating("relu6", x))


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """x where x > 0, else negative_slope · x.

    >>> import minicnn as mc
    >>> mc.functional.leaky_relu(mc.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1,  2. ])
    """
    return LeakyReLU(negative_slope)(floating("leaky_relu", x))


def tanh(x: Any) -> Any:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), element by element."""
    return Tanh()(floating("tanh", x))


def sigmoid(x: Any) -> Any:
    """1 / (1 + e⁻ˣ), element by element."""
    return Sigmoid()(floating("sigmoid", x))


def silu(x: Any) -> Any:
    """x / (1 + e⁻ˣ), element by element; also called swish."""
    return SiLU()(floating("silu", x))


def softmax(x: Any, dim: int = -1) -> Any:
    """e^x_i / Σ_j e^x_j along ``dim``: numbers > 0 that add up to 1.

    >>> import minicnn as mc
    >>> mc.functional.softmax(mc.tensor([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    x = floating("softmax", x)
    return Softmax(dimension("softmax", dim, x.ndim))(x)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """The logarithm of the softmax along ``dim``, computed without forming the softmax."""
    x = floating("log_softmax", x)
    return LogSoftmax(dimension("log_softmax", dim, x.ndim))(x)
