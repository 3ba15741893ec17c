"""Pooling on a page: each window's winner, or its mean, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from minicnn import functional as F
from minicnn import kernels
from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Step, Term
from minicnn.explain.grids import gradient, gradient_alone, labels
from minicnn.explain.point import PRODUCTS, Draw, Point, checked
from minicnn.explain.words import by, count, number, sums
from minicnn.functional.pool import pool_window
from minicnn.kernels import Window
from minicnn.kernels.geometry import Pair, pad
from minicnn.kernels.numpy.pool import covered
from minicnn.tensor import tensor


class Windows:
    """The windows of a pooling: parallel arrays with an entry for each place in each window.

    ``at_y`` and ``at_padded`` are the cells there, ``at_x`` too, −1 in the padding; ``tap`` is the place's
    number in its window.
    """

    def __init__(self, x: Array, shape: Pair, window: Window, outside: float) -> None:
        (N, C, H, W), (KH, KW) = x.shape, window.kernel
        self.border = covered(x.shape, shape, window)
        self.padded = pad(x, self.border, outside)
        checked(self.padded.shape)
        if (pixels := N * C * prod(shape) * KH * KW) > PRODUCTS:
            raise ValueError(
                f"there are {pixels:,} pixels under all windows, and a page shows at most {PRODUCTS:,}: "
                "choose a smaller input or kernel"
            )
        n, c, oh, ow, i, j = (index.ravel() for index in np.indices((N, C, *shape, KH, KW)))
        row = oh * window.stride[0] + i * window.dilation[0]
        column = ow * window.stride[1] + j * window.dilation[1]
        h, v = row - self.border[0][0], column - self.border[1][0]
        inside = (h >= 0) & (h < H) & (v >= 0) & (v < W)
        self.at_y = np.ravel_multi_index((n, c, oh, ow), (N, C, *shape))
        self.at_padded = np.ravel_multi_index((n, c, row, column), self.padded.shape)
        pixel = np.ravel_multi_index((n, c, h.clip(0, H - 1), v.clip(0, W - 1)), x.shape)
        self.at_x = np.where(inside, pixel, -1)
        self.tap = i * KW + j

    def under(self, output: int) -> list[int]:
        """The cells of the padded image under one output's window."""
        return self.at_padded[self.at_y == output].tolist()


@dataclass(eq=False)
class Returns:
    """What backward sends: from the cells ``at_y`` to the cells ``at_x`` the numbers ``values``.

    ``divisors`` are texts such as "1/4", the second factor beside gy; empty for a maximum.
    """

    at_y: Array
    at_x: Array
    values: Array
    divisors: Sequence[str] = ()

    def term(self, k: int) -> Term:
        """One of them, as part of a gradient."""
        return (float(self.values[k]), ("gy", int(self.at_y[k])), *self.divisors[k : k + 1])

    def table(self, only: Array) -> dict[int, list[Term]]:
        """Some of them, by the cell of x that receives them."""
        made: dict[int, list[Term]] = {}
        for k in only.tolist():
            made.setdefault(int(self.at_x[k]), []).append(self.term(k))
        return made


