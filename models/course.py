"""The small networks of an introductory course, each a table that one builder turns into layers.

A row of a table is one of

    ("conv", OC, K)     OC filters of K×K (K odd), padded so that the image keeps its size; the activation
    ("pool", K)         K×K max pooling with stride K; what does not fill a window is dropped
    ("flatten",)        C×H×W to one vector
    ("dense", M)        M units, then the activation
    ("dropout", p)      in training each value is zeroed with probability p, the others scaled by 1/(1 − p)

The comment on a row gives the shape of one image after it. The dense layer that gives the logits comes after
the last row and is always called ``output``, so that it can be replaced.

Of most of these networks the course left an exact parameter count and not the layers. Where a docstring says
"inferred from the count", the table is the most ordinary stack of 3×3 convolutions, 2×2 poolings and dense
layers that has exactly that count. Dropout and activations have no parameters, so a count does not show them.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

from minicnn import nn
from minicnn.models.checks import check_images, check_positive
from minicnn.models.registry import register
from minicnn.tensor import Tensor

Table = tuple[tuple, ...]

MLP_300_100: Table = (
    ("flatten",),  # 784
    ("dense", 300),  # 300
    ("dense", 100),  # 100
)

MLP_512_512: Table = (
    ("flatten",),  # 784
    ("dense", 512),  # 512
    ("dense", 512),  # 512
)

MLP_CIFAR: Table = (
    ("flatten",),  # 3072
    ("dense", 512),  # 512
    ("dense", 256),  # 256
)

MNIST_CNN: Table = (
    ("conv", 32, 3),  # 32 × 28 × 28
    ("pool", 2),  # 32 × 14 × 14
    ("conv", 64, 3),  # 64 × 14 × 14
    ("pool", 2),  # 64 × 7 × 7
    ("flatten",),  # 3136
    ("dense", 64),  # 64
)

CIFAR_CNN: Table = (
    ("conv", 16, 3),  # 16 × 32 × 32
    ("pool", 2),  # 16 × 16 × 16
    ("conv", 32, 3),  # 32 × 16 × 16
    ("pool", 2),  # 32 × 8 × 8
    ("conv", 64, 3),  # 64 × 8 × 8
    ("pool", 2),  # 64 × 4 × 4
    ("flatten",),  # 1024
    ("dense", 500),  # 500
)

CIFAR_MODEL_1_AND_2: Table = (
    ("conv", 16, 3),  # 16 × 32 × 32
    ("conv", 32, 3),  # 32 × 32 × 32
    ("pool", 2),  # 32 × 16 × 16
    ("dropout", 0.25),
    ("flatten",),  # 8192
    ("dense", 256),  # 256
    ("dropout", 0.5),
)

CIFAR_MODEL_3: Table = (
    ("conv", 16, 3),  # 16 × 32 × 32
    ("conv", 32, 3),  # 32 × 32 × 32
    ("pool", 2),  # 32 × 16 × 16
    ("dropout", 0.25),
    ("conv", 32, 3),  # 32 × 16 × 16
    ("conv", 64, 3),  # 64 × 16 × 16
    ("pool", 2),  # 64 × 8 × 8
    ("dropout", 0.25),
    ("flatten",),  # 4096
    ("dense", 256),  # 256
    ("dropout", 0.5),
)

FASHION_CNN: Table = (
    ("conv", 64, 7),  # 64 × 28 × 28
    ("pool", 2),  # 64 × 14 × 14
    ("conv", 128, 3),  # 128 × 14 × 14
    ("conv", 128, 3),  # 128 × 14 × 14
    ("pool", 2),  # 128 × 7 × 7
    ("conv", 256, 3),  # 256 × 7 × 7
    ("conv", 256, 3),  # 256 × 7 × 7
    ("pool", 2),  # 256 × 3 × 3
    ("flatten",),  # 2304
    ("dense", 128),  # 128
    ("dropout", 0.5),
    ("dense", 64),  # 64
    ("dropout", 0.5),
)

TIFF_CNN: Table = (
    ("conv", 32, 3),  # 32 × 64 × 64
    ("pool", 2),  # 32 × 32 × 32
    ("conv", 64, 3),  # 64 × 32 × 32
    ("pool", 2),  # 64 × 16 × 16
    ("conv", 128, 3),  # 128 × 16 × 16
    ("pool", 2),  # 128 × 8 × 8
    ("flatten",),  # 8192
    ("dense", 128),  # 128
    ("dropout", 0.5),
)


class CourseNetwork(nn.Sequential):
    """The layers of a table in a row, named conv1, act1, pool1, … dense1, … and at the end ``output``."""

    def __init__(
        self,
        name: str,
        table: Table,
        input_shape: tuple[int, int, int],
        num_classes: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        C, H, W = input_shape
        check_positive(name, in_channels=C, height=H, width=W, num_classes=num_classes)
        super().__init__(_layers(table, input_shape, num_classes, activation))
        self.name = name
        self.input_shape = input_shape

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) of the network's size to logits (N, num_classes); ValueError for any other."""
        check_images(self.name, x, self.input_shape)
        return super().forward(x)


