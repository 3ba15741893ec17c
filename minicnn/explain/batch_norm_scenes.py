"""The numbers of a batch norm, and its page's scenes: statistics, normalised numbers, the terms of gx."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import kernels
from minicnn.autograd import Array
from minicnn.explain.document import Scene, Step
from minicnn.explain.grids import labels
from minicnn.explain.point import Draw, Point
from minicnn.explain.words import by, number
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
                f"input {by(input)} has one number in each channel, which has no variance; more images are "
                "needed"
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
        """gx by finite differences of a y where x counts in one place only: as itself, in mean or in var.

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


def scenes(n: Normalised) -> list[Scene]:
    """All of them."""
    return [_statistics(n), _normalise(n), _one_output(n), _three_terms(n), _parameters(n)]


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
            "The mean and the variance of a channel are taken over all images of the batch and all their "
            "pixels: from here on each result depends on every image in the batch.",
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
        x, xhat, y = (number(array.flat[k]) for array in (n.x, n.xhat, n.point.y))
        note = f"{x} becomes x̂ = {xhat}, and {label} = {y}."
        steps.append(Step([k], note, lit))
    return Scene(
        "normalise",
        "Forward: normalise, scale, shift",
        [
            "x̂ says how many standard deviations a number lies from its channel's mean. w and b, one of "
            "each for a channel, are parameters: the network may choose any scale and shift, even the old "
            "ones."
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
        steps.append(
            Step([k], note, {"xhat": [k], "w": [c], "inverse": [c], "gx.alone": same}, {"gx.alone": [k]})
        )
    return Scene(
        "one-output",
        "Backward: one output moves the whole channel",
        [
            "Change one x, and the mean and the variance change, and with them every y of the channel. So "
            "the gradient of one output goes to all of them: mostly to its own x, and a little, as a rule "
            "of the opposite sign, to the others. Added up over a channel, gx is 0: to add the same number "
            "to all of a channel changes nothing."
        ],
        ["gy", "xhat", "w", "inverse", "gx.alone"],
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
            "The finite differences beside the terms are taken the same way: x is changed in one of the "
            "three places only. In inference mean and variance are constants, and only term 1 is left. To "
            "forget term 2 or 3 is a mistake that training hides well: it still learns, only worse.",
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
        gw, gb = (number(n.point.gradients[name][c]) for name in "wb")
        note = f"Channel {c}: Σ gy · x̂ = {gw}, Σ gy = {gb}."
        steps.append(Step([c], note, {"gy": same, "xhat": same, "gb": [c]}))
    return Scene(
        "parameters",
        "Backward: gw and gb",
        [
            "w was a factor of every x̂ of its channel, and b was added to each: their gradients are sums "
            "over M."
        ],
        ["gy", "xhat", "gw", "gb"],
        "gw",
        steps,
        "gw = Σ gy · x̂        gb = Σ gy",
    )
