"""GoogLeNet, Inception version 1: several windows side by side, and reductions before them.

C. Szegedy et al., "Going deeper with convolutions", CVPR 2015 (arXiv:1409.4842), sections 4 and 5, table 1
and figures 2 and 3.

What it introduced is the Inception module: 1×1, 3×3 and 5×5 convolutions and a pooling see the same maps, and
their outputs are put one after another, so that the next layer finds patterns of several sizes. Done naively
(figure 2a) that is dear, and maps become more from module to module, as a pooling gives all it was given.
What makes it affordable (figure 2b) is the 1×1 convolution before the larger ones and after the pooling,
which reduces the maps: 5×5 to 32 maps from 200 of 32×32 takes 163,840,000 multiplications, and by way of 16
maps 16,384,000. Two small classifiers halfway (auxiliary heads) send the gradient into the lower layers, in
training only; their losses count 0.3 each.

The paper's network, ``googlenet_2014``, has biases, response normalisation and windows of 5×5. torchvision's,
``googlenet``, has batch norm in their place, and by an old mistake 3×3 where the paper says 5×5; as its
weights are published, the mistake stays. Names of parameters, and initial values, are torchvision's.

    >>> from minicnn import models
    >>> models.create("googlenet", width=8).inception3a.branch4[1].conv.weight.shape
    (4, 24, 1, 1)
"""

from typing import NamedTuple

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_images, check_multiple, check_positive, check_size
from minicnn.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Table 1: maps of the 1×1; of the 3×3's reduction and the 3×3; of the 5×5's reduction and the 5×5; of the 1×1
# after pooling. The comment gives the shape of one image after the module.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),  # 256 × 28 × 28
    "3b": (128, 128, 192, 32, 96, 64),  # 480 × 28 × 28
    "4a": (192, 96, 208, 16, 48, 64),  # 512 × 14 × 14
    "4b": (160, 112, 224, 24, 64, 64),  # 512 × 14 × 14
    "4c": (128, 128, 256, 24, 64, 64),  # 512 × 14 × 14
    "4d": (112, 144, 288, 32, 64, 64),  # 528 × 14 × 14
    "4e": (256, 160, 320, 32, 128, 128),  # 832 × 14 × 14
    "5a": (256, 160, 320, 32, 128, 128),  # 832 × 7 × 7
    "5b": (384, 192, 384, 48, 128, 128),  # 1024 × 7 × 7
}


class GoogLeNetOutput(NamedTuple):
    """What GoogLeNet returns in training with its heads; names and order are torchvision's.

    ``aux_logits2`` are those of the upper head, after module 4d; ``aux_logits1`` of the lower, after 4a.
    """

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class ConvUnit(nn.Module):
    """Convolution and rectifier, with batch norm between them or with biases."""

    def __init__(self, C: int, M: int, K: int, stride: int = 1, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, M, K, stride, padding=K // 2, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(M, eps=0.001) if batch_norm else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return nn.chain(x, self.conv, self.bn, self.relu)


class Inception(nn.Module):
    """Four branches side by side (figure 2b); a row of ``MODULES`` says how many maps each has."""

    def __init__(self, C: int, row: tuple[int, ...], K: int = 3, batch_norm: bool = True) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = row
        bn = batch_norm
        self.branch1 = ConvUnit(C, one, 1, batch_norm=bn)
        self.branch2 = nn.Sequential(
            ConvUnit(C, reduce3, 1, batch_norm=bn), ConvUnit(reduce3, three, 3, batch_norm=bn)
        )
        self.branch3 = nn.Sequential(
            ConvUnit(C, reduce5, 1, batch_norm=bn), ConvUnit(reduce5, five, K, batch_norm=bn)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), ConvUnit(C, pool, 1, batch_norm=bn))
        self.out_channels = one + three + five + pool

    def forward(self, x: Tensor) -> Tensor:
        return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class AuxiliaryHead(nn.Module):
    """A classifier for the maps halfway (section 5): means, a 1×1 convolution, two dense layers.

    The paper's are of 5×5 pixels, which fits maps of 14×14 alone; torchvision's over 4×4 bins of any maps.
    """

    def __init__(
        self, C: int, maps: int, hidden: int, num_classes: int, dropout: float, batch_norm: bool
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4) if batch_norm else nn.AvgPool2d(5, 3)
        self.conv = ConvUnit(C, maps, 1, batch_norm=batch_norm)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(maps * 4 * 4, hidden)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.avgpool(x))  # N × 128 × 4 × 4
        x = self.relu(self.fc1(self.flatten(x)))  # N × 1024
        return self.fc2(self.dropout(x))  # N × num_classes


