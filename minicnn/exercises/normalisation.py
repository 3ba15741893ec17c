"""The exercise on batch norm, whose gradient has three terms."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.autograd import no_grad
from minicnn.exercises.checking import NO_SLIP, Array, Case, Exercise, Outputs, Slips, differences
from minicnn.random import Generator
from minicnn.tensor import tensor


def _cases() -> tuple[Case, ...]:
    generator = Generator(11)

    def case(words: str, shape: tuple[int, ...], eps: float, scale: float) -> Case:
        gy, x, w = (generator.normal(s, dtype="float64") for s in (shape, shape, shape[1:2]))
        return Case(words, {"gy": gy, "x": 3 + scale * x, "w": w + 2, "eps": eps})

    return (
        case("4 images, 2 maps", (4, 2, 3, 3), 1e-5, 2.0),
        case("2 images, 3 maps", (2, 3, 2, 4), 1e-5, 1.0),
        case("little variance, large eps", (3, 2, 2, 2), 0.1, 0.5),
    )


def _attempt(gy: Array, x: Array, w: Array, eps: float, slips: Slips = NO_SLIP) -> Outputs:
    """gx = w/σ · (gy − mean(gy) − x̂ · mean(gy · x̂)), the means over the batch and all pixels of a map."""
    axes = (0,) if "pixels apart" in slips else (0, 2, 3)
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    if "unbiased" in slips:
        n = x[:, 0].size
        var = var * n / (n - 1)
    sigma = np.sqrt(var) + eps if "eps outside" in slips else np.sqrt(var + (0 if "no eps" in slips else eps))
    xhat = (x - mean) / sigma
    inner = gy.copy()
    if "no mean term" not in slips:
        inner -= gy.mean(axis=axes, keepdims=True)
    if "no variance term" not in slips:
        times = 2 if "variance twice" in slips else 1
        inner -= times * xhat * (gy * xhat).mean(axis=axes, keepdims=True)
    scale = 1.0 if "no scale" in slips else w[:, None, None]
    gw = gy * (x if "not normalised" in slips else xhat)
    reduce = np.mean if "averaged" in slips else np.sum
    return {"gx": scale / sigma * inner, "gw": reduce(gw, axis=(0, 2, 3)), "gb": reduce(gy, axis=(0, 2, 3))}


def _forward(x: Array, w: Array, b: Array, eps: float) -> Array:
    with no_grad():
        return F.batch_norm(tensor(x), None, None, tensor(w), tensor(b), training=True, eps=eps).numpy()


def _truth(case: Case) -> Outputs:
    arguments = dict(case.arguments)
    gy = arguments.pop("gy")
    arguments["b"] = np.zeros_like(arguments["w"])
    return differences(_forward, arguments, {"gx": "x", "gw": "w", "gb": "b"}, gy)


BATCH_NORM_BACKWARD = Exercise(
    name="batch_norm_backward",
    words="the gradients of batch norm, which reach x along three ways",
    outputs=("gx", "gw", "gb"),
    cases=_cases(),
    truth=_truth,
    attempt=_attempt,
    slips={
        "no mean term": "the term mean(gy) is missing: x also moves the mean that is taken off",
        "no variance term": "the term x̂ · mean(gy · x̂) is missing: x also moves the variance",
        "variance twice": "the variance's term is doubled: the slope of a root √v is 1/(2√v)",
        "no scale": "the factor w is left out",
        "not normalised": "gw is made with x: it is x̂, the normalised x, that w multiplies",
        "averaged": "gw and gb are means over the batch and the pixels: they are sums",
        "pixels apart": "mean and variance are taken for each pixel by itself: a map has one of each",
        "unbiased": "the variance is divided by n − 1: here it is by n",
        "eps outside": "eps is added to the standard deviation: it belongs under the root",
        "no eps": "eps is left out",
    },
)
