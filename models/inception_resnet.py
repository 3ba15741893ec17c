"""Inception-ResNet, versions 1 and 2: Inception modules that add to their input.

C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet and the impact of residual
connections on learning", AAAI 2017 (arXiv:1602.07261), sections 3.2 and 3.3, figures 10 to 19 and table 1.

A residual block's branches are cheaper than version 4's modules, and none of them pools. A 1×1 convolution
without batch norm or relu brings what they found to as many maps as came in, and

    y = relu(x + scale · conv(branches(x)))

What is new is ``scale``, 0.1 to 0.3 (section 3.3, figure 20). With more than a thousand maps such networks
"died" early in training, all that came before the last mean being 0, and neither a lower learning rate nor
more batch norm helped; adding only a part of each block's result did, and costs no accuracy. Here it is 0.17,
0.10 and 0.20 for the three kinds of block, and 1 for the last block, which has no relu.

Version 1 costs about as much as Inception version 3, version 2 as version 4. The version 2 that was published
with weights is not quite the paper's: its stem is version 3's with one more module, and it has ten, twenty
and ten blocks where figure 15 has five, ten and five.

Tables are read as :mod:`minicnn.models.inception` says. Names of parameters, and initial values, are timm's
for version 2. timm has no version 1: here it goes by the names of the networks for faces that are published
as Inception-ResNet version 1, and has their head, which passes through 512 numbers where figure 15 has none.

    >>> from minicnn import models
    >>> model = models.create("inception_resnet_v2", width=4, depths=(1, 1, 1))
    >>> model.repeat[0].scale, model.repeat[0].conv2d.weight.shape
    (0.17, (40, 16, 1, 1))
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from minicnn import nn
from minicnn.models.checks import check_depths, check_multiple, check_positive, check_size
from minicnn.models.inception import LEAST, WHY, Branches, Mixed, branch, maps_after, reduction_a
from minicnn.models.registry import register
from minicnn.tensor import Tensor


class Residual(NamedTuple):
    """In a table: blocks of these branches, as many as ``depths`` says, or the single last one."""

    scale: float
    branches: Branches
    last: bool = False


def block35(m: int, n: int) -> Branches:
    """Kind A, for maps of 35×35: figures 10 and 16."""
    return {
        "branch0": ((32, 1),),
        "branch1": ((32, 1), (32, 3)),
        "branch2": ((32, 1), (m, 3), (n, 3)),
    }


def block17(k: int, l: int, m: int, n: int) -> Branches:
    """Kind B, for maps of 17×17: figures 11 and 17."""
    return {"branch0": ((k, 1),), "branch1": ((l, 1), (m, (1, 7)), (n, (7, 1)))}


def block8(k: int, l: int, m: int, n: int) -> Branches:
    """Kind C, for maps of 8×8: figures 13 and 19."""
    return {"branch0": ((k, 1),), "branch1": ((l, 1), (m, (1, 3)), (n, (3, 1)))}


def reduction_b(k: int, l: int, m: int) -> Branches:
    """From 17×17 to 8×8: figures 12 and 18."""
    return {
        "branch0": ((256, 1), (384, 3, 2)),
        "branch1": ((256, 1), (k, 3, 2)),
        "branch2": ((256, 1), (l, 3), (m, 3, 2)),
        "branch3": ("max",),
    }


Table = tuple[tuple[str, Any], ...]

# Figure 14, and figure 15 with modules of figures 7 and 10 to 13.
VERSION_1: Table = (
    ("conv2d_1a", (32, 3, 2)),  # 32 × 149 × 149
    ("conv2d_2a", (32, 3, 1)),  # 32 × 147 × 147
    ("conv2d_2b", (64, 3)),  # 64 × 147 × 147
    ("maxpool_3a", "max"),  # 64 × 73 × 73
    ("conv2d_3b", (80, 1)),  # 80 × 73 × 73
    ("conv2d_4a", (192, 3, 1)),  # 192 × 71 × 71
    ("conv2d_4b", (256, 3, 2)),  # 256 × 35 × 35
    ("repeat_1", Residual(0.17, block35(32, 32))),  # 256 × 35 × 35
    ("mixed_6a", reduction_a(192, 192, 256, 384)),  # 896 × 17 × 17
    ("repeat_2", Residual(0.10, block17(128, 128, 128, 128))),  # 896 × 17 × 17
    ("mixed_7a", reduction_b(256, 256, 256)),  # 1792 × 8 × 8
    ("repeat_3", Residual(0.20, block8(192, 192, 192, 192))),  # 1792 × 8 × 8
    ("block8", Residual(1.0, block8(192, 192, 192, 192), last=True)),  # 1792 × 8 × 8
)

VERSION_2: Table = (
    ("conv2d_1a", (32, 3, 2)),  # 32 × 149 × 149
    ("conv2d_2a", (32, 3, 1)),  # 32 × 147 × 147
    ("conv2d_2b", (64, 3)),  # 64 × 147 × 147
    ("maxpool_3a", "max"),  # 64 × 73 × 73
    ("conv2d_3b", (80, 1)),  # 80 × 73 × 73
    ("conv2d_4a", (192, 3, 1)),  # 192 × 71 × 71
    ("maxpool_5a", "max"),  # 192 × 35 × 35
    (
        "mixed_5b",
        {
            "branch0": ((96, 1),),
            "branch1": ((48, 1), (64, 5)),
            "branch2": ((64, 1), (96, 3), (96, 3)),
            "branch3": ("mean", (64, 1)),
        },
    ),  # 320 × 35 × 35
    ("repeat", Residual(0.17, block35(48, 64))),  # 320 × 35 × 35
    ("mixed_6a", reduction_a(256, 256, 384, 384)),  # 1088 × 17 × 17
    ("repeat_1", Residual(0.10, block17(192, 128, 160, 192))),  # 1088 × 17 × 17
    ("mixed_7a", reduction_b(288, 288, 320)),  # 2080 × 8 × 8
    ("repeat_2", Residual(0.20, block8(192, 192, 224, 256))),  # 2080 × 8 × 8
    ("block8", Residual(1.0, block8(192, 192, 224, 256), last=True)),  # 2080 × 8 × 8
    ("conv2d_7b", (1536, 1)),  # 1536 × 8 × 8
)


class ResidualBlock(Mixed):
    """y = relu(x + scale · conv(branches(x))); the last block has no relu."""

    def __init__(self, C: int, row: Residual, width: int) -> None:
        super().__init__(C, row.branches, width)
        self.scale = row.scale
        self.conv2d = nn.Conv2d(self.out_channels, C, 1)
        self.relu = nn.Identity() if row.last else nn.ReLU()
        self.out_channels = C

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.scale * self.conv2d(super().forward(x)))


class InceptionResNet(nn.Module):
    """What a table says, and the mean over the image; the versions add their heads."""

    def __init__(
        self,
        name: str,
        table: Table,
        num_classes: int,
        in_channels: int,
        dropout: float,
        width: int,
        depths: Sequence[int],
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_multiple(name, 2, width=width)
        check_depths(name, depths, 3)
        self.name, self.in_channels = name, in_channels
        self.stages = tuple(stage for stage, _ in table)
        C, repeats = in_channels, iter(depths)
        for stage, row in table:
            if isinstance(row, Residual):
                blocks = [ResidualBlock(C, row, width) for _ in range(1 if row.last else next(repeats))]
                self.add_module(stage, blocks[0] if row.last else nn.Sequential(*blocks))
            elif isinstance(row, dict):
                mixed = Mixed(C, row, width)
                self.add_module(stage, mixed)
                C = mixed.out_channels
            else:
                self.add_module(stage, branch((row,), C, width))
                C = maps_after((row,), C, width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.num_features = C

    def features(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 75×75 or more to (N, 1792) or (N, 1536); else ValueError."""
        check_size(self.name, x, self.in_channels, LEAST, WHY)
        for stage in self.stages:
            x = getattr(self, stage)(x)  # the shapes stand beside the table
        return self.dropout(self.flatten(self.avgpool(x)))


