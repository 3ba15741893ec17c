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


class Damped:
    """A local response normalisation of drawn numbers, with everything on the way to its gradient.

    Cells ``near`` and ``far`` meet, pair by pair: near is in the window of far. ``shares`` is what near's
    gradient receives through far's d.
    """

    def __init__(
        self, input: tuple[int, ...], size: int, alpha: float, beta: float, k: float, draw: Draw
    ) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.x = draw.tenths(input)
        self.point = Point(
            lambda x: F.local_response_norm(x, size, alpha, beta, k), {"x": self.x}, draw.whole
        )
        _, self.d = kernels.run("local_response_norm.forward", self.x, size, alpha, beta, k)
        self.power = self.d**-beta
        self.q = self.point.gy * self.x * self.d ** (-beta - 1)
        self.own = self.point.gy * self.power
        self.near, self.far = _pairs(input, size)
        self.strength = -2 * alpha * beta / size
        self.shares = self.strength * self.x.reshape(-1)[self.near] * self.q.reshape(-1)[self.far]
        self.through = np.bincount(self.near, self.shares, minlength=self.x.size).reshape(input)


def local_response_norm(
    input: tuple[int, ...], size: int, alpha: float, beta: float, k: float, seed: int
) -> Explanation:
    """Local response normalisation, over windows of channels."""
    n = Damped(input, size, alpha, beta, k, Draw(seed))
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
        grids={grid.key: grid for grid in (*_forward_grids(n), *_backward_grids(n))},
        scenes=_scenes(n.point, n.near, n.far),
    )


def _forward_grids(n: Damped) -> list[Grid]:
    every = np.arange(n.x.size)
    energies = n.alpha / n.size * n.x.reshape(-1)[n.near] ** 2
    d_made = joined(
        {cell: [(n.k, f"k = {number(n.k)}")] for cell in every.tolist()},
        sums(n.far, energies, f"{number(n.alpha)}/{n.size}", ("x", n.near), ("x", n.near)),
    )
    power_texts = {
        cell: f"{number(value)} to the power of −{number(n.beta)}" for cell, value in enumerate(n.d.flat)
    }
    power_made = sums(every, n.power.reshape(-1), ("d", every))
    y_made = sums(every, n.point.y.reshape(-1), ("x", every), ("power", every))
    return [
        Grid("x", "x", n.x, "x"),
        Grid("d", "d", n.d, "d, the energy around it", made=d_made),
        Grid("power", "d^−β", n.power, "d^−β", made=power_made, how="", texts=power_texts),
        Grid("y", "y", n.point.y, "y", made=y_made),
    ]


def _backward_grids(n: Damped) -> list[Grid]:
    every, strength = np.arange(n.x.size), number(n.strength)
    own, through = n.own.reshape(-1), n.through.reshape(-1)
    q_made = sums(every, n.q.reshape(-1), ("gy", every), ("x", every), ("d", every))
    q_texts = dict.fromkeys(every.tolist(), "gy · x · d to the power of −β − 1")
    own_made = sums(every, own, ("gy", every), ("power", every))
    through_made = sums(n.near, n.shares, strength, ("x", n.near), ("q", n.far))
    gx_made = joined(sums(every, own, ("own", every)), sums(every, through, ("through", every)))
    alone = []
    for cell in every.tolist():
        one = n.far == cell
        itself = {cell: [(float(own[cell]), ("gy", cell), ("power", cell))]}
        others = sums(n.near[one], n.shares[one], strength, ("x", n.near[one]), ("q", n.far[one]))
        alone.append(joined(itself, others))
    return [
        Grid("gy", "gy", n.point.gy, "gy, the upstream gradient"),
        Grid("own", "own", n.own, "own = gy · d^−β", made=own_made),
        Grid("q", "q", n.q, "q = gy · x · d^(−β−1)", made=q_made, how="", texts=q_texts),
        Grid("through", "through d", n.through, "through d = −2αβ/n · x · Σ q", made=through_made),
        gradient(n.point, "x", gx_made, "gx = own + through d"),
        gradient_alone(n.point, "x", alone),
    ]


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
