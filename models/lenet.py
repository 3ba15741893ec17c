"""LeNet-5, the network that read the amounts on bank cheques.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, section II.B and figure 2.

What it introduced is still the plan of a convolutional network: small filters that look at a local patch
and share their weights over the whole image, so that a stroke is recognised wherever it stands; subsampling
between them, so that its exact position matters less and less; more maps as they grow smaller; dense layers
at the end; and all of it trained from pixels to classes by backpropagation, no feature designed by hand.

The form below is the one taught today. It differs from the original of 1998, which is in ``lenet_1998.py``,
in four ways:

- every map of C3 sees all six maps of S2 (2,416 parameters); the original connected them by a table, to break
  symmetry and to save work (1,516);
- the subsampling of S2 and S4 is a plain average; the original multiplied each map's average by a trainable
  coefficient, added a trainable bias (12 and 32 parameters) and squashed the result;
- the output is a dense layer for softmax and cross-entropy (850 parameters); the original compared F6 with
  fixed 7×12 drawings of the characters by Euclidean radial basis functions;
- the activation is tanh itself, where the original scaled it to 1.7159 tanh(2a/3).

The original read 32×32 images in which the 28×28 digit stood centred. A padding of 2 in C1 does the same.
"""

from minicnn import nn
from minicnn.models.checks import check_images, check_positive
from minicnn.models.registry import register
from minicnn.tensor import Tensor


class LeNet5(nn.Module):
    """LeNet-5 with the paper's names for its layers: C for convolution, S for subsampling, F for dense.

    | layer  | weights       | output   | parameters |
    |--------|---------------|----------|------------|
    | c1     | 6×1×5×5       | 6×28×28  |        156 |
    | s2     |               | 6×14×14  |            |
    | c3     | 16×6×5×5      | 16×10×10 |      2,416 |
    | s4     |               | 16×5×5   |            |
    | c5     | 120×400       | 120      |     48,120 |
    | f6     | 84×120        | 84       |     10,164 |
    | output | 10×84         | 10       |        850 |

    The paper calls C5 a convolution because on a larger image it would be one; over maps of 5×5, its 5×5
    filters fit exactly once, which makes it the dense layer it is here.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        check_positive("lenet5", num_classes=num_classes, in_channels=in_channels)
        self.input_shape = (in_channels, 28, 28)
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.tanh1 = nn.Tanh()
        self.s2 = nn.AvgPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.tanh3 = nn.Tanh()
        self.s4 = nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.tanh5 = nn.Tanh()
        self.f6 = nn.Linear(120, 84)
        self.tanh6 = nn.Tanh()
        self.output = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, 28, 28) to logits (N, num_classes); ValueError for any other size."""
        check_images("lenet5", x, self.input_shape)
        x = self.tanh1(self.c1(x))  # N × 6 × 28 × 28
        x = self.s2(x)  # N × 6 × 14 × 14
        x = self.tanh3(self.c3(x))  # N × 16 × 10 × 10
        x = self.s4(x)  # N × 16 × 5 × 5
        x = self.flatten(x)  # N × 400
        x = self.tanh5(self.c5(x))  # N × 120
        x = self.tanh6(self.f6(x))  # N × 84
        return self.output(x)  # N × num_classes


@register(input_shape=(1, 28, 28), year=1998, parameters=61_706, macs=416_520)
def lenet5(num_classes: int = 10, in_channels: int = 1) -> LeNet5:
    """LeNet-5 in its modern form, with tanh and average pooling.

    Source: LeCun, Bottou, Bengio and Haffner 1998, section II.B, figure 2; see the module's docstring for
    what differs.

    >>> from minicnn import models
    >>> sum(p.data.size for p in models.create("lenet5").parameters())
    61706
    """
    return LeNet5(num_classes, in_channels)
