"""What the commands share: how they end, and the kinds of arguments they take."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minicnn
from minicnn.backend import BACKEND_VARIABLE, DEVICES, default_device, unknown

WRONG, FAILED = 2, 1
"""Exit codes: the command or its input is wrong; something failed while it ran."""


class Stop(Exception):
    """An end with an exit code, and the line that says why."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


@contextlib.contextmanager
def user_input() -> Iterator[None]:
    """A block in which a ValueError says that what the user gave is wrong."""
    try:
        yield
    except ValueError as error:
        raise Stop(WRONG, str(error)) from error


def add_model(parser: argparse.ArgumentParser, metavar: str, nargs: str | None = None) -> None:
    """The positional argument ``model``, a registered network's name, None if it is left out."""
    known = one_of(minicnn.models.list())
    help = "one that `minicnn models` lists"
    parser.add_argument("model", metavar=metavar, type=known, nargs=nargs, help=help)


def add_data(parser: argparse._ActionsContainer, help: str) -> None:
    """The options ``--data`` and ``--data-dir``; None where they are not given."""
    parser.add_argument("--data", metavar="NAME", help=help, type=data_source, default=None)
    words = "where the data's files are (MINICNN_DATA, else they are downloaded)"
    parser.add_argument("--data-dir", metavar="DIR", help=words, default=None)


def add_offline(parser: argparse._ActionsContainer) -> None:
    """The option ``--offline``."""
    words = "download nothing; say which file to put where"
    parser.add_argument("--offline", action="store_true", help=words)


def data_source(text: str) -> str:
    """The name of a data set, the path of images, or a file of features."""
    from minicnn.data.catalogue import NAMES, is_path, unknown_data
    from minicnn.train.recipes import FEATURES_SUFFIX

    if text in NAMES or text.endswith(FEATURES_SUFFIX) or is_path(text):
        return text
    raise argparse.ArgumentTypeError(unknown_data(text))


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option ``--device``."""
    parser.add_argument(
        "--device",
        metavar="NAME",
        type=one_of((*DEVICES, "auto")),
        default=default_device() if BACKEND_VARIABLE in os.environ else "auto",
        help=f"cpu, cuda, or auto: the GPU if there is one ({BACKEND_VARIABLE}, else auto)",
    )


def one_of(known: Any) -> Callable[[str], str]:
    """The kind of argument that is one of these names; the nearest one is suggested."""

    def name(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(unknown(text, known))
        return text

    return name


def whole(least: int) -> Callable[[str], int]:
    """The kind of argument that is a whole number from ``least`` on."""

    def whole(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}, but a whole number of at least {least} is expected")

    return whole


def number(text: str) -> float:
    """A finite number of at least 0."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}, but a number of at least 0 is expected")


def above_zero(text: str) -> float:
    """A finite number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}, but a number above 0 is expected")


def image_shape(text: str) -> tuple[int, int, int]:
    """Channels, height and width, as 3x224x224."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        C, H, W = map(int, parts)
        return C, H, W
    raise argparse.ArgumentTypeError(f"{text!r}, but channels, height and width are expected, as 3x224x224")


def picture(text: str) -> Path:
    """The name of a PNG to be written."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text!r}, but the name of a picture, as x.png, is expected")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}, but there is no folder {path.parent}")
    return path


def share(text: str) -> float:
    """A number from 0 to below 1."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}, but a number from 0 to below 1 is expected")


def part(text: str) -> int | float:
    """A count as int, a fraction below 1 as float."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if text.strip().isdecimal():
            return int(text)
        if 0 < value < 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r}, but a whole number or a fraction below 1 is expected")
