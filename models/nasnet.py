"""NASNet-A, whose cells were found by a search rather than drawn by hand.

B. Zoph, V. Vasudevan, J. Shlens and Q. Le, "Learning transferable architectures for scalable image
recognition", CVPR 2018 (arXiv:1707.07012), section 3, figures 2 and 4, tables 2 and 3.

What it introduced is a search small enough to afford. Nobody searches for a whole network: a network is a
stack of two kinds of cells, one that keeps the size of the image and one that halves it, and only these two
are searched for, on CIFAR-10. The best that was found, NASNet-A, is then stacked deeper and wider for
ImageNet.

A cell sees h, the output of the last cell, and p, that of the cell before it, each brought to M maps by a 1×1
convolution. Five times it takes two of what there is by then, applies an operation to each, and adds the
results (figure 4; the tables below). The operations are

    sepK    relu, depthwise K×K, 1×1 convolution, batch norm; and all that once more
    max     the maximum of 3×3 pixels
    mean    the mean of 3×3 pixels
    same    nothing

Where a cell halves the image, the operations on h and p have stride 2. If p is still of twice the size, it is
halved without losing three pixels of four: one 1×1 convolution reads the pixels at even rows and columns,
another those at odd ones, half of the maps each. Every image is padded as TensorFlow's "same": H pixels
become ⌈H / stride⌉, and if the padding is odd, the last row gets one more than the first.

A name such as 4 @ 1056 gives N and the number of maps at the end, which is 24 M, so that M = 44 here:

    | output, mobile | large   | cells                             | M of each |
    |----------------|---------|-----------------------------------|-----------|
    | 111×111        | 165×165 | 3×3 convolution, stride 2         |           |
    | 28×28          | 42×42   | reduction cell, reduction cell    | M/4, M/2  |
    | 28×28          | 42×42   | normal cell × N                   | M         |
    | 14×14          | 21×21   | reduction cell, normal cell × N   | 2M        |
    | 7×7            | 11×11   | reduction cell, normal cell × N   | 4M        |
    | 1×1            | 1×1     | relu, mean; dropout, dense layer  |           |

Names of parameters are timm's for ``nasnetalarge`` and those of Cadene's published weights for
``nasnetamobile``; initial values are those of the layers. The auxiliary head and the dropping of whole paths
(ScheduledDropPath), with which the authors trained, are in neither and not here.

    >>> from minicnn import models
    >>> models.create("nasnetamobile", width=8).cell_0.comb_iter_0_left.separable_1.depthwise_conv2d
    Conv2d(8, 8, kernel_size=(5, 5), stride=(1, 1), padding='same', groups=8, bias=False)
"""

from typing import Any, NamedTuple

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_multiple, check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor


class Plan(NamedTuple):
    """A cell as a table. A row is an operation, its input, another operation, and its input.

    An input is "h", "p", or the number of a row above. ``output`` says what the next cell sees, one after
    another along the channels.
    """

    stride: int
    pairs: tuple[tuple[Any, ...], ...]
    output: tuple[Any, ...]


NORMAL = Plan(
    stride=1,
    pairs=(
        ("sep5", "h", "sep3", "p"),
        ("sep5", "p", "sep3", "p"),
        ("mean", "h", "same", "p"),
        ("mean", "p", "mean", "p"),
        ("sep3", "h", "same", "h"),
    ),
    output=("p", 0, 1, 2, 3, 4),
)

REDUCTION = Plan(
    stride=2,
    pairs=(
        ("sep5", "h", "sep7", "p"),
        ("max", "h", "sep7", "p"),
        ("mean", "h", "sep5", "p"),
        ("same", 1, "mean", 0),
        ("sep3", 0, "max", "h"),
    ),
    output=(1, 2, 3, 4),
)


def norm(C: int) -> nn.BatchNorm2d:
    """Batch norm with the published ε."""
    return nn.BatchNorm2d(C, eps=0.001)


def projection(C: int, M: int) -> nn.Sequential:
    """Relu, 1×1 convolution and batch norm: C maps to M."""
    return nn.Sequential({"act": nn.ReLU(), "conv": nn.Conv2d(C, M, 1, bias=False), "bn": norm(M)})


