"""DenseNet, in which every layer sees all layers before it.

G. Huang, Z. Liu, L. van der Maaten and K. Weinberger, "Densely connected convolutional networks", CVPR 2017
(arXiv:1608.06993), section 3 and table 1.

What it introduced is the concatenation of everything. Where ResNet adds a block's output to its input, a
dense layer puts its few new maps beside all that came before,

    x_l = H_l([x_0, x_1, …, x_{l−1}]),

and its successors read them all. Nothing needs to be computed twice, so 32 new maps a layer (the growth rate
k) are enough, and the gradient has a short way to each layer.

A dense layer (DenseNet-B) is batch norm, relu, 1×1 convolution to 4k maps, batch norm, relu, 3×3 convolution
to k maps. A transition (DenseNet-C) halves the maps by a 1×1 convolution and the image by 2×2 means. Table 1,
with the number of dense layers in each block:

    | output  | 121 | 169 | 201 |                                     |
    |---------|-----|-----|-----|-------------------------------------|
    | 112×112 |     |     |     | 7×7 convolution, 64 maps, stride 2  |
    | 56×56   |     |     |     | 3×3 maximum, stride 2               |
    | 56×56   | 6   | 6   | 6   | dense block 1, then transition      |
    | 28×28   | 12  | 12  | 12  | dense block 2, then transition      |
    | 14×14   | 24  | 32  | 48  | dense block 3, then transition      |
    | 7×7     | 16  | 32  | 32  | dense block 4                       |
    | 1×1     |     |     |     | mean over the image; dense layer    |

Names of parameters, and initial values, are torchvision's. (Its weight files of 2017 write norm.1 and conv.1
inside the dense layers, where its own network says norm1 and conv1.)
"""

from collections.abc import Sequence

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_depths, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor


class DenseLayer(nn.Module):
    """Growth: k new maps from all C maps so far."""

    def __init__(self, C: int, k: int, bottleneck: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(C)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(C, bottleneck * k, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * k)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bottleneck * k, k, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.chain(x, self.norm1, self.relu1, self.conv1)  # N × 4k × H × W
        x = nn.chain(x, self.norm2, self.relu2, self.conv2)  # N × k × H × W
        return self.dropout(x)


class DenseBlock(nn.Module):
    """Dense layers one after another; each one's new maps come after all maps so far."""

    def __init__(self, C: int, depth: int, k: int, bottleneck: int, dropout: float) -> None:
        super().__init__()
        for i in range(depth):
            self.add_module(f"denselayer{i + 1}", DenseLayer(C + i * k, k, bottleneck, dropout))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = F.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Sequential):
    """Half as many maps, of half the size."""

    def __init__(self, C: int) -> None:
        super().__init__(
            {
                "norm": nn.BatchNorm2d(C),
                "relu": nn.ReLU(),
                "conv": nn.Conv2d(C, C // 2, 1, bias=False),
                "pool": nn.AvgPool2d(2),
            }
        )


class DenseNet(nn.Module):
    """A column of table 1; ``width`` is the first convolution's 64 maps, ``growth`` is k."""

    def __init__(
        self,
        name: str,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.0,
        growth: int = 32,
        width: int = 64,
        bottleneck: int = 4,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_positive(name, growth=growth, width=width, bottleneck=bottleneck)
        check_depths(name, depths, 4)
        self.name, self.in_channels = name, in_channels
        with nn.init.skip():  # the weights are drawn below, once
            self.features = nn.Sequential(
                {
                    "conv0": nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False),  # 64 × 112 × 112
                    "norm0": nn.BatchNorm2d(width),
                    "relu0": nn.ReLU(),
                    "pool0": nn.MaxPool2d(3, 2, padding=1),  # 64 × 56 × 56
                }
            )
            C = width
            for i, depth in enumerate(depths):  # 121: 256 × 56 × 56, 512 × 28 × 28, 1024 × 14 × 14
                block = DenseBlock(C, depth, growth, bottleneck, dropout)
                self.features.add_module(f"denseblock{i + 1}", block)
                C += depth * growth
                if i < 3:  # 121: 128 × 28 × 28, 256 × 14 × 14, 512 × 7 × 7
                    self.features.add_module(f"transition{i + 1}", Transition(C))
                    C //= 2
            self.features.add_module("norm5", nn.BatchNorm2d(C))
            self.relu = nn.ReLU()
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.classifier = nn.Linear(C, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        self.classifier.reset_parameters()
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 29×29 or more to logits (N, num_classes); else ValueError."""
        check_size(self.name, x, self.in_channels, 29, "five layers halve them")
        x = nn.chain(x, self.features, self.relu)  # N × 1024 × 7 × 7 (169: 1664, 201: 1920)
        x = self.avgpool(x)  # N × 1024 × 1 × 1
        return self.classifier(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2016, parameters=7_978_856, buffers=83_648, macs=2_834_161_664)
def densenet121(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.0,
    depths: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    width: int = 64,
    bottleneck: int = 4,
) -> DenseNet:
    """DenseNet of 121 layers, each of which sees all before it."""
    return DenseNet("densenet121", depths, num_classes, in_channels, dropout, growth, width, bottleneck)


@register(input_shape=(3, 224, 224), year=2016, parameters=14_149_480, buffers=158_400, macs=3_359_843_328)
def densenet169(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.0,
    depths: Sequence[int] = (6, 12, 32, 32),
    growth: int = 32,
    width: int = 64,
    bottleneck: int = 4,
) -> DenseNet:
    """DenseNet of 169 layers, each of which sees all before it."""
    return DenseNet("densenet169", depths, num_classes, in_channels, dropout, growth, width, bottleneck)


@register(input_shape=(3, 224, 224), year=2016, parameters=20_013_928, buffers=229_056, macs=4_291_365_888)
def densenet201(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.0,
    depths: Sequence[int] = (6, 12, 48, 32),
    growth: int = 32,
    width: int = 64,
    bottleneck: int = 4,
) -> DenseNet:
    """DenseNet of 201 layers, each of which sees all before it."""
    return DenseNet("densenet201", depths, num_classes, in_channels, dropout, growth, width, bottleneck)
