"""Batch norm on a page: the statistics, the normalised numbers, and the three terms of its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import kernels
from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Step, Term
from minicnn.explain.grids import gradient, gradient_alone, labels
from minicnn.explain.point import Draw, Point
from minicnn.explain.words import by, joined, number, sums
from minicnn.tensor import tensor


class Normalised:
    """A batch norm of drawn numbers, in training, with everything on the way to its gradients."""

    def __init__(self, input: tuple[int, ...], eps: float, draw: Draw) -> None:
        C = input[1]
        self.eps = eps
        inputs = {
            "x": draw.tenths(input),
            "w": draw.whole((C,), 2),
            "b": draw.whole((C,), 2),
        }
        self.x, self.w, self.b = inputs.values()
        self.axes = (0, *range(2, len(input)))
        self.M = self.x.size // C
        if self.M < 2:
            raise ValueError(
                f"input {by(input)} has one number in each channel, which has no variance; more images are needed"
            )
        self.point = Point(
            lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=eps), inputs, draw.whole
        )
        self.gy = self.point.gy
        _, self.mean, self.var, self.inverse = kernels.run("batch_norm.training", *inputs.values(), eps)
        self.channel = np.broadcast_to(self.per_channel(np.arange(C)), input).reshape(-1)
        self.xhat = (self.x - self.per_channel(self.mean)) * self.per_channel(self.inverse)
        self.mean_gy = self.gy.mean(axis=self.axes)
        self.mean_gy_xhat = (self.gy * self.xhat).mean(axis=self.axes)
        scale = self.per_channel(self.w * self.inverse)
        self.terms = {
            "term1": scale * self.gy,
            "term2": np.broadcast_to(-scale * self.per_channel(self.mean_gy), input),
            "term3": -scale * self.xhat * self.per_channel(self.mean_gy_xhat),
        }

    def per_channel(self, vector: Array) -> Array:
        """A number for each channel, lined up with x."""
        return vector.reshape(1, -1, *[1] * (self.x.ndim - 2))

    def through(self, path: str) -> Array:
        """gx by finite differences of y where x counts only in one place: itself, in the mean or in the variance.

        ∂L/∂x is the sum of the three, by the chain rule.
        """
        fixed = {"mean": tensor(self.per_channel(self.mean)), "var": tensor(self.per_channel(self.var))}
        w, b, x0 = (tensor(a) for a in (self.per_channel(self.w), self.per_channel(self.b), self.x))

        def y(x: Any) -> Any:
            direct = x if path == "x" else x0
            mean = F.mean(x, self.axes, keepdim=True) if path == "mean" else fixed["mean"]
            var = F.var(x, self.axes, keepdim=True, correction=0) if path == "var" else fixed["var"]
            return w * (direct - mean) / F.sqrt(var + self.eps) + b

        return Point(y, {"x": self.x}, lambda _: self.gy).differences("x")


def batch_norm(input: tuple[int, ...], eps: float, seed: int) -> Explanation:
    """Batch norm in training."""
    if len(input) < 2:
        raise ValueError(f"input must be N×C or N×C×H×W, got {by(input)}")
    n = Normalised(input, eps, Draw(seed))
    grids = [*_forward_grids(n), *_backward_grids(n)]
    return Explanation(
        title="batch_norm",
        words="Each channel of a batch gets mean 0 and variance 1, then a scale w and a shift b that are learnt.",
        equations=[
            "x̂ = (x − mean) / √(var + ε)        y = w · x̂ + b",
            "gx = w / √(var + ε) · ( gy − mean(gy) − x̂ · mean(gy · x̂) )        gw = Σ gy · x̂        gb = Σ gy",
        ],
        facts=[
            ("x, y", f"{by(input)}  (N, C{', …' if len(input) > 2 else ''})"),
            ("M", f"{n.M} numbers in each channel, over the batch and all pixels"),
            ("ε", number(eps)),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=[_statistics(n), _normalise(n), _one_output(n), _three_terms(n), _parameters(n)],
    )


def _forward_grids(n: Normalised) -> list[Grid]:
    every, x = np.arange(n.x.size), n.x.reshape(-1)
    deviations = x - n.mean[n.channel]
    xhat_made = sums(every, n.xhat.reshape(-1), ("x", every), ("mean", n.channel), ("inverse", n.channel))
    xhat_texts = {
        k: f"(x − mean) · inverse_std = ({number(x[k])} − {_signed(n.mean[c])}) · {number(n.inverse[c])}"
        for k, c in enumerate(n.channel.tolist())
    }
    y_made = joined(
        sums(every, (n.w[n.channel] * n.xhat.reshape(-1)), ("w", n.channel), ("xhat", every)),
        sums(every, n.b[n.channel], ("b", n.channel)),
    )
    inverse_texts = {
        c: f"1 / √(var + ε) = 1 / √({number(n.var[c])} + {number(n.eps)})" for c in range(len(n.var))
    }
    channels = np.arange(len(n.var))
    return [
        Grid("x", "x", n.x, "x"),
        Grid("w", "w", n.w, "w, the scale"),
        Grid("b", "b", n.b, "b, the shift"),
        Grid("mean", "mean", n.mean, "mean", made=sums(n.channel, x / n.M, ("x", every), f"1/{n.M}")),
        Grid(
            "var",
            "var",
            n.var,
            "var",
            made=sums(n.channel, deviations**2 / n.M, ("x", every), ("mean", n.channel)),
            how="",
            texts={c: f"the mean of (x − mean)², over {n.M} numbers" for c in range(len(n.var))},
        ),
        Grid(
            "inverse",
            "inverse_std",
            n.inverse,
            "inverse_std = 1/√(var + ε)",
            made=sums(channels, n.inverse, ("var", channels)),
            how="",
            texts=inverse_texts,
        ),
        Grid("xhat", "x̂", n.xhat, "x̂, normalised", made=xhat_made, how="", texts=xhat_texts),
        Grid("y", "y", n.point.y, "y", made=y_made),
    ]


def _backward_grids(n: Normalised) -> list[Grid]:
    every, gy, xhat = np.arange(n.x.size), n.gy.reshape(-1), n.xhat.reshape(-1)
    texts = {
        "term1": "w · inverse_std · gy",
        "term2": "− w · inverse_std · mean(gy)",
        "term3": "− w · inverse_std · x̂ · mean(gy · x̂)",
    }
    factors: dict[str, list[tuple[str, Array]]] = {
        "term1": [("gy", every)],
        "term2": [("mean_gy", n.channel)],
        "term3": [("xhat", every), ("mean_gy_xhat", n.channel)],
    }
    paths = {"term1": "x", "term2": "mean", "term3": "var"}
    captions = {"term1": "1: x itself", "term2": "2: through the mean", "term3": "3: through the variance"}
    terms = [
        Grid(
            key,
            f"term {key[-1]} of gx",
            n.terms[key],
            captions[key],
            made=sums(
                every,
                n.terms[key].reshape(-1),
                *([] if key == "term1" else ["−1"]),
                ("w", n.channel),
                ("inverse", n.channel),
                *factors[key],
            ),
            texts={cell: texts[key] for cell in every.tolist()},
            differences=n.through(paths[key]),
        )
        for key in texts
    ]
    gx_made: dict[int, list[Term]] = {
        k: [(float(n.terms[key].flat[k]), (key, k)) for key in texts] for k in every.tolist()
    }
    return [
        Grid("gy", "gy", n.gy, "gy, the upstream gradient"),
        Grid(
            "mean_gy",
            "mean(gy)",
            n.mean_gy,
            "mean(gy)",
            made=sums(n.channel, gy / n.M, ("gy", every), f"1/{n.M}"),
        ),
        Grid(
            "mean_gy_xhat",
            "mean(gy · x̂)",
            n.mean_gy_xhat,
            "mean(gy · x̂)",
            made=sums(n.channel, gy * xhat / n.M, ("gy", every), ("xhat", every), f"1/{n.M}"),
        ),
        *terms,
        gradient(n.point, "x", gx_made, "gx = 1 + 2 + 3"),
        gradient(n.point, "w", sums(n.channel, gy * xhat, ("gy", every), ("xhat", every))),
        gradient(n.point, "b", sums(n.channel, gy, ("gy", every))),
        gradient_alone(n.point, "x"),
    ]


def _statistics(n: Normalised) -> Scene:
    steps = []
    for c in range(len(n.mean)):
        note = (
            f"Channel {c}: {n.M} numbers with mean {number(n.mean[c])} and variance {number(n.var[c])}; "
            f"to divide by the standard deviation is to multiply by {number(n.inverse[c])}."
        )
        lit = {"x": np.flatnonzero(n.channel == c).tolist(), "mean": [c], "var": [c], "inverse": [c]}
        steps.append(Step([c], note, lit))
    return Scene(
        "statistics",
        "Forward: the statistics of each channel",
        [
            "The mean and the variance of a channel are taken over all images of the batch and all their pixels: "
            "from here on each result depends on every image in the batch.",
            "ε keeps the division from failing where a channel is constant.",
        ],
        ["x", "mean", "var", "inverse"],
        "mean",
        steps,
        "mean = Σ x / M        var = Σ (x − mean)² / M",
    )


def _normalise(n: Normalised) -> Scene:
    steps = []
    for k, (label, c) in enumerate(zip(labels("y", n.x), n.channel.tolist(), strict=True)):
        lit = {"x": [k], "mean": [c], "inverse": [c], "xhat": [k], "w": [c], "b": [c]}
        note = f"{number(n.x.flat[k])} becomes x̂ = {number(n.xhat.flat[k])}, and {label} = {number(n.point.y.flat[k])}."
        steps.append(Step([k], note, lit))
    return Scene(
        "normalise",
        "Forward: normalise, scale, shift",
        [
            "x̂ says how many standard deviations a number lies from its channel's mean. w and b, one of each for "
            "a channel, are parameters: the network may choose any scale and shift, even the old ones."
        ],
        ["x", "mean", "inverse", "xhat", "w", "b", "y"],
        "y",
        steps,
        "x̂ = (x − mean) · inverse_std        y = w · x̂ + b",
    )


def _one_output(n: Normalised) -> Scene:
    steps = []
    for k, (label, c) in enumerate(zip(labels("gy", n.x), n.channel.tolist(), strict=True)):
        same = np.flatnonzero(n.channel == c).tolist()
        note = (
            f"{label} = {number(n.gy.flat[k])} reaches all {n.M} numbers of channel {c}, and none of another."
        )
        steps.append(Step([k], note, {"x": [k], "gx.alone": same}, {"gx.alone": [k]}))
    return Scene(
        "one-output",
        "Backward: one output moves the whole channel",
        [
            "Change one x, and the mean and the variance change, and with them every y of the channel. So the "
            "gradient of one output goes to all of them: mostly to its own x, and a little, of the opposite "
            "sign, to the others. Added up over a channel, gx is 0: to add the same number to all of a channel "
            "changes nothing."
        ],
        ["gy", "x", "gx.alone"],
        "gy",
        steps,
    )


def _three_terms(n: Normalised) -> Scene:
    steps = []
    for k, (label, c) in enumerate(zip(labels("gx", n.x), n.channel.tolist(), strict=True)):
        one, two, three = (number(n.terms[key].flat[k]) for key in n.terms)
        note = f"{label} = {one} + ({two}) + ({three}) = {number(n.point.gradients['x'].flat[k])}."
        lit = {key: [k] for key in ("gy", "xhat", *n.terms)}
        steps.append(Step([k], note, {**lit, "mean_gy": [c], "mean_gy_xhat": [c]}))
    return Scene(
        "three-terms",
        "Backward: the three terms of gx",
        [
            "x acts on y in three ways, and each has its term. 1: x itself, as if mean and variance were "
            "constants. 2: x moves the mean, which is subtracted from everyone. 3: x changes the "
            "variance, by which everyone is divided.",
            "The finite differences beside the terms are taken the same way: x is changed in one of the three "
            "places only. In inference mean and variance are constants, and only term 1 is left. To forget "
            "term 2 or 3 is a mistake that training hides well: it still learns, only worse.",
        ],
        ["gy", "xhat", "mean_gy", "mean_gy_xhat", "term1", "+", "term2", "+", "term3", "=", "gx"],
        "gx",
        steps,
        "gx = w · inverse_std · ( gy − mean(gy) − x̂ · mean(gy · x̂) )",
    )


def _parameters(n: Normalised) -> Scene:
    steps = []
    for c in range(len(n.w)):
        same = np.flatnonzero(n.channel == c).tolist()
        note = f"Channel {c}: Σ gy · x̂ = {number(n.point.gradients['w'][c])}, Σ gy = {number(n.point.gradients['b'][c])}."
        steps.append(Step([c], note, {"gy": same, "xhat": same, "gb": [c]}))
    return Scene(
        "parameters",
        "Backward: gw and gb",
        [
            "w was a factor of every x̂ of its channel, and b was added to each: their gradients are sums over M."
        ],
        ["gy", "xhat", "gw", "gb"],
        "gw",
        steps,
        "gw = Σ gy · x̂        gb = Σ gy",
    )


def _signed(value: float) -> str:
    return f"({number(value)})" if value < 0 else number(value)
