"""LeNet-5 as it was published, down to the drawings that its output is compared with.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, section II.B and C, figures 2 and 3, table I, appendix A.

``lenet.py`` has the form taught today. What has been given up since:

- C3 is connected to S2 by a table, which saves work, and breaks the symmetry between maps that otherwise all
  see the same;
- subsampling is trained: the sum of 2×2 pixels, times the map's coefficient, plus the map's bias, squashed;
- the squashing function is f(a) = 1.7159 tanh(2a/3), so that f(1) = 1 and f(−1) = −1, where its curvature is
  greatest: the codes to be learnt, of +1 and −1, are in reach, and not where the gradient dies;
- the output is a distance: each class has a drawing of 7×12 pixels, fixed by hand, and F6 with its 84 units
  is to become the drawing of what it reads. Characters that are easily confused have similar drawings.

The paper's drawings are in its figure 3; those below are minicnn's own, in that manner.

    | layer  | what it is                      | output   | parameters | connections |
    |--------|---------------------------------|----------|------------|-------------|
    | c1     | 5×5 convolution                 | 6×28×28  |        156 |     122,304 |
    | s2     | subsampling, 2×2                | 6×14×14  |         12 |       5,880 |
    | c3     | 5×5 convolution by table I      | 16×10×10 |      1,516 |     151,600 |
    | s4     | subsampling, 2×2                | 16×5×5   |         32 |       2,000 |
    | c5     | 5×5 convolution, dense here     | 120      |     48,120 |      48,120 |
    | f6     | dense                           | 84       |     10,164 |      10,164 |
    | output | distances to the drawings       | 10       |            |         840 |
    | total  |                                 |          |     60,000 |     340,908 |

The 840 numbers of the drawings are a buffer.
"""

from math import prod

import numpy as np

from minicnn import functional as F
from minicnn import nn
from minicnn.models.checks import check_images, check_positive
from minicnn.models.registry import register
from minicnn.tensor import Tensor, from_numpy, ones, zeros

