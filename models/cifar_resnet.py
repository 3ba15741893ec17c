"""The residual networks for 32×32 images, with which the paper studied depth, and their plain twins.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016
(arXiv:1512.03385), section 4.2, table 6 and figure 6. What they introduced is told in ``resnet.py``.

A network of 6n + 2 layers: one 3×3 convolution, three stages of n blocks of two, and the dense layer.

    | output | layers            | maps |
    |--------|-------------------|------|
    | 32×32  | 1 + 2n            | 16   |
    | 16×16  | 2n                | 32   |
    | 8×8    | 2n                | 64   |
    | 1×1    | mean, dense layer |      |

All shortcuts are of option A, so a residual network has exactly the parameters of its plain twin, and nothing
but the shortcuts can explain what differs. The paper's test error is 8.75 % with 20 layers, 6.97 % with 56
and 6.43 % with 110; the plain networks grow worse with depth instead.
"""

from minicnn import nn
from minicnn.models.checks import check_positive, check_size
from minicnn.models.registry import register
from minicnn.models.resnet import SHORTCUTS, BasicBlock, initialise, stage
from minicnn.tensor import Tensor

STAGES = (
    (1, 1),  # 16 × 32 × 32: factor on the maps, stride of the first block
    (2, 2),  # 32 × 16 × 16
    (4, 2),  # 64 × 8 × 8
)


class CifarResNet(nn.Module):
    """6n + 2 layers, ``width`` maps in the first stage."""

    def __init__(
        self,
        name: str,
        n: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        shortcut: str = "A",
    ) -> None:
        super().__init__()
        check_positive(name, n=n, num_classes=num_classes, in_channels=in_channels, width=width)
        if shortcut not in SHORTCUTS:
            raise ValueError(f"{name}: shortcut must be one of {', '.join(SHORTCUTS)}, but is {shortcut!r}")
        self.name, self.in_channels = name, in_channels
        with nn.init.skip():  # initialise draws the weights, once
            self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU()
            C = width
            for i, (factor, stride) in enumerate(STAGES):
                self.add_module(f"layer{i + 1}", stage(BasicBlock, C, factor * width, n, stride, shortcut))
                C = factor * width
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.fc = nn.Linear(C, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        x = nn.chain(x, self.conv1, self.bn1, self.relu)  # N × 16 × 32 × 32
        x = self.layer1(x)  # N × 16 × 32 × 32
        x = self.layer2(x)  # N × 32 × 16 × 16
        x = self.layer3(x)  # N × 64 × 8 × 8
        x = self.avgpool(x)  # N × 64 × 1 × 1
        return self.fc(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 32, 32), year=2015, parameters=269_722, buffers=1_376, macs=40_551_040)
def cifar_resnet20(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 3
) -> CifarResNet:
    """ResNet of 20 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet20", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=464_154, buffers=2_272, macs=68_862_592)
def cifar_resnet32(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 5
) -> CifarResNet:
    """ResNet of 32 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet32", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=658_586, buffers=3_168, macs=97_174_144)
def cifar_resnet44(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 7
) -> CifarResNet:
    """ResNet of 44 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet44", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=853_018, buffers=4_064, macs=125_485_696)
def cifar_resnet56(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 9
) -> CifarResNet:
    """ResNet of 56 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet56", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=1_727_962, buffers=8_096, macs=252_887_680)
def cifar_resnet110(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 18
) -> CifarResNet:
    """ResNet of 110 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet110", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=19_421_274, buffers=89_632, macs=2_829_238_912)
def cifar_resnet1202(
    num_classes: int = 10, in_channels: int = 3, width: int = 16, shortcut: str = "A", n: int = 200
) -> CifarResNet:
    """ResNet of 1202 layers for CIFAR-10."""
    return CifarResNet("cifar_resnet1202", n, num_classes, in_channels, width, shortcut)


@register(input_shape=(3, 32, 32), year=2015, parameters=269_722, buffers=1_376, macs=40_551_040)
def cifar_plain20(num_classes: int = 10, in_channels: int = 3, width: int = 16, n: int = 3) -> CifarResNet:
    """The 20 layers of cifar_resnet20 without shortcuts."""
    return CifarResNet("cifar_plain20", n, num_classes, in_channels, width, shortcut="none")


@register(input_shape=(3, 32, 32), year=2015, parameters=464_154, buffers=2_272, macs=68_862_592)
def cifar_plain32(num_classes: int = 10, in_channels: int = 3, width: int = 16, n: int = 5) -> CifarResNet:
    """The 32 layers of cifar_resnet32 without shortcuts."""
    return CifarResNet("cifar_plain32", n, num_classes, in_channels, width, shortcut="none")


@register(input_shape=(3, 32, 32), year=2015, parameters=658_586, buffers=3_168, macs=97_174_144)
def cifar_plain44(num_classes: int = 10, in_channels: int = 3, width: int = 16, n: int = 7) -> CifarResNet:
    """The 44 layers of cifar_resnet44 without shortcuts."""
    return CifarResNet("cifar_plain44", n, num_classes, in_channels, width, shortcut="none")


@register(input_shape=(3, 32, 32), year=2015, parameters=853_018, buffers=4_064, macs=125_485_696)
def cifar_plain56(num_classes: int = 10, in_channels: int = 3, width: int = 16, n: int = 9) -> CifarResNet:
    """The 56 layers of cifar_resnet56 without shortcuts."""
    return CifarResNet("cifar_plain56", n, num_classes, in_channels, width, shortcut="none")


@register(input_shape=(3, 32, 32), year=2015, parameters=1_727_962, buffers=8_096, macs=252_887_680)
def cifar_plain110(num_classes: int = 10, in_channels: int = 3, width: int = 16, n: int = 18) -> CifarResNet:
    """The 110 layers of cifar_resnet110 without shortcuts."""
    return CifarResNet("cifar_plain110", n, num_classes, in_channels, width, shortcut="none")
