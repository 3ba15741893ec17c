"""A sheet of what image kernels make of a photograph, with each kernel's numbers beside its picture."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.drawing import INK, PALER, bare, figure, show_image
from minicnn.explain.filters import FILTERS, apply, as_colours
from minicnn.figures import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2
"""Filters side by side."""

LEGENDS = {
    "as it is": "below 0 is black, above 1 white",
    "around grey": "0 is grey, below darker, above lighter",
    "from black": "0 is black, the largest white",
}
"""How results become colours, by :attr:`minicnn.explain.filters.Filter.shown`."""


def draw(x: Array, names: Sequence[str], title: str) -> bytes:
    """The image, and what each filter makes of it, as a PNG.

    Shape: x (C, H, W), with C = 1 or 3. Between 0 and 1.
    """
    rows = -(-(1 + len(names)) // COLUMNS)
    H, W = x.shape[1:]
    height = 3.2 * min(max(H / W, 0.4), 1.6) + 0.75
    sheet = figure((5.4 * COLUMNS + 0.4, height * rows + 0.5), title)
    panels = sheet.subplots(rows, 2 * COLUMNS, squeeze=False, width_ratios=(1.5, 1) * COLUMNS)
    for axes in panels.flat:
        axes.axis("off")
    show_image(panels[0, 0], x)
    panels[0, 0].set_title("the image", color=INK, fontsize=12, loc="left")
    for place, name in enumerate(names, 1):  # the image has the first place
        row, column = divmod(place, COLUMNS)
        picture, numbers = panels[row, 2 * column], panels[row, 2 * column + 1]
        show_image(picture, as_colours(apply(x[None], name)[0], name))
        picture.set_title(f"{name}\n", color=INK, fontsize=12, fontweight="bold", loc="left")
        picture.text(0, 1.02, FILTERS[name].words, color=INK, fontsize=9, transform=picture.transAxes)
        _write_numbers(numbers, name)
    return png(sheet)


def _write_numbers(axes: Axes, name: str) -> None:
    """A filter's matrices, side by side, and how its results are shown."""
    filter = FILTERS[name]
    size = len(filter.kernels[0])
    gap = np.full((size, 1), np.nan)
    parts = [part for kernel in filter.kernels for part in (np.array(kernel, float), gap)][:-1]
    matrix = np.concatenate(parts, axis=1)
    largest = np.nanmax(np.abs(matrix))
    axes.axis("on")
    bare(axes)
    axes.imshow(np.sign(matrix) * np.sqrt(np.abs(matrix) / largest), cmap=PALER, vmin=-1, vmax=1)
    for (row, column), number in np.ndenumerate(matrix):
        if not np.isnan(number):
            text = f"{number:.0f}".replace("-", "−")
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                color=INK,
                fontsize=9 if matrix.shape[1] > 3 else 12,
            )
    divided = "" if filter.divisor == 1 else f"each ÷ {filter.divisor}\n"
    axes.set_xlabel(f"{divided}{fill(LEGENDS[filter.shown], 32)}", color=INK, fontsize=9)
