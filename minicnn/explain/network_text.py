"""A network's explanation for a terminal: a table of its layers, and the step of training."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minicnn.explain.network import Layer, NetworkExplanation, Statistics
from minicnn.explain.words import by, number


def plain(explanation: NetworkExplanation, width: int) -> str:
    """The text, without colours."""
    stream = io.StringIO()
    write(explanation, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def write(e: NetworkExplanation, console: Console) -> None:
    """Write everything to a console."""
    console.print(Text(", ".join(filter(None, (e.name, e.weights))), "bold"))
    said = ", its own first choice" if e.guessed else ""
    console.print(Text(f"one image of {by(e.x.shape[1:])}; label: {e.class_names[e.label]}{said}"))
    console.print(_layers(e))
    step = e.step
    before, after = (p[e.label] for p in (step.probabilities_before, step.probabilities_after))
    console.print(
        Text(
            f"A step of SGD, w ← w − {step.lr:g} · gw: the loss goes from {number(step.loss_before)} to "
            f"{number(step.loss_after)}; if it were linear, it would change by {number(step.expected)}. "
            f"The probability of {e.class_names[e.label]} goes from {_share(before)} to {_share(after)}."
        )
    )
    console.print(_classes(e))
    console.print(_changes(e))


def _layers(e: NetworkExplanation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in ("layer", "y", "mean", "std", "zeros", "least", "largest", "std of gy"):
        table.add_column(head, justify="left" if head in ("layer", "y") else "right", overflow="fold")
    for layer in e.layers:
        if layer.units:  # the others hand on what a layer inside them made
            table.add_row(*map(Text, _row(layer, e.name)))
    return table


def _row(layer: Layer, name: str) -> list[str]:
    y = Statistics.of(layer.y)
    spread = "none" if layer.gy is None else _short(Statistics.of(layer.gy).std)
    shown = [_short(y.mean), _short(y.std), f"{100 * y.zeros:.0f} %", _short(y.least), _short(y.largest)]
    return [layer.path or name, by(layer.y.shape), *shown, spread]


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _classes(e: NetworkExplanation) -> Table:
    table = Table("likeliest class", box=box.SIMPLE_HEAD)
    table.add_column("before the step", justify="right")
    table.add_column("after it", justify="right")
    before, after = e.step.probabilities_before, e.step.probabilities_after
    for k in (-before).argsort(kind="stable")[:5].tolist():
        table.add_row(Text(e.class_names[k]), _share(before[k]), _share(after[k]))
    return table


def _share(p: float) -> str:
    return f"{100 * p:.1f} %"


def _changes(e: NetworkExplanation) -> Table:
    table = Table("changed most", box=box.SIMPLE_HEAD)
    for head in ("before", "gradient", "after"):
        table.add_column(head, justify="right")
    for change in e.step.largest:
        name = f"{change.name}[{', '.join(map(str, change.index))}]"
        table.add_row(Text(name), number(change.before), number(change.gradient), number(change.after))
    return table
