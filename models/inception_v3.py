"""Inception version 3: large windows taken apart into small ones.

C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception architecture for
computer vision", CVPR 2016 (arXiv:1512.00567), sections 3 to 7, table 1 and figures 5 to 10.

What it introduced is factorised convolution (section 3). Two windows of 3×3, one after the other, see as much
as one of 5×5 for 18 weights instead of 25; windows of 1×7 and 7×1, as much as one of 7×7 for 14 instead of
49. That works on maps of 12 to 20 pixels a side, so it is the modules of 17×17 that have them; on 8×8, where
many maps matter more than depth, 1×3 and 3×1 stand side by side.

    >>> from minicnn import nn
    >>> whole = nn.Conv2d(192, 192, 7, bias=False)
    >>> parts = [nn.Conv2d(192, 192, K, bias=False) for K in ((1, 7), (7, 1))]
    >>> whole.weight.numel(), sum(part.weight.numel() for part in parts)
    (1806336, 516096)

Two more inventions of the paper concern training. The auxiliary head (section 4) does not bring the gradient
to the lower layers earlier, as GoogLeNet's were meant to: it regularises, being batch-normalised. Label
smoothing (section 7) asks for q(k) = (1 − ε)·[k is the label] + ε/K instead of certainty, which could only be
reached by logits without bound; with ε = 0.1 and K = 1000 classes it gained 0.2 % in both top-1 and top-5
errors:

    loss = cross_entropy(logits, labels, label_smoothing=0.1)

Names of parameters, and initial values, are torchvision's, and so are the modules: on 35×35 they have a real
5×5 where figure 5 has a second pair of 3×3, and their means count the padding. torchvision's weights come
from TensorFlow and expect colours of −1 to 1, that is (x − 0.5) / 0.5, and not those normalised by ImageNet's
means and deviations, which all its other networks take. ``transform_input=True`` turns the latter into the
former inside the network, as torchvision does with these weights.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_multiple, check_positive, check_size
from minicnn.models.googlenet import from_imagenet
from minicnn.models.inception import LEAST, WHY, Branches, ConvUnit, branch, maps_after, scaled
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Modules as in minicnn.models.inception, with one kind of step more: two convolutions in one are a fork.
Fork = tuple[tuple[Any, ...], tuple[Any, ...]]
FORK: Fork = ((384, (1, 3)), (384, (3, 1)))


def figure5(pool: int) -> Branches:
    """For maps of 35×35."""
    return {
        "branch1x1": ((64, 1),),
        "branch5x5": ((48, 1), (64, 5)),
        "branch3x3dbl": ((64, 1), (96, 3), (96, 3)),
        "branch_pool": ("mean", (pool, 1)),
    }


def figure6(c7: int) -> Branches:
    """For maps of 17×17, with windows of 7×7 taken apart."""
    return {
        "branch1x1": ((192, 1),),
        "branch7x7": ((c7, 1), (c7, (1, 7)), (192, (7, 1))),
        "branch7x7dbl": ((c7, 1), (c7, (7, 1)), (c7, (1, 7)), (c7, (7, 1)), (192, (1, 7))),
        "branch_pool": ("mean", (192, 1)),
    }


FIGURE7: Branches = {
    "branch1x1": ((320, 1),),
    "branch3x3": ((384, 1), FORK),
    "branch3x3dbl": ((448, 1), (384, 3), FORK),
    "branch_pool": ("mean", (192, 1)),
}
REDUCTION_6A: Branches = {  # figure 10, section 5
    "branch3x3": ((384, 3, 2),),
    "branch3x3dbl": ((64, 1), (96, 3), (96, 3, 2)),
    "branch_pool": ("max",),
}
REDUCTION_7A: Branches = {
    "branch3x3": ((192, 1), (320, 3, 2)),
    "branch7x7x3": ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
    "branch_pool": ("max",),
}

# Table 1. The comment gives the shape of one image after the layer or module.
LAYERS: tuple[tuple[str, Any], ...] = (
    ("Conv2d_1a_3x3", (32, 3, 2)),  # 32 × 149 × 149
    ("Conv2d_2a_3x3", (32, 3, 1)),  # 32 × 147 × 147
    ("Conv2d_2b_3x3", (64, 3)),  # 64 × 147 × 147
    ("maxpool1", "max"),  # 64 × 73 × 73
    ("Conv2d_3b_1x1", (80, 1)),  # 80 × 73 × 73
    ("Conv2d_4a_3x3", (192, 3, 1)),  # 192 × 71 × 71
    ("maxpool2", "max"),  # 192 × 35 × 35
    ("Mixed_5b", figure5(32)),  # 256 × 35 × 35
    ("Mixed_5c", figure5(64)),  # 288 × 35 × 35
    ("Mixed_5d", figure5(64)),  # 288 × 35 × 35
    ("Mixed_6a", REDUCTION_6A),  # 768 × 17 × 17
    ("Mixed_6b", figure6(128)),  # 768 × 17 × 17
    ("Mixed_6c", figure6(160)),  # 768 × 17 × 17
    ("Mixed_6d", figure6(160)),  # 768 × 17 × 17
    ("Mixed_6e", figure6(192)),  # 768 × 17 × 17, which the auxiliary head sees too
    ("Mixed_7a", REDUCTION_7A),  # 1280 × 8 × 8
    ("Mixed_7b", FIGURE7),  # 2048 × 8 × 8
    ("Mixed_7c", FIGURE7),  # 2048 × 8 × 8
)


class InceptionOutputs(NamedTuple):
    """What Inception version 3 returns in training with its head; names and order are torchvision's."""

    logits: Tensor
    aux_logits: Tensor


