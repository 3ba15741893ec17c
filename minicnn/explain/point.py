"""An operation at one point: its result, its gradients by backward, and the same by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from minicnn.autograd import Array
from minicnn.gradcheck import STEP
from minicnn.random import Generator
from minicnn.tensor import tensor

NUMBERS = 2_000
"""The most numbers that an array may have on a page."""

LINKS = 16_000
"""The most pairs of an input's number and a result's: a page shows what each does to the other."""


PRODUCTS = 7_000
"""The most products x · w, or pixels in windows, that a page names."""


class Point:
    """A function, arrays for its arguments by name, and an upstream gradient ``gy``, drawn for y's shape.

    The derivatives by finite differences are (f(x + h) − f(x − h)) / 2h in float64 for each number of each
    input, with h = 10⁻⁵: nothing of the backward pass is in them.

    Raises:
        ValueError: more numbers than a page can show.

    >>> from minicnn import functional as F
    >>> p = Point(lambda x, w: x * w, {"x": np.array([2.0, 3.0]), "w": np.array([5.0, 7.0])}, np.ones)
    >>> p.y, p.gradients["x"], p.differences("x").round(6)
    (array([10., 21.]), array([5., 7.]), array([5., 7.]))
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        inputs: Mapping[str, Array],
        draw: Callable[[tuple[int, ...]], Array],
        links: int = LINKS,
    ) -> None:
        self.fn, self.inputs = fn, dict(inputs)
        self.y = self.forward({})
        self._check_size(links)
        self.gy = draw(self.y.shape)
        self.gradients = self.backward(self.gy)
        self._jacobians: dict[str, Array] = {}

    def forward(self, changed: Mapping[str, Array]) -> Array:
        """The engine's result, with some of the inputs changed."""
        tensors = {name: tensor(x) for name, x in {**self.inputs, **changed}.items()}
        return self.fn(**tensors).numpy()

    def backward(self, gy: Array) -> dict[str, Array]:
        """The engine's gradient to each input, for this upstream gradient."""
        tensors = {name: tensor(x, requires_grad=True) for name, x in self.inputs.items()}
        self.fn(**tensors).backward(gy)
        return {name: x.grad for name, x in tensors.items()}

    def of(self, outputs: Sequence[Sequence[int]]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Backward's gradients from some of the outputs alone, others' gy being 0, and the differences.

        One frame, (len(outputs), …), for each list of outputs.
        """
        masked = np.zeros((len(outputs), *self.gy.shape))
        for frame, cells in zip(masked, outputs, strict=True):
            frame.reshape(-1)[list(cells)] = self.gy.reshape(-1)[list(cells)]
        found = [self.backward(frame) for frame in masked]
        gradients = {name: np.stack([one[name] for one in found]) for name in self.inputs}
        differences = {
            name: np.stack([self.differences(name, frame) for frame in masked]) for name in self.inputs
        }
        return gradients, differences

    @cached_property
    def alone(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients from each output alone, and the differences: a frame for each output."""
        return self.of([[k] for k in range(self.y.size)])

    def differences(self, name: str, gy: Array | None = None) -> Array:
        """The gradient to an input by finite differences, for ``gy`` or another upstream gradient."""
        gy = self.gy if gy is None else gy
        return (gy.reshape(-1) @ self.jacobian(name)).reshape(self.inputs[name].shape)

    def jacobian(self, name: str) -> Array:
        """∂y/∂x by finite differences, (numbers of y, numbers of x)."""
        if name not in self._jacobians:
            x = self.inputs[name]
            columns = []
            for cell in range(x.size):
                step = np.zeros(x.size)
                step[cell] = STEP
                step = step.reshape(x.shape)
                change = self.forward({name: x + step}) - self.forward({name: x - step})
                columns.append(change.reshape(-1) / (2 * STEP))
            self._jacobians[name] = np.stack(columns, axis=1)
        return self._jacobians[name]

    def _check_size(self, links: int) -> None:
        for name, x in self.inputs.items():
            if x.size * self.y.size > links or self.y.size > NUMBERS:
                raise ValueError(
                    f"{name} has {x.size:,} numbers and y {self.y.size:,}; a page shows what each does to "
                    f"the other, at most {links:,} pairs: choose a smaller input"
                )


class Draw:
    """Numbers that are easy to follow, from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = Generator(seed)

    def whole(self, shape: tuple[int, ...], largest: int = 3) -> Array:
        """Whole numbers from −largest to largest, without 0, so that nothing vanishes by accident."""
        size = checked(shape)
        numbers = self.generator.integers(1, largest + 1, size) * (
            2 * self.generator.integers(0, 2, size) - 1
        )
        return numbers.astype(np.float64).reshape(shape)

    def distinct(self, shape: tuple[int, ...]) -> Array:
        """Whole numbers around 0 that all differ, so that a maximum has one winner."""
        size = checked(shape)
        return (self.generator.permutation(size) - size // 2).astype(np.float64).reshape(shape)

    def tenths(self, shape: tuple[int, ...], largest: float = 3.0) -> Array:
        """Numbers from −largest to largest with one digit after the point, without 0."""
        return self.whole(shape, round(10 * largest)) / 10


def checked(shape: tuple[int, ...]) -> int:
    """How many numbers there are in an array of this shape, or ValueError if a page cannot show them."""
    size = prod(shape)
    if size > NUMBERS:
        raise ValueError(
            f"an array of shape {'×'.join(map(str, shape))} has {size:,} numbers; a page shows at most "
            f"{NUMBERS:,} of each: choose smaller sizes"
        )
    return size
