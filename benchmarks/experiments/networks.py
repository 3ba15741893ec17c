"""The small networks that are trained, and how their weights begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minicnn import models, nn
from minicnn.models import vgg


class Shape(NamedTuple):
    """What a network is built for: one image's (C, H, W), the classes, and its width in 64ths."""

    image: tuple[int, int, int]
    classes: int
    width: int

    @property
    def channels(self) -> int:
        """C."""
        return self.image[0]


Build = Callable[[Shape], nn.Module]


def convnet(stages: vgg.Stages, batch_norm: bool = False) -> Build:
    """3×3 convolutions and the like in stages as VGG's, then the mean over each map and a dense layer."""

    def build(shape: Shape) -> nn.Module:
        maps = stages[-1][-1][1] * shape.width // 64
        return nn.Sequential(
            begun(vgg.convolutions(stages, shape.channels, shape.width, batch_norm)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(maps, shape.classes),
        )

    return build


def registered(name: str, **options: int) -> Build:
    """A network of :mod:`minicnn.models`; its width, where it has one, is the shape's."""

    def build(shape: Shape) -> nn.Module:
        width = {"width": shape.width} if "width" in models.info(name).options else {}
        return models.create(name, num_classes=shape.classes, in_channels=shape.channels, **width, **options)

    return build


def begun(network: nn.Module, nonlinearity: str = "relu") -> nn.Module:
    """The same network with weights of the size that keeps the signal's, for what follows a layer, biases 0.

    Source: He et al. 2015, section 2.2.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity=nonlinearity)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
