"""Dropout and stochastic depth: train with a random part of the network silent."""

from __future__ import annotations

from math import prod
from typing import Any

from minicnn import backend, kernels, random
from minicnn.autograd import Array, Function, Variable, as_variable


class Dropout(Function):
    """y = x · mask, where each entry of mask is 0 with probability p, else 1/(1 − p);  gx = gy · mask.

    The mask has x's first ``axes`` axes, and what the others span falls or stays as one: for images (N, C, H,
    W), 4 axes for each number on its own, 2 for whole channels, 1 for whole images, 0 for the whole batch.
    """

    def __init__(self, p: float, generator: random.Generator, axes: int) -> None:
        self.p, self.generator, self.axes = p, generator, axes

    def forward(self, x: Array) -> Array:
        entries = x.shape[: self.axes] + (1,) * (x.ndim - self.axes)
        y, kept = kernels.run("dropout.forward", x, self.p, entries, *self.generator.reserve(prod(entries)))
        self.save(kept)
        return y

    def backward(self, gy: Array) -> Array:
        (kept,) = self.saved
        return kernels.run("dropout.backward", gy, kept, self.p)


def dropout(x: Any, p: float = 0.5, training: bool = True, generator: random.Generator | None = None) -> Any:
    """Zero each entry with probability p, and divide the others by 1 − p, so that the mean stays.

    Outside training x is returned as it is. The mask is a function of the generator's seed and offset
    (:mod:`minicnn.random`) and so the same on every backend.

    Raises:
        ValueError: p is not in 0 ≤ p ≤ 1.

    Source: Srivastava et al. 2014, "Dropout", section 4 (there the scaling is left to the test).

    >>> import minicnn as mc
    >>> _ = mc.manual_seed(3)
    >>> mc.functional.dropout(mc.ones(6), p=0.5)
    tensor([2., 0., 2., 2., 0., 2.])
    """
    x = _checked("dropout", x, p)
    return _dropout(x, p, training, generator, x.ndim)


def dropout2d(
    x: Any, p: float = 0.5, training: bool = True, generator: random.Generator | None = None
) -> Any:
    """:func:`dropout` of whole channels: (N, C, …) with one decision for each image and channel.

    Raises:
        ValueError: p is not in 0 ≤ p ≤ 1; x has no channels.

    Source: Tompson et al. 2015, "Efficient object localization using convolutional networks", section 3.2.

    >>> import minicnn as mc
    >>> y = mc.functional.dropout2d(mc.ones(4, 16, 3, 3), 0.5)
    >>> {float(y[n, c].var(correction=0)) for n in range(4) for c in range(16)}
    {0.0}
    """
    x = _checked("dropout2d", x, p)
    if x.ndim < 2:
        raise ValueError(f"dropout2d: x must be (N, C, …), got shape {x.shape}")
    return _dropout(x, p, training, generator, 2)


DECIDED_AXES = {"row": 1, "batch": 0}
"""What falls or stays as one in each mode of stochastic depth: one image, or the whole batch."""


def stochastic_depth(
    x: Any, p: float, mode: str, training: bool = True, generator: random.Generator | None = None
) -> Any:
    """Silence the branch beside a shortcut with probability p, and divide by 1 − p where it speaks.

        y[n] = x[n] · b[n] / (1 − p),    b[n] = 0 with probability p, else 1

    A residual block x + F(x) whose branch F is silent is no block at all: the network is shallower in each
    training step, and a gradient meets fewer layers. Outside training x is returned as it is. As with
    :func:`dropout`, the seed decides what falls, on every backend alike.

    Shapes:
        (N, …) -> the same

    Args:
        mode: ``"row"`` decides for each of the N images by itself, ``"batch"`` once for all of them.

    Raises:
        ValueError: p is not in 0 ≤ p ≤ 1; another mode.

    Source: G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger 2016, "Deep networks with stochastic depth",
    section 3 (there the scaling is left to the test). Names and arguments are torchvision's.

    >>> import minicnn as mc
    >>> _ = mc.manual_seed(3)
    >>> mc.functional.stochastic_depth(mc.ones(3, 2), 0.5, "row")
    tensor([[2., 2.],
            [0., 0.],
            [2., 2.]])
    """
    x = _checked("stochastic_depth", x, p)
    if mode not in DECIDED_AXES:
        raise ValueError(f"stochastic_depth: mode {backend.unknown(mode, DECIDED_AXES)}")
    if x.ndim < 1:
        raise ValueError(f"stochastic_depth: x must be (N, …), got shape {x.shape}")
    return _dropout(x, p, training, generator, DECIDED_AXES[mode])


def _checked(name: str, x: Any, p: float) -> Variable:
    x = as_variable(x)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be between 0 and 1, got {p!r}")
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x is {x.dtype}; expected floating-point data")
    return x


def _dropout(x: Variable, p: float, training: bool, generator: random.Generator | None, axes: int) -> Any:
    if not training or p == 0:
        return x
    return Dropout(p, generator or random.default_generator, axes)(x)
