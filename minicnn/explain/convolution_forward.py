"""Convolution forward on a page: as windows, as one matrix product, and as one matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minicnn.explain.convolution import Convolution
from minicnn.explain.document import Grid, Scene, Step
from minicnn.explain.grids import labels
from minicnn.explain.words import count, number, numbered, sums, without_ones
from minicnn.kernels.numpy.conv_toeplitz import toeplitz


def scenes(c: Convolution) -> Iterator[tuple[list[Grid], Scene]]:
    """The scenes, each with the grids that it adds."""
    yield windows(c)
    yield matrix_product(c)
    yield one_matrix(c)


def windows(c: Convolution) -> tuple[list[Grid], Scene]:
    """One window after another: its products and their sum."""
    each = c.w[0].size
    # Products come sorted by output, and of each by channel and tap: exactly one frame after another.
    values = (c.padded.reshape(-1)[c.at_padded] * c.w.reshape(-1)[c.at_w]).reshape(-1, *c.w.shape[1:])
    made = [
        sums(np.arange(each), values[k].reshape(-1), ("x", c.at_padded[part]), ("w", c.at_w[part]))
        for k in range(c.y.size)
        for part in [slice(k * each, (k + 1) * each)]
    ]
    products = Grid("products", "x·w", values, "x · w in this window", frames=True, made=made)
    steps = []
    for k, label in enumerate(labels("y", c.y)):
        part = slice(k * each, (k + 1) * each)
        lit = {
            "x": c.at_padded[part],
            "w": c.at_w[part],
            "b": [int(c.at_b[k * each])],
            "products": range(each),
        }
        note = (
            f"The window's upper left corner lies at {c.corner(k)}. {count(each, 'product').capitalize()}, "
            f"and the bias, add up to {label} = {number(c.y.flat[k])}."
        )
        steps.append(Step([k], note, {key: [int(cell) for cell in cells] for key, cells in lit.items()}))
    scene = Scene(
        "windows",
        "Forward: one window at a time",
        [
            "The filter is laid on the image, at one place after another. Each weight is multiplied by the "
            "pixel under it; the sum of these products, plus the bias, is one number of y.",
            "The stride s is how far the filter moves from one place to the next. The padding p is how many "
            "zeros surround the image, so that the filter can reach over its edge. With dilation d the "
            "filter's weights lie d pixels apart. The filter is not flipped: strictly speaking this is a "
            "cross-correlation, which this field calls convolution.",
        ],
        ["x", "w", "products", "b", "y"],
        "y",
        steps,
        "y = b + Σ x · w, over the window",
    )
    return [products], scene


def matrix_product(c: Convolution) -> tuple[list[Grid], Scene]:
    """im2col, and the product of two matrices."""
    groups, (N, OC) = c.window.groups, c.y.shape[:2]
    rows = c.w.reshape(without_ones((groups, OC // groups, c.w[0].size)))
    columns = c.columns.reshape(without_ones(c.columns.shape))
    y = c.y.reshape(without_ones((N, groups, OC // groups, c.places)))
    copied = np.full(c.columns.size, -1)
    copied[c.at_column] = c.at_padded
    values = c.padded.reshape(-1)[c.at_padded] * c.w.reshape(-1)[c.at_w]
    made = sums(c.at_y, values, ("w.rows", c.at_w), ("columns", c.at_column))
    for k in range(c.y.size):
        oc = int(c.at_b[k * c.w[0].size])
        made[k].append((float(c.b[oc]), ("b", oc)))
    grids = [
        Grid("w.rows", "w", rows, "w: each filter a row", labels=labels("w", c.w)),
        Grid(
            "columns",
            "columns",
            columns,
            "columns: each window a column",
            made=sums(numbered(c.columns).reshape(-1), c.columns.reshape(-1), ("x", copied)),
        ),
        Grid("y.rows", "y", y, "y: each channel a row", labels=labels("y", c.y), made=made),
    ]
    steps, each = [], c.w[0].size
    for k, label in enumerate(labels("y", c.y)):
        part = slice(k * each, (k + 1) * each)
        lit = {"x": c.at_padded[part], "w.rows": c.at_w[part], "columns": c.at_column[part]}
        marks = {key: cells.tolist() for key, cells in lit.items()}
        note = f"{label} = {number(c.y.flat[k])}: its filter's row times its window's column, plus the bias."
        steps.append(Step([k], note, {**marks, "b": [int(c.at_b[k * each])]}))
    scene = Scene(
        "im2col",
        "The same as one matrix product: im2col",
        [
            "im2col copies the pixels under each window into a column. A filter, written as a row in the "
            "same order, meets every window in one product of two matrices, which computers are very fast "
            "at.",
            "The price is memory: a pixel is copied into every window that covers it. Here the "
            f"{c.padded.size:,} numbers of the padded image became {c.columns.size:,} in the columns."
            + (" Each group of channels has a product of its own." if groups > 1 else ""),
        ],
        ["x", "w.rows", "@", "columns", "+", "b", "=", "y.rows"],
        "y.rows",
        steps,
        "w as (OC, C·KH·KW) @ columns (C·KH·KW, OH·OW) + b = y as (OC, OH·OW)",
    )
    return grids, scene


def one_matrix(c: Convolution) -> tuple[list[Grid], Scene]:
    """The doubly blocked Toeplitz matrix."""
    g, (N, C, H, W), OC = c.window, c.x.shape, len(c.w)
    T = np.zeros((g.groups, OC // g.groups * c.places, g.groups, C // g.groups * H * W))
    for group, w in enumerate(np.split(c.w, g.groups)):
        T[group, :, group] = toeplitz(w, H, W, g)
    T = T.reshape(OC * c.places, C * H * W)
    per_image = T.shape
    # Where a product's output and pixel are, counted within their image.
    image, row = np.divmod(c.at_y, per_image[0])
    pixel = c.at_x % per_image[1]
    entry = row * per_image[1] + pixel
    first = c.inside & (image == 0)
    used = c.inside
    weights, pixels = c.w.reshape(-1)[c.at_w], c.padded.reshape(-1)[c.at_padded]
    made = sums(
        (row * N + image)[used],
        (weights * pixels)[used],
        ("T", entry[used]),
        ("x.flat", (pixel * N + image)[used]),
    )
    for k in range(c.y.size):
        n, out = divmod(k, per_image[0])
        made.setdefault(out * N + n, []).append((float(c.b[out // c.places]), ("b", out // c.places)))
    in_columns = [n * per_image[0] + out for out in range(per_image[0]) for n in range(N)]
    y_labels, x_labels = labels("y", c.y), labels("x", c.x)
    grids = [
        Grid(
            "T",
            "T",
            T,
            "T: a row for each output, a column for each pixel",
            made=sums(entry[first], weights[first], ("w", c.at_w[first])),
            differences=c.point.jacobian("x")[: per_image[0], : per_image[1]],
        ),
        Grid(
            "x.flat",
            "x",
            c.x.reshape(N, -1).T,
            "x, as a column" if N == 1 else "x: each image a column",
            labels=[x_labels[n * per_image[1] + at] for at in range(per_image[1]) for n in range(N)],
        ),
        Grid(
            "y.flat",
            "y",
            c.y.reshape(N, -1).T,
            "y, as a column" if N == 1 else "y: each image a column",
            labels=[y_labels[k] for k in in_columns],
            made=made,
        ),
    ]
    steps = [
        Step([at], f"{y_labels[k]} = {number(c.y.flat[k])}: this row of T times x, plus the bias.")
        for at, k in enumerate(in_columns)
    ]
    zeros = int((T == 0).sum())
    scene = Scene(
        "toeplitz",
        "The same as one matrix: doubly blocked Toeplitz",
        [
            "Convolution is linear in x, so some matrix T does all of it at once. Each of its rows holds a "
            "filter, every weight in the column of the pixel that it meets there, and 0 elsewhere: "
            f"{zeros:,} of the {T.size:,} entries here are 0. With stride 1 its blocks are constant along "
            "their diagonals, and so is the arrangement of the blocks, hence the name.",
            "Nobody computes it that way. But T holds every derivative ∂y/∂x: point at an entry to compare "
            "it with finite differences. And backward is its transpose: gx = Tᵀ @ gy.",
        ],
        ["w", "T", "@", "x.flat", "+", "b", "=", "y.flat"],
        "y.flat",
        steps,
        "y as (OC·OH·OW)  =  T (OC·OH·OW, C·H·W) @ x as (C·H·W) + b",
    )
    return grids, scene
