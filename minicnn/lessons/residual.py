"""Degradation, and the residual block.

More layers should never hurt: the additional ones could do nothing. Yet K. He
et al. 2016 found that plain networks of 56 layers train to a larger error than
of 20, on the training images themselves. To do nothing is hard to learn for
layers that multiply and rectify. So a block computes only what is to be
*added*:

    y = relu(F(x) + x)

Doing nothing is then F = 0, and the gradient finds a way back that no weight
is on. Both can be seen here: how much gradient arrives at the first layer, and
how well deep networks train with and without the shortcut.
"""

import numpy as np

import minicnn as mc
from minicnn import data, models
from minicnn import functional as F
from minicnn.lessons.drawing import Sketchbook, curves
from minicnn.lessons.training import train


def network(depth: int, shortcut: str):
    """A network of 6n + 2 layers as in the paper, with 8 maps in its first stage, for grey 14×14 images."""
    mc.manual_seed(3)
    return models.create("cifar_resnet20", in_channels=1, width=8, n=(depth - 2) // 6, shortcut=shortcut)


def first_gradient(depth: int, shortcut: str, split: data.Split) -> float:
    """The size of the gradient to the first layer's weights, before any training."""
    net = network(depth, shortcut)
    F.cross_entropy(net(mc.tensor(split.images[:32])), mc.tensor(split.labels[:32])).backward()
    return float(np.sqrt((net.conv1.weight.grad**2).mean()))


def main(draw: Sketchbook) -> None:
    """Depth 8 to 56: gradients before training, losses after a little of it."""
    digits = data.load("digits", size=14)
    few = digits.train.take(np.arange(320))
    names = {"none": "plain", "A": "residual"}
    print("training loss after 4 epochs on 320 digits (compiling takes a while the first time):")
    lines: dict[str, list[float]] = {}
    for depth in (8, 20, 44):
        for shortcut, name in names.items():
            losses = train(network(depth, shortcut), few, epochs=4, lr=0.05, batch_size=32)
            lines[f"{name}, {depth} layers"] = losses
            arrives = first_gradient(depth, shortcut, few)
            print(f"  {name:<9}{depth:3} layers: {losses[-1]:.3f}; gradient at layer 1 before: {arrives:.0e}")
    with draw.picture("depth", columns=2, size=3.8) as axes:
        for axis, name in zip(axes, names.values(), strict=True):
            chosen = {key: losses for key, losses in lines.items() if key.startswith(name)}
            curves(axis, chosen, name, "epoch", "training loss")
            axis.set_ylim(0, max(map(max, lines.values())) * 1.05)
    print("\nIt is not that gradients vanish: batch norm sees to that (the paper's section 4.1). In the")
    print("plain network they even grow on their way back; along shortcuts they stay nearly level.")
    print("\nTry: shortcut='C', a 1×1 convolution on every shortcut. Is it better than none at all?")
