"""Depth with shortcuts and without: 20 and 56 layers, plain and residual.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2,
figure 6 and table 6: on CIFAR-10 a plain network of 56 layers has a larger error than one of 20, in training
too; with shortcuts the deeper one is the better, 6.97 against 8.75 % of the test images wrong. Theirs were
trained for 64,000 steps on all images; here the networks are theirs, and the training is a hundredth of that.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import registered
from benchmarks.experiments.training import COLUMNS, SIZES, Variant, training
from benchmarks.experiments.words import against
from benchmarks.problem import ended


def conclude(found: Found) -> list[str]:
    """Degradation without shortcuts; none with them; and that shortcuts help at depth."""
    compare = partial(against, found=found)
    return [
        compare(
            "Without shortcuts the shallower network learns its training images better, says the paper.",
            better="plain, 20 layers",
            worse="plain, 56 layers",
            column="train_accuracy",
        ),
        compare(
            "With shortcuts the deeper network is the better one on test images, says the paper.",
            better="residual, 56 layers",
            worse="residual, 20 layers",
        ),
        compare(
            "At 56 layers shortcuts make the difference, says the paper.",
            better="residual, 56 layers",
            worse="plain, 56 layers",
        ),
    ]


EXPERIMENT = training(
    "residual",
    __doc__,
    "Depth with shortcuts and without",
    {
        "plain, 20 layers": Variant(registered("cifar_plain20"), 0.05),
        "plain, 56 layers": Variant(registered("cifar_plain56"), 0.05),
        "residual, 20 layers": Variant(registered("cifar_resnet20"), 0.05),
        "residual, 56 layers": Variant(registered("cifar_resnet56"), 0.05),
    },
    conclude,
    published={
        "plain, 56 layers": "a larger error than with 20, in training and test",
        "residual, 20 layers": "91.25 % of the test images right",
        "residual, 56 layers": "93.03 % of the test images right",
    },
    columns={**COLUMNS, **SIZES},
    images=6000,
    epochs=12,
    width=16,
    weight_decay=1e-4,
    schedule="cosine",
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
