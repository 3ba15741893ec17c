"""ResNet of version 2: batch norm and rectifier before each convolution, and a shortcut that nothing touches.

K. He, X. Zhang, S. Ren and J. Sun, "Identity mappings in deep residual networks", ECCV 2016
(arXiv:1603.05027), sections 2 to 4, figures 1 and 4.

What it introduced is the clean shortcut. In the first ResNet a rectifier follows each addition, so that what
one block adds reaches the next one clipped. Here nothing follows it,

    x_{l+1} = x_l + F(x_l),    and therefore    x_L = x_l + F(x_l) + F(x_{l+1}) + … + F(x_{L−1}):

each block adds to what all others see, and the gradient of the loss reaches any layer as it is, plus what
comes through the branches. (Were the shortcut multiplied by λ at each block, it would come as λ^(L−l).) The
activations had to go somewhere, and went into the branch, before each convolution instead of after it:

    batch norm, relu, 1×1;    batch norm, relu, 3×3;    batch norm, relu, 1×1;    + x

Where a stage begins, the shortcut is a 1×1 convolution of what the block's first activation gives. After the
last block comes the activation that its addition has lost. Maps and depths are those of the first ResNet (its
table 1), with bottlenecks throughout: a quarter of the maps inside.

Where the image is halved the 3×3 convolution does it, as in the first ResNet here; in the authors' programme,
and with ``stride_on="1x1"``, the 1×1 convolution before it.
Between the first convolution and the pooling there is a batch norm and a rectifier, which the first block's
own then follow; with ``stem_norm=False`` there is neither, and the network is timm's: 128 parameters less.
Names of parameters are timm's (whose files hold no ``stem.norm``), and so are the initial values. Its
classifier is a 1×1 convolution over the one pixel that the mean has left.
"""

from collections.abc import Sequence

from minicnn import nn
from minicnn.models.checks import check_depths, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

STRIDES = (1, 2, 2, 2)  # of the first block of each stage
EXPANSION = 4  # maps at the end of a block, in multiples of those inside


class Shortcut(nn.Module):
    """The 1×1 convolution of a shortcut between different shapes."""

    def __init__(self, C: int, OC: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, OC, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PreActBottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution with M, M and 4M maps, each after its batch norm and rectifier.

    ``downsample`` is a stage's first shortcut, otherwise None; its name is timm's.
    """

    def __init__(self, C: int, M: int, stride: int, projected: bool, stride_on: str) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.downsample = Shortcut(C, EXPANSION * M, stride) if projected else None
        self.norm1 = nn.BatchNorm2d(C)
        self.conv1 = nn.Conv2d(C, M, 1, first, bias=False)
        self.norm2 = nn.BatchNorm2d(M)
        self.conv2 = nn.Conv2d(M, M, 3, second, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(M)
        self.conv3 = nn.Conv2d(M, EXPANSION * M, 1, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.chain(x, self.norm1, self.relu)  # N × C × H × W
        shortcut = x if self.downsample is None else self.downsample(y)
        y = nn.chain(y, self.conv1, self.norm2, self.relu)  # N × M × H × W
        y = nn.chain(y, self.conv2, self.norm3, self.relu)  # N × M × H/stride × W/stride
        return nn.chain(y, self.conv3, nn.Plus(shortcut))  # N × 4M × H/stride × W/stride


class Stage(nn.Module):
    """``depth`` blocks in a row, of which the first goes from C maps to 4M and takes the stride."""

    def __init__(self, C: int, M: int, depth: int, stride: int, stride_on: str) -> None:
        super().__init__()
        first = PreActBottleneck(C, M, stride, True, stride_on)
        others = [PreActBottleneck(EXPANSION * M, M, 1, False, stride_on) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def initialise(network: nn.Module) -> None:
    """He's normal distribution for convolutions, by fan_out; a small one for the classifier."""
    for name, module in network.named_modules():
        if name == "head.fc":
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetV2(nn.Module):
    """Bottlenecks with activations before convolutions; shapes are for images of 224×224."""

    def __init__(
        self,
        name: str,
        depths: Sequence[int],
        num_classes: int,
        in_channels: int,
        width: int,
        stride_on: str,
        stem_norm: bool,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width)
        check_depths(name, depths, len(STRIDES))
        if stride_on not in ("3x3", "1x1"):
            raise ValueError(f"{name}: stride_on must be '3x3' or '1x1', but is {stride_on!r}")
        self.name, self.in_channels = name, in_channels
        with nn.init.skip():  # initialise draws the weights, once
            stem: dict[str, nn.Module] = {"conv": nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False)}
            if stem_norm:
                stem |= {"norm": nn.BatchNorm2d(width), "relu": nn.ReLU()}
            self.stem = nn.Sequential(stem | {"pool": nn.MaxPool2d(3, 2, padding=1)})
            C, stages = width, []
            for i, (depth, stride) in enumerate(zip(depths, STRIDES, strict=True)):
                stages.append(Stage(C, width * 2**i, depth, stride, stride_on))
                C = EXPANSION * width * 2**i
            self.stages = nn.Sequential(*stages)
            self.norm, self.relu = nn.BatchNorm2d(C), nn.ReLU()
            self.head = nn.Sequential(
                {
                    "global_pool": nn.AdaptiveAvgPool2d(1),
                    "fc": nn.Conv2d(C, num_classes, 1),
                    "flatten": nn.Flatten(),
                }
            )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        x = self.stem(x)  # N × 64 × 56 × 56
        x = self.stages(x)  # N × 256 × 56 × 56, 512 × 28 × 28, 1024 × 14 × 14, 2048 × 7 × 7
        x = nn.chain(x, self.norm, self.relu)
        return self.head(x)  # N × num_classes


@register(input_shape=(3, 224, 224), year=2016, parameters=25_549_480, buffers=45_568, macs=4_089_184_256)
def resnetv2_50(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
    stride_on: str = "3x3",
    stem_norm: bool = True,
) -> ResNetV2:
    """ResNet-v2 of 50 layers, activations before convolutions."""
    return ResNetV2("resnetv2_50", depths, num_classes, in_channels, width, stride_on, stem_norm)


@register(input_shape=(3, 224, 224), year=2016, parameters=44_541_608, buffers=97_792, macs=7_801_405_440)
def resnetv2_101(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 23, 3),
    stride_on: str = "3x3",
    stem_norm: bool = True,
) -> ResNetV2:
    """ResNet-v2 of 101 layers, activations before convolutions."""
    return ResNetV2("resnetv2_101", depths, num_classes, in_channels, width, stride_on, stem_norm)


@register(input_shape=(3, 224, 224), year=2016, parameters=60_185_256, buffers=143_872, macs=11_513_626_624)
def resnetv2_152(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 8, 36, 3),
    stride_on: str = "3x3",
    stem_norm: bool = True,
) -> ResNetV2:
    """ResNet-v2 of 152 layers, activations before convolutions."""
    return ResNetV2("resnetv2_152", depths, num_classes, in_channels, width, stride_on, stem_norm)