def max_pool2d(
    input: tuple[int, ...], kernel: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool, seed: int
) -> Explanation:
    """Max pooling: the winner takes all."""
    draw = Draw(seed)
    x = draw.distinct(input)
    point = Point(lambda x: F.max_pool2d(x, kernel, stride, padding, 1, ceil_mode), {"x": x}, draw.whole)
    window, shape = pool_window("max_pool2d", tensor(x), kernel, stride, padding, 1, ceil_mode)
    windows = Windows(x, shape, window, -np.inf)
    _, winner = kernels.run("max_pool2d.forward", x, *shape, window)
    won = np.flatnonzero(windows.tap == winner.reshape(-1)[windows.at_y])
    image = _image(windows, "−∞")
    y_made = sums(windows.at_y, windows.padded.reshape(-1)[windows.at_padded], ("x", windows.at_padded))
    steps = []
    for k, label in enumerate(labels("y", point.y)):
        at = int(windows.at_padded[won[k]])
        largest = f"{image.label(at)} = {number(point.y.flat[k])}"
        note = f"The largest under this window is {largest}: it becomes {label}."
        steps.append(Step([k], note, {"x": windows.under(k)}, {"x": [at]}))
    forward = Scene(
        "windows",
        "Forward: the largest of each window",
        [
            "A window moves over each channel by itself, and the largest pixel under it is kept. There are "
            "no weights: nothing is learnt here. The padding counts as −∞ and never wins.",
            "Which pixel won is remembered, as backward needs it. Of equal pixels the first wins.",
        ],
        ["x", "y"],
        "y",
        steps,
        "y[n, c, oh, ow] = max over the window of x",
    )
    returns = Returns(windows.at_y[won], windows.at_x[won], point.gy.reshape(-1)[windows.at_y[won]])
    text = [
        "gy goes to the pixel that won, all of it. The others of the window could change a little without "
        "any effect on y, and receive 0: finite differences find the same.",
        "Where windows overlap, one pixel can win several of them. Then it receives the sum.",
    ]
    chosen = [[int(windows.at_padded[at])] for at in won]
    return Explanation(
        title="max_pool2d",
        words="The largest number of each window goes on; on the way back it alone receives the gradient.",
        equations=["y[n, c, oh, ow] = max_i max_j x[n, c, oh·s + i − p, ow·s + j − p]"],
        facts=_facts(point, window),
        grids=_grids(image, Grid("y", "y", point.y, "y, the maxima", how="max", made=y_made), point, returns),
        scenes=[forward, *_backward(point, returns, windows, text, chosen)],
    )


def avg_pool2d(
    input: tuple[int, ...],
    kernel: Pair,
    stride: Pair | None,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    seed: int,
) -> Explanation:
    """Average pooling: everyone gets the same share."""
    draw = Draw(seed)
    x = draw.whole(input, 9)
    point = Point(
        lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad), {"x": x}, draw.whole
    )
    window, shape = pool_window("avg_pool2d", tensor(x), kernel, stride, padding, 1, ceil_mode)
    windows = Windows(x, shape, window, 0.0)
    # What one pixel receives from one output alone is gy / divisor: so the engine tells its divisors.
    shares = np.abs(point.alone[0]["x"]).reshape(point.y.size, -1).max(axis=1)
    divisor = np.rint(np.abs(point.gy.reshape(-1)) / shares).astype(int)
    parts = [f"1/{d}" for d in divisor]
    values = windows.padded.reshape(-1)[windows.at_padded] / divisor[windows.at_y]
    y_made: dict[int, list[Term]] = {}
    for at_y, at, value in zip(
        windows.at_y.tolist(), windows.at_padded.tolist(), values.tolist(), strict=True
    ):
        y_made.setdefault(at_y, []).append((value, ("x", at), parts[at_y]))
    steps = []
    for k, label in enumerate(labels("y", point.y)):
        note = f"The sum here, divided by {divisor[k]}, becomes {label} = {number(point.y.flat[k])}."
        steps.append(Step([k], note, {"x": windows.under(k)}))
    padded = "counts" if count_include_pad else "does not count"
    forward = Scene(
        "windows",
        "Forward: the mean of each window",
        [
            "A window moves over each channel by itself, and the pixels under it are averaged: a convolution "
            "whose weights are all 1/divisor. There is nothing to learn.",
            f"What to divide by is a matter of convention at the edges: here padding {padded} "
            "(count_include_pad); what ceil_mode adds beyond the padding never does.",
        ],
        ["x", "y"],
        "y",
        steps,
        "y[n, c, oh, ow] = Σ over the window of x / divisor[oh, ow]",
    )
    real = np.flatnonzero(windows.at_x >= 0)
    at_y = windows.at_y[real]
    returns = Returns(
        at_y,
        windows.at_x[real],
        point.gy.reshape(-1)[at_y] / divisor[at_y],
        [parts[k] for k in at_y],
    )
    text = [
        "Every pixel under the window had the same influence, 1/divisor, and so receives gy / divisor: the "
        "gradient is spread evenly.",
        "Where windows overlap, a pixel receives a share from each of them, and they add up.",
    ]
    return Explanation(
        title="avg_pool2d",
        words="Each window becomes its mean; on the way back each of its pixels receives the same share.",
        equations=["y[n, c, oh, ow] = Σ_i Σ_j x[n, c, oh·s + i − p, ow·s + j − p] / divisor[oh, ow]"],
        facts=[*_facts(point, window), ("divisors", ", ".join(str(d) for d in np.unique(divisor)))],
        grids=_grids(
            _image(windows, "0"), Grid("y", "y", point.y, "y, the means", made=y_made), point, returns
        ),
        scenes=[forward, *_backward(point, returns, windows, text, [[] for _ in divisor])],
    )