class Inception(nn.Module):
    """Branches side by side, as a table says, under torchvision's names.

    The convolutions of a branch have its name and their number in it, those of a fork a letter besides; one
    that is alone, or alone after the pooling, has the name only.
    """

    def __init__(self, C: int, branches: Branches, width: int) -> None:
        super().__init__()
        self.paths: list[list[list[str]]] = []  # of each branch, of each step, the names of its modules
        self.out_channels = 0
        for name, steps in branches.items():
            self.paths.append([])
            maps, numbered = C, len(steps) > 1 and not isinstance(steps[0], str)
            for number, step in enumerate(steps, 1):
                label = f"{name}_{number}" if numbered else name
                names = self._add_step(label, maps, step, width)
                self.paths[-1].append(names)
                maps = maps_after(step if isinstance(step[0], tuple) else (step,), maps, width)
            self.out_channels += maps * len(names)

    def _add_step(self, label: str, C: int, step: Any, width: int) -> list[str]:
        if step == "mean":
            self.pool: nn.Module = nn.AvgPool2d(3, 1, padding=1)
            return ["pool"]
        if step == "max":
            self.pool = nn.MaxPool2d(3, 2)
            return ["pool"]
        units = {label + "a": step[0], label + "b": step[1]} if isinstance(step[0], tuple) else {label: step}
        for name, unit in units.items():
            self.add_module(name, branch((unit,), C, width))
        return list(units)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for *path, last in self.paths:
            y = x
            for (name,) in path:  # only the last step can be a fork
                y = getattr(self, name)(y)
            found += [getattr(self, name)(y) for name in last]
        return F.cat(found, dim=1)


class AuxiliaryHead(nn.Module):
    """A classifier for the maps of 17×17 (section 4, figure 8): means, two convolutions, a dense layer."""

    def __init__(self, C: int, num_classes: int, width: int) -> None:
        super().__init__()
        M = scaled(768, width)
        self.pool = nn.AvgPool2d(5, 3)
        self.conv0 = ConvUnit(C, scaled(128, width), 1)
        self.conv1 = ConvUnit(scaled(128, width), M, 5, stride=1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(M, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(self.pool(x))  # N × 128 × 5 × 5
        x = self.avgpool(self.conv1(x))  # N × 768 × 1 × 1
        return self.fc(self.flatten(x))  # N × num_classes


class InceptionV3(nn.Module):
    """Table 1; ``width`` is the first layer's 32 maps."""

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = False,
        transform_input: bool = False,
        dropout: float = 0.5,
        width: int = 32,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_multiple(name, 2, width=width)
        if transform_input and in_channels != 3:
            raise ValueError(f"{name}: transform_input is for 3 colours, but in_channels is {in_channels}")
        self.name, self.in_channels = name, in_channels
        self.aux_logits, self.transform_input = aux_logits, transform_input
        with nn.init.skip():  # the weights are drawn below, once
            C = in_channels
            for key, row in LAYERS:
                module = Inception(C, row, width) if isinstance(row, Mapping) else branch((row,), C, width)
                self.add_module(key, module)
                C = module.out_channels if isinstance(module, Inception) else maps_after((row,), C, width)
                if key == "Mixed_6e" and aux_logits:
                    self.AuxLogits = AuxiliaryHead(C, num_classes, width)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(C, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.1)
        if aux_logits:
            nn.init.normal_(self.AuxLogits.fc.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        """Images (N, in_channels, H, W) to logits (N, num_classes), 75×75 or more.

        With the head and in training 299×299 or more, and to InceptionOutputs; the loss is then

            loss = cross_entropy(logits) + 0.4 · cross_entropy(aux_logits)

        Raises ValueError for images of other channels, or smaller ones.
        """
        with_head = self.training and self.aux_logits
        if with_head:
            why = "the auxiliary head takes means over 5×5 and then a window of 5×5, which maps of 17×17 fit"
            check_size(self.name, x, self.in_channels, 299, why)
        check_size(self.name, x, self.in_channels, LEAST, WHY)
        if self.transform_input:
            x = from_imagenet(x)
        aux = None
        for key, _ in LAYERS:
            x = getattr(self, key)(x)  # the shapes stand beside the table
            if key == "Mixed_6e" and with_head:
                aux = self.AuxLogits(x)  # N × num_classes
        x = self.avgpool(x)  # N × 2048 × 1 × 1
        x = self.fc(self.dropout(self.flatten(x)))  # N × num_classes
        return x if aux is None else InceptionOutputs(x, aux)


@register(input_shape=(3, 299, 299), year=2015, parameters=23_834_568, buffers=34_432, macs=5_713_216_096)
def inception_v3(
    num_classes: int = 1000,
    in_channels: int = 3,
    aux_logits: bool = False,
    transform_input: bool = False,
    dropout: float = 0.5,
    width: int = 32,
) -> InceptionV3:
    """Inception version 3, with windows of 1×7 and 7×1.

    ``aux_logits=True`` adds the auxiliary head, 27,161,264 parameters in all; in training the network then
    returns two logits (:class:`InceptionOutputs`). torchvision's weight file has the head in it, and wants
    ``transform_input=True`` where images are normalised as for torchvision's other networks.
    """
    return InceptionV3("inception_v3", num_classes, in_channels, aux_logits, transform_input, dropout, width)
