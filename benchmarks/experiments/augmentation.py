"""Augmentation on and off: mirrored and shifted images against overfitting.

A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 4.1: without augmentation their network overfits substantially. Mirroring and shifting by
up to four pixels are what K. He et al., "Deep residual learning for image recognition", CVPR 2016,
section 4.2, do to CIFAR-10; neither paper gives a figure without.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import convnet
from benchmarks.experiments.training import Variant, training
from benchmarks.experiments.words import against
from benchmarks.problem import ended

STAGES = (
    ((3, 32), (3, 32)),  # 32 × 32 × 32
    ((3, 64), (3, 64)),  # 64 × 16 × 16
    ((3, 128), (3, 128)),  # 128 × 8 × 8
)
NETWORK = convnet(STAGES, batch_norm=True)


def conclude(found: Found) -> list[str]:
    """Augmentation lowers the training accuracy and raises that on test images."""
    return [
        against(
            "Without augmentation a network fits its training images more closely.",
            found,
            better="none",
            worse="mirrored and shifted",
            column="train_accuracy",
        ),
        against(
            "With it the network should do better on new images.",
            found,
            better="mirrored and shifted",
            worse="none",
        ),
        against("Mirroring alone should help, too.", found, better="mirrored", worse="none"),
    ]


EXPERIMENT = training(
    "augmentation",
    __doc__,
    "Augmentation on and off",
    {
        "none": Variant(NETWORK, 0.05),
        "mirrored": Variant(NETWORK, 0.05, augment="flip"),
        "mirrored and shifted": Variant(NETWORK, 0.05, augment="cifar"),
    },
    conclude,
    published={"none": "substantial overfitting (Krizhevsky et al. 2012)"},
    epochs=25,
    weight_decay=5e-4,
    schedule="cosine",
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
