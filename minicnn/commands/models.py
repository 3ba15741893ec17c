"""``minicnn models``: lists the networks."""

from __future__ import annotations

import argparse

import minicnn


def run(given: argparse.Namespace) -> int:
    """List the networks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("input", no_wrap=True)
    table.add_column("parameters", no_wrap=True, justify="right")
    table.add_column("description")
    for name in minicnn.models.list():
        about = minicnn.models.info(name)
        parameters = about.parameters
        shape = "×".join(map(str, about.input_shape))
        words = about.description.removesuffix(f": {parameters:,} parameters.")  # which has its column
        table.add_row(name, shape, f"{parameters:,}", words)
    Console().print(table, highlight=False)
    return 0
