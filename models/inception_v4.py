"""Inception version 4: the modules of version 3 in even rows, without shortcuts.

C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet and the impact of residual
connections on learning", AAAI 2017 (arXiv:1602.07261), section 3.1 and figures 3 to 9.

Earlier versions had been cut into parts to train on several machines, and each module was sized by what
fitted. Version 4 drops that: the modules for maps of one size are all alike, four of kind A on 35×35 pixels,
seven of kind B on 17×17, three of kind C on 8×8, and the stem too is made of branches. It is as good as
Inception-ResNet version 2, which has shortcuts and costs about as much; what shortcuts gain is time, as the
network with them trains faster.

Tables are read as :mod:`minicnn.models.inception` says; all is built from them but the modules of kind C,
where two branches end in a fork. Names of parameters, and initial values, are timm's.

    >>> from minicnn import models
    >>> models.create("inception_v4", width=4, depths=(1, 1, 1)).features[6].branch2[1].conv.weight.shape
    (12, 8, 3, 3)
"""

from collections.abc import Sequence

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_depths, check_positive, check_size
from minicnn.models.inception import LEAST, WHY, ConvUnit, Mixed, branch, reduction_a, scaled
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Figure 3: the stem's first three layers and its three modules.
STEM = (
    (32, 3, 2),  # 32 × 149 × 149
    (32, 3, 1),  # 32 × 147 × 147
    (64, 3),  # 64 × 147 × 147
)
MIXED_3A = {"maxpool": ("max",), "conv": ((96, 3, 2),)}  # 160 × 73 × 73
MIXED_4A = {  # 192 × 71 × 71
    "branch0": ((64, 1), (96, 3, 1)),
    "branch1": ((64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1)),
}
MIXED_5A = {"conv": ((192, 3, 2),), "maxpool": ("max",)}  # 384 × 35 × 35

INCEPTION_A = {  # figure 4: 384 × 35 × 35
    "branch0": ((96, 1),),
    "branch1": ((64, 1), (96, 3)),
    "branch2": ((64, 1), (96, 3), (96, 3)),
    "branch3": ("mean", (96, 1)),
}
REDUCTION_A = reduction_a(192, 224, 256, 384)  # figure 7: 1024 × 17 × 17
INCEPTION_B = {  # figure 5: 1024 × 17 × 17
    "branch0": ((384, 1),),
    "branch1": ((192, 1), (224, (1, 7)), (256, (7, 1))),
    "branch2": ((192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
    "branch3": ("mean", (128, 1)),
}
REDUCTION_B = {  # figure 8: 1536 × 8 × 8
    "branch0": ((192, 1), (192, 3, 2)),
    "branch1": ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)),
    "branch2": ("max",),
}


class InceptionC(nn.Module):
    """Figure 6, 1536 × 8 × 8: two of the branches end in a fork, windows of 1×3 beside 3×1."""

    def __init__(self, C: int, width: int) -> None:
        super().__init__()
        M = scaled(256, width)
        maps384, maps448, maps512 = (scaled(maps, width) for maps in (384, 448, 512))
        self.branch0 = ConvUnit(C, M, 1)
        self.branch1_0 = ConvUnit(C, maps384, 1)
        self.branch1_1a = ConvUnit(maps384, M, (1, 3))
        self.branch1_1b = ConvUnit(maps384, M, (3, 1))
        self.branch2_0 = ConvUnit(C, maps384, 1)
        self.branch2_1 = ConvUnit(maps384, maps448, (3, 1))
        self.branch2_2 = ConvUnit(maps448, maps512, (1, 3))
        self.branch2_3a = ConvUnit(maps512, M, (1, 3))
        self.branch2_3b = ConvUnit(maps512, M, (3, 1))
        self.branch3 = branch(("mean", (256, 1)), C, width)
        self.out_channels = 6 * M

    def forward(self, x: Tensor) -> Tensor:
        x0 = self.branch0(x)
        x1 = self.branch1_0(x)
        x2 = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        x3 = self.branch3(x)
        return F.cat(
            [x0, self.branch1_1a(x1), self.branch1_1b(x1), self.branch2_3a(x2), self.branch2_3b(x2), x3],
            dim=1,
        )


class InceptionV4(nn.Module):
    """Figure 9: ``features`` of the tables above, the mean over the image, dropout and a dense layer."""

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
        width: int = 32,
        depths: Sequence[int] = (4, 7, 3),
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width)
        check_depths(name, depths, 3)
        self.name, self.in_channels = name, in_channels
        a, b, c = depths
        modules = [MIXED_3A, MIXED_4A, MIXED_5A]
        modules += [*[INCEPTION_A] * a, REDUCTION_A, *[INCEPTION_B] * b, REDUCTION_B]
        self.features = nn.Sequential(*branch(STEM, in_channels, width).children())
        C = scaled(64, width)
        for table in modules:
            module = Mixed(C, table, width)
            self.features.append(module)
            C = module.out_channels
        for _ in range(c):
            self.features.append(InceptionC(C, width))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(C, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 75×75 or more to logits (N, num_classes); else ValueError."""
        check_size(self.name, x, self.in_channels, LEAST, WHY)
        x = self.features(x)  # N × 1536 × 8 × 8
        x = self.avgpool(x)  # N × 1536 × 1 × 1
        return self.last_linear(self.dropout(self.flatten(x)))  # N × num_classes


@register(input_shape=(3, 299, 299), year=2016, parameters=42_679_816, buffers=63_168, macs=12_253_974_624)
def inception_v4(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.2,
    width: int = 32,
    depths: Sequence[int] = (4, 7, 3),
) -> InceptionV4:
    """Inception version 4, 14 modules of three kinds.

    ``width`` is the first layer's 32 maps, ``depths`` the number of modules of the kinds A, B and C.
    """
    return InceptionV4("inception_v4", num_classes, in_channels, dropout, width, depths)
