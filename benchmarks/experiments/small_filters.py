"""Two 3×3 convolutions against one 5×5, and three against one 7×7, which see as much of the image.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
sections 2.3 and 4.1: between maps of equal number, three 3×3 convolutions have 27 weights where one 7×7 has
49, and rectify three times; with each pair of 3×3 in network B replaced by one 5×5, the top-1 error on
ImageNet was 7 points higher.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import convnet
from benchmarks.experiments.training import COLUMNS, COSTS, Variant, training
from benchmarks.experiments.words import against, ratio
from benchmarks.problem import ended

PAIRS = {"two 3×3": "one 5×5", "three 3×3": "one 7×7"}


def network(K: int, repeated: int) -> Variant:
    """A 3×3 convolution, then twice pooling and K×K convolutions of 64 maps in a row."""
    row = ((K, 64),) * repeated
    return Variant(convnet((((3, 64),), row, row)), 0.01)


def conclude(found: Found) -> list[str]:
    """Accuracy and cost of each pair."""
    said = []
    for small, large in PAIRS.items():
        claim = f"{small.capitalize()} in place of {large} should be the more accurate."
        said.append(against(claim, found, better=small, worse=large))
        macs, seconds = (ratio(found, small, large, column) for column in ("macs", "seconds"))
        said.append(
            f"The network with {small} takes {macs:.2f} times the multiplications of that with {large}, and "
            f"{seconds:.2f} times the seconds an epoch."
        )
    return said


EXPERIMENT = training(
    "small_filters",
    __doc__,
    "Small filters in a row against one large one",
    {
        "one 5×5": network(5, 1),
        "two 3×3": network(3, 2),
        "one 7×7": network(7, 1),
        "three 3×3": network(3, 3),
    },
    conclude,
    published={
        "one 5×5": "7 points more top-1 error on ImageNet than two 3×3",
        "one 7×7": "49 weights where three 3×3 have 27",
    },
    columns={**COLUMNS, **COSTS},
    images=6000,
    epochs=15,
    schedule="cosine",
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
