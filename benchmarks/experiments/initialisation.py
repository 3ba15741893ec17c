"""How weights begin: zeros, small random numbers, Glorot's (Xavier) and He's, in one deep perceptron.

Ten hidden layers of 100 rectified units learn to read digits. X. Glorot and Y. Bengio, "Understanding the
difficulty of training deep feedforward neural networks", AISTATS 2010; K. He, X. Zhang, S. Ren and J. Sun,
"Delving deep into rectifiers", ICCV 2015, section 2.2: with Glorot's size a rectified network of 30 layers
does not learn at all, with theirs it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import Shape
from benchmarks.experiments.training import COLUMNS, Variant, training
from benchmarks.experiments.words import against, epochs, last, until
from benchmarks.problem import ended
from minicnn import Tensor, nn
from minicnn.models.course import CourseNetwork

HIDDEN = 10
CHANCE = 0.2
"""Twice what guessing one of ten classes reaches."""

TARGET = 0.9
TABLE = (("flatten",), *[("dense", 100)] * HIDDEN)


def perceptron(draw: Callable[[Tensor], Tensor], shape: Shape) -> nn.Module:
    """The network with its weights as ``draw`` fills them, and biases of zero."""
    network = CourseNetwork("deep perceptron", TABLE, shape.image, shape.classes)
    for parameter in network.parameters():
        (draw if parameter.ndim > 1 else nn.init.zeros_)(parameter)
    return network


def begun_with(draw: Callable[[Tensor], Tensor]) -> Variant:
    """The variant of an initialiser."""
    return Variant(partial(perceptron, draw), lr=0.02)


def conclude(found: Found) -> list[str]:
    """He's size learns faster than Glorot's; the first two do not learn."""
    claims = [
        against(
            "He et al. found that deep rectified networks learn better with their size of weights than with "
            "Glorot's.",
            found,
            better="He",
            worse="Xavier",
            column="train_accuracy",
        )
    ]
    he, xavier = (epochs(found.epochs_until(name, "train_accuracy", TARGET)) for name in ("He", "Xavier"))
    claims.append(
        f"It has 90 % of the training images right after epoch {he} with He's, {xavier} with Xavier's."
    )
    for name in ("zeros", "normal, σ = 0.01"):
        end = found.last(name, "train_accuracy")
        if end is None:
            continue
        learnt = "learnt nothing" if end.high < CHANCE else "did learn something"
        claims.append(f"Begun with {name}, the network {learnt}: {last('train_accuracy')(found, name)}.")
    return claims


EXPERIMENT = training(
    "initialisation",
    __doc__,
    "How weights begin, in a perceptron of ten hidden layers",
    {
        "zeros": begun_with(nn.init.zeros_),
        "normal, σ = 0.01": begun_with(partial(nn.init.normal_, std=0.01)),
        "Xavier": begun_with(nn.init.xavier_normal_),
        "He": begun_with(partial(nn.init.kaiming_normal_, nonlinearity="relu")),
    },
    conclude,
    published={
        "zeros": "all units of a layer stay equal",
        "Xavier": "30 layers do not learn (He et al. 2015)",
        "He": "30 layers learn (He et al. 2015)",
    },
    columns={"epochs to 90 % training accuracy": until("train_accuracy", TARGET), **COLUMNS},
    panels=("loss", "train_accuracy", "test_accuracy"),
    data="digits",
    size=28,
    images=1500,
    test_images=270,
    epochs=20,
    momentum=0.0,
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
