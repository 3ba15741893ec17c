"""AlexNet, with which the age of deep networks began.

A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 3 and figure 2.

What it introduced is the recipe as a whole, in a network large enough to need two graphics cards: rectifiers
in place of tanh (section 3.1), normalisation across neighbouring maps (3.3), pooling windows that overlap
(3.4), dropout in the dense layers (4.2), and images augmented at random (4.1).

Four forms of it are here:

- ``alexnet_2012`` is figure 2 with all maps in one tower;
- ``alexnet_2012_groups`` is figure 2 as trained: each card held half of the maps, and the second, fourth and
  fifth convolution saw only those on their own card, which is a convolution in two groups;
- ``alexnet`` is torchvision's, after A. Krizhevsky, "One weird trick for parallelizing convolutional neural
  networks", 2014: one tower, fewer maps, no normalisation;
- ``alexnet_bn`` is the course's, with batch norm after every layer, unpadded 3×3 convolutions and 17 classes.

Figure 2 says 224×224 pixels, but its first convolution, 11×11 with stride 4, gives the 55×55 of the paper
only from 227×227. The convolutions of ``alexnet_2012`` have 6 % of the parameters and do 95 % of the work:

    | layer | output    | parameters | multiply-adds |
    |-------|-----------|------------|---------------|
    | conv1 | 96×55×55  |     34,944 |   105,415,200 |
    | conv2 | 256×27×27 |    614,656 |   447,897,600 |
    | conv3 | 384×13×13 |    885,120 |   149,520,384 |
    | conv4 | 384×13×13 |  1,327,488 |   224,280,576 |
    | conv5 | 256×13×13 |    884,992 |   149,520,384 |
    | fc6   | 4096      | 37,752,832 |    37,748,736 |
    | fc7   | 4096      | 16,781,312 |    16,777,216 |
    | fc8   | 1000      |  4,097,000 |     4,096,000 |
    | total |           | 62,378,344 | 1,135,256,096 |

(1,135,906,176 where each convolution's bias counts as one more multiply-add.)
"""

from typing import Any

from minicnn import nn
from minicnn.models.checks import check_images, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# A row is ("conv", maps, K, stride, padding), ("norm",) for response normalisation or ("pool", K, stride).
# The comment gives the shape of one image after it. A rectifier follows each convolution.
Table = tuple[tuple[Any, ...], ...]

FIGURE_2: Table = (
    ("conv", 96, 11, 4, 0),  # 96 × 55 × 55
    ("norm",),
    ("pool", 3, 2),  # 96 × 27 × 27
    ("conv", 256, 5, 1, 2),  # 256 × 27 × 27
    ("norm",),
    ("pool", 3, 2),  # 256 × 13 × 13
    ("conv", 384, 3, 1, 1),  # 384 × 13 × 13
    ("conv", 384, 3, 1, 1),  # 384 × 13 × 13
    ("conv", 256, 3, 1, 1),  # 256 × 13 × 13
    ("pool", 3, 2),  # 256 × 6 × 6
)

ONE_WEIRD_TRICK: Table = (
    ("conv", 64, 11, 4, 2),  # 64 × 55 × 55
    ("pool", 3, 2),  # 64 × 27 × 27
    ("conv", 192, 5, 1, 2),  # 192 × 27 × 27
    ("pool", 3, 2),  # 192 × 13 × 13
    ("conv", 384, 3, 1, 1),  # 384 × 13 × 13
    ("conv", 256, 3, 1, 1),  # 256 × 13 × 13
    ("conv", 256, 3, 1, 1),  # 256 × 13 × 13
    ("pool", 3, 2),  # 256 × 6 × 6
)

COURSE: Table = (
    ("conv", 96, 11, 4, 0),  # 96 × 54 × 54
    ("pool", 3, 2),  # 96 × 26 × 26
    ("conv", 256, 5, 1, 2),  # 256 × 26 × 26
    ("pool", 3, 2),  # 256 × 12 × 12
    ("conv", 384, 3, 1, 0),  # 384 × 10 × 10
    ("conv", 384, 3, 1, 0),  # 384 × 8 × 8
    ("conv", 256, 3, 1, 0),  # 256 × 6 × 6
    ("pool", 3, 2),  # 256 × 2 × 2
)


def convolutions(
    table: Table, in_channels: int, width: int = 64, two_groups: bool = False, batch_norm: bool = False
) -> nn.Sequential:
    """The rows of a table as layers, one after another, all maps scaled by ``width`` / 64.

    ``two_groups`` splits the convolutions that saw one card's maps only.
    """
    layers: list[nn.Module] = []
    C, number = in_channels, 0
    for kind, *arguments in table:
        if kind == "conv":
            maps, K, stride, padding = arguments
            number += 1
            groups = 2 if two_groups and number in (2, 4, 5) else 1
            M = maps * width // 64
            layers.append(nn.Conv2d(C, M, K, stride, padding, groups=groups))
            if batch_norm:
                layers.append(nn.BatchNorm2d(M))
            layers.append(nn.ReLU())
            C = M
        elif kind == "norm":
            layers.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0))
        else:
            layers.append(nn.MaxPool2d(*arguments))
    return nn.Sequential(*layers)


