"""What a 1×1 convolution before a larger one saves: multiplications counted, and time measured.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 4: 1×1 convolutions reduce the maps
before the 5×5 and the 3×3 ones. The courses' example is a layer of GoogLeNet: 5×5 filters from 192 maps of
28×28 pixels to 32 take 120 million multiplications, by way of 16 maps 12.4 million, a tenth. The bottleneck
of ResNet, K. He et al., CVPR 2016, figure 5, does the same to 3×3 filters. Nothing is trained; a seed is a
round, in which each is measured once, forward and backward.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks import charts
from benchmarks.experiments.experiment import Experiment, Found, Tell
from benchmarks.experiments.harness import main
from benchmarks.experiments.words import count, figure, last, ratio
from benchmarks.measure import clock, repetitions_for
from benchmarks.problem import ended
from benchmarks.results import Row
from minicnn import manual_seed, nn, randn, summary

Layers = tuple[tuple[int, int, int, int], ...]
"""C and the size of the image, then K and OC, for each convolution in turn."""

VARIANTS: dict[str, Layers] = {
    "5×5, directly": ((192, 28, 5, 32),),
    "5×5, reduced": ((192, 28, 1, 16), (16, 28, 5, 32)),
    "3×3, directly": ((256, 56, 3, 256),),
    "3×3, reduced": ((256, 56, 1, 64), (64, 56, 3, 64), (64, 56, 1, 256)),
}
PAIRS = {"5×5, reduced": "5×5, directly", "3×3, reduced": "3×3, directly"}


def measure(layers: Layers, seed: int, setting: Row, tell: Tell) -> list[Row]:
    """The milliseconds of a step, forward and backward, and the multiplications forward of one image."""
    tell("measuring")
    manual_seed(seed)
    network = nn.Sequential(*(nn.Conv2d(C, OC, K, padding=K // 2, bias=False) for C, _, K, OC in layers))
    C, size = layers[0][:2]
    size = size // setting["divide"]
    x = randn(setting["batch"], C, size, size, requires_grad=True)
    gy = randn(*network(x).shape).numpy()

    def step() -> None:
        network(x).backward(gy)

    step()  # which compiles
    once = clock(step)
    seconds = clock(step, repetitions_for(once, setting["seconds"]))
    macs = summary.summarize(network, (C, size, size)).macs
    return [{"epoch": 1, "loss": 0.0, "ms": 1e3 * seconds, "macs": macs, "seconds": once + seconds}]


def conclude(found: Found) -> list[str]:
    """What is saved, in multiplications and in time."""
    said = []
    for reduced, direct in PAIRS.items():
        fewer, faster = (ratio(found, direct, reduced, column) for column in ("macs", "ms"))
        said.append(
            f"“{direct}” has {fewer:.1f} times the multiplications of “{reduced}”, and takes {faster:.1f} "
            f"times its time: {verdict(fewer, faster)}."
        )
    return said


def verdict(fewer: float, faster: float) -> str:
    """How much of what is saved on paper is saved on the clock."""
    if faster < 1:
        return "the arithmetic saved saves no time"
    if faster < 0.8 * fewer:
        return "less time is saved than arithmetic"
    return "time is saved as arithmetic is"


def draw(found: Found, variants: Sequence[str]) -> bytes:
    """Two rows of bars: multiplications, and milliseconds with their range."""
    made, axes = charts.figure(9, 2.4, 2)
    for axis, column, factor, label in (
        (axes[0], "macs", 1e-6, "million multiplications an image, forward"),
        (axes[1], "ms", 1.0, "ms a step, forward and backward"),
    ):
        ends = [end for variant in variants if (end := found.last(variant, column))]
        middle = [factor * end.middle for end in ends]
        low = [factor * (end.middle - end.low) for end in ends]
        high = [factor * (end.high - end.middle) for end in ends]
        axis.barh(range(len(ends)), middle, xerr=(low, high), height=0.6, color="#0072B2", ecolor="0.3")
        axis.set_yticks(range(len(ends)), variants if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.set_xlabel(label)
    return charts.png(made)


EXPERIMENT = Experiment(
    name="reduction",
    about=__doc__,
    question="What a 1×1 convolution before a larger one saves",
    variants=VARIANTS,
    published={
        "5×5, directly": "120 million multiplications",
        "5×5, reduced": "12.4 million multiplications",
    },
    setting={"batch": 8, "seconds": 0.5, "divide": 1},
    quick={"batch": 1, "seconds": 0.01, "divide": 7},
    measure=measure,
    columns={"multiplications an image": last("macs", count), "ms a step": last("ms", figure)},
    draw=draw,
    conclude=conclude,
)

if __name__ == "__main__":
    sys.exit(ended(partial(main, EXPERIMENT)))
