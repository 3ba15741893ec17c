"""Rectifiers against tanh: how soon a network of four layers has learnt what it trains on.

A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 3.1 and figure 1: a convolutional network of four layers reaches a training error of 25 %
on CIFAR-10 six times sooner with rectifiers than with tanh, each with the learning rate that suits it. So
each is run with several rates here, and the best of each is compared. The weights begin with the size that
suits each.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import Shape, begun
from benchmarks.experiments.training import COLUMNS, Variant, training
from benchmarks.experiments.words import epochs, until
from benchmarks.problem import ended
from minicnn import nn
from minicnn.models.course import CourseNetwork

TABLE = (
    ("conv", 32, 3),
    ("pool", 2),
    ("conv", 32, 3),
    ("pool", 2),
    ("conv", 64, 3),
    ("pool", 2),
    ("flatten",),
)
TARGET = 0.75
"""The training accuracy at an error of 25 %."""

ACTIVATIONS = {"ReLU": (nn.ReLU, "relu"), "tanh": (nn.Tanh, "linear")}
RATES = (0.002, 0.005, 0.01, 0.03)


def network(activation: str, shape: Shape) -> nn.Module:
    """Three convolutions and the dense layer, whose logits begin small."""
    layer, gain = ACTIVATIONS[activation]
    made = begun(CourseNetwork("four layers", TABLE, shape.image, shape.classes, layer), gain)
    nn.init.normal_(made.output.weight, std=0.01)
    return made


def best(found: Found, activation: str) -> tuple[str, list[int | None]]:
    """The rate with which most runs reach the target, of those the one that does so soonest; its epochs."""
    tried = {}
    for rate in RATES:
        name = f"{activation}, rate {rate}"
        reached = found.epochs_until(name, "train_accuracy", TARGET)
        tried[name] = reached + [None] * found.diverged(name)

    def order(name: str) -> tuple[int, int]:
        reached = [epoch for epoch in tried[name] if epoch is not None]
        return -len(reached), sum(reached)

    name = min(tried, key=order)
    return name, tried[name]


def conclude(found: Found) -> list[str]:
    """How many times sooner the better rectified network is there."""
    claim = "Krizhevsky et al. found rectifiers at a training error of 25 % six times as soon as tanh."
    (relu, ours), (tanh, theirs) = best(found, "ReLU"), best(found, "tanh")
    text = (
        f"{claim} Here the best of each are “{relu}” (epochs: {epochs(ours)}) and “{tanh}” ({epochs(theirs)})"
    )
    if None in ours or None in theirs:
        return [f"{text}: not every run gets there, so that there is no factor; --epochs gives them longer."]
    factor = sum(epoch for epoch in theirs if epoch) / sum(epoch for epoch in ours if epoch)
    return [f"{text}: {factor:.1f} times as soon, {verdict(factor)}."]


def verdict(factor: float) -> str:
    """A factor beside the paper's."""
    if factor >= 4:
        return "which is near the paper's factor"
    if factor > 1.2:
        return "the paper's direction, but not its factor"
    return "so the paper's finding was not reproduced"


EXPERIMENT = training(
    "relu",
    __doc__,
    "Rectifiers against tanh in a network of four layers",
    {f"{name}, rate {rate}": Variant(partial(network, name), rate) for name in ACTIVATIONS for rate in RATES},
    conclude,
    published={f"ReLU, rate {rate}": "6 times sooner, with the rate that suits it" for rate in RATES},
    columns={"epochs to 25 % training error": until("train_accuracy", TARGET), **COLUMNS},
    families=len(ACTIVATIONS),
    epochs=20,
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
