"""Local response normalisation on a page: neighbouring channels damp each other, forward and backward."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn import kernels
from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Step
from minicnn.explain.grids import gradient, gradient_alone, labels
from minicnn.explain.point import Draw, Point
from minicnn.explain.words import by, joined, number, sums


def local_response_norm(
    input: tuple[int, ...], size: int, alpha: float, beta: float, k: float, seed: int
) -> Explanation:
    """Local response normalisation, over windows of channels."""
    draw = Draw(seed)
    x = draw.tenths(input)
    point = Point(lambda x: F.local_response_norm(x, size, alpha, beta, k), {"x": x}, draw.whole)
    _, d = kernels.run("local_response_norm.forward", x, size, alpha, beta, k)
    power = d**-beta
    q = point.gy * x * d ** (-beta - 1)
    own = point.gy * power
    near, far = _pairs(input, size)
    every = np.arange(x.size)
    flat = x.reshape(-1)
    strength = -2 * alpha * beta / size
    shares = strength * flat[near] * q.reshape(-1)[far]
    through = np.bincount(near, shares, minlength=x.size).reshape(input)
    alone = []
    for cell in range(x.size):
        one = far == cell
        itself = {cell: [(float(own.flat[cell]), ("gy", cell), ("power", cell))]}
        others = sums(near[one], shares[one], number(strength), ("x", near[one]), ("q", far[one]))
        alone.append(joined(itself, others))
    own_made = sums(every, own.reshape(-1), ("gy", every), ("power", every))
    settings = f"{number(alpha)}/{size}"
    grids = [
        Grid("x", "x", x, "x"),
        Grid(
            "d",
            "d",
            d,
            "d, the energy around it",
            made=joined(
                {cell: [(k, f"k = {number(k)}")] for cell in range(x.size)},
                sums(far, alpha / size * flat[near] ** 2, settings, ("x", near), ("x", near)),
            ),
        ),
        Grid(
            "power",
            "d^−β",
            power,
            "d^−β",
            made=sums(every, power.reshape(-1), ("d", every)),
            how="",
            texts={cell: f"{number(v)} to the power of −{number(beta)}" for cell, v in enumerate(d.flat)},
        ),
        Grid("y", "y", point.y, "y", made=sums(every, point.y.reshape(-1), ("x", every), ("power", every))),
        Grid("gy", "gy", point.gy, "gy, the upstream gradient"),
        Grid("own", "own", own, "own = gy · d^−β", made=own_made),
        Grid(
            "q",
            "q",
            q,
            "q = gy · x · d^(−β−1)",
            made=sums(every, q.reshape(-1), ("gy", every), ("x", every), ("d", every)),
            how="",
            texts=dict.fromkeys(range(x.size), "gy · x · d to the power of −β − 1"),
        ),
        Grid(
            "through",
            "through d",
            through,
            "through d = −2αβ/n · x · Σ q",
            made=sums(near, shares, number(strength), ("x", near), ("q", far)),
        ),
        gradient(
            point,
            "x",
            joined(
                sums(every, own.reshape(-1), ("own", every)),
                sums(every, through.reshape(-1), ("through", every)),
            ),
            "gx = own + through d",
        ),
        gradient_alone(point, "x", alone),
    ]
    return Explanation(
        title="local_response_norm",
        words="Each number is divided by a power of the energy of its neighbours in the channels beside it.",
        equations=[
            "d[c] = k + α/n · Σ_c' x[c']²        y[c] = x[c] · d[c]^−β,        c' in a window of n channels",
            "gx[c] = gy[c] · d[c]^−β − 2αβ/n · x[c] · Σ_c' gy[c'] · x[c'] · d[c']^(−β−1)",
        ],
        facts=[
            ("x, y", f"{by(input)}  (N, C, H, W)"),
            ("settings", f"n = {size}, α = {number(alpha)}, β = {number(beta)}, k = {number(k)}"),
            ("AlexNet's", "n = 5, α = 0.0001, β = 0.75, k = 2"),
        ],
        grids={grid.key: grid for grid in grids},
        scenes=_scenes(point, near, far),
    )


def _pairs(shape: tuple[int, ...], size: int) -> tuple[Array, Array]:
    """Cells that meet: each ``near`` is in the window of ``far``, at the same pixel of another channel."""
    N, C, H, W = shape
    n, c, other, h, v = (index.ravel() for index in np.indices((N, C, C, H, W)))
    # The window of channel `other` reaches size // 2 channels down and (size − 1) // 2 up.
    meets = (c >= other - size // 2) & (c <= other + (size - 1) // 2)
    near = np.ravel_multi_index((n, c, h, v), shape)[meets]
    far = np.ravel_multi_index((n, other, h, v), shape)[meets]
    return near, far


def _scenes(point: Point, near: Array, far: Array) -> list[Scene]:
    y, gx = point.y.reshape(-1), point.gradients["x"].reshape(-1)
    forward, alone, backward = [], [], []
    for cell, label in enumerate(labels("", point.y)):
        window, holders = near[far == cell].tolist(), far[near == cell].tolist()
        note = f"y{label} = {number(y[cell])}: x{label}, damped by the energy of {len(window)} channels here."
        forward.append(Step([cell], note, {"x": window, "d": [cell], "power": [cell]}, {"x": [cell]}))
        note = f"gy{label} reaches the {len(window)} numbers that were in its window."
        alone.append(Step([cell], note, {"x": window, "gx.alone": window}, {"gx.alone": [cell]}))
        note = f"gx{label} = {number(gx[cell])}: its own output's part, and one of each window that it is in."
        backward.append(Step([cell], note, {"q": holders, "own": [cell], "through": [cell], "x": [cell]}))
    return [
        Scene(
            "windows",
            "Forward: neighbours damp each other",
            [
                "The window does not move over pixels but over channels: at each pixel, a number is "
                "compared with the same pixel in the channels beside it. Where they are strong, it is made "
                "small: a kind of rivalry between filters. At the first and last channel the window is cut "
                "off.",
            ],
            ["x", "d", "power", "y"],
            "y",
            forward,
            "d = k + α/n · Σ x²        y = x · d^−β",
        ),
        Scene(
            "one-output",
            "Backward: one output reaches its window",
            [
                "An output depends on its own x, and through d on its neighbours': more of them makes it "
                "smaller."
            ],
            ["gy", "x", "power", "q", "gx.alone"],
            "gy",
            alone,
        ),
        Scene(
            "two-terms",
            "Backward: the two terms of gx",
            [
                "own is what y = x · d^−β gives if d were a constant. Through d: x is part of the energy of "
                "every window that holds it, and sends each of those outputs down."
            ],
            ["gy", "x", "q", "own", "+", "through", "=", "gx"],
            "gx",
            backward,
            "gx = gy · d^−β − 2αβ/n · x · Σ q,        q = gy · x · d^(−β−1)",
        ),
    ]
