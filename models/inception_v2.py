"""Inception version 2: GoogLeNet with batch normalisation.

S. Ioffe and C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal
covariate shift", ICML 2015 (arXiv:1502.03167), section 4.2 and the table in the appendix, figure 5. (The
paper on version 3 calls stages on the way to its own network version 2 as well.)

What it introduced is batch norm itself (section 3). While a network trains, each layer's input drifts with
the weights before it; batch norm subtracts the mean of the batch and divides by its deviation, a map at a
time, and gives the layer a scale and a shift of its own instead. With that the learning rate may be five to
thirty times higher, and what took 31 million steps without batch norm took two million with it. Dropout and
response normalisation are gone.

The modules changed a little: two windows of 3×3 in place of one of 5×5, means in place of maxima, and modules
3c and 4e halve the image themselves.

The paper's first layer is separable; the published network, converted from Caffe, has a plain one, and that
is the network here. Its names are those of the widely used PyTorch file, in which all layers stand side by
side, ``inception_3a_3x3_reduce`` and ``inception_3a_3x3_reduce_bn``. Its convolutions have biases, although
batch norm takes any constant off again; ``bias=False`` leaves them out.

    >>> from minicnn import models
    >>> models.create("inception_v2", width=4).inception_3c_double_3x3_1.weight.shape
    (6, 4, 3, 3)
"""

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_multiple, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor

# Figure 5: maps of the 1×1; of the 3×3's reduction and the 3×3; of the double 3×3's reduction and each 3×3;
# the pooling and its projection. Without a 1×1 and a projection the module halves the image. The comment
# gives the shape of one image after the module.
MODULES = {
    "3a": (64, 64, 64, 64, 96, "mean", 32),  # 256 × 28 × 28
    "3b": (64, 64, 96, 64, 96, "mean", 64),  # 320 × 28 × 28
    "3c": (0, 128, 160, 64, 96, "max", 0),  # 576 × 14 × 14
    "4a": (224, 64, 96, 96, 128, "mean", 128),  # 576 × 14 × 14
    "4b": (192, 96, 128, 96, 128, "mean", 128),  # 576 × 14 × 14
    "4c": (160, 128, 160, 128, 160, "mean", 128),  # 608 × 14 × 14
    "4d": (96, 128, 192, 160, 192, "mean", 128),  # 608 × 14 × 14
    "4e": (0, 128, 192, 192, 256, "max", 0),  # 1056 × 7 × 7
    "5a": (352, 192, 320, 160, 224, "mean", 128),  # 1024 × 7 × 7
    "5b": (352, 192, 320, 192, 224, "max", 128),  # 1024 × 7 × 7
}


