"""EfficientNet, one network found by search, and a rule by which it grows.

M. Tan and Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019
(arXiv:1905.11946), sections 3 and 4, table 1. Its block is the inverted residual of MobileNet-v2 with what J.
Hu, L. Shen and G. Sun, "Squeeze-and-excitation networks", CVPR 2018 (arXiv:1709.01507), put into it.

What it introduced is compound scaling. A network can be made better by more layers, by more maps, or by
larger images, and each alone soon helps no more: larger images need more layers, for windows that see as much
of them, and more maps, for the finer patterns in them. So all three grow together, by one number φ,

    depth d = 1.2^φ,    width w = 1.1^φ,    resolution r = 1.15^φ,

whose bases were found by trying a few on a small network. The work grows like d · w² · r², and as
1.2 · 1.1² · 1.15² is about 2, each step of φ costs twice as much. B1 to B7 are B0 scaled in this way, rounded
by hand (``SCALES``): B2, for instance, is φ = 1, with 224 · 1.15 ≈ 260 pixels.

B0 itself was found by a search for few operations and many right answers. It is MobileNet-v2 with wider
windows, the smooth x · σ(x) in place of the rectifier, and squeeze-and-excitation: each map is multiplied by
a number between 0 and 1 that two small dense layers make of the means of all maps.

As depth and width grow, so does what keeps them from learning by heart: dropout from 0.2 to 0.5, and
stochastic depth, by which a block's branch is silent with a probability that rises evenly from 0 at the first
block to nearly 0.2 at the last.

Names of parameters, arithmetic and initial values are torchvision's. B5 to B7 normalise with ε = 0.001 and
momentum 0.01 (a weight of 0.01 for the newest batch), the others with the usual 0.00001 and 0.1.
"""

import math
from collections.abc import Sequence

from minicnn import nn
from minicnn.models.checks import check_factor, check_positive, check_size
from minicnn.models.mobilenet import rounded
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Table 1: expansion t, window K, stride of the first block, maps c, blocks n; and the shape after the stage.
STAGES = (
    (1, 3, 1, 16, 1),  # 16 × 112 × 112
    (6, 3, 2, 24, 2),  # 24 × 56 × 56
    (6, 5, 2, 40, 2),  # 40 × 28 × 28
    (6, 3, 2, 80, 3),  # 80 × 14 × 14
    (6, 5, 1, 112, 3),  # 112 × 14 × 14
    (6, 5, 2, 192, 4),  # 192 × 7 × 7
    (6, 3, 1, 320, 1),  # 320 × 7 × 7
)
Stages = Sequence[tuple[int, int, int, int, int]]

# Width, depth, resolution, dropout, parameters, values in buffers, multiply-accumulates.
SCALES = {
    "efficientnet_b0": (1.0, 1.0, 224, 0.2, 5_288_548, 42_016, 385_814_752),
    "efficientnet_b1": (1.0, 1.1, 240, 0.2, 7_794_184, 62_048, 686_802_832),
    "efficientnet_b2": (1.1, 1.2, 260, 0.3, 9_109_994, 67_568, 993_561_872),
    "efficientnet_b3": (1.2, 1.4, 300, 0.3, 12_233_232, 87_296, 1_827_141_392),
    "efficientnet_b4": (1.4, 1.8, 380, 0.4, 19_341_616, 125_200, 4_393_771_024),
    "efficientnet_b5": (1.6, 2.2, 456, 0.4, 30_389_784, 172_736, 10_266_384_752),
    "efficientnet_b6": (1.8, 2.6, 528, 0.5, 43_040_704, 224_432, 19_067_593_536),
    "efficientnet_b7": (2.0, 3.1, 600, 0.5, 66_347_960, 310_720, 37_745_884_192),
}
SLOW_STATISTICS = ("efficientnet_b5", "efficientnet_b6", "efficientnet_b7")


