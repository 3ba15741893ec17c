"""Local response normalisation on and off, in a narrow VGG of 11 layers.

A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 3.3, found 1.4 points less top-1 error with it. K. Simonyan and A. Zisserman, "Very deep
convolutional networks for large-scale image recognition", ICLR 2015, section 4.1 and table 3, found no gain:
29.6 % top-1 error for network A, 29.7 % for A-LRN. Here both have a quarter of the maps, and see CIFAR-10.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments.experiment import Found
from benchmarks.experiments.harness import main
from benchmarks.experiments.networks import Shape, begun, registered
from benchmarks.experiments.training import COLUMNS, COSTS, Variant, training
from benchmarks.experiments.words import ratio
from benchmarks.problem import ended
from benchmarks.words import percent
from minicnn import nn

OFF, ON = "VGG A", "VGG A-LRN"


def network(name: str, shape: Shape) -> nn.Module:
    """A narrow VGG whose weights begin with He's size, so that it learns in a short training."""
    return begun(registered(name, hidden=256)(shape))


def conclude(found: Found) -> list[str]:
    """Whether it made a difference, and what it cost."""
    off, on = found.last(OFF, "test_accuracy"), found.last(ON, "test_accuracy")
    if off is None or on is None:
        return ["One of the networks diverged in every run: there is nothing to compare."]
    if min(len(found.runs(name)) for name in (OFF, ON)) < 2:
        said = "one run each, and so no more than a hint"
    elif on.low > off.high or off.low > on.high:
        said = "a difference, unlike VGG's authors'"
    else:
        said = "no difference to be seen, as VGG's authors found"
    return [
        f"With normalisation the network ends with a test accuracy of {percent(on)}, without with "
        f"{percent(off)}: {said}.",
        f"An epoch took {ratio(found, ON, OFF, 'seconds'):.2f} times as long with it.",
    ]


EXPERIMENT = training(
    "response_norm",
    __doc__,
    "Local response normalisation on and off",
    {OFF: Variant(partial(network, "vgg11"), 0.01), ON: Variant(partial(network, "vgg11_lrn"), 0.01)},
    conclude,
    published={OFF: "70.4 % right on ImageNet", ON: "70.3 % right on ImageNet"},
    columns={**COLUMNS, **COSTS},
    epochs=15,
    width=16,
    schedule="cosine",
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
