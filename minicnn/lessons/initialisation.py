"""Initialisation: why the first weights matter.

A layer of n inputs adds up n products, so with weights of standard deviation σ
its output has about σ√n times the input's size. Over ten layers that factor
counts ten times: a little below 1 and everything fades to nothing, a little
above and it explodes, forward and backward alike. So σ must be near 1/√n.

    zeros            all neurons compute the same and receive the same
                     gradient: they stay equal for ever
    small normal     σ = 0.01, whatever n
    Xavier (Glorot)  σ² = 2 / (n_in + n_out), for tanh
                     (X. Glorot and Y. Bengio, 2010)
    He (Kaiming)     σ² = 2 / n_in, for rectifiers, which lose half
                     (K. He et al., 2015)
"""

import numpy as np

import minicnn as mc
from minicnn import nn
from minicnn.lessons.drawing import Sketchbook, curves

DEPTH, WIDTH = 10, 256
SCHEMES = {
    "zeros": nn.init.zeros_,
    "normal, σ = 0.01": lambda w: nn.init.normal_(w, std=0.01),
    "Xavier": nn.init.xavier_normal_,
    "He": nn.init.kaiming_normal_,
}


def through(scheme, activation):
    """The sizes of ten layers' outputs, and of the gradients that come back to them."""
    mc.manual_seed(0)
    x = mc.randn(64, WIDTH)
    layers, outputs = [], []
    for _ in range(DEPTH):
        layer = nn.Linear(WIDTH, WIDTH, bias=False)
        scheme(layer.weight)
        x = activation(layer(x))
        layers.append(layer)
        outputs.append(float(x.data.std()))
    x.backward(mc.randn(64, WIDTH).numpy())
    return outputs, [float(np.sqrt((layer.weight.grad**2).mean())) for layer in layers]


def main(draw: Sketchbook) -> None:
    """Send numbers through ten layers of 256, by each scheme, with tanh and with rectifiers."""
    with draw.picture("ten-layers", columns=2, rows=2) as axes:
        for row, activation in zip(axes, (nn.Tanh(), nn.ReLU()), strict=True):
            name = type(activation).__name__
            found = {scheme: through(draw_weights, activation) for scheme, draw_weights in SCHEMES.items()}
            print(f"{name}: size of the 1st and the 10th output; gradient to the 1st weights and the 10th")
            for scheme, (outputs, gradients) in found.items():
                ends = outputs[0], outputs[-1], gradients[0], gradients[-1]
                print(f"  {scheme:<17}" + "".join(f"{size:10.1e}" for size in ends))
            for axis, which, title in ((row[0], 0, "outputs"), (row[1], 1, "gradients to the weights")):
                lines = {
                    scheme: np.array(both[which]) + 1e-30
                    for scheme, both in found.items()
                    if scheme != "zeros"
                }
                curves(axis, lines, f"{name}: {title}", "layer", "size", "y")
    print("With zeros nothing moves at all: no output, no gradient, no learning.")
    print("\nTry: DEPTH = 50. Which schemes survive?")
