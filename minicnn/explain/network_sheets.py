"""Pictures of a network as PNG: its filters, its feature maps, and where in an image it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.drawing import HEAT, INK, around_grey, bare, caption, figure, show_image
from minicnn.figures import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_FILTERS, MOST_MAPS = 64, 12
"""What there is room for: filters on a sheet, and maps in a row of one."""

BOX = "#0072B2"


class Panel(NamedTuple):
    """One picture of a sheet.

    ``kind``: "image", (C, H, W) in 0..1; "heat", (h, w), dark for the smallest and light for the largest;
    "signed", (C, H, W), grey at 0; "overlay", a heat map laid over the sheet's first image.
    """

    title: str
    kind: str
    values: Array
    box: tuple[int, int, int, int] | None = None


def draw_panels(panels: Sequence[Panel], title: str, words: str) -> bytes:
    """Panels side by side, with words below, as a PNG."""
    sheet = figure((3.3 * len(panels) + 0.3, 4.5), title)
    for axes, panel in zip(sheet.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _show(axes, panel, panels[0].values)
        axes.set_title(panel.title, color=INK, fontsize=10)
    caption(sheet, words)
    return png(sheet)


def _show(axes: Axes, panel: Panel, image: Array) -> None:
    H, W = image.shape[1:]
    whole = (-0.5, W - 0.5, H - 0.5, -0.5)  # so that coarse maps cover the image's pixels
    if panel.kind == "image":
        show_image(axes, panel.values)
    elif panel.kind == "signed":
        show_image(axes, around_grey(panel.values))
    elif panel.kind == "heat":
        bare(axes)
        axes.imshow(panel.values, cmap=HEAT, extent=whole, interpolation="nearest")
    else:
        show_image(axes, image.mean(axis=0))
        axes.imshow(panel.values, cmap=HEAT, extent=whole, interpolation="bilinear", alpha=0.6)
        axes.set_xlim(whole[:2])
        axes.set_ylim(whole[2:])
    if panel.box is not None:
        _frame(axes, panel.box)


def _frame(axes: Axes, box: tuple[int, int, int, int]) -> None:
    from matplotlib.patches import Rectangle

    top, bottom, left, right = box
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, color=BOX, linewidth=2))


def draw_filters(w: Array, title: str) -> bytes:
    """Filters as small images, those of three channels in colour; others by their channels' mean, as a PNG.

    Shape: w (OC, C, KH, KW). The first :data:`MOST_FILTERS` are drawn.
    """
    shown = w[:MOST_FILTERS]
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    sheet = figure((max(1.05 * columns, 5), 1.1 * rows + 0.9), title)
    for axes in (panels := sheet.subplots(rows, columns, squeeze=False)).flat:
        axes.axis("off")
    for number, (axes, filter) in enumerate(zip(panels.flat, shown, strict=False)):
        colours = filter if len(filter) == 3 else filter.mean(axis=0, keepdims=True)
        show_image(axes, 0.5 + colours / (2 * (np.abs(colours).max() or 1)))
        axes.axis("on")
        axes.set_xlabel(str(number), color=INK, fontsize=7, labelpad=1)
    caption(sheet, "grey is 0, lighter above, darker below; each by its own largest")
    return png(sheet)


def draw_maps(found: Mapping[str, Array], title: str) -> bytes:
    """A row of maps for each layer, the first :data:`MOST_MAPS` of them, as a PNG.

    Shapes: layer -> (C, H, W).
    """
    columns = min(MOST_MAPS, max(len(maps) for maps in found.values()))
    sheet = figure((1.15 * columns + 1.6, 1.25 * len(found) + 0.9), title)
    grid = sheet.subplots(len(found), columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, (name, maps) in zip(grid, found.items(), strict=True):
        C, H, W = maps.shape
        for axes, one in zip(row, maps, strict=False):
            axes.axis("on")
            bare(axes)
            axes.imshow(one, cmap=HEAT, interpolation="nearest")
        row[0].set_ylabel(
            f"{name}\n{min(C, columns)} of {C} maps\n{H}×{W}",
            rotation=0, ha="right", va="center", color=INK, fontsize=9,
        )  # fmt: skip
    caption(sheet, "dark is the smallest number of a map, light its largest")
    return png(sheet)
