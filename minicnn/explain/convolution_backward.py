"""Convolution backward on a page: what one output sends back, and how gx and gw add up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from minicnn import functional as F
from minicnn.autograd import Array
from minicnn.explain.convolution import Convolution
from minicnn.explain.document import Grid, Scene, Step
from minicnn.explain.grids import gradient, gradient_alone
from minicnn.explain.point import NUMBERS, Point
from minicnn.explain.words import count, number, sums, without_ones


def scenes(c: Convolution) -> Iterator[tuple[list[Grid], Scene]]:
    """The scenes, each with the grids that it adds."""
    yield one_output(c)
    yield overlaps(c)
    yield correlation(c)
    yield full_convolution(c)


def one_output(c: Convolution) -> tuple[list[Grid], Scene]:
    """The gradient of one output: which pixels and weights it reaches, and with what numbers."""
    each = c.w[0].size
    gy, x, w = c.gy.reshape(-1), c.padded.reshape(-1), c.w.reshape(-1)
    x_made, w_made, steps = [], [], []
    for k, label in enumerate(Grid("gy", "gy", c.gy).label(cell) for cell in range(c.gy.size)):
        part = np.arange(k * each, (k + 1) * each)
        real = part[c.inside[part]]
        to_x = gy[k] * w[c.at_w[real]]
        to_w = gy[k] * x[c.at_padded[part]]
        at = np.full(each, k)
        x_made.append(sums(c.at_x[real], to_x, ("w", c.at_w[real]), ("gy", at[: real.size])))
        w_made.append(sums(c.at_w[part], to_w, ("x", c.at_padded[part]), ("gy", at)))
        lit = {
            "x": c.at_padded[part],
            "w": c.at_w[part],
            "gx.alone": c.at_x[real],
            "gw.alone": c.at_w[part],
        }
        lost = each - real.size
        note = (
            f"{label} = {number(gy[k])} reaches {count(real.size, 'pixel')} and {count(each, 'weight')}; "
            "nothing else had a part in that output."
        )
        if lost:
            note += f" {count(lost, 'product')} lay in the padding, whose gradient is cut off."
        steps.append(Step([k], note, {key: cells.tolist() for key, cells in lit.items()}))
    grids = [
        gradient_alone(c.point, "x", x_made),
        gradient_alone(c.point, "w", w_made),
    ]
    scene = Scene(
        "one-output",
        "Backward: what one output sends back",
        [
            "Backward begins with gy = ∂L/∂y: by how much the loss L changes for each unit of y. Choose an "
            "output. Its gy returns along every product that the output was the sum of: to the pixel, times "
            "the weight that it met; and to the weight, times the pixel that it met.",
            "The numbers here are the engine's gradients with every other gy set to 0. All of them added up "
            "are the whole gx and gw, as the next steps show.",
        ],
        ["gy", "x", "w", "gx.alone", "gw.alone"],
        "gy",
        steps,
        "gx += w · gy      gw += x · gy      gb += gy",
    )
    return grids, scene


def overlaps(c: Convolution) -> tuple[list[Grid], Scene]:
    """col2im: one window's gradients after another are added to the image."""
    gcolumns, differences = _gradient_of_columns(c)
    everything = c.x.shape[0] * c.places
    taken = [c.outputs_at(place) for place in range(everything)]
    so_far = [list(chain(*taken[: place + 1])) for place in range(everything)]
    gradients, gradient_differences = c.point.of(so_far)
    values, before = gradients["x"], np.zeros(c.x.size)
    flat = gcolumns.reshape(-1)
    made, steps, visited = [], [], set()
    owner = np.full(c.columns.size, -1)
    owner[c.at_column] = c.at_x
    shape = c.columns.shape
    for place in range(everything):
        n, p = divmod(place, c.places)
        column = np.arange(c.columns.size).reshape(shape)[n, :, :, p].ravel()
        real = column[owner[column] >= 0]
        pixels = owner[real]
        made.append(
            {
                int(pixel): [(float(before[pixel]), "so far"), (float(flat[cell]), ("gcolumns", int(cell)))]
                for pixel, cell in zip(pixels, real, strict=True)
            }
        )
        again = sorted(visited & set(pixels.tolist()))
        visited |= set(pixels.tolist())
        lit = {"gy": taken[place], "gcolumns": column.tolist(), "gx.so_far": pixels.tolist()}
        note = f"Window {place + 1} of {everything} adds its column to {count(pixels.size, 'pixel')}."
        note += f" {len(again)} of them had something already: there it is added." if again else ""
        steps.append(Step(column.tolist(), note, lit, {"gx.so_far": again}))
        before = values[place].reshape(-1)
    squeezed = without_ones(shape)
    grids = [
        Grid(
            "gcolumns",
            "gcolumns",
            gcolumns.reshape(squeezed),
            "gcolumns = wᵀ @ gy: each window a column",
            made=sums(
                c.at_column, c.w.reshape(-1)[c.at_w] * c.gy.reshape(-1)[c.at_y], ("w", c.at_w), ("gy", c.at_y)
            ),
            differences=differences.reshape(squeezed),
        ),
        Grid(
            "gx.so_far",
            "gx",
            values,
            "gx, from the windows so far",
            frames=True,
            made=made,
            differences=gradient_differences["x"],
        ),
    ]
    scene = Scene(
        "col2im",
        "gx: where windows overlap, gradients add up (col2im)",
        [
            "Each window has a column of gradients, for the copies of its pixels: weight times gy, over all "
            "filters. im2col copied a pixel into several columns; its transpose, col2im, adds their "
            "gradients up again. A pixel that was used four times has four parts in its gradient.",
            "To overwrite rather than add is a famous mistake, and with stride = kernel nobody notices.",
        ],
        ["w", "gy", "gcolumns", "gx.so_far"],
        "gcolumns",
        steps,
        "gcolumns (C·KH·KW, OH·OW) = wᵀ @ gy      gx = col2im(gcolumns)",
    )
    return grids, scene


