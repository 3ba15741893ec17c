"""``minicnn compare``: several trainings beside each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from minicnn.commands.arguments import picture, user_input


def run(given: argparse.Namespace) -> int:
    """Compare trainings: their best epochs in a table, their curves in one picture."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from minicnn import files
    from minicnn.train import plots
    from minicnn.train.comparison import differences, read
    from minicnn.train.display import percent

    with user_input():
        runs = [read(path) for path in given.runs]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("training")
    for name in ("epochs", "best", "validation", "test", "seconds"):
        table.add_column(name, justify="right")
    for found in runs:
        best = found.best
        accuracy = None if best is None else best.validation_accuracy
        table.add_row(
            Text(found.name),
            f"{len(found.history)}" + ("" if found.finished else f" of {found.options.epochs}"),
            "" if best is None else f"{best.number}",
            "" if accuracy is None else percent(accuracy),
            "" if found.test is None else percent(found.test),
            f"{sum(epoch.seconds for epoch in found.history):.1f}",
        )
    console = Console()
    console.print(table, highlight=False)
    for found, words in zip(runs, differences(runs), strict=True):
        line = f"{found.name}: {words or 'the same options'}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    files.write(given.out, plots.comparison([(found.name, found.history) for found in runs]))
    console.print(f"saved {given.out}", highlight=False, markup=False, soft_wrap=True)
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of trainings")
    name = "comparison.png"
    parser.add_argument("--out", metavar="FILE", type=picture, default=name, help=f"the picture ({name})")
