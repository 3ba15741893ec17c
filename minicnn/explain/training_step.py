"""One step of plain SGD on one image, and the network as it was afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minicnn import functional as F
from minicnn import nn
from minicnn.autograd import Array, no_grad
from minicnn.explain.observe import probabilities
from minicnn.explain.watch import Pass
from minicnn.nn.module import inference


@dataclass(frozen=True)
class Update:
    """What a step did to a parameter: w ← w − lr · gw. Norms are √(Σ w²), and ``size`` counts numbers."""

    name: str
    size: int
    norm: float
    gradient_norm: float
    update_norm: float


@dataclass(frozen=True)
class Change:
    """One number of a parameter, before and after the step."""

    name: str
    index: tuple[int, ...]
    before: float
    gradient: float
    after: float


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """One step of plain SGD on this image alone. ``probabilities`` (classes,) are softmax(logits).

    ``expected`` is the change of the loss if it were linear: −lr · Σ gw².
    """

    lr: float
    loss_before: float
    loss_after: float
    expected: float
    probabilities_before: Array
    probabilities_after: Array
    updates: Sequence[Update]
    largest: Sequence[Change]


@np.errstate(over="ignore", invalid="ignore")  # of a step that runs away, the loss is the message
def training_step(model: nn.Module, run: Pass, lr: float) -> TrainingStep:
    """w ← w − lr · gw for every parameter that is trained, the loss after it, and everything put back."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and name in run.gradients}
    before = {name: p.data for name, p in trained.items()}
    after = {name: w - w.dtype.type(lr) * run.gradients[name] for name, w in before.items()}
    try:
        for name, parameter in trained.items():
            parameter.data = after[name]
        with inference(model), no_grad():
            logits = model(run.x)
            loss = float(F.cross_entropy(logits, np.array([run.label])))
    finally:
        for name, parameter in trained.items():
            parameter.data = before[name]
    squares = {name: _norm(run.gradients[name]) ** 2 for name in trained}
    return TrainingStep(
        lr,
        run.loss,
        loss,
        -lr * sum(squares.values()),
        probabilities(run.logits)[0],
        probabilities(logits)[0],
        [
            Update(name, w.size, _norm(w), math.sqrt(squares[name]), _norm(after[name] - w))
            for name, w in before.items()
        ],
        _largest(before, run.gradients, after),
    )


def _largest(before: dict[str, Array], gradients: dict[str, Array], after: dict[str, Array]) -> list[Change]:
    """The ten numbers that changed most."""
    found = []
    for name, w in before.items():
        for start, piece in _pieces(gradients[name]):
            for k in np.argsort(-np.abs(piece), kind="stable")[:10].tolist():
                index = tuple(map(int, np.unravel_index(start + k, w.shape)))
                values = (float(array[index]) for array in (w, gradients[name], after[name]))
                found.append(Change(name, index, *values))
    return sorted(found, key=lambda change: -abs(change.gradient))[:10]


def _norm(array: Array) -> float:
    return math.sqrt(sum(float(np.square(piece, dtype=np.float64).sum()) for _, piece in _pieces(array)))


def _pieces(array: Array) -> Iterator[tuple[int, Array]]:
    """A large array a million numbers at a time, with the place of each piece's first."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, 1_000_000):
        yield start, flat[start : start + 1_000_000]
