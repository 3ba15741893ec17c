"""Convolution on a page: every product x · w, where it goes in forward, and where it returns in backward."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.autograd import Array
from minicnn.explain.document import Grid
from minicnn.explain.grids import gradient
from minicnn.explain.point import PRODUCTS, Draw, Point, checked
from minicnn.explain.words import by, count, sums
from minicnn.kernels import Window
from minicnn.kernels.geometry import pad
from minicnn.kernels.numpy.conv_im2col import im2col


class Convolution:
    """A convolution of drawn numbers, and all its products.

    Each product x · w is one entry of the flat arrays ``at_y``, ``at_padded``, ``at_x``, ``at_w`` and
    ``at_column``: the cells that it concerns. In the padding there is no cell of x, and ``at_x`` is −1. All
    that follows, forward and backward, is these products, each time sorted by another of their cells.

    Raises:
        ValueError: geometry that does not fit, or more than a page can show.
    """

    def __init__(self, input: tuple[int, ...], window: Window, outputs: int, draw: Draw) -> None:
        self.window = window
        C = input[1]
        if C % window.groups or outputs % window.groups:
            raise ValueError(
                f"groups must divide the {C} input and the {outputs} output channels, got {window.groups}"
            )
        inputs = {
            "x": draw.whole(input),
            "w": draw.whole((outputs, C // window.groups, *window.kernel), largest=2),
            "b": draw.whole((outputs,)),
        }
        self.x, self.w, self.b = inputs.values()
        self.point = Point(self.forward, inputs, draw.whole)
        self.y, self.gy = self.point.y, self.point.gy
        self.padded = pad(self.x, window.padding)
        products = max(
            self.y.size * self.w[0].size, self.x.size * self.w[0, 0].size * outputs // window.groups
        )
        if products > PRODUCTS:
            raise ValueError(
                f"there are {products:,} products x · w, and a page shows at most {PRODUCTS:,}: choose a "
                "smaller input or kernel"
            )
        checked(self.padded.shape)
        self.columns = im2col(self.padded, window)
        checked(self.columns.shape)
        self._index()

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        """The engine's convolution."""
        g = self.window
        return F.conv2d(x, w, b, g.stride, g.padding, g.dilation, g.groups)

    def _index(self) -> None:
        g, (OC, Cg, KH, KW) = self.window, self.w.shape
        shape = (*self.y.shape, Cg, KH, KW)
        n, oc, oh, ow, c, i, j = (index.ravel() for index in np.indices(shape))
        group = oc // (OC // g.groups)
        row, column = oh * g.stride[0] + i * g.dilation[0], ow * g.stride[1] + j * g.dilation[1]
        h, v = row - g.padding[0][0], column - g.padding[1][0]
        channel = group * Cg + c
        _, _, H, W = self.x.shape
        inside = (h >= 0) & (h < H) & (v >= 0) & (v < W)

        def cell(shape: tuple[int, ...], *index: Array) -> Array:
            return np.ravel_multi_index(index, shape)

        self.at_y = cell(self.y.shape, n, oc, oh, ow)
        self.at_w = cell(self.w.shape, oc, c, i, j)
        self.at_b = oc
        self.at_padded = cell(self.padded.shape, n, channel, row, column)
        self.at_x = np.where(inside, cell(self.x.shape, n, channel, h.clip(0, H - 1), v.clip(0, W - 1)), -1)
        self.at_column = cell(self.columns.shape, n, group, (c * KH + i) * KW + j, oh * self.y.shape[3] + ow)
        self.inside = inside

    @property
    def places(self) -> int:
        """How many places the window takes in one image."""
        return self.y.shape[2] * self.y.shape[3]

    def outputs_at(self, place: int) -> list[int]:
        """The outputs, one for each filter, of one place of the window, counted through the batch."""
        n, p = divmod(place, self.places)
        return [(n * self.w.shape[0] + oc) * self.places + p for oc in range(self.w.shape[0])]

    def corner(self, output: int) -> str:
        """Where the window of an output begins, in a sentence."""
        oh, ow = np.unravel_index(output, self.y.shape)[2:]
        row, column = (
            int(at) * self.window.stride[axis] - self.window.padding[axis][0]
            for axis, at in enumerate((oh, ow))
        )
        place = f"row {row}, column {column}".replace("-", "−")
        return place + (" (in the padding)" if min(row, column) < 0 else "")

    def common_grids(self) -> list[Grid]:
        """What several scenes show."""
        g = self.window
        padded = " in its padding" if np.any(g.padding) else ""
        every = np.arange(self.y.size)
        products = self.padded.reshape(-1)[self.at_padded] * self.w.reshape(-1)[self.at_w]
        y_made = sums(self.at_y, products, ("x", self.at_padded), ("w", self.at_w))
        for output, oc in zip(every.tolist(), np.indices(self.y.shape)[1].ravel().tolist(), strict=True):
            y_made[output].append((float(self.b[oc]), ("b", oc)))
        returned = self.padded.reshape(-1)[self.at_padded] * self.gy.reshape(-1)[self.at_y]
        channels = np.indices(self.y.shape)[1].ravel()
        return [
            Grid("x", "x", self.padded, f"x, the image{padded}", border=g.padding),
            Grid("w", "w", self.w, "w, the filter" if len(self.w) == 1 else "w, the filters"),
            Grid("b", "b", self.b, "b, the bias"),
            Grid("y", "y", self.y, "y, the result", made=y_made),
            Grid("gy", "gy", self.gy, "gy, the upstream gradient"),
            gradient(self.point, "w", sums(self.at_w, returned, ("x", self.at_padded), ("gy", self.at_y))),
            gradient(self.point, "b", sums(channels, self.gy.reshape(-1), ("gy", every))),
        ]

    def facts(self) -> list[tuple[str, str]]:
        """Sizes, for the head of the page."""
        g, (_, _, OH, OW) = self.window, self.y.shape
        (top, _), (left, _) = g.padding
        H, W = self.x.shape[2:]
        products = f"{count(self.at_y.size, 'product')} x · w"
        if not self.inside.all():
            products += f", {(~self.inside).sum():,} of them with the padding"
        return [
            ("x", f"{by(self.x.shape)}  (N, C, H, W)"),
            ("w", f"{by(self.w.shape)}  (OC, C/groups, KH, KW)"),
            ("y", f"{by(self.y.shape)}  (N, OC, OH, OW)"),
            ("OH", f"⌊({H} + 2·{top} − {g.dilation[0]}·({g.kernel[0]} − 1) − 1) / {g.stride[0]}⌋ + 1 = {OH}"),
            (
                "OW",
                f"⌊({W} + 2·{left} − {g.dilation[1]}·({g.kernel[1]} − 1) − 1) / {g.stride[1]}⌋ + 1 = {OW}",
            ),
            ("work", products),
        ]