# Table I: the maps of S2 that each map of C3 sees, ordered by how many they are.
TABLE_I = (
    ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    ((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    ((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    ((0, 1, 2, 3, 4, 5),),
)

# The digits 0 to 9.
DRAWINGS = """
..###.. ...##.. .#####. ####### .....#. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## .....## ....##. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## ....##. ...###. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## ...##.. ..#.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. .#..##. ######. ##..... ....##. .#####. ##...##
##...## ...##.. ...##.. .....## ##..##. .....## ######. ...##.. ##...## .######
##...## ...##.. ..##... .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ....##. .....## ##...## .##.... ##...## .....##
.##.##. .###### ####### ##...## ....##. ##...## ##...## .##.... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .####..
"""


def codes() -> np.ndarray:
    """The drawings as vectors, (10, 84): +1 for ink, −1 for paper, row after row.

    >>> codes().shape, codes()[0, :7]
    ((10, 84), array([-1., -1.,  1.,  1.,  1., -1., -1.], dtype=float32))
    """
    rows = [line.split() for line in DRAWINGS.split("\n") if line]
    pixels = np.array([[list(digit) for digit in row] for row in rows])  # 12 × 10 × 7
    ink = pixels.transpose(1, 0, 2).reshape(10, 84) == "#"
    return np.where(ink, 1, -1).astype(np.float32)


class Squash(nn.Module):
    """f(a) = 1.7159 tanh(2a/3): equation 6."""

    def forward(self, a: Tensor) -> Tensor:
        return F.tanh(a * (2 / 3)) * 1.7159


class Subsampling(nn.Module):
    """For each map a coefficient w and a bias b: y = w · (the sum of 2×2 pixels) + b."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(ones(C))
        self.bias = nn.Parameter(zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(x, 2) * 4
        return sums * self.weight[:, None, None] + self.bias[:, None, None]


class PartlyConnected(nn.Module):
    """5×5 convolutions by a table: maps that see equally many maps are the groups of one convolution."""

    def __init__(self, table: tuple[tuple[tuple[int, ...], ...], ...]) -> None:
        super().__init__()
        self.table = table
        for i, maps in enumerate(table):
            self.add_module(str(i), nn.Conv2d(sum(map(len, maps)), len(maps), 5, groups=len(maps)))

    def forward(self, x: Tensor) -> Tensor:
        source = F.split(x, 1, dim=1)
        y = []
        for convolution, maps in zip(self.children(), self.table, strict=True):
            seen = F.cat([source[c] for group in maps for c in group], dim=1)
            y.append(convolution(seen))
        return F.cat(y, dim=1)


class RadialBasis(nn.Module):
    """The squared Euclidean distances to fixed vectors, y_i = Σ_j (x_j − w_ij)²: equation 7."""

    def __init__(self, w: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("weight", from_numpy(w))

    def forward(self, x: Tensor) -> Tensor:
        difference = x[:, None] - self.weight  # N × 10 × 84
        return (difference * difference).sum(dim=2)


def map_criterion(logits: Tensor, labels: Tensor, j: float) -> Tensor:
    """The loss with which the network was trained: equation 9, the maximum a posteriori criterion.

        E = mean over the images of  y_D + log(e^−j + Σ_i e^−y_i)

    where y_i = −``logits`` are the distances and D is the right class. It draws F6 towards the right drawing
    and away from the others. j > 0 is a distance at which all that is no character stands: once wrong classes
    are farther than that, they are pushed no more. Without e^−j, as j grows, this is cross-entropy.

    Shapes: logits (N, C), labels (N,); a scalar. Raises ValueError unless j > 0.

    >>> from minicnn import tensor
    >>> loss = map_criterion(tensor([[-1.0, -5.0]]), tensor([0]), j=3.0)
    >>> round(loss.item(), 4)  # log(1 + e⁻⁴ + e⁻²)
    0.1429
    """
    if not j > 0:
        raise ValueError(f"map_criterion: j must be a number > 0, but is {j!r}")
    rubbish = zeros(logits.shape[0], 1, dtype=logits.dtype, device=logits.device) - j
    return F.cross_entropy(F.cat([logits, rubbish], dim=1), labels)


class LeNet5Of1998(nn.Module):
    """The layers of the table above; weights begin uniform in ±2.4 / (inputs of a unit), as in appendix A."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        check_positive("lenet5_1998", num_classes=num_classes, in_channels=in_channels)
        if num_classes > len(codes()):
            raise ValueError(f"lenet5_1998: num_classes is {num_classes}, but only ten digits are drawn")
        self.input_shape = (in_channels, 32, 32)
        with nn.init.skip():  # the weights are drawn below, once
            self.c1 = nn.Conv2d(in_channels, 6, 5)
            self.s2 = Subsampling(6)
            self.c3 = PartlyConnected(TABLE_I)
            self.s4 = Subsampling(16)
            self.flatten = nn.Flatten()
            self.c5 = nn.Linear(16 * 5 * 5, 120)
            self.f6 = nn.Linear(120, 84)
            self.output = RadialBasis(codes()[:num_classes])
        self.squash = Squash()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | Subsampling):
                inputs = 4 if isinstance(module, Subsampling) else prod(module.weight.shape[1:])
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -2.4 / inputs, 2.4 / inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, 32, 32) to (N, num_classes); ValueError for any other size.

        The paper's outputs are penalties, distances that are smallest for the right class. What comes out
        here is their negative, so that the largest is the answer, as for all other networks, and softmax and
        cross-entropy mean what they should: equation 9 but for its constant (:func:`map_criterion`).
        """
        check_images("lenet5_1998", x, self.input_shape)
        x = self.squash(self.c1(x))  # N × 6 × 28 × 28
        x = self.squash(self.s2(x))  # N × 6 × 14 × 14
        x = self.squash(self.c3(x))  # N × 16 × 10 × 10
        x = self.squash(self.s4(x))  # N × 16 × 5 × 5
        x = self.flatten(x)  # N × 400
        x = self.squash(self.c5(x))  # N × 120
        x = self.squash(self.f6(x))  # N × 84
        return -self.output(x)  # N × num_classes


@register(input_shape=(1, 32, 32), year=1998, parameters=60_000, buffers=840, macs=325_680)
def lenet5_1998(num_classes: int = 10, in_channels: int = 1) -> LeNet5Of1998:
    """LeNet-5 as published in 1998, with trained subsampling and drawn codes.

    340,908 connections. At most ten classes, those of which there is a drawing.

    >>> from minicnn import models
    >>> sum(p.data.size for p in models.create("lenet5_1998").parameters())
    60000
    """
    return LeNet5Of1998(num_classes, in_channels)
