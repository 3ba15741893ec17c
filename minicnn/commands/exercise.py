"""``minicnn exercise``: write a forward or a backward yourself, and be told what is wrong with it."""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from minicnn.commands.arguments import FAILED, WRONG, Stop, one_of

PATIENCE = 10
"""Seconds after which a student is told that the file still runs: a right answer takes far less."""


def run(given: argparse.Namespace) -> int:
    """Check a forward or a backward that you wrote, and say what is wrong with it."""
    from minicnn.exercises import EXERCISES, run_file, start_text

    if given.name is None:
        return _list()
    exercise = EXERCISES[one_of_exercises(given.name)]
    path = Path(given.file) if given.file else Path(f"{exercise.name}.py")
    if given.start:
        return _start(path, start_text(exercise.name), exercise.name)
    if not path.is_file():
        raise Stop(
            WRONG, f"exercise: there is no file {path}; `minicnn exercise {exercise.name} --start` makes it"
        )
    patience = threading.Timer(PATIENCE, _still_running)
    patience.daemon = True
    patience.start()
    try:
        verdict = run_file(exercise, path)
    finally:
        patience.cancel()
    print(verdict)
    return 0 if verdict else FAILED


def _still_running() -> None:
    words = "exercise: your file still runs; is there a loop without end? Ctrl-C stops it, and says where"
    print(f"minicnn: {words}", file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="an exercise; without one, they are listed")
    parser.add_argument("file", nargs="?", metavar="FILE", help="your file (NAME.py)")
    parser.add_argument("--start", action="store_true", help="write the file to begin with")


def one_of_exercises(name: str) -> str:
    """The name, or an end that suggests the nearest exercise."""
    from minicnn.exercises import EXERCISES

    try:
        return one_of(EXERCISES)(name)
    except argparse.ArgumentTypeError as error:
        raise Stop(WRONG, f"exercise {error}") from error


def _list() -> int:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from minicnn.exercises import EXERCISES

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("exercise", no_wrap=True, style="bold")
    table.add_column("what you write")
    for exercise in EXERCISES.values():
        table.add_row(exercise.name, exercise.words)
    console = Console()
    console.print(table, highlight=False)
    console.print("begin one with: minicnn exercise NAME --start", highlight=False)
    return 0


def _start(path: Path, text: str, name: str) -> int:
    try:
        with path.open("x", encoding="utf-8") as file:  # a file with a student's work in it is never replaced
            file.write(text)
    except FileExistsError:
        raise Stop(WRONG, f"exercise: {path} is there already; --start writes a new file only") from None
    print(f"wrote {path}; write {name} in it, then: minicnn exercise {name} {path}")
    return 0
