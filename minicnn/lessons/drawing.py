"""What the lessons draw with: figures that are saved, numbers in grids, and colours for sign.

Colours are Okabe and Ito's, which the colour-blind can tell apart: blue below zero, vermilion above.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILION, GREEN, YELLOW, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#8A8A8A"
COLOURS = (BLUE, VERMILION, GREEN, YELLOW, GREY)
WORDS_UP_TO = 12
"""Rows or columns up to which a grid has room for its numbers."""


class Sketchbook:
    """Saves a lesson's pictures in a folder, and says where."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @contextmanager
    def picture(self, what: str, columns: int = 1, rows: int = 1, size: float = 3.2) -> Iterator[Any]:
        """Axes to draw on, one or an array of them; the picture is saved at the end of the block."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(size * columns + 0.6, size * rows + 0.4), layout="constrained")
        yield figure.subplots(rows, columns)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}-{what}.png"
        figure.savefig(path, dpi=110)
        print(f"  picture: {path}")


def grid(axes: Axes, numbers: np.ndarray, title: str = "") -> None:
    """A matrix as coloured cells, white at zero, with its numbers where there is room."""
    numbers = np.atleast_2d(np.asarray(numbers, float))
    limit = np.abs(numbers).max() or 1.0
    axes.imshow(numbers, cmap=_signs(), vmin=-limit, vmax=limit)
    if max(numbers.shape) <= WORDS_UP_TO:
        for (i, j), value in np.ndenumerate(numbers):
            ink = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(j, i, f"{value:.3g}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def image(axes: Axes, pixels: np.ndarray, title: str = "") -> None:
    """A grey image, its smallest number black."""
    axes.imshow(pixels, cmap="gray")
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def curves(axes: Axes, lines: dict[str, Any], title: str, x: str, y: str, log: str = "") -> None:
    """Lines with a legend: name -> values, or (places, values); ``log`` names the logarithmic axes."""
    from matplotlib.ticker import MaxNLocator

    whole = True
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        places, values = line if isinstance(line, tuple) else (np.arange(1, len(line) + 1), line)
        whole = whole and not np.any(np.mod(places, 1))
        axes.plot(places, values, label=name, color=colour, marker="o", markersize=3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    if "x" not in log and whole:  # there is no epoch 1.5
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)


def _signs() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signs", [BLUE, "white", VERMILION])
