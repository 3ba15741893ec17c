"""Pictures of a training: the curves, the confusion matrix, and images with what the network says of them.

Each function returns a PNG as bytes. Colours are Okabe and Ito's, which the colour-blind can tell apart;
blue is what is right or training, vermilion what is wrong or validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minicnn.data import Dataset, Split
from minicnn.figures import plain, png
from minicnn.train.history import Epoch
from minicnn.train.loop import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#222222"

COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, GREY)
"""For several trainings in one chart."""

COUNTS_UP_TO = 20
"""Classes up to which a confusion matrix has room for its counts."""

LINED_UP_TO = 100
"""Classes up to which lines between its cells leave something of them to be seen."""

ROWS, COLUMNS = 6, 8
MISTAKES = 16
"""How many of the grid's images are wrong ones at most, where there are right ones for the rest."""

PANELS = (("loss", "loss", "validation_loss"), ("accuracy", "accuracy", "validation_accuracy"))
"""The two charts of learning curves: the title, and which figures of an :class:`Epoch` are drawn."""


def curves(history: Sequence[Epoch], title: str, best: Epoch | None = None) -> bytes:
    """Loss and accuracy against epochs, for training and validation; ``best`` is marked."""
    figure = new_figure(10, 4.2)
    figure.suptitle(plain(title), color=INK)
    numbers = [epoch.number for epoch in history]
    dot = "o" if len(history) < 3 else None
    for axes, (name, training, validation) in zip(figure.subplots(1, 2), PANELS, strict=True):
        axes.plot(numbers, [getattr(e, training) for e in history], color=BLUE, marker=dot, label="training")
        points = [(e.number, getattr(e, validation)) for e in history if getattr(e, validation) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), color=VERMILION, marker=dot, label="validation")
        if best is not None:
            label = f"best on validation: epoch {best.number}"
            axes.plot(best.number, getattr(best, validation), "D", color=VERMILION, label=label)
        _label_epochs(axes, name)
    loss, accuracy = figure.axes
    _logarithmic_if_wide(loss, history)
    accuracy.set_ylim(top=1.0)
    accuracy.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    accuracy.legend(frameon=False, loc="lower right")
    return png(figure)


def confusion(matrix: np.ndarray, class_names: Sequence[str], title: str) -> bytes:
    """A confusion matrix with its counts: what is right in blue, mistakes in vermilion."""
    classes = len(class_names)
    numbered = classes <= COUNTS_UP_TO
    size = min(12, 2.2 + 0.5 * classes)
    figure = new_figure(max(size, 5.5), size + 0.4)
    axes = figure.subplots()
    right = np.eye(classes, dtype=bool)
    # Each kind by its own scale, or a few mistakes among thousands of images would be invisible.
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    mistakes = matrix / matrix[~right].max(initial=4)
    for values, mask, name in ((shares, ~right, "Blues"), (mistakes, right | (matrix == 0), "Oranges")):
        axes.imshow(np.ma.masked_array(values, mask), cmap=name, vmin=0, vmax=1.25)
    if numbered:
        for (t, p), count in np.ndenumerate(matrix):
            dark = shares[t, p] > 0.6 if t == p else mistakes[t, p] > 0.6
            colour = "#BBBBBB" if count == 0 else "white" if dark else INK
            axes.text(p, t, f"{count:,}", ha="center", va="center", color=colour, fontsize=10)
    places, names, points = _with_room(class_names, size - 2.2)
    turned = 0 if max(map(len, class_names)) < 4 else 60 if numbered else 90
    axes.set_xticks(places, names, rotation=turned, fontsize=points)
    axes.set_yticks(places, names, fontsize=points)
    if classes <= LINED_UP_TO:
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#E6E6E6", linewidth=0.7)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color("#CCCCCC")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(plain(title), color=INK, fontsize=11)
    return png(figure)


def _label_epochs(axes: Axes, name: str) -> None:
    """A chart's title, its axis of whole epochs, and its grid."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(name, fontsize=11, color=INK)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _with_room(names: Sequence[str], inches: float) -> tuple[range, list[str], float]:
    """Which names to write along an axis, and in how many points: small ones, and of very many only some."""
    most = int(72 * inches / 6)
    places = range(0, len(names), -(-len(names) // most))
    return places, [plain(names[k]) for k in places], min(10.0, 0.85 * 72 * inches / len(places))


def _logarithmic_if_wide(axes: Axes, history: Sequence[Epoch]) -> None:
    """The loss on a logarithmic axis, with plain numbers, where all but the first epochs would be flat."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = [v for epoch in history for v in (epoch.loss, epoch.validation_loss) if v]
    if not values or max(values) <= 10 * min(values):
        return
    axes.set_yscale("log")
    axes.set_title("loss (logarithmic)", fontsize=11, color=INK)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def classes(figures: Mapping[str, Mapping[str, float]], title: str) -> bytes:
    """Precision, recall and F1 of each class as dots; ``figures`` has them by class and name."""
    height = min(16, 1.8 + 0.3 * len(figures))
    figure = new_figure(8, height)
    axes = figure.subplots()
    y = np.arange(len(figures))
    kinds = (
        ("precision", "o", BLUE, "precision: of what was taken for it, the share that is"),
        ("recall", "D", VERMILION, "recall: of what it is, the share that was found"),
        ("f1", "|", INK, "F1: between the two"),
    )
    for kind, mark, colour, label in kinds:
        values = [row[kind] for row in figures.values()]
        size = 11 if kind == "precision" else 6  # where they are equal, one is seen inside the other
        style = "none" if kind == "precision" else "full"
        axes.plot(values, y, mark, color=colour, markersize=size, fillstyle=style, label=label, clip_on=False)
    places, names, points = _with_room(list(figures), height - 1.8)
    axes.set_yticks(places, names, fontsize=points)
    axes.set_ylim(len(figures) - 0.5, -0.5)
    axes.set_xlim(right=1)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plain(title), color=INK, fontsize=11)
    figure.legend(frameon=False, loc="outside lower center", fontsize=9)
    return png(figure)