def separable(C: int, M: int, K: int, stride: int) -> nn.Sequential:
    """Relu, separable convolution and batch norm, twice; the first takes the stride, and goes from C to M."""
    layers: dict[str, nn.Module] = {}
    for i in (1, 2):
        depthwise = nn.Conv2d(C, C, K, stride, padding="same", groups=C, bias=False)
        pointwise = nn.Conv2d(C, M, 1, bias=False)
        layers[f"act_{i}"] = nn.ReLU()
        layers[f"separable_{i}"] = nn.Sequential(
            {"depthwise_conv2d": depthwise, "pointwise_conv2d": pointwise}
        )
        layers[f"bn_sep_{i}"] = norm(M)
        C, stride = M, 1
    return nn.Sequential(layers)


class SamePool(nn.Module):
    """The maximum or the mean of windows of 3×3: H×W pixels to ⌈H/stride⌉ × ⌈W/stride⌉.

    A mean is over the pixels that are in the image, or with ``count_include_pad`` always over nine.
    """

    def __init__(self, kind: str, stride: int, count_include_pad: bool = False) -> None:
        super().__init__()
        self.kind, self.stride, self.count_include_pad = kind, stride, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        # With stride 2 an odd size is padded on both sides, an even one on the far side alone, where ceil
        # mode lets the last window reach past the image.
        padding = (1, 1) if self.stride == 1 else (x.shape[2] % 2, x.shape[3] % 2)
        if self.kind == "max":
            return F.max_pool2d(x, 3, self.stride, padding, ceil_mode=True)
        if self.count_include_pad:
            return F.avg_pool2d(F.pad(x, (padding[1], 1, padding[0], 1)), 3, self.stride)
        return F.avg_pool2d(x, 3, self.stride, padding, ceil_mode=True, count_include_pad=False)

    def extra_repr(self) -> str:
        return f"{self.kind}, stride={self.stride}"


class NextPixel(nn.Module):
    """The image moved by one pixel up and to the left; zeros come in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]


def halves(C: int, M: int) -> tuple[nn.Sequential, nn.Sequential]:
    """1×1 convolutions, C maps to M/2, of the pixels at even and of those at odd rows and columns."""
    even, odd = (nn.Conv2d(C, M // 2, 1, stride=2, bias=False) for _ in range(2))
    return nn.Sequential({"conv": even}), nn.Sequential({"pad": NextPixel(), "conv": odd})


class Cell(nn.Module):
    """What a Plan says, with M maps; x has C maps, and what came before it has B.

    ``before`` says what becomes of the latter: "project" brings it to M maps, "halve" to half the size as
    well, and "keep" leaves it as it is.
    """

    def __init__(self, plan: Plan, C: int, B: int, M: int, before: str, count_include_pad: bool) -> None:
        super().__init__()
        self.plan, self.before = plan, before
        if before == "project":
            self.conv_prev_1x1 = projection(B, M)
        self.conv_1x1 = projection(C, M)
        if before == "halve":
            self.act = nn.ReLU()
            self.path_1, self.path_2 = halves(B, M)
            self.final_path_bn = norm(M)
        maps = {"p": B if before == "keep" else M}

        def operation(kind: str, source: Any) -> nn.Module:
            stride = plan.stride if source in ("h", "p") else 1
            if kind == "same":
                return nn.Identity()
            if kind.startswith("sep"):
                return separable(maps.get(source, M), M, int(kind[3:]), stride)
            return SamePool(kind, stride, count_include_pad and stride == 2)

        for i, (left, left_source, right, right_source) in enumerate(plan.pairs):
            self.add_module(f"comb_iter_{i}_left", operation(left, left_source))
            self.add_module(f"comb_iter_{i}_right", operation(right, right_source))

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """From (N, C, H, W) to M maps for each entry of the plan's output, of H/stride × W/stride."""
        there: dict[Any, Tensor] = {"h": self.conv_1x1(x), "p": self._prepared(before)}
        for i, (_, left, _, right) in enumerate(self.plan.pairs):
            other = self.get_submodule(f"comb_iter_{i}_right")(there[right])
            there[i] = nn.chain(there[left], self.get_submodule(f"comb_iter_{i}_left"), nn.Plus(other))
        return F.cat([there[key] for key in self.plan.output], dim=1)

    def _prepared(self, before: Tensor) -> Tensor:
        if self.before == "keep":
            return before
        if self.before == "project":
            return self.conv_prev_1x1(before)
        x = self.act(before)
        return self.final_path_bn(F.cat([self.path_1(x), self.path_2(x)], dim=1))


