"""Batch norm on a page: its grids, forward and backward; the scenes are in ``batch_norm_scenes``."""

from __future__ import annotations

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.batch_norm_scenes import Normalised, scenes
from minicnn.explain.document import Explanation, Grid, Term
from minicnn.explain.grids import gradient, gradient_alone
from minicnn.explain.point import Draw
from minicnn.explain.words import by, joined, number, sums


def batch_norm(input: tuple[int, ...], eps: float, seed: int) -> Explanation:
    """Batch norm in training."""
    if len(input) < 2:
        raise ValueError(f"input must be N×C or N×C×H×W, got {by(input)}")
    n = Normalised(input, eps, Draw(seed))
    grids = [*_forward_grids(n), *_backward_grids(n)]
    return Explanation(
        title="batch_norm",
        words="Each channel of a batch gets mean 0 and variance 1, then a scale and a shift that are learnt.",
        equations=[
            "x̂ = (x − mean) / √(var + ε)        y = w · x̂ + b",
            "gx = w / √(var + ε) · ( gy − mean(gy) − x̂ · mean(gy · x̂) )        gw = Σ gy · x̂        gb = "
            "Σ gy",
        ],
        facts=[
            ("x, y", f"{by(input)}  (N, C{', …' if len(input) > 2 else ''})"),
            ("M", f"{n.M} numbers in each channel, over the batch and all pixels"),
            ("ε", number(eps)),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=scenes(n),
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
            texts=dict.fromkeys(range(len(n.var)), f"the mean of (x − mean)², over {n.M} numbers"),
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
            texts=dict.fromkeys(every.tolist(), texts[key]),
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
        gradient_alone(n.point, "x", [_made_alone(n, k) for k in every.tolist()]),
    ]


def _made_alone(n: Normalised, k: int) -> dict[int, list[Term]]:
    """Of the gradients from output k alone: its own part, and two for everyone in the channel."""
    c = int(n.channel[k])
    same, xhat = np.flatnonzero(n.channel == c), n.xhat.reshape(-1)
    scaled = n.w[c] * n.inverse[c] * n.gy.flat[k]
    common = (("w", c), ("inverse", c), ("gy", k))
    made: dict[int, list[Term]] = {}
    for i in same.tolist():
        own: list[Term] = [(float(scaled), *common)] if i == k else []
        through_mean = (float(-scaled / n.M), f"−1/{n.M}", *common)
        through_var = (
            float(-scaled * xhat[i] * xhat[k] / n.M),
            f"−1/{n.M}",
            *common,
            ("xhat", i),
            ("xhat", k),
        )
        made[i] = [*own, through_mean, through_var]
    return made


def _signed(value: float) -> str:
    return f"({number(value)})" if value < 0 else number(value)
