"""ResNet, the network that let depth help: 152 layers where 20 had been the limit.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016
(arXiv:1512.03385), sections 3 and 4.1, table 1 and figure 3.

What it introduced is the shortcut. A plain network of 34 layers trains to a larger error than one of 18,
although it could copy those 18 and let the other 16 do nothing: to do nothing is hard to learn for layers
that multiply and rectify. So the paper lets a pair of layers compute what is to be *added* to their input,

    y = relu(F(x) + x),

where doing nothing means F = 0. The shortcut has no parameters, and the gradient passes through it unchanged.
Where a stage begins, the image shrinks and the maps double, and x must be brought to F's shape. Section 3.3
gives three options:

    A   the pixels at every second row and column; zeros in the maps that x does not have
    B   a 1×1 convolution with stride 2 where the shape changes, nothing elsewhere (the usual network)
    C   a 1×1 convolution at every block

The stages of table 1. A row is a stage; [K, M] is a K×K convolution with M maps, and × how often its block
is repeated:

    | output  | 18         | 34         | 50                       | 101  | 152  |
    |---------|------------|------------|--------------------------|------|------|
    | 112×112 | [7, 64], stride 2; batch norm; relu                            |
    | 56×56   | 3×3 maximum, stride 2                                          |
    | 56×56   | [3,64][3,64] ×2   | ×3  | [1,64][3,64][1,256] ×3    | ×3   | ×3   |
    | 28×28   | [3,128]… ×2       | ×4  | [1,128][3,128][1,512] ×4  | ×4   | ×8   |
    | 14×14   | [3,256]… ×2       | ×6  | [1,256][3,256][1,1024] ×6 | ×23  | ×36  |
    | 7×7     | [3,512]… ×2       | ×3  | [1,512][3,512][1,2048] ×3 | ×3   | ×3   |
    | 1×1     | mean over the image; dense layer                               |

In the paper a bottleneck that halves the image does so in its first 1×1 convolution, which never looks at
three pixels of four. Since then the 3×3 convolution has taken the stride: the same parameters, 4.09 in place
of 3.86 billion multiply-accumulates in ResNet-50, half a point of accuracy. ``stride_on="1x1"`` gives the
paper's.

Names of parameters, and initial values (He et al. 2015, scaled by the outputs of a layer), are torchvision's.
"""

from collections.abc import Sequence

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_depths, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

STRIDES = (1, 2, 2, 2)  # of the first block of each stage
SHORTCUTS = ("A", "B", "C", "none")


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the shortcut around them (figure 5, left).

    ``downsample`` is the shortcut, or None in a plain network; its name is torchvision's.
    """

    expansion = 1  # maps at the end of the block, in multiples of those inside

    def __init__(
        self, C: int, M: int, stride: int, downsample: nn.Module | None, stride_on: str = "3x3"
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(C, M, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(M)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(M, M, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(M)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = nn.chain(x, self.conv1, self.bn1, self.relu)  # N × M × H/stride × W/stride
        shortcut = [] if self.downsample is None else [nn.Plus(self.downsample(x))]
        return nn.chain(y, self.conv2, self.bn2, *shortcut, self.relu)


class Bottleneck(nn.Module):
    """A 3×3 convolution on a quarter of the maps, between 1×1 convolutions that reduce and restore them."""

    expansion = 4

    def __init__(
        self, C: int, M: int, stride: int, downsample: nn.Module | None, stride_on: str = "3x3"
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(C, M, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(M)
        self.conv2 = nn.Conv2d(M, M, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(M)
        self.conv3 = nn.Conv2d(M, 4 * M, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * M)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = nn.chain(x, self.conv1, self.bn1, self.relu)  # N × M × H × W
        y = nn.chain(y, self.conv2, self.bn2, self.relu)  # N × M × H/stride × W/stride
        shortcut = [] if self.downsample is None else [nn.Plus(self.downsample(x))]
        return nn.chain(y, self.conv3, self.bn3, *shortcut, self.relu)  # N × 4M × H/stride × W/stride


class PaddedShortcut(nn.Module):
    """Option A: every stride-th row and column, and maps of zeros after those of x; no parameters."""

    def __init__(self, C: int, OC: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, OC - C

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.missing))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, maps of zeros: {self.missing}"


Block = type[BasicBlock] | type[Bottleneck]


def shortcut_for(option: str, C: int, OC: int, stride: int) -> nn.Module | None:
    """The shortcut from C maps to OC by option "A", "B" or "C"; None for "none"."""
    if option == "none":
        return None
    if option != "C" and stride == 1 and C == OC:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(C, OC, stride)
    return nn.Sequential(nn.Conv2d(C, OC, 1, stride, bias=False), nn.BatchNorm2d(OC))


def stage(
    block: Block, C: int, M: int, depth: int, stride: int, shortcut: str = "B", stride_on: str = "3x3"
) -> nn.Sequential:
    """``depth`` blocks in a row; the first goes from C maps to M · expansion, and takes the stride."""
    OC = M * block.expansion
    blocks = []
    for _ in range(depth):
        blocks.append(block(C, M, stride, shortcut_for(shortcut, C, OC, stride), stride_on))
        C, stride = OC, 1
    return nn.Sequential(*blocks)


def initialise(network: nn.Module, zero_init_residual: bool = False) -> None:
    """He's normal distribution for convolutions, by fan_out; the dense layer as nn.Linear draws it.

    With ``zero_init_residual`` the last batch norm of each block begins with scale 0, so that the network
    begins as its shortcuts alone (Goyal et al. 2017, "Accurate, large minibatch SGD", section 5.1).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            module.reset_parameters()
        elif zero_init_residual and isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif zero_init_residual and isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)


