"""Batch norm: every layer finds its inputs as it left them.

While a network learns, each layer's inputs change with the layers below. S.
Ioffe and C. Szegedy 2015 let a layer normalise them over the batch, and give
them a scale and a shift that are learned:

    x̂ = (x − μ) / √(σ² + ε)        y = γ x̂ + β

What follows: rates may be ten times larger, and initial weights matter less.
What is peculiar: in training the images of a batch depend on each other, and
in use running means take the place of the batch's. The gradient has three
terms, for x moves y by itself, by way of μ and by way of σ:

    gx = γ/σ · (gy − mean(gy) − x̂ · mean(gy · x̂))
"""

import numpy as np

import minicnn as mc
from minicnn import data, nn
from minicnn import functional as F
from minicnn.lessons.drawing import Sketchbook, curves
from minicnn.lessons.training import train


def network(normalised: bool) -> nn.Sequential:
    """Six dense layers for digits."""
    mc.manual_seed(2)
    layers: list[nn.Module] = [nn.Flatten()]
    n = 28 * 28
    for _ in range(5):
        layers += [nn.Linear(n, 64), *([nn.BatchNorm1d(64)] if normalised else []), nn.ReLU()]
        n = 64
    return nn.Sequential(*layers, nn.Linear(n, 10))


def main(draw: Sketchbook) -> None:
    """The three terms, then the same deep network with and without, at three rates."""
    x = mc.tensor(3 + 2 * mc.randn(4, 1, 2, 2, dtype="float64").numpy(), requires_grad=True)
    one, zero = (mc.tensor(np.full(1, v)) for v in (1.0, 0.0))
    y = F.batch_norm(x, None, None, one, zero, training=True)
    gy = mc.randn(4, 1, 2, 2, dtype="float64").numpy()
    y.backward(gy)
    xhat = y.numpy()
    sigma = np.sqrt(x.numpy().var() + 1e-5)
    by_terms = (gy - gy.mean() - xhat * (gy * xhat).mean()) / sigma
    print(f"normalised: mean {xhat.mean():.1e}, standard deviation {xhat.std():.6f}")
    print(f"the three terms give the engine's gradient: {np.allclose(by_terms, x.grad)}")
    print(
        f"gx adds up to {x.grad.sum():.0e}, and gx · x̂ to {(x.grad * xhat).sum():.0e}, but for ε both to 0:"
    )
    print("to shift or to stretch the whole batch changes nothing, and the gradient knows it.")

    digits = data.load("digits")
    lines = {}
    print("\nloss of six layers after 1, 3 and 6 epochs:")
    for normalised in (False, True):
        for rate in (0.005, 0.05, 0.5):
            with np.errstate(all="ignore"):
                losses = np.array(train(network(normalised), digits.train, epochs=6, lr=rate))
            name = f"{'batch norm' if normalised else 'without'}, rate {rate}"
            finite = np.isfinite(losses).all()
            three = "".join(f"{v:7.3f}" if np.isfinite(v) else f"{'–':>7}" for v in losses[[0, 2, 5]])
            print(f"  {name:<24}{three}{'' if finite else '  ran away: not in the picture'}")
            if finite:
                lines[name] = losses
    with draw.picture("rates", size=4.5) as axes:
        curves(axes, lines, "six layers on digits", "epoch", "training loss", "y")
    print("\nTry: batch_size=2 in train(). What are a mean and a variance of two worth?")
