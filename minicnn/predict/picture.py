"""A picture of predictions: each image as the network sees it, and beside it what the network says."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from minicnn.figures import plain, png
from minicnn.predict.classifier import Guess

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

BLUE, PALE, INK = "#0072B2", "#A9CFE5", "#222222"

LARGEST = 20
"""Images that one picture has room for."""

MOST = 10
"""Guesses that there is room for beside an image."""


class Prediction(NamedTuple):
    """An image's name, the part of it that the network saw, and what the network made of it."""

    name: str
    image: Image
    guesses: list[Guess]


def percent(probability: float) -> str:
    """A probability as one reads it, which claims no certainty that there is not.

    >>> percent(0.8734), percent(0.99999), percent(0.00002)
    ('87.3 %', '>99.9 %', '<0.1 %')
    """
    if probability > 0.9995:
        return ">99.9 %"
    return "<0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def draw(predictions: Sequence[Prediction], title: str) -> bytes:
    """Images in a column, a bar for each guess beside them, as a PNG.

    Raises ValueError for more than :data:`LARGEST` images.
    """
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a window system
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if len(predictions) > LARGEST:
        raise ValueError(f"a picture has room for {LARGEST} images, but these are {len(predictions):,}")
    rows = len(predictions)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    figure = Figure(figsize=(8, 2.9 * rows + 0.5), dpi=120, layout=layout, facecolor="white")
    figure.suptitle(plain(title), color=INK, fontsize=12)
    panels = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 1.9))
    for (left, right), prediction in zip(panels, predictions, strict=True):
        _show(left, prediction)
        _bars(right, prediction.guesses[:MOST])
    return png(figure)


def _show(axes: Axes, prediction: Prediction) -> None:
    axes.imshow(prediction.image, cmap="gray" if prediction.image.mode == "L" else None, vmin=0, vmax=255)
    name = Path(prediction.name).name
    axes.set_xlabel(plain(name if len(name) <= 34 else f"{name[:33]}…"), color=INK, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#CCCCCC")


def _bars(axes: Axes, guesses: Sequence[Guess]) -> None:
    places = range(len(guesses))
    lengths = [guess.probability for guess in guesses]
    axes.barh(places, lengths, color=[BLUE, *[PALE] * (len(guesses) - 1)], height=0.72)
    for place, guess in zip(places, guesses, strict=True):
        axes.text(
            guess.probability + 0.015, place, percent(guess.probability), va="center", color=INK, fontsize=9
        )
    names = [textwrap.fill(plain(guess.name), 24, max_lines=2, placeholder="…") for guess in guesses]
    axes.set_yticks(places, names, fontsize=9.5)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(max(5, len(guesses)) - 0.5, -0.5)
    axes.set_xlim(0, 1.16)  # 1 is certainty; the rest is for the figure beside the bar
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.axvline(0, color="#888888", linewidth=1)