def _gradient_of_columns(c: Convolution) -> tuple[Array, Array]:
    """The engine's gradient to the columns, of the product that im2col makes of convolution."""
    N, groups, _, places = c.columns.shape
    shape = (N, groups, len(c.w) // groups, places)
    rows = np.broadcast_to(
        c.w.reshape(groups, len(c.w) // groups, -1), (N, groups, len(c.w) // groups, c.w[0].size)
    )
    product = Point(
        lambda w, columns: F.matmul(w, columns),
        {"w": rows, "columns": c.columns},
        lambda _: c.gy.reshape(shape),
        links=NUMBERS**2,
    )
    return product.gradients["columns"], product.differences("columns")


def correlation(c: Convolution) -> tuple[list[Grid], Scene]:
    """gw: gy slides over x with the stride as its dilation."""
    each = c.x.shape[0] * c.places
    labels = (Grid("gw", "gw", c.w).label(cell) for cell in range(c.w.size))
    steps = [
        Step(
            [k],
            f"{label}: the {each} pixels that this weight met, each times the gy of its window, added up.",
        )
        for k, label in enumerate(labels)
    ]
    scene = Scene(
        "gw",
        "gw: x correlated with gy",
        [
            "A weight is used once for each window. Its gradient is the sum, over all windows (and all "
            "images), of the pixel that it met there times that window's gy.",
            "Look at which pixels light up: their pattern is gy's own shape, laid on the image. So gw is a "
            "convolution too, of x with gy as the filter; what was the stride between windows is now the "
            "distance between gy's numbers, and what was the dilation is now the stride. gb is simply the "
            "sum of gy.",
        ],
        ["x", "gy", "gw", "gb"],
        "gw",
        steps,
        "gw[oc, c, i, j] = Σ_n Σ_oh Σ_ow x[n, c, oh·s + i·d − p, ow·s + j·d − p] · gy[n, oc, oh, ow]",
    )
    return [], scene


def full_convolution(c: Convolution) -> tuple[list[Grid], Scene]:
    """gx: the flipped filter slides over gy, spread out by the stride and padded."""
    spread, border = spread_out(c)
    flipped = np.ascontiguousarray(c.w[:, :, ::-1, ::-1])
    at_x, at_spread, at_flipped, values = _full_products(c, spread, flipped)
    labels = Grid("w", "w", c.w)
    mirrored = np.arange(c.w.size).reshape(c.w.shape)[:, :, ::-1, ::-1].reshape(-1)
    grids = [
        Grid(
            "gy.spread",
            "gy",
            spread,
            "gy, spread out and padded",
            labels=_names_in_spread(c, spread.shape, border),
        ),
        Grid(
            "w.flipped",
            "w",
            flipped,
            "w, flipped both ways",
            labels=[labels.label(int(cell)) for cell in mirrored],
        ),
        gradient(c.point, "x", sums(at_x, values, ("gy.spread", at_spread), ("w.flipped", at_flipped))),
    ]
    gx = c.point.gradients["x"].reshape(-1)
    steps = [
        Step([k], f"{grids[2].label(k)} = {number(gx[k])}: the flipped filter on gy, its products added up.")
        for k in range(gx.size)
    ]
    scene = Scene(
        "gx",
        "gx: a full convolution of gy with the flipped filter",
        [
            "Asked from the pixel's side: which outputs used it, with which weights? The window that begins "
            "just above and left of it met it with its last weight, the one that begins at it with its "
            "first. So the filter appears flipped, up and down, left and right.",
            "Where the stride left windows out there is a 0 between two gradients; around them lie as many "
            "zeros as it takes for the filter to reach each pixel from all sides. That is why upsampling by "
            "a “transposed convolution” is nothing but this backward pass.",
        ],
        ["gy.spread", "w.flipped", "gx"],
        "gx",
        steps,
        "gx[n, c] = Σ_oc  spread(gy[n, oc]) ∗ flipped(w[oc, c])",
    )
    return grids, scene


def spread_out(c: Convolution) -> tuple[Array, tuple[int, int]]:
    """gy with stride − 1 zeros between its numbers, and the border that a full convolution needs.

    Returns it as (N, OC, H + extent − 1, W + extent − 1), and how many rows and columns lie before the first
    gradient: extent − 1 − padding, which may be negative: then some gradients are cut off at the edge.
    """
    (N, OC, OH, OW), (H, W), g = c.gy.shape, c.x.shape[2:], c.window
    before = g.extent[0] - 1 - g.padding[0][0], g.extent[1] - 1 - g.padding[1][0]
    spread = np.zeros((N, OC, H + g.extent[0] - 1, W + g.extent[1] - 1))
    rows, columns = np.arange(OH) * g.stride[0] + before[0], np.arange(OW) * g.stride[1] + before[1]
    some_rows = (rows >= 0) & (rows < spread.shape[2])
    some_columns = (columns >= 0) & (columns < spread.shape[3])
    picked = c.gy[:, :, some_rows][:, :, :, some_columns]
    spread[:, :, rows[some_rows, None], columns[some_columns]] = picked
    return spread, before


def _names_in_spread(c: Convolution, shape: tuple[int, ...], before: tuple[int, int]) -> list[str]:
    (_, _, OH, OW), (sh, sw) = c.gy.shape, c.window.stride
    names = []
    for n, oc, row, column in np.ndindex(*shape):
        (oh, between_rows), (ow, between) = divmod(row - before[0], sh), divmod(column - before[1], sw)
        real = not between_rows and not between and 0 <= oh < OH and 0 <= ow < OW
        names.append(f"gy[{n}, {oc}, {oh}, {ow}]" if real else "a zero put in")
    return names


def _full_products(c: Convolution, spread: Array, flipped: Array) -> tuple[Array, Array, Array, Array]:
    """The products of the full convolution: cells of x, spread gy and the flipped filter, and values."""
    (N, C, H, W), g, (OC, Cg, KH, KW) = c.x.shape, c.window, c.w.shape
    shape = (N, C, H, W, OC // g.groups, KH, KW)
    n, channel, h, v, o, i, j = (index.ravel() for index in np.indices(shape))
    oc = channel // Cg * (OC // g.groups) + o
    at_x = np.ravel_multi_index((n, channel, h, v), c.x.shape)
    at_spread = np.ravel_multi_index((n, oc, h + i * g.dilation[0], v + j * g.dilation[1]), spread.shape)
    at_flipped = np.ravel_multi_index((oc, channel % Cg, i, j), c.w.shape)
    return at_x, at_spread, at_flipped, spread.reshape(-1)[at_spread] * flipped.reshape(-1)[at_flipped]
