"""The exponential moving average of a model's weights, which is often better than the last of them."""

from __future__ import annotations

import copy

import numpy as np

from minicnn import nn
from minicnn.backend import move
from minicnn.train.checkpoint import Arrays


class WeightAverage:
    """A second model whose weights follow those of the one that is trained.

        a ← d · a + (1 − d) · w    after step t = 1, 2, …,    d = min(decay, (1 + t) / (10 + t))

    The last steps of a training jump around a valley's floor, and their mean lies nearer to it. Decay 0.999
    remembers about a thousand steps; at the beginning, when the weights are not worth remembering, d is
    smaller. Batch norm's statistics are averaged like parameters; whole numbers are copied.

    Attributes:
        model: the averaged model, for evaluation.
        steps: t, the number of steps so far.

    Raises ValueError unless 0 ≤ decay < 1.

    Source: B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992; for
    networks C. Szegedy et al., "Rethinking the Inception architecture", 2015, section 8. The smaller d of the
    first steps is TensorFlow's.

    >>> net = nn.Sequential(nn.Linear(1, 1, bias=False))
    >>> net[0].weight.data[...] = 0
    >>> average = WeightAverage(net, decay=0.5)
    >>> for _ in range(3):
    ...     net[0].weight.data[...] = 1
    ...     average.update(net)
    >>> average.steps, round(average.model[0].weight.item(), 4)  # 1 − 2/11 · 3/12 · 4/13
    (3, 0.986)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, int | float):
            raise TypeError(f"WeightAverage: decay is {decay!r}, but a number is expected")
        if not 0 <= decay < 1:
            raise ValueError(f"WeightAverage: decay is {decay}, but 0 <= decay < 1 is expected")
        self.decay, self.steps = float(decay), 0
        self.model = copy.deepcopy(model).requires_grad_(False)

    def update(self, model: nn.Module) -> None:
        """Follow the model's newest weights."""
        self.steps += 1
        new = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        tensors = dict(self.model._named_state())
        for name, w in model.state_dict().items():
            a = tensors[name]
            if w.dtype.kind == "f":
                difference = np.subtract(w, a._data)
                difference *= new
                a._data[...] += difference
            else:
                a._data[...] = w
            a.mark_changed()

    def state(self) -> Arrays:
        """The averaged weights on the CPU."""
        return {name: np.array(move(a, "cpu")) for name, a in self.model.state_dict().items()}

    def load(self, arrays: Arrays, steps: int) -> None:
        """Continue from what :meth:`state` returned; raises ValueError for what does not fit."""
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ValueError(f"the average's number of steps is {steps!r}")
        self.model.load_state_dict(arrays)
        self.steps = steps