class GoogLeNet(nn.Module):
    """Table 1; ``paper`` chooses the paper's form, not torchvision's; ``width`` is the first layer's 64."""

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = False,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        width: int = 64,
        transform_input: bool = False,
        paper: bool = False,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_multiple(name, 4, width=width)
        if transform_input and in_channels != 3:
            raise ValueError(f"{name}: transform_input is for 3 colours, but in_channels is {in_channels}")
        self.name, self.in_channels, self.aux_logits, self.paper = name, in_channels, aux_logits, paper
        self.transform_input = transform_input
        bn, K = not paper, 5 if paper else 3

        def scaled(maps: int) -> int:
            return maps * width // 64

        with nn.init.skip():  # the weights are drawn below, once
            self.conv1 = ConvUnit(in_channels, width, 7, 2, batch_norm=bn)
            self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.lrn1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75) if paper else nn.Identity()
            self.conv2 = ConvUnit(width, width, 1, batch_norm=bn)
            self.conv3 = ConvUnit(width, 3 * width, 3, batch_norm=bn)
            self.lrn2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75) if paper else nn.Identity()
            self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
            C, into = 3 * width, {}
            for key, row in MODULES.items():
                into[key] = C
                inception = Inception(C, tuple(map(scaled, row)), K, bn)
                self.add_module(f"inception{key}", inception)
                C = inception.out_channels
            self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.maxpool4 = nn.MaxPool2d(3 if paper else 2, 2, ceil_mode=True)
            if aux_logits:
                head = scaled(128), scaled(1024), num_classes, dropout_aux, bn
                self.aux1 = AuxiliaryHead(into["4b"], *head)
                self.aux2 = AuxiliaryHead(into["4e"], *head)
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.dropout = nn.Dropout(dropout)
            self.fc = nn.Linear(C, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutput:
        """Images (N, in_channels, H, W) to logits (N, num_classes), 15×15 or more (the paper's 31×31).

        With heads and in training to a GoogLeNetOutput; the paper's loss is then

            loss = cross_entropy(logits) + 0.3 · (cross_entropy(aux_logits2) + cross_entropy(aux_logits1))

        Raises ValueError for images of other channels, or smaller ones.
        """
        with_heads = self.training and self.aux_logits
        if with_heads and self.paper:
            check_images(self.name, x, (self.in_channels, 224, 224))
        why = "the first layer and four poolings halve them"
        check_size(self.name, x, self.in_channels, 31 if self.paper else 15, why)
        if self.transform_input:
            x = from_imagenet(x)
        x = self.conv1(x)  # N × 64 × 112 × 112
        x = self.lrn1(self.maxpool1(x))  # N × 64 × 56 × 56
        x = self.conv2(x)  # N × 64 × 56 × 56
        x = self.lrn2(self.conv3(x))  # N × 192 × 56 × 56
        x = self.maxpool2(x)  # N × 192 × 28 × 28
        x = self.inception3a(x)  # N × 256 × 28 × 28
        x = self.inception3b(x)  # N × 480 × 28 × 28
        x = self.maxpool3(x)  # N × 480 × 14 × 14
        x = self.inception4a(x)  # N × 512 × 14 × 14
        aux1 = self.aux1(x) if with_heads else None  # N × num_classes
        x = self.inception4b(x)  # N × 512 × 14 × 14
        x = self.inception4c(x)  # N × 512 × 14 × 14
        x = self.inception4d(x)  # N × 528 × 14 × 14
        aux2 = self.aux2(x) if with_heads else None  # N × num_classes
        x = self.inception4e(x)  # N × 832 × 14 × 14
        x = self.maxpool4(x)  # N × 832 × 7 × 7
        x = self.inception5a(x)  # N × 832 × 7 × 7
        x = self.inception5b(x)  # N × 1024 × 7 × 7
        x = self.avgpool(x)  # N × 1024 × 1 × 1
        x = self.fc(self.dropout(self.flatten(x)))  # N × num_classes
        return x if aux1 is None or aux2 is None else GoogLeNetOutput(x, aux2, aux1)


def from_imagenet(x: Tensor) -> Tensor:
    """Images (N, 3, H, W) as torchvision's networks take them, as TensorFlow's take them: from −1 to 1.

    The former are normalised, (p − mean) / std with the mean and deviation of ImageNet's colours; the latter
    are (p − 0.5) / 0.5. The weights that torchvision publishes for this network are TensorFlow's.

    >>> import minicnn as mc
    >>> white = (1 - mc.tensor(IMAGENET_MEAN)) / mc.tensor(IMAGENET_STD)
    >>> from_imagenet(white.reshape(1, 3, 1, 1)).data.ravel().round(5).tolist()
    [1.0, 1.0, 1.0]
    """
    colours = zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
    turned = [x[:, c : c + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for c, (mean, std) in enumerate(colours)]
    return F.cat(turned, dim=1)


@register(input_shape=(3, 224, 224), year=2014, parameters=6_624_904, buffers=14_560, macs=1_498_376_192)
def googlenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    aux_logits: bool = False,
    dropout: float = 0.2,
    dropout_aux: float = 0.7,
    width: int = 64,
    transform_input: bool = False,
) -> GoogLeNet:
    """GoogLeNet with batch norm, torchvision's.

    ``aux_logits=True`` adds the auxiliary heads, 13,004,888 parameters in all; in training the network then
    returns three logits (:class:`GoogLeNetOutput`). torchvision's weight file has the heads in it, though
    nobody trained them, and wants ``transform_input=True``: see :func:`from_imagenet`.
    """
    return GoogLeNet(
        "googlenet", num_classes, in_channels, aux_logits, dropout, dropout_aux, width, transform_input
    )


@register(input_shape=(3, 224, 224), year=2014, parameters=6_998_552, macs=1_582_671_872)
def googlenet_2014(
    num_classes: int = 1000,
    in_channels: int = 3,
    aux_logits: bool = False,
    dropout: float = 0.4,
    dropout_aux: float = 0.7,
    width: int = 64,
) -> GoogLeNet:
    """GoogLeNet as in the paper, with real 5×5 windows.

    13,378,280 with the auxiliary heads (``aux_logits=True``), with which it trains on 224×224 pixels only.
    """
    return GoogLeNet(
        "googlenet_2014", num_classes, in_channels, aux_logits, dropout, dropout_aux, width, paper=True
    )
