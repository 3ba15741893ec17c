"""VGG, the networks of nothing but 3×3 convolutions.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015
(arXiv:1409.1556), section 2 and table 1.

What they introduced is depth by repetition. Two 3×3 convolutions in a row see 5×5 pixels, three see 7×7, with
fewer weights (27 M² for three layers of M maps, where one of 7×7 takes 49 M²) and with a rectifier after each
(section 2.3). So the paper fixes everything but the depth, and finds that depth alone helps, up to 19
layers with weights.

Column D, VGG-16, layer by layer. A pooling layer has no parameters, and all thirteen convolutions have 14.7
million together; 103 million lie between the last maps and the first dense layer:

    | layer            | output      |  parameters | multiply-adds  |
    |------------------|-------------|-------------|----------------|
    | conv1_1          | 64×224×224  |       1,792 |     86,704,128 |
    | conv1_2          | 64×224×224  |      36,928 |  1,849,688,064 |
    | conv2_1          | 128×112×112 |      73,856 |    924,844,032 |
    | conv2_2          | 128×112×112 |     147,584 |  1,849,688,064 |
    | conv3_1          | 256×56×56   |     295,168 |    924,844,032 |
    | conv3_2, conv3_3 | 256×56×56   |     590,080 |  1,849,688,064 |
    | conv4_1          | 512×28×28   |   1,180,160 |    924,844,032 |
    | conv4_2, conv4_3 | 512×28×28   |   2,359,808 |  1,849,688,064 |
    | conv5_1 to 5_3   | 512×14×14   |   2,359,808 |    462,422,016 |
    | fc6              | 4096        | 102,764,544 |    102,760,448 |
    | fc7              | 4096        |  16,781,312 |     16,777,216 |
    | fc8              | 1000        |   4,097,000 |      4,096,000 |
    | total            |             | 138,357,544 | 15,470,264,320 |

Names of parameters, and initial values, are torchvision's, whose weight files therefore load as they are. The
paper instead trained A from small random numbers, and began the deeper ones with A's layers.
"""

from collections.abc import Sequence

from minicnn import nn
from minicnn.models.checks import check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# The columns of table 1. A row is a stage, (K, M) a K×K convolution with M maps; 2×2 pooling ends each stage.
# The comment gives the shape of one image before that pooling.
Stages = tuple[tuple[tuple[int, int], ...], ...]

A: Stages = (
    ((3, 64),),  # 64 × 224 × 224
    ((3, 128),),  # 128 × 112 × 112
    ((3, 256), (3, 256)),  # 256 × 56 × 56
    ((3, 512), (3, 512)),  # 512 × 28 × 28
    ((3, 512), (3, 512)),  # 512 × 14 × 14
)

B: Stages = (
    ((3, 64), (3, 64)),  # 64 × 224 × 224
    ((3, 128), (3, 128)),  # 128 × 112 × 112
    ((3, 256), (3, 256)),  # 256 × 56 × 56
    ((3, 512), (3, 512)),  # 512 × 28 × 28
    ((3, 512), (3, 512)),  # 512 × 14 × 14
)

C: Stages = (
    ((3, 64), (3, 64)),  # 64 × 224 × 224
    ((3, 128), (3, 128)),  # 128 × 112 × 112
    ((3, 256), (3, 256), (1, 256)),  # 256 × 56 × 56
    ((3, 512), (3, 512), (1, 512)),  # 512 × 28 × 28
    ((3, 512), (3, 512), (1, 512)),  # 512 × 14 × 14
)

D: Stages = (
    ((3, 64), (3, 64)),  # 64 × 224 × 224
    ((3, 128), (3, 128)),  # 128 × 112 × 112
    ((3, 256), (3, 256), (3, 256)),  # 256 × 56 × 56
    ((3, 512), (3, 512), (3, 512)),  # 512 × 28 × 28
    ((3, 512), (3, 512), (3, 512)),  # 512 × 14 × 14
)

E: Stages = (
    ((3, 64), (3, 64)),  # 64 × 224 × 224
    ((3, 128), (3, 128)),  # 128 × 112 × 112
    ((3, 256), (3, 256), (3, 256), (3, 256)),  # 256 × 56 × 56
    ((3, 512), (3, 512), (3, 512), (3, 512)),  # 512 × 28 × 28
    ((3, 512), (3, 512), (3, 512), (3, 512)),  # 512 × 14 × 14
)


