"""What Inception versions 3 and 4 and the Inception-ResNets share: convolutions and modules read from tables.

A module's table names its branches, which all see the same maps, and lists the steps of each:

    (M, K)            convolution to M maps by windows K, a number or (KH, KW), batch norm, relu; padded so
                      that the image keeps its size
    (M, K, stride)    the same without padding, which the papers mark by a "V" (valid)
    "mean"            means over 3×3, padded likewise; what is padded does not count
    "max"             maxima over 3×3 with stride 2, without padding

Here is the module that halves the image, figure 7 of the paper on version 4. Filters with stride 2 stand
beside the pooling: to pool first would lose what the filters could have seen, to filter first would cost four
times as much (C. Szegedy et al., arXiv:1512.00567, section 5).

    >>> import minicnn as mc
    >>> Mixed(384, reduction_a(192, 224, 256, 384))(mc.zeros(1, 384, 9, 9)).shape
    (1, 1024, 4, 4)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from minicnn import functional as F
from minicnn import nn
from minicnn.tensor import Tensor

Step = tuple[Any, ...] | str
Branches = Mapping[str, Sequence[Step]]

# The smallest image of all these networks, and what takes so many pixels.
LEAST = 75
WHY = "five layers of stride 2 and two windows of 3×3, all without padding, leave one pixel of 75×75"


def scaled(maps: int, width: int) -> int:
    """The number of maps in a network whose first layer has ``width`` maps in place of 32.

    >>> scaled(384, 4)
    48
    """
    return maps * width // 32


class ConvUnit(nn.Module):
    """Convolution without biases, batch norm (ε = 0.001) and relu, from C maps to M.

    Without a stride the image keeps its size; with one, be it 1, windows are not padded.
    """

    def __init__(self, C: int, M: int, K: int | tuple[int, int], stride: int | None = None) -> None:
        super().__init__()
        KH, KW = (K, K) if isinstance(K, int) else K
        padding = (KH // 2, KW // 2) if stride is None else 0
        self.conv = nn.Conv2d(C, M, K, stride or 1, padding, bias=False)
        self.bn = nn.BatchNorm2d(M, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return nn.chain(x, self.conv, self.bn, self.relu)


def maps_after(steps: Sequence[Step], C: int, width: int = 32) -> int:
    """The number of maps after some steps: the last convolution's, or without one as many as came in.

    >>> maps_after(("mean", (96, 1)), 384), maps_after(("max",), 384)
    (96, 384)
    """
    convolutions = [step for step in steps if not isinstance(step, str)]
    return scaled(convolutions[-1][0], width) if convolutions else C


def branch(steps: Sequence[Step], C: int, width: int = 32) -> nn.Module:
    """The layers of a branch that sees C maps: a Sequential, or a single step's layer by itself."""
    layers: list[nn.Module] = []
    for step in steps:
        if step == "max":
            layers.append(nn.MaxPool2d(3, 2))
        elif step == "mean":
            layers.append(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False))
        else:
            _, *window = step
            layers.append(ConvUnit(C, maps_after((step,), C, width), *window))
        C = maps_after((step,), C, width)
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class Mixed(nn.Module):
    """Branches side by side, under the names that a table gives; their maps one after another."""

    def __init__(self, C: int, branches: Branches, width: int = 32) -> None:
        super().__init__()
        self.branches = tuple(branches)
        for name, steps in branches.items():
            self.add_module(name, branch(steps, C, width))
        self.out_channels = sum(maps_after(steps, C, width) for steps in branches.values())

    def forward(self, x: Tensor) -> Tensor:
        return F.cat([getattr(self, name)(x) for name in self.branches], dim=1)


def reduction_a(k: int, l: int, m: int, n: int) -> Branches:
    """From 35×35 to 17×17: figure 7 of the paper on version 4, with the numbers of its table 1."""
    return {
        "branch0": ((n, 3, 2),),
        "branch1": ((k, 1), (l, 3), (m, 3, 2)),
        "branch2": ("max",),
    }
