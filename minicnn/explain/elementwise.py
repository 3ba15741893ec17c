"""Operations that work on each number by itself, or join arrays: ReLU, dropout, the shortcut's sum, cat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minicnn import functional as F
from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Step
from minicnn.explain.grids import gradient, labels
from minicnn.explain.point import Draw, Point
from minicnn.explain.words import by, joined, number, sums
from minicnn.kernels.numpy.philox import philox_uint32
from minicnn.random import Generator


def relu(input: tuple[int, ...], seed: int) -> Explanation:
    """ReLU: what is negative stops here, and so does its gradient."""
    draw = Draw(seed)
    point = Point(lambda x: F.relu(x), {"x": draw.whole(input, 5)}, draw.whole)
    x, gy, gx = (a.reshape(-1).tolist() for a in (point.inputs["x"], point.gy, point.gradients["x"]))
    grids = [
        Grid("x", "x", point.inputs["x"], "x"),
        Grid(
            "y",
            "y",
            point.y,
            "y",
            how="max",
            made={k: [(0.0, "0"), (value, ("x", k))] for k, value in enumerate(x)},
        ),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient(
            point,
            "x",
            {k: [(value, ("gy", k), "1" if x[k] > 0 else "0")] for k, value in enumerate(gx)},
        ),
    ]
    forward = [f"{number(v)} {'passes' if v > 0 else 'becomes 0'}." for v in x]
    backward = [
        f"x was {number(v)}: gy = {number(g)} {'passes' if v > 0 else 'stops'}."
        for v, g in zip(x, gy, strict=True)
    ]
    return Explanation(
        title="relu",
        words="Positive numbers pass unchanged, negative ones become 0; their gradients pass or stop alike.",
        equations=["y = max(0, x)        gx = gy where x > 0, else 0"],
        facts=[("x, y", by(input))],
        grids={grid.key: grid for grid in grids},
        scenes=[
            _each(
                "forward",
                "Forward: a gate for each number",
                ["Without such a bend between them, two layers in a row would be no more than one."],
                ["x", "y"],
                point.y,
                forward,
            ),
            _each(
                "backward",
                "Backward: the same gates",
                [
                    "Where x was positive, y moves exactly as x does: gy passes. Where x was negative a "
                    "small change does nothing: 0. A unit that is negative for every image learns nothing "
                    "any more; it is dead.",
                    "At 0 itself there is no derivative; the engine, as everyone, takes 0 there.",
                ],
                ["gy", "x", "gx"],
                point.y,
                backward,
            ),
        ],
    )


def dropout(input: tuple[int, ...], p: float, seed: int) -> Explanation:
    """Dropout: a mask of zeros, and a factor that keeps the mean."""
    draw = Draw(seed)
    x = draw.whole(input, 5)
    # The engine's mask is a function of seed and offset, so that each call with these draws the same one.
    point = Point(lambda x: F.dropout(x, p, generator=Generator(seed)), {"x": x}, draw.whole)
    words = philox_uint32(*Generator(seed).reserve(x.size), x.size).reshape(input) / 2.0**32
    factor = 0.0 if p == 1 else 1 / (1 - p)
    mask = np.where(words >= p, factor, 0.0)
    every = np.arange(x.size)
    mask_texts = {
        k: f"{number(u)} {'≥' if u >= p else '<'} {number(p)}: {'kept, 1 / (1 − p)' if u >= p else 'dropped'}"
        for k, u in enumerate(words.flat)
    }
    gx = point.gradients["x"].reshape(-1)
    grids = [
        Grid("x", "x", x, "x"),
        Grid("u", "u", words, "u, random from 0 to 1"),
        Grid(
            "mask",
            "mask",
            mask,
            "mask",
            made=sums(every, mask.reshape(-1), ("u", every)),
            how="",
            texts=mask_texts,
        ),
        Grid("y", "y", point.y, "y", made=sums(every, point.y.reshape(-1), ("x", every), ("mask", every))),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient(point, "x", sums(every, gx, ("gy", every), ("mask", every))),
    ]
    kept = int((mask > 0).sum())
    forward = [f"u is {text}." for text in mask_texts.values()]
    backward = [f"mask {number(m)}: gy {'is scaled too' if m else 'stops'}." for m in mask.flat]
    return Explanation(
        title="dropout",
        words="In training a random part of the numbers is silent; the others are louder, so the mean stays.",
        equations=["y = x · mask        gx = gy · mask        mask = 0 with probability p, else 1 / (1 − p)"],
        facts=[
            ("x, y", by(input)),
            ("p", number(p)),
            ("kept", f"{kept} of {x.size}, times {number(factor)}"),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=[
            _each(
                "forward",
                "Forward: the mask and its factor",
                [
                    "For each number a random u is drawn; where u < p, the number is dropped. What is left "
                    "is multiplied by 1 / (1 − p): the expected value of y is then x, and in inference, "
                    "where nothing is dropped, nothing needs to be scaled.",
                    "No unit can rely on a particular neighbour being there.",
                ],
                ["x", "u", "mask", "y"],
                x,
                forward,
                extra=("u", "mask", "x"),
            ),
            _each(
                "backward",
                "Backward: the same mask",
                [
                    "y = x · mask is linear in x: gx is gy times the very same mask, factor included. To "
                    "draw a new one, or to forget the factor, are the usual mistakes."
                ],
                ["gy", "mask", "gx"],
                x,
                backward,
            ),
        ],
    )


def add(input: tuple[int, ...], seed: int) -> Explanation:
    """The sum of a residual block: the gradient goes both ways, undiminished."""
    draw = Draw(seed)
    inputs = {"x": draw.whole(input, 5), "w": draw.tenths(input, 0.5)}
    point = Point(lambda x, w: x + x * w, inputs, draw.whole)
    both = Point(
        lambda shortcut, branch: F.add(shortcut, branch),
        {"shortcut": inputs["x"], "branch": inputs["x"] * inputs["w"]},
        lambda _: point.gy,
    )
    every, x, w, gy = (np.arange(point.y.size), *(a.reshape(-1) for a in (*inputs.values(), point.gy)))
    by_shortcut, by_branch = sums(every, gy, ("gshortcut", every)), sums(every, gy * w, ("through", every))
    y_made = joined(sums(every, x, ("x", every)), sums(every, x * w, ("branch", every)))
    copied = sums(every, gy, ("gy", every))
    grids = [
        Grid("x", "x", inputs["x"], "x"),
        Grid("w", "w", inputs["w"], "w, of the branch"),
        Grid(
            "branch",
            "f",
            both.inputs["branch"],
            "f(x) = w · x, the branch",
            made=sums(every, x * w, ("x", every), ("w", every)),
        ),
        Grid("y", "y", point.y, "y = x + f(x)", made=y_made),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        gradient(both, "shortcut", copied, "gx by the shortcut"),
        gradient(both, "branch", copied, "gf, to the branch"),
        Grid(
            "through",
            "gx by the branch",
            point.gy * inputs["w"],
            "gx by the branch",
            made=sums(every, gy * w, ("gbranch", every), ("w", every)),
        ),
        gradient(point, "x", joined(by_shortcut, by_branch), "gx = both, added"),
    ]
    forward = [f"{number(a)} + ({number(a * b)}) = {number(a + a * b)}." for a, b in zip(x, w, strict=True)]
    backward = [
        f"gy = {number(g)} goes both ways; by the branch {number(g * b)} returns: together "
        f"{number(g + g * b)}."
        for g, b in zip(gy, w, strict=True)
    ]
    return Explanation(
        title="add",
        words="A block adds what it found to what it was given; backward, the sum copies its gradient.",
        equations=["y = x + f(x)        gf = gy        gx = gy + (what f sends back)"],
        facts=[("x, f(x), y", by(input)), ("f", "here w · x, in a network convolutions and ReLUs")],
        grids={grid.key: grid for grid in grids},
        scenes=[
            _each(
                "forward",
                "Forward: what came in, plus what the branch makes of it",
                ["The branch needs to learn only what to change: with f = 0 the block hands x on as it is."],
                ["x", "w", "branch", "y"],
                x,
                forward,
                extra=("x", "w", "branch"),
            ),
            _each(
                "backward",
                "Backward: one gradient, handed on twice",
                [
                    "∂y/∂x = 1 along the shortcut, whatever the branch does: gy arrives at the block's "
                    "input undiminished, even where the branch sends back next to nothing, as here with its "
                    "small w. Through a hundred such blocks the first layer still hears of the loss.",
                    "x was used twice, and so its gradient has two parts, which add up.",
                ],
                ["gy", "gshortcut", "gbranch", "w", "through", "gx"],
                x,
                backward,
                extra=("gy", "gshortcut", "gbranch", "w", "through"),
            ),
        ],
    )


def cat(input: tuple[int, ...], second: tuple[int, ...], seed: int) -> Explanation:
    """Arrays joined along the channels: the gradient is cut apart again."""
    draw = Draw(seed)
    inputs = {"x1": draw.whole(input, 5), "x2": draw.whole(second, 5)}
    point = Point(lambda x1, x2: F.cat([x1, x2], dim=1), inputs, draw.whole)
    owner = F.cat([_numbers(inputs["x1"]), -1 - _numbers(inputs["x2"])], dim=1).numpy().reshape(-1)
    sources = [("x1", at) if at >= 0 else ("x2", -1 - at) for at in owner.tolist()]
    y, gy = point.y.reshape(-1).tolist(), point.gy.reshape(-1).tolist()
    made: dict[str, dict[int, list]] = {"x1": {}, "x2": {}}
    for cell, (key, at) in enumerate(sources):
        made[key][at] = [(gy[cell], ("gy", cell))]
    grids = [
        *(Grid(key, key, x, key) for key, x in inputs.items()),
        Grid("y", "y", point.y, "y", made={k: [(v, sources[k])] for k, v in enumerate(y)}),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        *(gradient(point, key, made[key]) for key in inputs),
    ]
    names = {key: labels(key, x) for key, x in inputs.items()}
    forward = [
        Step([k], f"{label} is {names[key][at]}.")
        for k, (label, (key, at)) in enumerate(zip(labels("y", point.y), sources, strict=True))
    ]
    backward = [
        Step([k], f"{label} goes to g{names[key][at]}.", {f"g{key}": [at]})
        for k, (label, (key, at)) in enumerate(zip(labels("gy", point.y), sources, strict=True))
    ]
    return Explanation(
        title="cat",
        words="Channels of several arrays one after another; the gradient is cut apart at the same places.",
        equations=["y = [x1, x2] along the channels        [gx1, gx2] = gy"],
        facts=[("x1", by(input)), ("x2", by(second)), ("y", by(point.y.shape))],
        grids={grid.key: grid for grid in grids},
        scenes=[
            Scene(
                "forward",
                "Forward: side by side",
                ["Nothing is computed. Inception's branches and DenseNet's layers are joined this way."],
                ["x1", "x2", "y"],
                "y",
                forward,
            ),
            Scene(
                "backward",
                "Backward: cut at the same places",
                ["Each number of y is a copy of one of x1 or x2, and its gy goes back there, unchanged."],
                ["gy", "gx1", "gx2"],
                "gy",
                backward,
            ),
        ],
    )


def _numbers(x: Array) -> Array:
    return np.arange(x.size).reshape(x.shape)


def _each(
    key: str,
    title: str,
    text: Sequence[str],
    layout: Sequence[str],
    like: Array,
    notes: Sequence[str],
    extra: Sequence[str] = (),
) -> Scene:
    """A scene about the last grid of its layout, a step for each number; ``extra`` grids light up there."""
    lit = {k: {name: [k] for name in extra} if extra else None for k in range(like.size)}
    return Scene(
        key, title, text, layout, layout[-1], [Step([k], note, lit[k]) for k, note in enumerate(notes)]
    )
