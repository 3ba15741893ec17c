"""``minicnn explain``: an operation step by step, with real numbers, as a page or in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.commands.arguments import WRONG, Stop, user_input
from minicnn.explain.options import OPTIONS, as_flag

if TYPE_CHECKING:
    from rich.console import Console


def run(given: argparse.Namespace) -> int:
    """Explain an operation step by step, forward and backward, with real numbers."""
    from rich.console import Console

    from minicnn.explain import operations, text

    console = Console()
    if given.operation is None:
        return _list(console)
    options = {name: getattr(given, name) for name in OPTIONS if getattr(given, name) is not None}
    with user_input():
        explanation = operations.explain(given.operation, options)
        if given.text and given.out is not None:
            raise ValueError("explain: --text writes to the terminal, --out to a file; choose one")
        if given.text:
            text.write(explanation, console)
            return 0
        out = Path(f"{given.operation}.html") if given.out is None else given.out
        if out.is_dir():
            raise Stop(WRONG, f"explain: --out {out} is a folder; the name of a file is expected")
        size = explanation.save(out).stat().st_size
    console.print(
        f"{out} ({size / 1e6:.2f} MB of at most 2): open it in a browser; it needs no network",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "operation", metavar="OPERATION", nargs="?", help="see below; without, they are listed"
    )
    for name, option in OPTIONS.items():
        if option.switch is not None:
            flag, value = option.switch
            parser.add_argument(flag, dest=name, action="store_const", const=value, help=option.help)
        else:
            parser.add_argument(as_flag(name), dest=name, metavar=option.metavar, help=option.help)
    parser.add_argument("--out", metavar="FILE", type=Path, help="where the page is written (OPERATION.html)")
    parser.add_argument("--text", action="store_true", help="for the terminal, instead of a page")


def epilog() -> str:
    """The operations, and how much a page can show."""
    from minicnn.explain.operations import OPERATIONS
    from minicnn.explain.page import LARGEST

    return "\n".join(
        [
            "operations, with what each can be told and what it assumes:",
            *(f"  {name:<20} {about.usage()}" for name, about in OPERATIONS.items()),
            "",
            f"A page is one file of at most {LARGEST // 1_000_000} MB that needs no network. What is too "
            "large to be followed number by number is refused.",
        ]
    )


def _list(console: Console) -> int:
    from rich import box
    from rich.table import Table

    from minicnn.explain.operations import OPERATIONS

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("operation", no_wrap=True, style="bold")
    table.add_column("what its page shows")
    table.add_column("options, and what they are unless given")
    for name, about in OPERATIONS.items():
        table.add_row(name, about.words, about.usage())
    console.print(table, highlight=False)
    console.print("for example: minicnn explain conv2d --input 1x5x5 --kernel 3 --stride 2", highlight=False)
    return 0