class InceptionV2(nn.Module):
    """Figure 5; ``width`` is the first layer's 64 maps."""

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        check_multiple(name, 2, width=width)
        self.name, self.in_channels, self.bias = name, in_channels, bias
        self.relu = nn.ReLU()
        self._add_unit("conv1_7x7_s2", in_channels, width, 7, 2)
        self.pool1_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self._add_unit("conv2_3x3_reduce", width, width, 1)
        self._add_unit("conv2_3x3", width, 3 * width, 3)
        self.pool2_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        C = 3 * width
        for key, (*maps, pooling, projection) in MODULES.items():
            scaled = [M * width // 64 for M in (*maps, projection)]
            C = self._add_inception(f"inception_{key}", C, scaled, pooling)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.last_linear = nn.Linear(C, num_classes)

    def _add_unit(self, name: str, C: int, M: int, K: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(C, M, K, stride, padding=K // 2, bias=self.bias))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(M))

    def _add_inception(self, name: str, C: int, maps: list[int], pooling: str) -> int:
        """Add a module's layers, and return its number of maps."""
        one, reduce3, three, reduce33, three3, projection = maps
        stride = 1 if one else 2
        if one:
            self._add_unit(f"{name}_1x1", C, one, 1)
        self._add_unit(f"{name}_3x3_reduce", C, reduce3, 1)
        self._add_unit(f"{name}_3x3", reduce3, three, 3, stride)
        self._add_unit(f"{name}_double_3x3_reduce", C, reduce33, 1)
        self._add_unit(f"{name}_double_3x3_1", reduce33, three3, 3)
        self._add_unit(f"{name}_double_3x3_2", three3, three3, 3, stride)
        if pooling == "mean":
            self.add_module(f"{name}_pool", nn.AvgPool2d(3, 1, padding=1))
        elif projection:
            self.add_module(f"{name}_pool", nn.MaxPool2d(3, 1, padding=1))
        else:
            self.add_module(f"{name}_pool", nn.MaxPool2d(3, 2, ceil_mode=True))
        if projection:
            self._add_unit(f"{name}_pool_proj", C, projection, 1)
        return one + three + three3 + (projection or C)

    def unit(self, name: str, x: Tensor) -> Tensor:
        """The convolution of this name, its batch norm, and relu."""
        return nn.chain(x, getattr(self, name), getattr(self, f"{name}_bn"), self.relu)

    def inception(self, key: str, x: Tensor) -> Tensor:
        """The module of this key: its branches side by side, their maps one after another."""
        name, halves = f"inception_{key}", not MODULES[key][0]
        one = [] if halves else [self.unit(f"{name}_1x1", x)]
        three = self.unit(f"{name}_3x3", self.unit(f"{name}_3x3_reduce", x))
        double = self.unit(f"{name}_double_3x3_1", self.unit(f"{name}_double_3x3_reduce", x))
        double = self.unit(f"{name}_double_3x3_2", double)
        pooled = getattr(self, f"{name}_pool")(x)
        pooled = pooled if halves else self.unit(f"{name}_pool_proj", pooled)
        return F.cat([*one, three, double, pooled], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 31×31 or more to logits (N, num_classes).

        Where modules 3c and 4e halve the image, a convolution rounds odd sizes up, and the pooling beside it
        down. H and W must therefore be such that all is even there: from one below a multiple of 32 to six
        above it, as 224 is.

        Raises ValueError for images of other channels or sizes.
        """
        check_size(self.name, x, self.in_channels, 31, "the first layers, 3c and 4e halve them five times")
        check_even_halves(self.name, x)
        x = self.pool1_3x3_s2(self.unit("conv1_7x7_s2", x))  # N × 64 × 56 × 56
        x = self.unit("conv2_3x3", self.unit("conv2_3x3_reduce", x))  # N × 192 × 56 × 56
        x = self.pool2_3x3_s2(x)  # N × 192 × 28 × 28
        for key in MODULES:
            x = self.inception(key, x)  # the shapes stand beside the table
        x = self.global_pool(x)  # N × 1024 × 1 × 1
        return self.last_linear(self.flatten(x))  # N × num_classes


def check_even_halves(name: str, x: Tensor) -> None:
    """Refuse images that modules 3c and 4e cannot halve; raises ValueError.

    The maps that 3c sees are (side + 1) // 8 pixels a side, and 4e sees half of them.
    """
    if any((side + 1) // 8 % 4 for side in x.shape[2:]):
        raise ValueError(
            f"{name}: x has shape {tuple(x.shape)}, but H and W from 32·k − 1 to 32·k + 6 are expected: "
            "convolution and pooling side by side halve the maps alike if they are even"
        )


@register(input_shape=(3, 224, 224), year=2015, parameters=11_295_240, buffers=20_032, macs=2_032_600_064)
def inception_v2(
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    bias: bool = True,
) -> InceptionV2:
    """Inception version 2, GoogLeNet with batch norm, or BN-Inception.

    Without the biases, which do nothing (``bias=False``), 11,285,224.
    """
    return InceptionV2("inception_v2", num_classes, in_channels, width, bias)