class InceptionResNetV1(InceptionResNet):
    """The head has a dense layer with batch norm, 512 numbers for an image, below that of the classes."""

    def __init__(self, name: str, num_classes: int, *options: Any) -> None:
        super().__init__(name, VERSION_1, num_classes, *options)
        self.last_linear = nn.Linear(self.num_features, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)
        self.logits = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 75×75 or more to logits (N, num_classes); else ValueError."""
        x = self.features(x)  # N × 1792
        x = self.last_bn(self.last_linear(x))  # N × 512
        return self.logits(x)  # N × num_classes


class InceptionResNetV2(InceptionResNet):
    """The head is one dense layer."""

    def __init__(self, name: str, num_classes: int, *options: Any) -> None:
        super().__init__(name, VERSION_2, num_classes, *options)
        self.classif = nn.Linear(self.num_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 75×75 or more to logits (N, num_classes); else ValueError."""
        return self.classif(self.features(x))  # N × num_classes


@register(input_shape=(3, 299, 299), year=2016, parameters=23_995_624, buffers=29_600, macs=6_308_235_360)
def inception_resnet_v1(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.2,
    width: int = 32,
    depths: Sequence[int] = (5, 10, 5),
) -> InceptionResNetV1:
    """Inception-ResNet version 1, 21 residual blocks.

    ``width`` is the first layer's 32 maps, ``depths`` the number of blocks of the kinds A, B and C, not
    counting the last one.
    """
    return InceptionResNetV1("inception_resnet_v1", num_classes, in_channels, dropout, width, depths)


@register(input_shape=(3, 299, 299), year=2016, parameters=55_843_464, buffers=60_544, macs=13_155_794_016)
def inception_resnet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.2,
    width: int = 32,
    depths: Sequence[int] = (10, 20, 9),
) -> InceptionResNetV2:
    """Inception-ResNet version 2, 40 residual blocks.

    ``width`` is the first layer's 32 maps, ``depths`` the number of blocks of the kinds A, B and C, not
    counting the last one.
    """
    return InceptionResNetV2("inception_resnet_v2", num_classes, in_channels, dropout, width, depths)