def _image(windows: Windows, outside: str) -> Grid:
    padded = " in its padding" if np.any(windows.border) else ""
    return Grid("x", "x", windows.padded, f"x{padded}", border=windows.border, outside=outside)


def _facts(point: Point, window: Window) -> list[tuple[str, str]]:
    overlap = any(step < extent for step, extent in zip(window.stride, window.extent, strict=True))
    return [
        ("x", f"{by(point.inputs['x'].shape)}  (N, C, H, W)"),
        ("y", f"{by(point.y.shape)}  (N, C, OH, OW)"),
        (
            "window",
            f"{by(window.kernel)}, stride {by(window.stride)}: windows "
            f"{'overlap' if overlap else 'do not overlap'}",
        ),
    ]


def _grids(image: Grid, y: Grid, point: Point, returns: Returns) -> dict[str, Grid]:
    every = range(point.y.size)
    alone = [returns.table(np.flatnonzero(returns.at_y == k)) for k in every]
    gradients, differences = point.of([list(range(k + 1)) for k in every])
    so_far = []
    for k in every:
        before = gradients["x"][k - 1].reshape(-1) if k else np.zeros(point.inputs["x"].size)
        so_far.append(
            {pixel: [(float(before[pixel]), "so far"), *terms] for pixel, terms in alone[k].items()}
        )
    grids = [
        image,
        y,
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient_alone(point, "x", alone),
        Grid(
            "gx.so_far",
            "gx",
            gradients["x"],
            "gx, from the outputs so far",
            frames=True,
            made=so_far,
            differences=differences["x"],
        ),
        gradient(point, "x", returns.table(np.arange(returns.at_y.size))),
    ]
    return {grid.key: grid for grid in grids}


def _backward(
    point: Point, returns: Returns, windows: Windows, text: Sequence[str], chosen: Sequence[Sequence[int]]
) -> list[Scene]:
    steps, visited = [], set()
    for k, label in enumerate(labels("gy", point.gy)):
        reached = returns.at_x[returns.at_y == k].tolist()
        again = sorted(visited & set(reached))
        visited |= set(reached)
        note = f"{label} = {number(point.gy.flat[k])} goes to {count(len(reached), 'pixel')}"
        note += f", {number(returns.values[returns.at_y == k][0])} to each." if len(reached) > 1 else "."
        note += f" {len(again)} of them had received before: it adds up." if again else ""
        lit = {"x": windows.under(k), "gx.alone": reached, "gx.so_far": reached}
        steps.append(Step([k], note, lit, {"x": chosen[k], "gx.so_far": again}))
    whole = [
        Step([k], f"{label} = {number(point.gradients['x'].flat[k])}: what all windows sent here, added up.")
        for k, label in enumerate(labels("gx", point.gradients["x"]))
    ]
    return [
        Scene(
            "one-output",
            "Backward: one window after another",
            text,
            ["gy", "x", "gx.alone", "gx.so_far"],
            "gy",
            steps,
            "gx += gy of the window, at its winner"
            if not returns.divisors
            else "gx += gy / divisor, at each pixel",
        ),
        Scene(
            "gx",
            "gx: which windows each pixel hears from",
            ["The same, asked from the pixel's side. A pixel with no lit window has no part in y."],
            ["gy", "gx"],
            "gx",
            whole,
        ),
    ]