def conv_norm(C: int, M: int, K: int, stride: int = 1, groups: int = 1, active: bool = True) -> nn.Sequential:
    """Convolution, batch norm and, if active, SiLU; the image keeps its size but for the stride."""
    conv = nn.Conv2d(C, M, K, stride, padding=K // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(M), *([nn.SiLU()] if active else []))


class MBConv(nn.Module):
    """Expand t-fold, look around within each map, weigh the maps, reduce; a shortcut where shapes allow.

    The excitation's first dense layer has a quarter of the maps at the block's narrow end.
    """

    def __init__(self, C: int, M: int, K: int, stride: int, t: int, stochastic_depth: float) -> None:
        super().__init__()
        expand = [conv_norm(C, t * C, 1)] if t != 1 else []
        self.block = nn.Sequential(
            *expand,  # N × tC × H × W
            conv_norm(t * C, t * C, K, stride, groups=t * C),  # N × tC × H/stride × W/stride
            nn.SqueezeExcitation(t * C, max(1, C // 4), activation=nn.SiLU),
            conv_norm(t * C, M, 1, active=False),  # N × M × H/stride × W/stride
        )
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth, "row")
        self.has_shortcut = stride == 1 and C == M

    def forward(self, x: Tensor) -> Tensor:
        if not self.has_shortcut:
            return self.block(x)
        silencer = [self.stochastic_depth] if self.training else []
        return nn.chain(x, self.block, *silencer, nn.Plus(x))


def initialise(network: nn.Module) -> None:
    """He's normal distribution by fan_out for convolutions, ±1/√classes for the dense layer, biases of 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            bound = module.out_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


class EfficientNet(nn.Module):
    """A row of ``SCALES``; shapes are those of B0, for images of 224×224."""

    def __init__(
        self,
        name: str,
        num_classes: int,
        in_channels: int,
        width: float,
        depth: float,
        dropout: float,
        stochastic_depth: float,
        stages: Stages,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_factor(name, width=width, depth=depth)
        if not isinstance(stochastic_depth, int | float) or not 0 <= stochastic_depth <= 1:
            raise ValueError(f"{name}: stochastic_depth must be between 0 and 1, but is {stochastic_depth!r}")
        self.name, self.in_channels = name, in_channels
        with nn.init.skip():  # initialise draws the weights, once
            C = rounded(32 * width)
            features = [conv_norm(in_channels, C, 3, 2)]  # 32 × 112 × 112
            counts = [math.ceil(n * depth) for *_, n in stages]
            done = 0
            for (t, K, stride, maps, _), n in zip(stages, counts, strict=True):
                M, blocks = rounded(maps * width), []
                for s in (stride, *[1] * (n - 1)):
                    blocks.append(MBConv(C, M, K, s, t, stochastic_depth * done / sum(counts)))
                    C, done = M, done + 1
                features.append(nn.Sequential(*blocks))
            features.append(conv_norm(C, 4 * C, 1))  # 1280 × 7 × 7
            self.features = nn.Sequential(*features)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * C, num_classes))
        if name in SLOW_STATISTICS:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps, module.momentum = 1e-3, 0.01
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        x = self.features(x)  # N × 1280 × 7 × 7
        x = self.avgpool(x)  # N × 1280 × 1 × 1
        return self.classifier(self.flatten(x))  # N × num_classes


def _enter(
    name: str,
    width: float,
    depth: float,
    resolution: int,
    dropout: float,
    parameters: int,
    buffers: int,
    macs: int,
) -> None:
    """Register a row of ``SCALES``."""

    def build(
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = width,
        depth: float = depth,
        dropout: float = dropout,
        stochastic_depth: float = 0.2,
        stages: Stages = STAGES,
    ) -> EfficientNet:
        return EfficientNet(name, num_classes, in_channels, width, depth, dropout, stochastic_depth, stages)

    what = "found by a search" if width == depth == 1 else f"B0 with width × {width:g} and depth × {depth:g}"
    build.__doc__ = f"EfficientNet-{name[-2:].upper()}, {what}."
    register(
        name=name,
        input_shape=(3, resolution, resolution),
        year=2019,
        parameters=parameters,
        buffers=buffers,
        macs=macs,
    )(build)


for _name, _row in SCALES.items():
    _enter(_name, *_row)
