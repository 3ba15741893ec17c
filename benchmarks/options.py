"""What can be asked of a benchmark on the command line, and where it tells how far it is."""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from benchmarks import machine
from benchmarks.contenders import KINDS, is_installed
from benchmarks.problem import Problem
from benchmarks.results import FOLDER

BUSY = 0.5
"""The load from which on it is worth a word."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are problems like any other: one line."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Say it without the usage; --help shows that."""
        raise Problem(message)


def parser(description: str | None, things: str) -> Parser:
    """The options that all benchmarks share; ``things`` is what --only chooses among."""
    made = shared(description, things, seconds=0.3)
    made.add_argument("--threads", type=whole, help="threads of everybody (all physical cores)")
    made.add_argument("--backend", choices=("numba", "numpy"), default="numba", help="minicnn's kernels")
    return made


def shared(description: str | None, things: str, seconds: float) -> Parser:
    """Those of all that take times, on whatever device; ``seconds`` is how long a turn usually takes."""
    made = basic(description, things)
    made.add_argument("--rounds", type=whole, help="rounds, of which the median is kept (5)")
    made.add_argument(
        "--seconds", type=positive, help=f"how long one turn of a round takes at least ({seconds})"
    )
    made.set_defaults(usual_seconds=seconds)
    return made


def basic(description: str | None, things: str | None = None) -> Parser:
    """Those of every script: what to do, if it does several things, and where to keep what comes of it."""
    made = Parser(description)
    if things is not None:
        made.add_argument("--only", nargs="+", metavar="NAME", help=f"these {things}; * stands for anything")
    made.add_argument("--out", type=Path, help="the folder for the results (benchmarks/results)")
    made.add_argument(
        "--quick", action="store_true", help="see that it runs, in seconds; kept only where --out says"
    )
    return made


def parse(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with what was not given filled in."""
    given = parse_shared(made, arguments)
    cores = len(machine.cores())
    given.threads = given.threads or cores
    if given.threads > cores:
        raise Problem(f"--threads {given.threads}: this process may use {cores} cores")
    if (busy := machine.load()) > BUSY:
        print(f"other programs keep {busy:.1f} cores busy: ratios will scatter, and times be too long")
    given.machine = machine.describe(given.threads, given.backend)
    return given


def parse_shared(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The same for the options of :func:`shared`."""
    given = parse_basic(made, arguments)
    given.rounds = given.rounds or (2 if given.quick else 5)
    given.seconds = given.seconds or (0.01 if given.quick else given.usual_seconds)
    return given


def parse_basic(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The same for the options of :func:`basic`."""
    given = made.parse_args(arguments)
    given.out = given.out or (None if given.quick else FOLDER)
    return given


def chosen(names: Iterable[str], only: Sequence[str] | None, quick: Sequence[str] | None = None) -> list[str]:
    """The names that --only asks for; Problem, with the nearest name, for one that nothing matches."""
    from minicnn.backend import unknown

    names = list(names)
    if only is None:
        return list(names if quick is None else quick)
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise Problem(f"--only: {unknown(pattern, names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in only)]


def peers(*wanted: str) -> list[str]:
    """Those of the kinds whose libraries are installed; says which are left out."""
    absent = dict.fromkeys(KINDS[kind].library for kind in wanted if not is_installed(KINDS[kind].library))
    for library in absent:
        print(f"{library} is not installed: left out")
    return [kind for kind in wanted if KINDS[kind].library not in absent]


class Teller:
    """Says on one line what is being done; lines that stay go above it."""

    def __init__(self, console: Any, status: Any) -> None:
        self.console, self.status = console, status

    def now(self, text: str) -> None:
        """What is going on."""
        self.status.update(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Teller]:
    """A line that moves while the benchmark runs, where there is a terminal for it."""
    from rich.console import Console

    console = Console()
    with console.status("starting") as status:
        yield Teller(console, status)


def whole(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, but a whole number of at least 1 is expected")
    return int(text)


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}, but a number above 0 is expected")
    return value
