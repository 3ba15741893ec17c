"""Batch normalisation: how much sooner a network learns with it, at the same rate and at one five times that.

S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
covariate shift", ICML 2015, section 4.2.2 and figure 3: Inception needs 31.0 million steps to its best
accuracy; with batch norm it is there after 13.3 million, and with five times the rate after 2.1 million, a
fourteenth. Here six convolutions learn CIFAR-10, and what is counted is the epochs to the accuracy with which
the network without batch norm ends at the lower rate.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import convnet
from benchmarks.experiments.training import COLUMNS, Variant, training
from benchmarks.experiments.words import epochs
from benchmarks.problem import ended

STAGES = (
    ((3, 32), (3, 32)),  # 32 × 32 × 32
    ((3, 64), (3, 64)),  # 64 × 16 × 16
    ((3, 128), (3, 128)),  # 128 × 8 × 8
)
BASE = "without"


def goal(found: Found) -> float | None:
    """The test accuracy to reach: the median with which the network without batch norm ends."""
    ended_with = found.last(BASE, "test_accuracy")
    return None if ended_with is None else ended_with.middle


def reached(found: Found, variant: str) -> str:
    """The table's entry for the epochs to that accuracy."""
    wanted = goal(found)
    return "" if wanted is None else epochs(found.epochs_until(variant, "test_accuracy", wanted))


def conclude(found: Found) -> list[str]:
    """The factors, each beside the paper's."""
    wanted = goal(found)
    if wanted is None:
        return [
            "Without batch norm every run diverged at the lower rate: there is no accuracy to compare with."
        ]
    curve = [end.middle for end in found.curve(BASE, "test_accuracy")]
    usual = 1 + next(epoch for epoch, accuracy in enumerate(curve) if accuracy >= wanted)
    said = [
        f"Without batch norm the network ends with a test accuracy of {100 * wanted:.1f} %, which its median "
        f"first has after epoch {usual} of {len(curve)}."
    ]
    for variant, factor in (("with", 2.3), ("with, 5 times the rate", 14)):
        run = found.epochs_until(variant, "test_accuracy", wanted)
        if not run or None in run or found.diverged(variant):
            said.append(f"“{variant}” does not get there in every run: not reproduced.")
            continue
        ours = usual * len(run) / sum(epoch for epoch in run if epoch)
        direction = "sooner, as the paper found" if ours > 1 else "no sooner, against what the paper found"
        said.append(
            f"“{variant}” has it after epoch {epochs(run)}, {ours:.1f} times as soon (the paper: {factor} "
            f"times): {direction}."
        )
    return said


EXPERIMENT = training(
    "batch_norm",
    __doc__,
    "How much sooner a network learns with batch normalisation",
    {
        BASE: Variant(convnet(STAGES), 0.01),
        "without, 5 times the rate": Variant(convnet(STAGES), 0.05),
        "with": Variant(convnet(STAGES, batch_norm=True), 0.01),
        "with, 5 times the rate": Variant(convnet(STAGES, batch_norm=True), 0.05),
    },
    conclude,
    published={
        BASE: "31.0 million steps to 72.2 %",
        "without, 5 times the rate": "does not train",
        "with": "13.3 million steps",
        "with, 5 times the rate": "2.1 million steps",
    },
    columns={"epochs to the first one's accuracy": reached, **COLUMNS},
    epochs=10,
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
