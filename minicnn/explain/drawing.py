"""What the pictures of this room share: sheets without a window system, images and maps as panels."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.autograd import Array
from minicnn.figures import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#222222"

HEAT = "inferno"
"""From dark to light, evenly to the eye, and the same order without colours."""

PALER = "minicnn_paler"
"""Blue below 0, white at 0, orange above, as on the pages, all pale enough to write on."""


BRIGHTEST = 99.5
"""The percentile of a gradient's magnitudes from which on they are drawn alike: a few pixels stand out so far
that, beside the largest, nothing else could be seen."""


def figure(size: tuple[float, float], title: str) -> Figure:
    """An empty sheet, width and height in inches; what is too long for a line of its title is wrapped."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a window system
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if PALER not in colormaps:
        colormaps.register(LinearSegmentedColormap.from_list(PALER, ["#9CC3E6", "#FFFFFF", "#F2B880"]))
    sheet = Figure(figsize=size, dpi=110, layout=ConstrainedLayoutEngine(h_pad=0.08), facecolor="white")
    lines = [textwrap.fill(plain(line), int(11 * size[0])) for line in title.split("\n")]
    sheet.suptitle("\n".join(lines), color=INK, fontsize=13)
    return sheet


def caption(sheet: Figure, words: str) -> None:
    """Words below the panels."""
    width = int(13 * sheet.get_figwidth())
    sheet.supxlabel(textwrap.fill(plain(words), width), color=INK, fontsize=9)


def bare(axes: Axes) -> None:
    """A panel without ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def show_image(axes: Axes, image: Array, **options: Any) -> None:
    """An image (C, H, W) of 1 or 3 channels, or (H, W), in 0..1."""
    image = image[None] if image.ndim == 2 else image
    bare(axes)
    axes.imshow(
        np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0),
        **{"interpolation": "nearest", **options},
    )


def around_grey(values: Array) -> Array:
    """Signed numbers as colours in 0..1: 0 is grey, and the :data:`BRIGHTEST` are black and white.

    >>> around_grey(np.array([-1.0, 0.0, 1.0]))
    array([0. , 0.5, 1. ])
    """
    largest = np.percentile(np.abs(values), BRIGHTEST) or np.abs(values).max() or 1
    return np.clip(0.5 + values / (2 * largest), 0, 1)
