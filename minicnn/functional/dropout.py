"""Dropout: train with a random part of the units silent."""

from __future__ import annotations

from typing import Any

from minicnn import kernels, random
from minicnn.autograd import Array, Function, as_variable


class Dropout(Function):
    """y = x · mask, where each entry of mask is 0 with probability p, else 1/(1 − p);  gx = gy · mask."""

    def __init__(self, p: float, generator: random.Generator, per_channel: bool = False) -> None:
        self.p, self.generator, self.per_channel = p, generator, per_channel

    def forward(self, x: Array) -> Array:
        entries = x.shape[:2] + (1,) * (x.ndim - 2) if self.per_channel else x.shape
        total = 1
        for size in entries:
            total *= size
        y, kept = kernels.run("dropout.forward", x, self.p, entries, *self.generator.reserve(total))
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
    return _dropout("dropout", x, p, training, generator, per_channel=False)


def dropout2d(
    x: Any, p: float = 0.5, training: bool = True, generator: random.Generator | None = None
) -> Any:
    """:func:`dropout` of whole channels: (N, C, …) with one decision for each image and channel.

    Source: Tompson et al. 2015, "Efficient object localization using convolutional networks", section 3.2.
    """
    return _dropout("dropout2d", x, p, training, generator, per_channel=True)


def _dropout(name: str, x: Any, p: float, training: bool, generator: Any, per_channel: bool) -> Any:
    x = as_variable(x)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be between 0 and 1, got {p!r}")
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x is {x.dtype}; expected floating-point data")
    if per_channel and x.ndim < 2:
        raise ValueError(f"{name}: x must be (N, C, …), got shape {x.shape}")
    if not training or p == 0:
        return x
    return Dropout(p, generator or random.default_generator, per_channel)(x)
