"""LeNet-5: the first network that read for a living.

Y. LeCun, L. Bottou, Y. Bengio and P. Haffner 1998: convolutions find strokes,
pooling forgets where exactly, twice in a row, then dense layers decide. 61,706
parameters in its modern form; bank cheques were read by it.

Where are the parameters, and where is the work? The convolutions have 4 % of
the one and most of the other: a filter is small, but it is used at every place
of the image. That is the idea of a convolutional network.
"""

import minicnn as mc
from minicnn import data, models
from minicnn.lessons.drawing import Sketchbook, curves, image
from minicnn.lessons.training import accuracy, train
from minicnn.summary import summarize


def main(draw: Sketchbook) -> None:
    """Count LeNet-5, train it on real digits, and look inside."""
    mc.manual_seed(0)
    net = models.create("lenet5")
    report = summarize(net, (1, 28, 28))
    for row in report.rows:
        if row.parameters:
            share, work = row.parameters / report.parameters, row.macs / report.macs
            print(f"  {row.name:<7}{row.parameters:7,} parameters ({share:4.0%})", end="")
            print(f"{row.macs:9,} products ({work:4.0%})")
    print(f"  in all {report.parameters:,} parameters, {report.macs:,} products for an image")

    digits = data.load("digits")
    print(f"\ntraining on {len(digits.train):,} digits (the first steps compile, once for this machine) …")
    before = accuracy(net, digits.test)
    losses = train(net, digits.train, epochs=8, lr=0.05)
    after = accuracy(net, digits.test)
    print(f"right on {len(digits.test)} digits it has not seen: {before:.1%} before, {after:.1%} after")

    x = mc.tensor(digits.test.images[:1])
    with mc.no_grad():
        c1 = net.tanh1(net.c1(x))
        c3 = net.tanh3(net.c3(net.s2(c1)))
    with draw.picture("inside", columns=6, rows=3, size=1.7) as axes:
        for k in range(6):
            image(axes[0, k], net.c1.weight.data[k, 0], f"filter {k + 1} of c1")
            image(axes[1, k], c1.data[0, k], "what it saw")
            image(axes[2, k], c3.data[0, k], f"map {k + 1} of c3")
    with draw.picture("loss") as axes:
        curves(axes, {"training loss": losses}, "LeNet-5 on digits", "epoch", "loss")
    print("\nTry: `minicnn train lenet5` does the same with validation, checkpoints and more pictures.")
