"""Charts of the kept results, one PNG for each benchmark. The same results give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.contenders import KINDS
from benchmarks.measure import spread
from benchmarks.results import Row

COLOURS = {"minicnn": "#0072B2", "torch": "#D55E00", "torch_channels_last": "#E69F00", "jax": "#009E73"}
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of curves, which the colour-blind can tell apart."""

MARKS = {"minicnn": "o", "torch": "s", "torch_channels_last": "D", "jax": "^"}


def figure(width: float, height: float, panels: int = 1) -> tuple[Any, list[Any]]:
    """A figure with panels side by side; no window system is asked for."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    axes = list(made.subplots(1, panels, squeeze=False)[0])
    for panel in axes:
        panel.grid(True, axis="x", color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return made, axes


def png(made: Any) -> bytes:
    """The file's bytes, without a date or a version in them."""
    file = io.BytesIO()
    made.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def steps(rows: Sequence[Row], title: str) -> bytes | None:
    """Speed relative to the better of PyTorch's layouts: beyond the line at 1 minicnn is faster."""
    ours = [row for row in rows if row["contender"] == "minicnn" and row["ratio"] is not None]
    if not ours:
        return None
    made, (panel,) = figure(7, 0.9 + 0.32 * len(ours))
    places = range(len(ours))
    speed = [1 / row["ratio"] for row in ours]
    low = [s - 1 / row["ratio_high"] for s, row in zip(speed, ours, strict=True)]
    high = [1 / row["ratio_low"] - s for s, row in zip(speed, ours, strict=True)]
    panel.barh(places, speed, xerr=(low, high), height=0.6, color=COLOURS["minicnn"], ecolor="0.3")
    panel.axvline(1, color=COLOURS["torch"])
    panel.set_yticks(places, [f"{row['network']} ({row['batch']})" for row in ours])
    panel.invert_yaxis()
    panel.set_xlabel(f"{title}: times as fast as PyTorch in the better layout (line: equal)")
    return png(made)


def conv(rows: Sequence[Row]) -> bytes | None:
    """For each layer and pass: GFLOP/s of minicnn's own choice and of the peers."""
    rows = [row for row in rows if row["contender"] != "minicnn" or row["algorithm"] == "auto"]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    parts = list(dict.fromkeys(row["pass"] for row in rows))
    if not layers:
        return None
    made, panels = figure(3.2 * len(parts) + 1.5, 1.2 + 0.27 * len(layers), len(parts))
    for panel, part in zip(panels, parts, strict=True):
        for kind in COLOURS:
            points = [row for row in rows if row["contender"] == kind and row["pass"] == part]
            if points:
                panel.plot(
                    [row["gflops"] for row in points],
                    [layers.index(row["layer"]) for row in points],
                    MARKS[kind],
                    color=COLOURS[kind],
                    markersize=5,
                    label=KINDS[kind].label,
                )
        panel.set_xscale("log")
        panel.set_ylim(len(layers) - 0.5, -0.5)
        panel.set_yticks(range(len(layers)), layers if panel is panels[0] else [])
        panel.grid(True, color="0.9")
        panel.set_xlabel(f"{part}, GFLOP/s")
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return png(made)


def ladder(rows: Sequence[Row]) -> bytes | None:
    """GFLOP/s of each rung, on a logarithmic scale."""
    rows = sorted(rows, key=lambda row: -row["ms"])
    made, (panel,) = figure(7, 0.9 + 0.32 * len(rows))
    places = range(len(rows))
    colours = [COLOURS.get(row["rung"], COLOURS["minicnn"]) for row in rows]
    panel.barh(places, [row["gflops"] for row in rows], height=0.6, color=colours)
    for place, row in zip(places, rows, strict=True):
        panel.text(row["gflops"], place, f" {row['gflops']:.3g}", va="center", fontsize=9)
    panel.set_xscale("log")
    panel.margins(x=0.12)
    panel.set_yticks(places, [row["label"] for row in rows])
    panel.invert_yaxis()
    panel.set_xlabel("GFLOP/s")
    return png(made)


def scaling(rows: Sequence[Row]) -> bytes | None:
    """Time of a step over each of the four numbers, both logarithmic."""
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    made, panels = figure(3.1 * len(axes) + 0.5, 3.6, len(axes))
    for panel, axis in zip(panels, axes, strict=True):
        for kind in COLOURS:
            points = [row for row in rows if row["axis"] == axis and row["contender"] == kind]
            if points:
                panel.plot(
                    [row["value"] for row in points],
                    [row["ms"] for row in points],
                    MARKS[kind] + "-",
                    color=COLOURS[kind],
                    markersize=4,
                    label=KINDS[kind].label,
                )
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:.0f}")
        panel.set_yscale("log")
        panel.grid(True, color="0.9")
        panel.set_xlabel(axis)
    panels[0].set_ylabel("ms per training step")
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return png(made)


def accuracy(rows: Sequence[Row]) -> bytes | None:
    """The share of wrong test images, ours and the published one, and our loss epoch by epoch."""
    rows = [row for row in rows if row["engine"] == "minicnn"]
    names = list(dict.fromkeys(row["network"] for row in rows))
    made, (panel, curves) = figure(10, 1.6 + 0.4 * len(names), 2)
    for place, name in enumerate(names):
        mine, colour = [row for row in rows if row["network"] == name], LINES[place % len(LINES)]
        wrong, published = 1 - mine[-1]["test_accuracy"], 1 - mine[-1]["published"]
        panel.plot([100 * published, 100 * wrong], [place, place], color="0.7", zorder=1)
        panel.plot(100 * published, place, "D", color="white", markeredgecolor="0.2", markersize=7)
        panel.plot(100 * wrong, place, "o", color=colour, markersize=8)
        epochs = [row["epoch"] for row in mine]
        curves.plot(epochs, [row["loss"] for row in mine], "-", color=colour, marker=".", label=name)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlabel("test images wrong, % (diamonds: published)")
    curves.set_yscale("log")
    curves.grid(True, color="0.9")
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.set_xlabel("epoch")
    curves.set_ylabel("training loss")
    curves.legend(frameon=False, fontsize=8)
    return png(made)


def transfer(rows: Sequence[Row]) -> bytes | None:
    """Test accuracy of each way over the images of each class: medians, and bands for the range."""
    made, (panel,) = figure(6.5, 4)
    counts = sorted({row["images"] for row in rows})
    for i, way in enumerate(dict.fromkeys(row["way"] for row in rows)):
        found = [
            spread([100 * row["accuracy"] for row in rows if (row["way"], row["images"]) == (way, count)])
            for count in counts
        ]
        middle, low, high = zip(*found, strict=True)
        panel.plot(counts, middle, "osD^"[i % 4], linestyle="-", color=LINES[i], markersize=5, label=way)
        panel.fill_between(counts, low, high, color=LINES[i], alpha=0.18, linewidth=0)
    panel.set_xscale("log")
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.set_xticks([], minor=True)
    panel.grid(True, color="0.9")
    panel.set_xlabel("training images of each class")
    panel.set_ylabel("test images right, %")
    panel.legend(frameon=False)
    return png(made)


DRAW: dict[str, Callable[[Sequence[Row]], bytes | None]] = {
    "accuracy": accuracy,
    "train_step": lambda rows: steps(rows, "training step"),
    "inference": lambda rows: steps(rows, "inference"),
    "ladder": ladder,
    "conv": conv,
    "scaling": scaling,
    "transfer": transfer,
}
