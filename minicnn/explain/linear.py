"""The fully connected layer on a page: a matrix product, and two more in backward."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Step
from minicnn.explain.grids import gradient, gradient_alone, labels
from minicnn.explain.point import Draw, Point, checked
from minicnn.explain.words import by, count, joined, number, sums


class Layer:
    """A fully connected layer of drawn numbers, and all its products: flat arrays with the cells of each."""

    def __init__(self, input: tuple[int, ...], outputs: int, draw: Draw) -> None:
        N, features = input
        checked((N, outputs, features))
        inputs = {
            "x": draw.whole(input),
            "w": draw.whole((outputs, features), 2),
            "b": draw.whole((outputs,)),
        }
        self.x, self.w, self.b = inputs.values()
        self.point = Point(lambda x, w, b: F.linear(x, w, b), inputs, draw.whole)
        self.gy = self.point.gy.reshape(-1)
        n, o, i = (index.ravel() for index in np.indices((N, outputs, features)))
        self.at_x, self.at_w, self.at_y = n * features + i, o * features + i, n * outputs + o
        self.to_x = self.w.reshape(-1)[self.at_w] * self.gy[self.at_y]
        self.to_w = self.x.reshape(-1)[self.at_x] * self.gy[self.at_y]

    def of(self, output: int) -> Array:
        """The numbers of one output's products."""
        return np.flatnonzero(self.at_y == output)


def linear(input: tuple[int, ...], outputs: int, seed: int) -> Explanation:
    """A fully connected layer, as matrix products."""
    layer = Layer(input, outputs, Draw(seed))
    return Explanation(
        title="linear",
        words="Each output is a weighted sum of all inputs: a matrix product, and in backward two more.",
        equations=["y = x @ wᵀ + b        gx = gy @ w        gw = gyᵀ @ x        gb = Σ_n gy"],
        facts=[
            ("x", f"{by(layer.x.shape)}  (N, in)"),
            ("w", f"{by(layer.w.shape)}  (out, in)"),
            ("y", f"{by(layer.point.y.shape)}  (N, out)"),
            ("work", count(layer.at_y.size, "product") + " x · w"),
        ],
        grids={grid.key: grid for grid in _grids(layer)},
        scenes=_scenes(layer),
    )


def _grids(layer: Layer) -> list[Grid]:
    point, at_x, at_w, at_y = layer.point, layer.at_x, layer.at_w, layer.at_y
    every = np.arange(point.y.size)
    row = every % len(layer.w)
    each = [layer.of(k) for k in every.tolist()]
    alone_x = [sums(at_x[k], layer.to_x[k], ("w", at_w[k]), ("gy", at_y[k])) for k in each]
    alone_w = [sums(at_w[k], layer.to_w[k], ("x", at_x[k]), ("gy", at_y[k])) for k in each]
    y_made = joined(
        sums(at_y, layer.x.reshape(-1)[at_x] * layer.w.reshape(-1)[at_w], ("x", at_x), ("w", at_w)),
        sums(every, layer.b[row], ("b", row)),
    )
    return [
        Grid("x", "x", layer.x, "x: each image a row"),
        Grid("w", "w", layer.w, "w: each output a row"),
        Grid("b", "b", layer.b, "b"),
        Grid("y", "y", point.y, "y", made=y_made),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient(point, "x", sums(at_x, layer.to_x, ("gy", at_y), ("w", at_w))),
        gradient(point, "w", sums(at_w, layer.to_w, ("gy", at_y), ("x", at_x))),
        gradient(point, "b", sums(row, layer.gy, ("gy", every))),
        gradient_alone(point, "x", alone_x),
        gradient_alone(point, "w", alone_w),
    ]


def _scenes(layer: Layer) -> list[Scene]:
    (N, features), outputs = layer.x.shape, len(layer.w)
    return [
        Scene(
            "forward",
            "Forward: rows times rows",
            ["y[n, o] is row n of x times row o of w, plus b[o]: every input counts in every output."],
            ["x", "w", "b", "y"],
            "y",
            _steps("y", layer.point.y, f"the {features} products of a row of x and a row of w, plus b"),
        ),
        Scene(
            "one-output",
            "Backward: what one output sends back",
            ["Along each product: to the input with the weight as factor, to the weight with the input."],
            ["gy", "x", "w", "gx.alone", "gw.alone"],
            "gy",
            [_alone(layer, k, label) for k, label in enumerate(labels("gy", layer.point.y))],
            "gx += w · gy      gw += x · gy      gb += gy",
        ),
        Scene(
            "gx",
            "gx = gy @ w",
            [
                "An input is part of every output of its image: all their gradients come back, weighted, "
                "and add up."
            ],
            ["gy", "w", "gx"],
            "gx",
            _steps("gx", layer.x, f"{count(outputs, 'output')} sent gy times the weight between"),
        ),
        Scene(
            "gw",
            "gw = gyᵀ @ x",
            ["A weight is used once for each image of the batch: its gradient is a sum over the batch."],
            ["gy", "x", "gw", "gb"],
            "gw",
            _steps("gw", layer.w, f"gy times x, over a batch of {N}"),
        ),
    ]


def _alone(layer: Layer, k: int, label: str) -> Step:
    features = layer.x.shape[1]
    x, w = layer.at_x[layer.of(k)].tolist(), layer.at_w[layer.of(k)].tolist()
    note = (
        f"{label} = {number(layer.gy[k])} reaches the {features} numbers of its image, and the {features} of "
        "its row of w."
    )
    return Step([k], note, {"x": x, "w": w, "gx.alone": x, "gw.alone": w})


def _steps(name: str, like: Array, words: str) -> list[Step]:
    return [Step([k], f"{label}: {words}.") for k, label in enumerate(labels(name, like))]
