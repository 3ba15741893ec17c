"""The options of explanations: how each is read, from a command line or from Python, and what it means."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LARGEST = 64
"""For a kernel, a stride, a number of channels: nothing larger could be shown."""

Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Option:
    """How a value is read (None for what cannot be), what is expected, and what it means.

    On the command line it is followed by a ``metavar``, or is a ``switch``: one that stands for a value.
    """

    read: Reader
    expected: str
    help: str
    metavar: str = ""
    switch: tuple[str, bool] | None = None


def _sizes(value: Any) -> tuple[int, ...] | None:
    """Whole numbers from "1x5x5", from a sequence or from one number."""
    if isinstance(value, str):
        value = (
            [int(part) for part in re.split("[x×,]", value)]
            if re.fullmatch(r"\d+([x×,]\d+)*", value)
            else None
        )
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, Sequence) or not all(isinstance(size, int) for size in value):
        return None
    return tuple(value)


def shape(value: Any) -> tuple[int, ...] | None:
    """Sizes of at least 1, up to four of them.

    >>> shape("1x5x5"), shape((2, 3)), shape("1x0"), shape("five")
    ((1, 5, 5), (2, 3), None, None)
    """
    sizes = _sizes(value)
    return sizes if sizes and 1 <= len(sizes) <= 4 and min(sizes) >= 1 else None


def pair(least: int) -> Reader:
    """One whole number for rows and columns, or one for each.

    >>> pair(0)("3"), pair(0)("1x2"), pair(1)(0)
    ((3, 3), (1, 2), None)
    """

    def read(value: Any) -> tuple[int, int] | None:
        sizes = _sizes(value)
        sizes = sizes * 2 if sizes and len(sizes) == 1 else sizes
        if not sizes or len(sizes) != 2 or min(sizes) < least or max(sizes) > LARGEST:
            return None
        return sizes[0], sizes[1]

    return read


def whole(least: int, most: int) -> Reader:
    """A whole number.

    >>> whole(1, 64)("8"), whole(1, 64)(0), whole(1, 64)("1x1")
    (8, None, None)
    """

    def read(value: Any) -> int | None:
        sizes = _sizes(value)
        return sizes[0] if sizes and len(sizes) == 1 and least <= sizes[0] <= most else None

    return read


def number(least: float, most: float = math.inf) -> Reader:
    """A number.

    >>> number(0, 1)("0.5"), number(0, 1)(2), number(0)("nan")
    (0.5, None, None)
    """

    def read(value: Any) -> float | None:
        with contextlib.suppress(TypeError, ValueError):
            if least <= float(value) <= most and math.isfinite(float(value)):
                return float(value)
        return None

    return read


def flag(value: Any) -> bool | None:
    """True or False."""
    return value if isinstance(value, bool) else None


def _pair(least: int, help: str) -> Option:
    return Option(pair(least), f"a whole number from {least} to {LARGEST}, or two as 3x2", help, "K")


OPTIONS = {
    "input": Option(shape, "up to four sizes, as 1x5x5", "the input's shape, C×H×W or N×C×H×W", "SHAPE"),
    "second": Option(shape, "up to four sizes, as 2x5x5", "the shape of the second input, of cat", "SHAPE"),
    "kernel": _pair(1, "the window, one number or ROWSxCOLUMNS"),
    "stride": _pair(1, "from one window to the next"),
    "padding": _pair(0, "rows and columns around the image"),
    "dilation": _pair(1, "the distance between a filter's taps"),
    "groups": Option(
        whole(1, LARGEST), f"a whole number from 1 to {LARGEST}", "channels in separate groups", "G"
    ),
    "outputs": Option(
        whole(1, LARGEST), f"a whole number from 1 to {LARGEST}", "filters, or output features", "N"
    ),
    "ceil_mode": Option(
        flag, "True or False", "windows may reach over the edge", switch=("--ceil-mode", True)
    ),
    "count_include_pad": Option(
        flag, "True or False", "padding does not count in a mean", switch=("--no-count-include-pad", False)
    ),
    "eps": Option(number(0), "a number of at least 0", "what is added to the variance", "E"),
    "size": Option(whole(1, LARGEST), f"a whole number from 1 to {LARGEST}", "channels in a window", "N"),
    "alpha": Option(
        number(0), "a number of at least 0", "how strongly neighbours count (local_response_norm)", "A"
    ),
    "beta": Option(
        number(0), "a number of at least 0", "the power in the divisor (local_response_norm)", "B"
    ),
    "k": Option(number(1e-6), "a number above 0", "the constant in the divisor (local_response_norm)", "K"),
    "p": Option(number(0, 1), "a number from 0 to 1", "the probability of dropping a number", "P"),
    "label_smoothing": Option(
        number(0, 1), "a number from 0 to 1", "the share of a label that goes to all classes", "S"
    ),
    "seed": Option(whole(0, 2**64 - 1), "a whole number from 0 to 2⁶⁴ − 1", "for the numbers", "N"),
}


def as_flag(name: str) -> str:
    """An option's name on the command line.

    >>> as_flag("label_smoothing")
    '--label-smoothing'
    """
    return "--" + name.replace("_", "-")


def as_words(options: Mapping[str, Any]) -> list[str]:
    """Options as the command line has them.

    >>> as_words({"input": (1, 5, 5), "kernel": 3, "ceil_mode": True})
    ['--input', '1x5x5', '--kernel', '3', '--ceil-mode']
    """
    words = []
    for name, value in options.items():
        switch = OPTIONS[name].switch
        if switch is not None:
            words += [switch[0]] if value == switch[1] else []
        elif value is not None:
            text = (
                "x".join(map(str, value))
                if isinstance(value, Sequence) and not isinstance(value, str)
                else str(value)
            )
            words += [as_flag(name), text]
    return words