class ResNet(nn.Module):
    """The columns of table 1; shapes are for images of 224×224, and e is 4 with bottlenecks, otherwise 1."""

    def __init__(
        self,
        name: str,
        block: Block,
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        zero_init_residual: bool = False,
        shortcut: str = "B",
        stride_on: str = "3x3",
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, width=width)
        check_depths(name, depths, len(STRIDES))
        if shortcut not in SHORTCUTS:
            raise ValueError(f"{name}: shortcut must be one of {', '.join(SHORTCUTS)}, but is {shortcut!r}")
        if stride_on not in ("3x3", "1x1"):
            raise ValueError(f"{name}: stride_on must be '3x3' or '1x1', but is {stride_on!r}")
        self.name, self.in_channels = name, in_channels
        with nn.init.skip():  # initialise draws the weights, once
            self.conv1 = nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU()
            self.maxpool = nn.MaxPool2d(3, 2, padding=1)
            C = width
            for i, (depth, stride) in enumerate(zip(depths, STRIDES, strict=True)):
                M = width * 2**i
                self.add_module(f"layer{i + 1}", stage(block, C, M, depth, stride, shortcut, stride_on))
                C = M * block.expansion
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.fc = nn.Linear(C, num_classes)
        initialise(self, zero_init_residual)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        x = nn.chain(x, self.conv1, self.bn1, self.relu)  # N × 64 × 112 × 112
        x = self.maxpool(x)  # N × 64 × 56 × 56
        x = self.layer1(x)  # N × 64e × 56 × 56
        x = self.layer2(x)  # N × 128e × 28 × 28
        x = self.layer3(x)  # N × 256e × 14 × 14
        x = self.layer4(x)  # N × 512e × 7 × 7
        x = self.avgpool(x)  # N × 512e × 1 × 1
        return self.fc(self.flatten(x))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2015, parameters=11_689_512, buffers=9_600, macs=1_814_073_344)
def resnet18(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (2, 2, 2, 2),
    zero_init_residual: bool = False,
    shortcut: str = "B",
) -> ResNet:
    """ResNet of 18 layers, in blocks of two."""
    return ResNet(
        "resnet18", BasicBlock, depths, num_classes, in_channels, width, zero_init_residual, shortcut
    )


@register(input_shape=(3, 224, 224), year=2015, parameters=21_797_672, buffers=17_024, macs=3_663_761_408)
def resnet34(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
    zero_init_residual: bool = False,
    shortcut: str = "B",
) -> ResNet:
    """ResNet of 34 layers, in blocks of two."""
    return ResNet(
        "resnet34", BasicBlock, depths, num_classes, in_channels, width, zero_init_residual, shortcut
    )


@register(input_shape=(3, 224, 224), year=2015, parameters=25_557_032, buffers=53_120, macs=4_089_184_256)
def resnet50(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 6, 3),
    zero_init_residual: bool = False,
    shortcut: str = "B",
    stride_on: str = "3x3",
) -> ResNet:
    """ResNet of 50 layers, in bottlenecks of three."""
    return ResNet(
        "resnet50",
        Bottleneck,
        depths,
        num_classes,
        in_channels,
        width,
        zero_init_residual,
        shortcut,
        stride_on,
    )


@register(input_shape=(3, 224, 224), year=2015, parameters=44_549_160, buffers=105_344, macs=7_801_405_440)
def resnet101(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 4, 23, 3),
    zero_init_residual: bool = False,
    shortcut: str = "B",
    stride_on: str = "3x3",
) -> ResNet:
    """ResNet of 101 layers, in bottlenecks of three."""
    return ResNet(
        "resnet101",
        Bottleneck,
        depths,
        num_classes,
        in_channels,
        width,
        zero_init_residual,
        shortcut,
        stride_on,
    )


@register(input_shape=(3, 224, 224), year=2015, parameters=60_192_808, buffers=151_424, macs=11_513_626_624)
def resnet152(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    depths: Sequence[int] = (3, 8, 36, 3),
    zero_init_residual: bool = False,
    shortcut: str = "B",
    stride_on: str = "3x3",
) -> ResNet:
    """ResNet of 152 layers, in bottlenecks of three."""
    return ResNet(
        "resnet152",
        Bottleneck,
        depths,
        num_classes,
        in_channels,
        width,
        zero_init_residual,
        shortcut,
        stride_on,
    )


@register(input_shape=(3, 224, 224), year=2015, parameters=11_515_688, buffers=7_808, macs=1_794_805_760)
def plain18(
    num_classes: int = 1000, in_channels: int = 3, width: int = 64, depths: Sequence[int] = (2, 2, 2, 2)
) -> ResNet:
    """The 18 layers of resnet18 without shortcuts."""
    return ResNet("plain18", BasicBlock, depths, num_classes, in_channels, width, shortcut="none")


@register(input_shape=(3, 224, 224), year=2015, parameters=21_623_848, buffers=15_232, macs=3_644_493_824)
def plain34(
    num_classes: int = 1000, in_channels: int = 3, width: int = 64, depths: Sequence[int] = (3, 4, 6, 3)
) -> ResNet:
    """The 34 layers of resnet34 without shortcuts."""
    return ResNet("plain34", BasicBlock, depths, num_classes, in_channels, width, shortcut="none")
