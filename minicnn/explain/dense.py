"""The end of a network on a page: the fully connected layer, and softmax with cross-entropy."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.explain.document import Explanation, Grid, Scene, Step
from minicnn.explain.grids import gradient, gradient_alone, labels
from minicnn.explain.point import Draw, Point, checked
from minicnn.explain.words import by, count, joined, number, sums
from minicnn.tensor import tensor


def linear(input: tuple[int, ...], outputs: int, seed: int) -> Explanation:
    """A fully connected layer, as matrix products."""
    draw, (N, features) = Draw(seed), input
    inputs = {
        "x": draw.whole(input),
        "w": draw.whole((outputs, features), 2),
        "b": draw.whole((outputs,)),
    }
    checked((N, outputs, features))
    point = Point(lambda x, w, b: F.linear(x, w, b), inputs, draw.whole)
    x, w, b = inputs.values()
    n, o, i = (index.ravel() for index in np.indices((N, outputs, features)))
    at_x, at_w, at_y = n * features + i, o * features + i, n * outputs + o
    every = np.arange(point.y.size)
    gy = point.gy.reshape(-1)
    to_x, to_w = w.reshape(-1)[at_w] * gy[at_y], x.reshape(-1)[at_x] * gy[at_y]
    alone_x = [
        sums(at_x[at_y == k], to_x[at_y == k], ("w", at_w[at_y == k]), ("gy", at_y[at_y == k])) for k in every
    ]
    alone_w = [
        sums(at_w[at_y == k], to_w[at_y == k], ("x", at_x[at_y == k]), ("gy", at_y[at_y == k])) for k in every
    ]
    y_made = joined(
        sums(at_y, x.reshape(-1)[at_x] * w.reshape(-1)[at_w], ("x", at_x), ("w", at_w)),
        sums(every, b[every % outputs], ("b", every % outputs)),
    )
    grids = [
        Grid("x", "x", x, "x: each image a row"),
        Grid("w", "w", w, "w: each output a row"),
        Grid("b", "b", b, "b"),
        Grid("y", "y", point.y, "y", made=y_made),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient(point, "x", sums(at_x, to_x, ("gy", at_y), ("w", at_w))),
        gradient(point, "w", sums(at_w, to_w, ("gy", at_y), ("x", at_x))),
        gradient(point, "b", sums(every % outputs, gy, ("gy", every))),
        gradient_alone(point, "x", alone_x),
        gradient_alone(point, "w", alone_w),
    ]
    alone = [
        Step(
            [k],
            f"{label} = {number(gy[k])} reaches the {features} numbers of its image, and the {features} of "
            "its row of w.",
            {
                "x": at_x[at_y == k].tolist(),
                "w": at_w[at_y == k].tolist(),
                "gx.alone": at_x[at_y == k].tolist(),
                "gw.alone": at_w[at_y == k].tolist(),
            },
        )
        for k, label in enumerate(labels("gy", point.y))
    ]
    return Explanation(
        title="linear",
        words="Each output is a weighted sum of all inputs: a matrix product, and in backward two more.",
        equations=["y = x @ wᵀ + b        gx = gy @ w        gw = gyᵀ @ x        gb = Σ_n gy"],
        facts=[
            ("x", f"{by(x.shape)}  (N, in)"),
            ("w", f"{by(w.shape)}  (out, in)"),
            ("y", f"{by(point.y.shape)}  (N, out)"),
            ("work", count(at_y.size, "product") + " x · w"),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=[
            Scene(
                "forward",
                "Forward: rows times rows",
                ["y[n, o] is row n of x times row o of w, plus b[o]: every input counts in every output."],
                ["x", "w", "b", "y"],
                "y",
                _steps("y", point.y, "the {} products of a row of x and a row of w, plus b", features),
            ),
            Scene(
                "one-output",
                "Backward: what one output sends back",
                ["Along each product: to the input with the weight as factor, to the weight with the input."],
                ["gy", "x", "w", "gx.alone", "gw.alone"],
                "gy",
                alone,
                "gx += w · gy      gw += x · gy      gb += gy",
            ),
            Scene(
                "gx",
                "gx = gy @ w",
                [
                    "An input is part of every output of its image: all their gradients come back, "
                    "weighted, and add up."
                ],
                ["gy", "w", "gx"],
                "gx",
                _steps("gx", x, "{} outputs send gy times the weight between", outputs),
            ),
            Scene(
                "gw",
                "gw = gyᵀ @ x",
                ["A weight is used once for each image of the batch: its gradient is a sum over the batch."],
                ["gy", "x", "gw", "gb"],
                "gw",
                _steps("gw", w, "gy times x, over a batch of {}", N),
            ),
        ],
    )


def _steps(name: str, like: np.ndarray, words: str, how_many: int) -> list[Step]:
    return [Step([k], f"{label}: {words.format(how_many)}.") for k, label in enumerate(labels(name, like))]


def cross_entropy(input: tuple[int, ...], label_smoothing: float, seed: int) -> Explanation:
    """Softmax and cross-entropy, whose gradient is p − q."""
    draw, (N, C) = Draw(seed), input
    x = draw.tenths(input)
    target = draw.generator.integers(0, C, N)
    point = Point(
        lambda x: F.cross_entropy(x, target, label_smoothing=label_smoothing),
        {"x": x},
        np.ones,
    )
    p = F.softmax(tensor(x), dim=1).numpy()
    largest = F.amax(tensor(x), dim=1, keepdim=True).numpy()
    e = F.exp(tensor(x - largest)).numpy()
    onehot = F.one_hot(target, C, np.float64).numpy()
    q = (1 - label_smoothing) * onehot + label_smoothing / C
    losses = F.cross_entropy(tensor(x), target, reduction="none", label_smoothing=label_smoothing).numpy()
    every = np.arange(x.size)
    row = every // C
    rows = np.arange(N)
    share = f"1/{N}"
    smooth = f"(1 − {number(label_smoothing)}) · {{}} + {number(label_smoothing)}/{C}"
    grids = [
        Grid("x", "x", x, "x, one row an image"),
        Grid(
            "e",
            "e",
            e,
            "e = exp(x − the row's largest)",
            made=sums(every, e.reshape(-1), ("x", every)),
            how="",
            texts={k: f"exp({number(v)} − {_bracketed(largest.flat[row[k]])})" for k, v in enumerate(x.flat)},
        ),
        Grid(
            "p",
            "p",
            p,
            "p = e / Σ e: probabilities",
            made={
                k: [(float(e[r, c]), ("e", r * C + c)) for c in range(C)] for k, r in enumerate(row.tolist())
            },
            how="",
            texts={k: f"{number(e.flat[k])} / {number(e[row[k]].sum())}" for k in every.tolist()},
        ),
        Grid(
            "q",
            "q",
            q,
            "q, the truth",
            texts={k: smooth.format(number(v)) for k, v in enumerate(onehot.flat)} if label_smoothing else {},
        ),
        Grid(
            "losses",
            "loss",
            losses,
            "loss of each image",
            made=sums(row, -(q * np.log(p)).reshape(-1), "−ln p", ("p", every), ("q", every)),
        ),
        Grid("L", "L", point.y, "L, their mean", made=sums(0 * rows, losses / N, ("losses", rows), share)),
        gradient(
            point,
            "x",
            joined(
                sums(every, p.reshape(-1) / N, ("p", every), share),
                sums(every, -q.reshape(-1) / N, "−1", ("q", every), share),
            ),
            "gx = (p − q) / N",
        ),
    ]
    return Explanation(
        title="cross_entropy",
        words="Softmax turns numbers into probabilities; the loss is how surprised they are by the truth.",
        equations=["p = exp(x) / Σ exp(x)        L = mean over n of −Σ_c q · ln p        gx = (p − q) / N"],
        facts=[
            ("x", f"{by(input)}  (N, C)"),
            ("labels", ", ".join(map(str, target.tolist()))),
            ("label smoothing", number(label_smoothing)),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=_cross_entropy_scenes(x, p, q, losses, point),
    )


def _cross_entropy_scenes(
    x: np.ndarray, p: np.ndarray, q: np.ndarray, losses: np.ndarray, point: Point
) -> list[Scene]:
    N, C = x.shape
    softmax, loss, backward = [], [], []
    for k, label in enumerate(labels("p", x)):
        mates = [k // C * C + c for c in range(C)]
        note = f"{label} = {number(p.flat[k])}: its share of the sum of its row."
        softmax.append(Step([k], note, {"x": [k], "e": mates}, {"e": [k]}))
    for n in range(N):
        cells, true = [n * C + c for c in range(C)], int(q[n].argmax())
        note = (
            f"Image {n} is of class {true}, to which the network gives p = {number(p[n, true])}: "
            f"its loss is {number(losses[n])}."
        )
        loss.append(Step([n], note, {"p": cells, "q": cells, "L": [0]}, {"p": [n * C + true]}))
    for k, label in enumerate(labels("gx", x)):
        gx = point.gradients["x"].flat[k]
        push = (
            "a step against the gradient makes it larger" if gx < 0 else "a step against it makes it smaller"
        )
        note = f"{label} = ({number(p.flat[k])} − {number(q.flat[k])}) / {N} = {number(gx)}: {push}."
        backward.append(Step([k], note))
    return [
        Scene(
            "softmax",
            "Forward: softmax",
            [
                "The exponential makes every number positive, and dividing by the row's sum makes them add "
                "up to 1. The row's largest number is subtracted first: it changes nothing in p, and "
                "nothing overflows.",
            ],
            ["x", "e", "p"],
            "p",
            softmax,
            "p[n, c] = exp(x[n, c]) / Σ_c' exp(x[n, c'])",
        ),
        Scene(
            "loss",
            "Forward: cross-entropy",
            [
                "Only the probability of the true class counts (unless labels are smoothed): −ln p is 0 for "
                f"p = 1, and grows without bound as p goes to 0. Guessing among {C} classes costs ln {C} = "
                f"{number(np.log(C))}."
            ],
            ["p", "q", "losses", "L"],
            "losses",
            loss,
            "loss[n] = −Σ_c q[n, c] · ln p[n, c]",
        ),
        Scene(
            "backward",
            "Backward: p − q",
            [
                "The derivatives of the logarithm, the quotient and the exponential cancel to the simplest "
                "thing there could be: what the network said, minus what is true. Each row adds up to 0. "
                "The division by N is the mean's.",
            ],
            ["p", "q", "gx"],
            "gx",
            backward,
            "gx = (p − q) / N",
        ),
    ]


def _bracketed(value: float) -> str:
    return f"({number(value)})" if value < 0 else number(value)
