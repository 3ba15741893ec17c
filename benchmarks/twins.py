"""Networks in PyTorch, written here where torchvision has none; imported in PyTorch's process only."""

from __future__ import annotations

import functools
import importlib.util
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from torch.nn import functional as F


def lenet5() -> nn.Module:
    """The LeNet-5 of models/lenet.py."""
    layers = [
        ("c1", nn.Conv2d(1, 6, 5, padding=2)),
        ("tanh1", nn.Tanh()),
        ("s2", nn.AvgPool2d(2)),
        ("c3", nn.Conv2d(6, 16, 5)),
        ("tanh3", nn.Tanh()),
        ("s4", nn.AvgPool2d(2)),
        ("flatten", nn.Flatten()),
        ("c5", nn.Linear(400, 120)),
        ("tanh5", nn.Tanh()),
        ("f6", nn.Linear(120, 84)),
        ("tanh6", nn.Tanh()),
        ("output", nn.Linear(84, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


class Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without parameters: He et al. 2015, option A."""

    def __init__(self, C: int, OC: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, OC, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(OC)
        self.conv2 = nn.Conv2d(OC, OC, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(OC)
        self.stride, self.missing = stride, OC - C

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.missing:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(y + x)


def cifar_resnet(n: int) -> nn.Module:
    """The ResNet of 6n + 2 layers for CIFAR-10, with models/cifar_resnet.py's names."""
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(3, 16, 3, padding=1, bias=False)),
        ("bn1", nn.BatchNorm2d(16)),
        ("relu", nn.ReLU()),
    ]
    C = 16
    for number, OC in enumerate((16, 32, 64), 1):
        blocks = [Block(C if i == 0 else OC, OC, 2 if i == 0 and OC != C else 1) for i in range(n)]
        layers.append((f"layer{number}", nn.Sequential(*blocks)))
        C = OC
    layers += [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(64, 10))]
    return nn.Sequential(OrderedDict(layers))


@functools.cache
def torchvision() -> ModuleType:
    """torchvision, also where its compiled part fits another build of PyTorch.

    It then stops at operators of object detection that it does not find. No network here needs them, so
    their bare names do.
    """
    if not _operators_load():
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
    import torchvision

    return torchvision


def _operators_load() -> bool:
    """Whether torchvision's compiled part can be loaded; importing torchvision to find out would fail."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        raise ImportError("torchvision is not installed")
    try:
        for library in Path(found.origin).parent.glob("_C*"):
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")
