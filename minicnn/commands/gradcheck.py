"""``minicnn gradcheck``: every gradient against finite differences."""

from __future__ import annotations

import argparse
import os

import minicnn
from minicnn.backend import BACKEND_VARIABLE, BACKENDS, DEVICES, resolve
from minicnn.commands.arguments import FAILED, Stop, one_of, user_input, whole


def run(given: argparse.Namespace) -> int:
    """Check every gradient against finite differences, and print a line for each as it is done."""
    with user_input():
        if given.device is not None:
            device = resolve(given.device)
            if device == "cpu" and given.backend == "cuda":
                raise ValueError("gradcheck: --backend cuda computes on the GPU, but --device is cpu")
            given.backend = "cuda" if device == "cuda" else given.backend
        setting = minicnn.use(given.backend)
    with setting:
        return _gradcheck(given)


def _gradcheck(given: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from minicnn import gradcases

    mode = "elementwise" if given.elementwise else "directional"
    with user_input():
        rows = gradcases.run(only=given.only or None, mode=mode, seed=given.seed)
    console = Console()
    other = "; the compiled ones too with --backend numba" if given.backend == "numpy" else ""
    console.print(f"kernels: {given.backend}{other}", highlight=False)
    heading = f"{'operation':<32} {'case':<38} {'algorithm':<14} {'error':>8}"
    console.print(heading, style="bold", soft_wrap=True)
    total, wrong = 0, 0
    for row in rows:
        total, wrong = total + 1, wrong + (not row.ok)
        line = Text(f"{row.operation:<32} {row.case:<38} {row.algorithm:<14} {row.error:8.1e}  ")
        console.print(
            line + (Text("right", "green") if row.ok else Text("WRONG", "bold red")), soft_wrap=True
        )
        if not row.ok:
            console.print(Text(row.detail), soft_wrap=True)
    if wrong:
        raise Stop(FAILED, f"gradcheck: {wrong} of {total} gradients are wrong")
    console.print(f"all {total} gradients are right", highlight=False)
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "--elementwise", action="store_true", help="every element by itself, rather than random directions"
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="this operation only (repeatable)")
    parser.add_argument(
        "--backend",
        metavar="NAME",
        type=one_of(BACKENDS),
        default=os.environ.get(BACKEND_VARIABLE, "numpy"),
        help=f"kernels: numpy, or compiled first: numba, cuda (on a GPU) ({BACKEND_VARIABLE}, else numpy)",
    )
    parser.add_argument(
        "--device", metavar="NAME", type=one_of((*DEVICES, "auto")), help="cuda is short for --backend cuda"
    )
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="for the inputs (0)")
