"""Softmax and cross-entropy: from scores to a loss.

A network ends with one score (logit) for each class. Softmax makes
probabilities of them, and the loss is how surprised they leave us by the true
class:

    p_k = exp(z_k) / Σ_j exp(z_j)        loss = −log p_true

A loss of 0 is certainty, log K is a guess among K classes. Its gradient is as
simple as it could be:

    ∂loss/∂z_k = p_k − [k is the true class]

The true class is pulled up by what it lacks, the others are pushed down by
what they have too much.
"""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.lessons.drawing import BLUE, VERMILION, Sketchbook, curves


def main(draw: Sketchbook) -> None:
    """Probabilities, the loss and its gradient; large logits; label smoothing."""
    logits = mc.tensor([[2.0, 1.0, 0.1, -1.0]], requires_grad=True)
    p = F.softmax(logits, dim=1).numpy()[0]
    loss = F.cross_entropy(logits, mc.tensor([1]))
    loss.backward()
    print(f"logits {logits.numpy()[0]}, probabilities {p.round(3)}; true is class 1")
    print(f"loss = −log {p[1]:.3f} = {loss.item():.3f}; a guess among four would be {np.log(4):.3f}")
    print(f"gradient {logits.grad[0].round(3)}: p, less 1 for the true class; it adds up to 0")

    huge = np.array([[1000.0, 0.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        naive = np.exp(huge) / np.exp(huge).sum()
    print(f"\nlogits of 1000 and 0, as the formula stands: {naive[0]}; exp(1000) is no number any more.")
    print(
        f"with the largest taken off first: {F.softmax(mc.tensor(huge), dim=1).numpy()[0]}; the same formula,"
    )
    print("since a factor above and below the line cancels.")

    hard, soft = (
        F.cross_entropy(mc.tensor([[10.0, 0, 0, 0]]), mc.tensor([0]), label_smoothing=s).item()
        for s in (0.0, 0.1)
    )
    print(
        f"\nvery sure and right: loss {hard:.2g}; with label smoothing 0.1 (Inception v3) {soft:.2f}: ",
        end="",
    )
    print("certainty is made to cost.")

    z = np.linspace(-6, 6, 61)
    values = [F.cross_entropy(mc.tensor([[a, 0.0, 0.0]]), mc.tensor([0])).item() for a in z]
    slopes = np.gradient(values, z)
    with draw.picture("loss", columns=2) as (left, right):
        curves(
            left,
            {"loss": (z, values), "its slope": (z, slopes)},
            "the true class's logit, others 0",
            "logit",
            "",
        )
        right.bar(np.arange(4) - 0.2, p, 0.4, color=BLUE, label="probability")
        right.bar(np.arange(4) + 0.2, logits.grad[0], 0.4, color=VERMILION, label="gradient")
        right.set_title("true is class 1", fontsize=10)
        right.set_xticks(range(4))
        right.legend(fontsize=8, frameon=False)
    print("\nTry: `minicnn exercise cross_entropy_backward --start`.")
