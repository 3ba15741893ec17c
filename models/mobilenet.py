"""MobileNets, for telephones: depthwise convolutions, a tenth of the work.

Version 1: A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
applications", 2017 (arXiv:1704.04861), section 3 and table 1. Version 2: M. Sandler et al., "MobileNetV2:
inverted residuals and linear bottlenecks", CVPR 2018 (arXiv:1801.04381), section 3, tables 1 and 2.

Version 1 introduced a network made of depthwise separable convolutions throughout. A 3×3 convolution of C
maps to M does two things at once, to look around and to mix the maps, for 9·C·M multiplications a pixel. A
depthwise 3×3 (9·C) and a 1×1 convolution (C·M) do one each: between eight and nine times fewer.

Version 2 introduced the inverted residual. A 1×1 convolution first expands the maps sixfold, the depthwise
one looks around there, and another 1×1 brings them back to few maps, *without* a rectifier, which would
lose information where there are few maps (section 3.2); the shortcut joins the narrow ends. The rectifier
is cut off at 6, which suits numbers of few bits.

Names of parameters of version 2, and initial values, are torchvision's.
"""

from minicnn import nn
from minicnn.models.checks import check_factor, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Version 1, table 1: maps after the 1×1 convolution, stride of the depthwise one; the shape after both.
SEPARABLE = (
    (64, 1),  # 64 × 112 × 112
    (128, 2),  # 128 × 56 × 56
    (128, 1),
    (256, 2),  # 256 × 28 × 28
    (256, 1),
    (512, 2),  # 512 × 14 × 14
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),  # 1024 × 7 × 7
    (1024, 1),
)

# Version 2, table 2: expansion t, maps c, repeats n, stride s of the first; the shape after the stage.
INVERTED = (
    (1, 16, 1, 1),  # 16 × 112 × 112
    (6, 24, 2, 2),  # 24 × 56 × 56
    (6, 32, 3, 2),  # 32 × 28 × 28
    (6, 64, 4, 2),  # 64 × 14 × 14
    (6, 96, 3, 1),  # 96 × 14 × 14
    (6, 160, 3, 2),  # 160 × 7 × 7
    (6, 320, 1, 1),  # 320 × 7 × 7
)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, activation; the image keeps its size but for the stride."""

    def __init__(
        self,
        C: int,
        M: int,
        K: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__(
            nn.Conv2d(C, M, K, stride, padding=K // 2, groups=groups, bias=False),
            nn.BatchNorm2d(M),
            activation(),
        )


class InvertedResidual(nn.Module):
    """Expand t-fold, look around within each map, reduce; a shortcut where input and output are alike."""

    def __init__(self, C: int, M: int, stride: int, t: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(C, t * C, 1)] if t != 1 else []
        layers += [
            ConvNorm(t * C, t * C, 3, stride, groups=t * C),
            nn.Conv2d(t * C, M, 1, bias=False),
            nn.BatchNorm2d(M),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and C == M

    def forward(self, x: Tensor) -> Tensor:
        return nn.chain(x, self.conv, *([nn.Plus(x)] if self.has_shortcut else []))


def rounded(maps: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, unless that is less than nine tenths: then the next.

    >>> rounded(24 * 0.5), rounded(32 * 0.35)
    (16, 16)
    """
    nearest = max(divisor, int(maps + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * maps else nearest + divisor


def initialise(network: nn.Module) -> None:
    """He's normal distribution by fan_out for convolutions, a small one for the dense layer."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


class MobileNet(nn.Module):
    """``features``, the mean over the image, and the dense layer after dropout."""

    def __init__(
        self,
        name: str,
        features: list[nn.Module],
        num_classes: int,
        in_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes)
        self.name, self.in_channels = name, in_channels
        last = [module for module in features[-1].modules() if isinstance(module, nn.Conv2d)][-1]
        with nn.init.skip():
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last.out_channels, num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        x = self.features(x)  # N × 1280 × 7 × 7 (version 1: 1024)
        x = self.avgpool(x)  # N × 1280 × 1 × 1
        return self.classifier(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2017, parameters=4_231_976, buffers=21_888, macs=568_740_352)
def mobilenet_v1(
    num_classes: int = 1000,
    in_channels: int = 3,
    width_mult: float = 1.0,
    dropout: float = 0.001,
    table: tuple[tuple[int, int], ...] = SEPARABLE,
) -> MobileNet:
    """MobileNet, 13 depthwise separable convolutions.

    ``width_mult`` is the paper's α, the factor on all maps (section 3.3); ``table`` takes another list of
    (maps, stride).
    """
    check_positive("mobilenet_v1", in_channels=in_channels)
    check_factor("mobilenet_v1", width_mult=width_mult)
    with nn.init.skip():
        C = rounded(32 * width_mult)
        features: list[nn.Module] = [ConvNorm(in_channels, C, 3, 2, activation=nn.ReLU)]  # 32 × 112 × 112
        for maps, stride in table:
            M = rounded(maps * width_mult)
            features.append(ConvNorm(C, C, 3, stride, groups=C, activation=nn.ReLU))
            features.append(ConvNorm(C, M, 1, activation=nn.ReLU))
            C = M
    return MobileNet("mobilenet_v1", features, num_classes, in_channels, dropout)


@register(input_shape=(3, 224, 224), year=2018, parameters=3_504_872, buffers=34_112, macs=300_774_272)
def mobilenet_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    width_mult: float = 1.0,
    dropout: float = 0.2,
    table: tuple[tuple[int, int, int, int], ...] = INVERTED,
) -> MobileNet:
    """MobileNet of version 2, 17 inverted residuals.

    ``width_mult`` is the factor on all maps (the last convolution keeps at least its 1280); ``table`` takes
    another list of stages (t, c, n, s).
    """
    check_positive("mobilenet_v2", in_channels=in_channels)
    check_factor("mobilenet_v2", width_mult=width_mult)
    with nn.init.skip():
        C = rounded(32 * width_mult)
        features: list[nn.Module] = [ConvNorm(in_channels, C, 3, 2)]  # 32 × 112 × 112
        for t, c, n, s in table:
            M = rounded(c * width_mult)
            for stride in (s, *[1] * (n - 1)):
                features.append(InvertedResidual(C, M, stride, t))
                C = M
        features.append(ConvNorm(C, rounded(1280 * max(1.0, width_mult)), 1))  # 1280 × 7 × 7
    return MobileNet("mobilenet_v2", features, num_classes, in_channels, dropout)