class Row(NamedTuple):
    """A cell of the network: its name, its plan and M; and whether the next cell gets its x as p."""

    name: str
    plan: Plan
    M: int
    hands_on: bool = True


def rows(width: int, cells: int, skip_reduction: bool) -> list[Row]:
    """The network, cell after cell. Numbers go on at 6 and 12 even where a stage has fewer cells than 6."""
    network = [Row("cell_stem_0", REDUCTION, width // 4), Row("cell_stem_1", REDUCTION, width // 2)]
    for stage in range(3):
        M, first = width * 2**stage, max(cells, 6) * stage
        if stage > 0:
            network.append(Row(f"reduction_cell_{stage - 1}", REDUCTION, M, not skip_reduction))
        network += [Row(f"cell_{first + i}", NORMAL, M) for i in range(cells)]
    return network


class NASNet(nn.Module):
    """NASNet-A with N = ``cells``, M = ``width`` and ``stem`` maps after the first convolution.

    The two published networks differ in two places where a table has no room for it. After a reduction cell
    the mobile network's next cell has the reduction cell's x for p, the large one the reduction cell's p
    (``skip_reduction``). And where a mean has stride 2, timm's large network counts the zeros around the
    image, which neither the paper's code nor the mobile network does (``count_include_pad``).
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        in_channels: int,
        dropout: float,
        width: int,
        stem: int,
        cells: int,
        skip_reduction: bool,
        count_include_pad: bool,
    ) -> None:
        super().__init__()
        check_positive(name, num_classes=num_classes, in_channels=in_channels, stem=stem, cells=cells)
        check_multiple(name, 4, width=width)
        self.name, self.in_channels = name, in_channels
        self.rows = rows(width, cells, skip_reduction)
        self.conv0 = nn.Sequential(
            {"conv": nn.Conv2d(in_channels, stem, 3, stride=2, bias=False), "bn": norm(stem)}
        )
        C = B = stem
        before = "keep"
        for key, plan, M, hands_on in self.rows:
            self.add_module(key, Cell(plan, C, B, M, before, count_include_pad))
            B, C = (C if hands_on else B), M * len(plan.output)
            before = "halve" if plan.stride == 2 else "project"
        self.act = nn.ReLU()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(C, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) of 3×3 or more to logits (N, num_classes); else ValueError."""
        check_size(self.name, x, self.in_channels, 3, "so large are the windows of the first layer")
        before = x = self.conv0(x)  # N × 32 × 111 × 111 (large: 96 × 165 × 165)
        for key, _, _, hands_on in self.rows:
            y = self.get_submodule(key)(x, before)
            before, x = (x if hands_on else before), y
        x = self.act(x)  # N × 1056 × 7 × 7 (large: 4032 × 11 × 11)
        x = self.global_pool(x)  # N × 1056 × 1 × 1
        return self.last_linear(self.dropout(self.flatten(x)))  # N × num_classes


@register(input_shape=(3, 224, 224), year=2017, parameters=5_289_978, buffers=36_738, macs=563_638_816)
def nasnetamobile(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 44,
    stem: int = 32,
    cells: int = 4,
    count_include_pad: bool = False,
) -> NASNet:
    """NASNet-A for telephones, 4 @ 1056, three times four searched cells."""
    return NASNet(
        "nasnetamobile", num_classes, in_channels, dropout, width, stem, cells, False, count_include_pad
    )


@register(input_shape=(3, 331, 331), year=2017, parameters=88_753_150, buffers=196_668, macs=23_783_414_658)
def nasnetalarge(
    num_classes: int = 1000,
    in_channels: int = 3,
    dropout: float = 0.5,
    width: int = 168,
    stem: int = 96,
    cells: int = 6,
    count_include_pad: bool = True,
) -> NASNet:
    """NASNet-A, 6 @ 4032, three times six searched cells."""
    return NASNet(
        "nasnetalarge", num_classes, in_channels, dropout, width, stem, cells, True, count_include_pad
    )