def convolutions(
    stages: Sequence[Sequence[tuple[int, int]]],
    in_channels: int = 3,
    width: int = 64,
    batch_norm: bool = False,
    lrn: bool = False,
) -> nn.Sequential:
    """The stages of a table as layers, one after another, all maps scaled by ``width`` / 64.

    ``lrn`` puts AlexNet's normalisation after the first rectifier, as in column A-LRN.
    """
    layers: list[nn.Module] = []
    channels = in_channels
    for stage in stages:
        for K, M in stage:
            M = M * width // 64
            layers.append(nn.Conv2d(channels, M, K, padding=K // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(M))
            layers.append(nn.ReLU())
            channels = M
            if lrn and len(layers) == 2:
                layers.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0))
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """A column of table 1: the convolutions, then three dense layers.

    At another size than 224×224 the last maps are brought to 7×7 by means over bins, so that the dense layers
    fit (torchvision's extension; at 224×224 it changes nothing). ``width`` and ``hidden`` are the paper's
    64 maps in the first stage and 4096 units in the dense layers.
    """

    def __init__(
        self,
        name: str,
        stages: Stages,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: int = 64,
        hidden: int = 4096,
        batch_norm: bool = False,
        lrn: bool = False,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width, hidden=hidden)
        self.name, self.in_channels = name, in_channels
        M = stages[-1][-1][1] * width // 64
        with nn.init.skip():  # the weights are drawn below, once
            self.features = convolutions(stages, in_channels, width, batch_norm, lrn)
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.flatten = nn.Flatten()
            self.classifier = nn.Sequential(
                nn.Linear(M * 7 * 7, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden, num_classes),
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 32×32 or more to logits (N, num_classes); else ValueError."""
        check_size(self.name, x, self.in_channels, 32, "five poolings halve them")
        x = self.features(x)  # N × 512 × 7 × 7
        x = self.avgpool(x)  # N × 512 × 7 × 7
        return self.classifier(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2014, parameters=132_863_336, macs=7_609_090_048)
def vgg11(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 11 layers, column A of the paper."""
    return VGG("vgg11", A, num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 224, 224), year=2014, parameters=133_047_848, macs=11_308_466_176)
def vgg13(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 13 layers, column B of the paper."""
    return VGG("vgg13", B, num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 224, 224), year=2014, parameters=138_357_544, macs=15_470_264_320)
def vgg16(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 16 layers, column D of the paper."""
    return VGG("vgg16", D, num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 224, 224), year=2014, parameters=143_667_240, macs=19_632_062_464)
def vgg19(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 19 layers, column E of the paper."""
    return VGG("vgg19", E, num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 224, 224), year=2014, parameters=133_638_952, macs=11_770_888_192)
def vgg16_c(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 16 layers, column C of the paper with 1×1 convolutions."""
    return VGG("vgg16_c", C, num_classes, in_channels, dropout, width, hidden)


@register(input_shape=(3, 224, 224), year=2014, parameters=132_868_840, buffers=5_504, macs=7_609_090_048)
def vgg11_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 11 layers, column A, with batch norm."""
    return VGG("vgg11_bn", A, num_classes, in_channels, dropout, width, hidden, batch_norm=True)


@register(input_shape=(3, 224, 224), year=2014, parameters=133_053_736, buffers=5_888, macs=11_308_466_176)
def vgg13_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 13 layers, column B, with batch norm."""
    return VGG("vgg13_bn", B, num_classes, in_channels, dropout, width, hidden, batch_norm=True)


@register(input_shape=(3, 224, 224), year=2014, parameters=138_365_992, buffers=8_448, macs=15_470_264_320)
def vgg16_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 16 layers, column D, with batch norm."""
    return VGG("vgg16_bn", D, num_classes, in_channels, dropout, width, hidden, batch_norm=True)


@register(input_shape=(3, 224, 224), year=2014, parameters=143_678_248, buffers=11_008, macs=19_632_062_464)
def vgg19_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 19 layers, column E, with batch norm."""
    return VGG("vgg19_bn", E, num_classes, in_channels, dropout, width, hidden, batch_norm=True)


@register(input_shape=(3, 224, 224), year=2014, parameters=133_647_400, buffers=8_448, macs=11_770_888_192)
def vgg16_c_bn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 16 layers, column C, with batch norm."""
    return VGG("vgg16_c_bn", C, num_classes, in_channels, dropout, width, hidden, batch_norm=True)


@register(input_shape=(3, 224, 224), year=2014, parameters=132_863_336, macs=7_609_090_048)
def vgg11_lrn(
    num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, width: int = 64, hidden: int = 4096
) -> VGG:
    """VGG of 11 layers, column A-LRN, with local response normalisation."""
    return VGG("vgg11_lrn", A, num_classes, in_channels, dropout, width, hidden, lrn=True)