def initialise_as_the_paper(network: nn.Module) -> None:
    """Section 5: weights normal with σ = 0.01; biases 1 where a rectifier then starts with positive inputs.

    Those are the second, fourth and fifth convolution and the hidden dense layers; all others are 0.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers, start=1):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(layer.bias, 1.0 if number in (2, 4, 5, 6, 7) else 0.0)


class AlexNet2012(nn.Module):
    """Figure 2: five convolutions, two hidden dense layers with dropout, and the output."""

    def __init__(
        self,
        name: str,
        num_classes: int,
        in_channels: int,
        dropout: float,
        width: int,
        hidden: int,
        two_groups: bool,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width, hidden=hidden)
        self.name, self.input_shape = name, (in_channels, 227, 227)
        with nn.init.skip():
            self.features = convolutions(FIGURE_2, in_channels, width, two_groups)
            self.flatten = nn.Flatten()
            self.classifier = nn.Sequential(
                nn.Linear(256 * width // 64 * 6 * 6, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )
        initialise_as_the_paper(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, 227, 227) to logits (N, num_classes); ValueError for any other size."""
        check_images(self.name, x, self.input_shape)
        x = self.features(x)  # N × 256 × 6 × 6
        return self.classifier(self.flatten(x))  # N × num_classes


class AlexNet(nn.Module):
    """torchvision's AlexNet, names and initial values too; means over bins bring other sizes to 6×6."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float, width: int, hidden: int) -> None:
        super().__init__()
        check_positive("alexnet", num_classes=num_classes, in_channels=in_channels)
        check_positive("alexnet", width=width, hidden=hidden)
        self.in_channels = in_channels
        self.features = convolutions(ONE_WEIRD_TRICK, in_channels, width)
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * width // 64 * 6 * 6, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 63×63 or more to logits (N, num_classes); else ValueError."""
        check_size(
            "alexnet", x, self.in_channels, 63, "the first layer divides them by 4, three poolings by 8"
        )
        x = self.features(x)  # N × 256 × 6 × 6
        x = self.avgpool(x)  # N × 256 × 6 × 6
        return self.classifier(self.flatten(x))  # N × num_classes


class AlexNetBN(nn.Module):
    """The course's AlexNet: batch norm between each layer and its rectifier."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float, width: int, hidden: int) -> None:
        super().__init__()
        check_positive("alexnet_bn", num_classes=num_classes, in_channels=in_channels)
        check_positive("alexnet_bn", width=width, hidden=hidden)
        self.input_shape = (in_channels, 224, 224)
        self.features = convolutions(COURSE, in_channels, width, batch_norm=True)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(256 * width // 64 * 2 * 2, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, 224, 224) to logits (N, num_classes); ValueError for any other size."""
        check_images("alexnet_bn", x, self.input_shape)
        x = self.features(x)  # N × 256 × 2 × 2
        return self.classifier(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2014, parameters=61_100_840, macs=714_188_480)
def alexnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 64,
    hidden: int = 4096,
) -> AlexNet:
    """AlexNet of 2014, one tower, torchvision's."""
    return AlexNet(num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 227, 227), year=2012, parameters=62_378_344, macs=1_135_256_096)
def alexnet_2012(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 64,
    hidden: int = 4096,
) -> AlexNet2012:
    """AlexNet of 2012 in one tower, with response normalisation."""
    return AlexNet2012("alexnet_2012", num_classes, in_channels, dropout, width, hidden, two_groups=False)


@register(input_shape=(3, 227, 227), year=2012, parameters=60_965_224, macs=724_406_816)
def alexnet_2012_groups(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 64,
    hidden: int = 4096,
) -> AlexNet2012:
    """AlexNet of 2012 in two groups, as on two cards."""
    return AlexNet2012(
        "alexnet_2012_groups", num_classes, in_channels, dropout, width, hidden, two_groups=True
    )


@register(input_shape=(3, 224, 224), parameters=24_815_697, buffers=19_136, macs=743_251_072)
def alexnet_bn(
    num_classes: int = 17,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 64,
    hidden: int = 4096,
) -> AlexNetBN:
    """AlexNet with batch norm for 17 classes, the course's.

    Layout inferred from the count, from the output sizes (54, 26, 26, 12, 10, 8, 6, 2) and from the 19,136
    statistics; the rate of dropout is this project's choice.
    """
    return AlexNetBN(num_classes, in_channels, dropout, width, hidden)