def comparison(runs: Sequence[tuple[str, Sequence[Epoch]]]) -> bytes:
    """The curves of several trainings in one chart: validation drawn through, training dashed."""
    figure = new_figure(11, 4.6)
    for axes, (name, training, validation) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for i, (run, history) in enumerate(runs):
            title = plain(f" {run}" if run.startswith("_") else run)  # legends leave out names with _ first
            colour, validated = COLOURS[i % len(COLOURS)], all(e.validation_loss is not None for e in history)
            numbers = [epoch.number for epoch in history]
            mark = "o" if len(history) < 3 else None
            if validated:
                values = [getattr(epoch, validation) for epoch in history]
                axes.plot(numbers, values, color=colour, marker=mark, label=title)
            values = [getattr(epoch, training) for epoch in history]
            axes.plot(
                numbers,
                values,
                "--",
                color=colour,
                marker=None if validated else mark,
                linewidth=1,
                alpha=0.7,
                label=None if validated else title,
            )
        _label_epochs(axes, name)
    loss, accuracy = figure.axes
    _logarithmic_if_wide(loss, [epoch for _, history in runs for epoch in history])
    accuracy.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %")
    figure.suptitle("validation drawn through, training dashed", color=INK, fontsize=11)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, loc="outside lower center", ncols=min(len(runs), 4), fontsize=9
    )
    return png(figure)


def choose_examples(labels: np.ndarray, found: Evaluation, count: int) -> np.ndarray:
    """Which images to show: up to a third mistakes, the surest first, and then right ones from all over.

    Returns their indices, at most ``count``.
    """
    sure = found.probabilities.max(axis=1)
    wrong, right = (
        np.flatnonzero(mask) for mask in (found.predictions != labels, found.predictions == labels)
    )
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    few = wrong[: max(MISTAKES, count - len(right))][:count]
    rest = min(count - len(few), len(right))
    return np.concatenate([few, right[np.linspace(0, len(right) - 1, rest).round().astype(int)]])


def predictions(dataset: Dataset, split: Split, found: Evaluation, title: str) -> bytes:
    """A grid of images with the class they were taken for and its probability; the wrong ones are framed."""
    chosen = choose_examples(split.labels, found, ROWS * COLUMNS)
    rows = -(-len(chosen) // COLUMNS)
    names = [plain(name) for name in dataset.class_names]
    short = max(map(len, names)) < 4
    size = 10 if short else 8.5
    figure = new_figure(1.3 * COLUMNS, (1.48 if short else 1.72) * rows + 0.5)
    figure.suptitle(plain(title), color=INK, fontsize=12)
    pixels = dataset.to_pixels(split.images[chosen])
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes, index, image in zip(panels, chosen, pixels, strict=False):
        label, predicted = split.labels[index], found.predictions[index]
        _show(axes, image)
        words = f"{names[predicted]}  {_percent(found.probabilities[index, predicted])}"
        if label == predicted:
            axes.set_title(words, fontsize=size, color=INK, pad=4)
            _frame(axes, "#CCCCCC", 0.8)
        else:
            words += (", is " if short else "\nis ") + names[label]
            axes.set_title(words, fontsize=size, color=VERMILION, fontweight="bold", pad=4)
            _frame(axes, VERMILION, 2.5)
    return png(figure)


def _percent(probability: float) -> str:
    """A probability as one reads it, without claiming certainty."""
    return ">99 %" if probability > 0.995 else f"{probability:.0%}".replace("%", " %")


def _show(axes: Axes, image: np.ndarray) -> None:
    """An image (C, H, W) of values in 0..1; grey ones as ink on paper."""
    if len(image) == 1:
        axes.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
    else:
        axes.imshow(image.transpose(1, 2, 0))
    axes.set_xticks([])
    axes.set_yticks([])


def _frame(axes: Axes, colour: str, width: float) -> None:
    axes.spines[:].set_color(colour)
    axes.spines[:].set_linewidth(width)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its sides in inches."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a window system

    return Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
