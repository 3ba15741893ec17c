"""Softmax and cross-entropy on a page: probabilities, how surprised they are, and the gradient p − q."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.explain.document import Explanation, Grid, Scene, Step
from minicnn.explain.grids import gradient, labels
from minicnn.explain.point import Draw, Point
from minicnn.explain.words import bracketed, by, joined, number, sums
from minicnn.tensor import tensor


class Loss:
    """A cross-entropy of drawn numbers and labels, with everything on the way to it."""

    def __init__(self, input: tuple[int, ...], smoothing: float, draw: Draw) -> None:
        N, C = input
        self.smoothing = smoothing
        self.x = draw.tenths(input)
        self.target = draw.generator.integers(0, C, N)
        self.point = Point(
            lambda x: F.cross_entropy(x, self.target, label_smoothing=smoothing), {"x": self.x}, np.ones
        )
        x = tensor(self.x)
        self.largest = F.amax(x, dim=1, keepdim=True).numpy()
        self.e = F.exp(tensor(self.x - self.largest)).numpy()
        self.p = F.softmax(x, dim=1).numpy()
        self.surprise = -F.log_softmax(x, dim=1).numpy()
        self.onehot = F.one_hot(self.target, C, np.float64).numpy()
        self.q = (1 - smoothing) * self.onehot + smoothing / C
        self.losses = F.cross_entropy(x, self.target, reduction="none", label_smoothing=smoothing).numpy()


def cross_entropy(input: tuple[int, ...], label_smoothing: float, seed: int) -> Explanation:
    """Softmax and cross-entropy, whose gradient is p − q."""
    loss = Loss(input, label_smoothing, Draw(seed))
    return Explanation(
        title="cross_entropy",
        words="Softmax turns numbers into probabilities; the loss is how surprised they are by the truth.",
        equations=["p = exp(x) / Σ exp(x)        L = mean over n of −Σ_c q · ln p        gx = (p − q) / N"],
        facts=[
            ("x", f"{by(input)}  (N, C)"),
            ("labels", ", ".join(map(str, loss.target.tolist()))),
            ("label smoothing", number(label_smoothing)),
        ],
        grids={grid.key: grid for grid in (*_forward_grids(loss), *_loss_grids(loss))},
        scenes=[_softmax(loss), _loss(loss), _backward(loss)],
    )


def _forward_grids(loss: Loss) -> list[Grid]:
    x, e, p = loss.x, loss.e, loss.p
    C, every = x.shape[1], np.arange(x.size)
    row = (every // C).tolist()
    e_texts = {k: f"exp({number(v)} − {bracketed(loss.largest.flat[row[k]])})" for k, v in enumerate(x.flat)}
    p_texts = {k: f"{number(v)} / {number(e[row[k]].sum())}" for k, v in enumerate(e.flat)}
    p_made = {k: [(float(e[n, c]), ("e", n * C + c)) for c in range(C)] for k, n in enumerate(row)}
    return [
        Grid("x", "x", x, "x, one row an image"),
        Grid(
            "e",
            "e",
            e,
            "e = exp(x − the row's largest)",
            made=sums(every, e.reshape(-1), ("x", every)),
            how="",
            texts=e_texts,
        ),
        Grid("p", "p", p, "p = e / Σ e: probabilities", made=p_made, how="", texts=p_texts),
        Grid(
            "surprise",
            "−ln p",
            loss.surprise,
            "−ln p, the surprise",
            made=sums(every, loss.surprise.reshape(-1), ("p", every)),
            how="",
            texts={k: f"−ln {number(v)}" for k, v in enumerate(p.flat)},
        ),
    ]


def _loss_grids(loss: Loss) -> list[Grid]:
    p, q, (N, C) = loss.p.reshape(-1), loss.q.reshape(-1), loss.x.shape
    every, rows, share = np.arange(N * C), np.arange(N), f"1/{N}"
    smooth = f"(1 − {number(loss.smoothing)}) · {{}} + {number(loss.smoothing)}/{C}"
    q_texts = {k: smooth.format(number(v)) for k, v in enumerate(loss.onehot.flat)}
    losses_made = sums(every // C, q * loss.surprise.reshape(-1), ("q", every), ("surprise", every))
    gx_made = joined(sums(every, p / N, ("p", every), share), sums(every, -q / N, "−1", ("q", every), share))
    return [
        Grid("q", "q", loss.q, "q, the truth", texts=q_texts if loss.smoothing else {}),
        Grid("losses", "loss", loss.losses, "loss of each image", made=losses_made),
        Grid(
            "L",
            "L",
            loss.point.y,
            "L, their mean",
            made=sums(0 * rows, loss.losses / N, ("losses", rows), share),
        ),
        gradient(loss.point, "x", gx_made, "gx = (p − q) / N"),
    ]


def _softmax(loss: Loss) -> Scene:
    C, steps = loss.x.shape[1], []
    for k, label in enumerate(labels("p", loss.x)):
        mates = [k // C * C + c for c in range(C)]
        note = f"{label} = {number(loss.p.flat[k])}: its share of the sum of its row."
        steps.append(Step([k], note, {"x": [k], "e": mates}, {"e": [k]}))
    return Scene(
        "softmax",
        "Forward: softmax",
        [
            "The exponential makes every number positive, and dividing by the row's sum makes them add up "
            "to 1. The row's largest number is subtracted first: it changes nothing in p, and nothing "
            "overflows."
        ],
        ["x", "e", "p"],
        "p",
        steps,
        "p[n, c] = exp(x[n, c]) / Σ_c' exp(x[n, c'])",
    )


def _loss(loss: Loss) -> Scene:
    C, steps = loss.x.shape[1], []
    for n, true in enumerate(loss.target.tolist()):
        cells = [n * C + c for c in range(C)]
        note = (
            f"Image {n} is of class {true}, to which the network gives p = {number(loss.p[n, true])}: its "
            f"loss is {number(loss.losses[n])}."
        )
        lit = {"surprise": cells, "q": cells, "L": [0]}
        steps.append(Step([n], note, lit, {"surprise": [n * C + true]}))
    return Scene(
        "loss",
        "Forward: cross-entropy",
        [
            "Only the probability of the true class counts (unless labels are smoothed): −ln p is 0 for p = "
            f"1, and grows without bound as p goes to 0. Guessing among {C} classes costs ln {C} = "
            f"{number(np.log(C))}."
        ],
        ["p", "surprise", "q", "losses", "L"],
        "losses",
        steps,
        "loss[n] = −Σ_c q[n, c] · ln p[n, c]",
    )


def _backward(loss: Loss) -> Scene:
    N, steps = len(loss.x), []
    for k, label in enumerate(labels("gx", loss.x)):
        gx = loss.point.gradients["x"].flat[k]
        push = "larger" if gx < 0 else "smaller"
        difference = f"({number(loss.p.flat[k])} − {number(loss.q.flat[k])}) / {N}"
        note = f"{label} = {difference} = {number(gx)}: a step against the gradient makes x {push}."
        steps.append(Step([k], note))
    return Scene(
        "backward",
        "Backward: p − q",
        [
            "The derivatives of the logarithm, the quotient and the exponential cancel to the simplest "
            "thing there could be: what the network said, minus what is true. Each row adds up to 0. The "
            "division by N is the mean's."
        ],
        ["p", "q", "gx"],
        "gx",
        steps,
        "gx = (p − q) / N",
    )
