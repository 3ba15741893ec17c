"""Xception, "extreme Inception": depthwise separable convolutions, and shortcuts.

F. Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017 (arXiv:1610.02357),
sections 1 and 3, figures 1 to 5.

An Inception module looks for patterns across the maps by 1×1 convolutions, and for patterns in the image by
3×3 ones on three or four groups of the maps. The more groups there are, the more the two tasks are kept
apart, and at the extreme each map is a group of its own: a depthwise convolution. Xception takes that for its
hypothesis, that what happens across maps and what happens in the image can be told apart entirely. Every
convolution but the first two is a depthwise 3×3 and then a 1×1 without a rectifier between them, which would
do harm (section 4.7), and blocks have shortcuts as in ResNet. With as many parameters as Inception version 3
it is more accurate.

Figure 5: the entry flow halves the image in three blocks, the middle flow repeats one block eight times, the
exit flow halves the image once more and widens.

Names of parameters, and initial values, are timm's (``legacy_xception``), and so is batch norm's ε of 1e-5.
Weights of Keras were trained with 1e-3.

    >>> from minicnn import models
    >>> models.create("xception", width=4, depth=1).block1.rep[0].conv1.weight.shape
    (8, 1, 3, 3)
"""

from itertools import pairwise

from minicnn import nn
from minicnn.models.checks import check_multiple, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Figure 5: maps, separable convolutions, stride of a block; the shape after it.
ENTRY = (
    (128, 2, 2),  # 128 × 74 × 74
    (256, 2, 2),  # 256 × 37 × 37
    (728, 2, 2),  # 728 × 19 × 19
)
MIDDLE = (728, 3, 1)  # 728 × 19 × 19
EXIT = (1024, 2, 2)  # 1024 × 10 × 10


class Block(nn.Module):
    """Separable convolutions, relu before each and batch norm after it; a shortcut around all of them.

    ``widen`` says which of them goes from C maps to M: the first, or in the exit flow the last. A stride is
    that of the pooling at the end, 3×3 maxima, and of the 1×1 convolution in the shortcut.
    """

    def __init__(
        self, C: int, M: int, convolutions: int, stride: int, widen: str = "first", relu_first: bool = True
    ) -> None:
        super().__init__()
        self.has_projection = stride != 1 or C != M
        if self.has_projection:
            self.skip = nn.Conv2d(C, M, 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(M)
        between = M if widen == "first" else C
        maps = [C, *[between] * (convolutions - 1), M]
        layers: list[nn.Module] = []
        for before, after in pairwise(maps):
            layers += [nn.ReLU(), nn.SeparableConv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
        if stride != 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*layers[0 if relu_first else 1 :])

    def forward(self, x: Tensor) -> Tensor:
        shortcut = nn.chain(x, self.skip, self.skipbn) if self.has_projection else x
        return nn.chain(x, self.rep, nn.Plus(shortcut))


class Xception(nn.Module):
    """Figure 5; ``width`` is the first layer's 32 maps, ``depth`` the length of the middle flow."""

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: int = 32,
        depth: int = 8,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, depth=depth)
        check_multiple(name, 4, width=width)
        self.name, self.in_channels = name, in_channels

        def scaled(maps: int) -> int:
            return maps * width // 32

        with nn.init.skip():  # the weights are drawn below, once
            self.conv1 = nn.Conv2d(in_channels, width, 3, 2, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, 2 * width, 3, bias=False)
            self.bn2 = nn.BatchNorm2d(2 * width)
            self.relu = nn.ReLU()
            C = 2 * width
            rows = (*ENTRY, *[MIDDLE] * depth, EXIT)
            for number, (maps, convolutions, stride) in enumerate(rows, 1):
                M, widen = scaled(maps), "last" if number == len(rows) else "first"
                block = Block(C, M, convolutions, stride, widen, relu_first=number > 1)
                self.add_module(f"block{number}", block)
                C = M
            self.blocks = len(rows)
            self.conv3 = nn.SeparableConv2d(C, scaled(1536), 3, padding=1)
            self.bn3 = nn.BatchNorm2d(scaled(1536))
            self.conv4 = nn.SeparableConv2d(scaled(1536), scaled(2048), 3, padding=1)
            self.bn4 = nn.BatchNorm2d(scaled(2048))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(scaled(2048), num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        self.fc.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 7×7 or more to logits (N, num_classes); else ValueError."""
        why = "the first two layers' windows of 3×3, one with stride 2, have no padding"
        check_size(self.name, x, self.in_channels, 7, why)
        x = nn.chain(x, self.conv1, self.bn1, self.relu)  # N × 32 × 149 × 149
        x = nn.chain(x, self.conv2, self.bn2, self.relu)  # N × 64 × 147 × 147
        for number in range(1, self.blocks + 1):
            x = getattr(self, f"block{number}")(x)  # N × 1024 × 10 × 10 in the end
        x = nn.chain(x, self.conv3, self.bn3, self.relu)  # N × 1536 × 10 × 10
        x = nn.chain(x, self.conv4, self.bn4, self.relu)  # N × 2048 × 10 × 10
        x = self.avgpool(x)  # N × 2048 × 1 × 1
        return self.fc(self.dropout(self.flatten(x)))  # N × num_classes


@register(input_shape=(3, 299, 299), year=2016, parameters=22_855_952, buffers=54_528, macs=8_357_403_496)
def xception(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 32,
    depth: int = 8,
) -> Xception:
    """Xception, 36 convolutions of which 34 are depthwise separable.

    ``width`` is the first layer's 32 maps, ``depth`` the number of blocks in the middle flow.
    """
    return Xception("xception", num_classes, in_channels, dropout, width, depth)