def _layers(
    table: Table,
    input_shape: tuple[int, int, int],
    num_classes: int,
    activation: Callable[[], nn.Module],
) -> OrderedDict[str, nn.Module]:
    """Turn a table into named layers, following the shape of one image from row to row."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    numbers: Counter[str] = Counter()

    def add(kind: str, layer: nn.Module) -> None:
        numbers[kind] += 1
        layers[f"{kind}{numbers[kind]}"] = layer

    C, H, W = input_shape
    for kind, *arguments in table:
        if kind == "conv":
            OC, K = arguments
            add("conv", nn.Conv2d(C, OC, K, padding=K // 2))
            add("act", activation())
            C = OC
        elif kind == "pool":
            (K,) = arguments
            add("pool", nn.MaxPool2d(K))
            H, W = H // K, W // K
        elif kind == "flatten":
            layers["flatten"] = nn.Flatten()
            C, H, W = C * H * W, 1, 1
        elif kind == "dense":
            (M,) = arguments
            add("dense", nn.Linear(C, M))
            add("act", activation())
            C = M
        elif kind == "dropout":
            (p,) = arguments
            add("dropout", nn.Dropout(p))
        else:
            raise ValueError(f"course table: there is no row of kind {kind!r}")
    layers["output"] = nn.Linear(C, num_classes)
    return layers


def _leaky_relu() -> nn.Module:
    return nn.LeakyReLU(0.1)


def _without_dropout(table: Table) -> Table:
    return tuple(row for row in table if row[0] != "dropout")


@register(input_shape=(1, 28, 28), parameters=266_610, macs=266_200)
def mlp_300_100(num_classes: int = 10, in_channels: int = 1) -> CourseNetwork:
    """Multilayer perceptron for MNIST, 784-300-100-10.

    With its last layer replaced by one of two classes and the others frozen, 202 of its 265,802 parameters
    are trainable: the course's example of transfer learning.
    """
    return CourseNetwork("mlp_300_100", MLP_300_100, (in_channels, 28, 28), num_classes)


@register(input_shape=(1, 28, 28), parameters=669_706, macs=668_672)
def mlp_512_512(num_classes: int = 10, in_channels: int = 1) -> CourseNetwork:
    """Multilayer perceptron for MNIST, 784-512-512-10."""
    return CourseNetwork("mlp_512_512", MLP_512_512, (in_channels, 28, 28), num_classes)


@register(input_shape=(3, 32, 32), parameters=1_707_274, macs=1_706_496)
def mlp_cifar(num_classes: int = 10, in_channels: int = 3) -> CourseNetwork:
    """Multilayer perceptron for CIFAR-10, 3072-512-256-10."""
    return CourseNetwork("mlp_cifar", MLP_CIFAR, (in_channels, 32, 32), num_classes)


@register(input_shape=(1, 28, 28), parameters=220_234, macs=4_039_808)
def mnist_cnn(num_classes: int = 10, in_channels: int = 1) -> CourseNetwork:
    """Two convolutions and a dense layer for MNIST.

    Layout inferred from the count. The course reports 99.19 % on the test images.
    """
    return CourseNetwork("mnist_cnn", MNIST_CNN, (in_channels, 28, 28), num_classes)


@register(input_shape=(3, 32, 32), parameters=541_094, macs=3_318_664)
def cifar_cnn(num_classes: int = 10, in_channels: int = 3) -> CourseNetwork:
    """Three convolutions and a dense layer for CIFAR-10.

    Layout inferred from the count. The course reports about 71.9 % after five epochs.
    """
    return CourseNetwork("cifar_cnn", CIFAR_CNN, (in_channels, 32, 32), num_classes)


@register(input_shape=(3, 32, 32), parameters=2_105_066, macs=7_260_672)
def cifar_model1(num_classes: int = 10, in_channels: int = 3) -> CourseNetwork:
    """Two convolutions with leaky ReLU for CIFAR-10, no dropout.

    Layout inferred from the count; the slope 0.1 of the leaky ReLU is this project's choice. It is built to
    overfit: the course reports 99.1 % on the training images and about 70.7 % on the validation images.
    """
    table = _without_dropout(CIFAR_MODEL_1_AND_2)
    return CourseNetwork("cifar_model1", table, (in_channels, 32, 32), num_classes, _leaky_relu)


@register(input_shape=(3, 32, 32), parameters=2_105_066, macs=7_260_672)
def cifar_model2(num_classes: int = 10, in_channels: int = 3) -> CourseNetwork:
    """The layers of cifar_model1 with dropout.

    Layout inferred from the count; the rates of dropout (0.25 after pooling, 0.5 after the dense layer) are
    this project's choice. The course reports about 68.3 % on the validation images.
    """
    return CourseNetwork("cifar_model2", CIFAR_MODEL_1_AND_2, (in_channels, 32, 32), num_classes, _leaky_relu)


@register(input_shape=(3, 32, 32), parameters=1_084_234, macs=13_289_984)
def cifar_model3(num_classes: int = 10, in_channels: int = 3) -> CourseNetwork:
    """Four convolutions with leaky ReLU and dropout for CIFAR-10.

    Layout inferred from the count; slope and rates as in cifar_model2. Twice as deep as that network and half
    its size, because the second pooling quarters what the dense layer sees. The course reports about
    78.1 % on the validation images.
    """
    return CourseNetwork("cifar_model3", CIFAR_MODEL_3, (in_channels, 32, 32), num_classes, _leaky_relu)


@register(input_shape=(1, 28, 28), parameters=1_413_834, macs=89_466_496)
def fashion_cnn(num_classes: int = 10, in_channels: int = 1) -> CourseNetwork:
    """Five convolutions and two dense layers for Fashion-MNIST.

    One 7×7 convolution, then 3×3 convolutions in pairs; dropout 0.5 after each dense layer.
    """
    return CourseNetwork("fashion_cnn", FASHION_CNN, (in_channels, 28, 28), num_classes)


@register(input_shape=(3, 64, 64), parameters=1_143_242, macs=42_337_536)
def tiff_cnn(num_classes: int = 10, in_channels: int = 3, image_size: int = 64) -> CourseNetwork:
    """Three convolutions and dropout for folders of small TIFF images.

    The course gives the numbers of filters, 32, 64 and 128, and that there is dropout. Colour images of
    64×64, as in collections of satellite tiles, ten classes, a dense layer of 128 units and the rate 0.5 are
    this project's choice; ``image_size`` fits the network to square images of another size.

    Raises ValueError when ``image_size`` is below 8, where the third pooling has nothing left to pool.
    """
    check_positive("tiff_cnn", image_size=image_size)
    if image_size < 8:
        raise ValueError(f"tiff_cnn: image_size must be at least 8, but is {image_size}")
    return CourseNetwork("tiff_cnn", TIFF_CNN, (in_channels, image_size, image_size), num_classes)
