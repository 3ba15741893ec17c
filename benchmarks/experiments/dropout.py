"""Dropout against overfitting: three networks of an introductory course on CIFAR-10.

The first, two convolutions and a wide dense layer, is built to overfit; the second is the same with dropout;
the third has four convolutions and dropout, and half the parameters. The course trained them on all images,
and reports 99.1 % on the training images and 70.7 % on others for the first, 68.3 % and 78.1 % on others for
the second and third. Dropout: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
overfitting", JMLR 2014.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import registered
from benchmarks.experiments.training import COLUMNS, Variant, training
from benchmarks.experiments.words import against
from benchmarks.measure import spread
from benchmarks.problem import ended

FIRST, SECOND, THIRD = "model 1, no dropout", "model 2, dropout", "model 3, deeper, dropout"


def gaps(found: Found, variant: str) -> list[float]:
    """By how much each run does better on the images that it trained on."""
    return [rows[-1]["train_accuracy"] - rows[-1]["test_accuracy"] for rows in found.runs(variant)]


def gap(found: Found, variant: str) -> str:
    """The table's entry for that, in points of a per cent."""
    values = gaps(found, variant)
    return f"{100 * spread(values).middle:.1f} points" if values else ""


def conclude(found: Found) -> list[str]:
    """The gap with dropout and without, and whether dropout and depth help the test accuracy."""
    without, within = gaps(found, FIRST), gaps(found, SECOND)
    said = []
    if without and within:
        less = "narrows" if max(within) < min(without) else "does not clearly narrow"
        said.append(
            f"Dropout {less} the gap between training and test images: {gap(found, SECOND)} with it, "
            f"{gap(found, FIRST)} without."
        )
    return [
        *said,
        against(
            "In the course the second network was no better on new images than the first (68.3 and 70.7 %).",
            found,
            better=FIRST,
            worse=SECOND,
        ),
        against("The third was the best (78.1 %).", found, better=THIRD, worse=FIRST),
    ]


EXPERIMENT = training(
    "dropout",
    __doc__,
    "Dropout against overfitting",
    {
        FIRST: Variant(registered("cifar_model1"), 0.01),
        SECOND: Variant(registered("cifar_model2"), 0.01),
        THIRD: Variant(registered("cifar_model3"), 0.01),
    },
    conclude,
    published={
        FIRST: "99.1 % in training, 70.7 % on new images",
        SECOND: "68.3 % on new images",
        THIRD: "78.1 % on new images",
    },
    columns={**COLUMNS, "gap": gap},
    epochs=20,
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
