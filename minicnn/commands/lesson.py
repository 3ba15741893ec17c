"""``minicnn lesson``: a path of short lessons that print and draw."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from minicnn.commands.arguments import WRONG, Stop, whole


def run(given: argparse.Namespace) -> int:
    """List the lessons, or run one."""
    from minicnn import lessons

    if given.number is None:
        for number in range(1, len(lessons.LESSONS) + 1):
            print(f"{number:4}  {lessons.title(number)}")
        print("run one with: minicnn lesson NUMBER")
        return 0
    if given.number > len(lessons.LESSONS):
        last = len(lessons.LESSONS)
        raise Stop(WRONG, f"lesson: there are lessons 1 to {last}, but {given.number} was asked for")
    module = lessons.lesson(given.number)
    print(f"Lesson {given.number}: {inspect.getdoc(module)}\n{'-' * 72}", flush=True)
    lessons.run(given.number, given.out)
    print(f"The lesson's source: {inspect.getsourcefile(module)}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "number", nargs="?", type=whole(1), metavar="NUMBER", help="without one, all are listed"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("lessons"), metavar="DIR", help="for pictures (lessons)"
    )
