"""How a time is measured, and what is kept of several.

A shared machine is never quiet, but what disturbs one contender for a second disturbs the next one too. So
contenders take turns, and a ratio is formed within a round, where both met the same machine; its spread
over the rounds says how far it can be believed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

Name = TypeVar("Name")
"""Whatever tells contenders apart."""

PAUSE = 0.05
"""Seconds between two turns: threads of the one before spin for a while before they sleep."""


class Spread(NamedTuple):
    """The median of several measurements, with the least and the greatest."""

    middle: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median and the range of at least one number.

    >>> spread([3.0, 1.0, 2.0])
    Spread(middle=2.0, low=1.0, high=3.0)
    """
    if not values:
        raise ValueError("spread: there are no values")
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The spread of ours / theirs, round by round: below 1 we take less time.

    >>> ratio([1.0, 2.0, 9.0], [2.0, 4.0, 6.0])
    Spread(middle=0.5, low=0.5, high=1.5)
    """
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def better(times: Mapping[Name, Sequence[float]]) -> Name:
    """The name with the least median time."""
    return min(times, key=lambda name: statistics.median(times[name]))


def repetitions_for(seconds: float, enough: float) -> int:
    """How many calls of so many seconds last long enough together.

    >>> repetitions_for(0.08, enough=0.3), repetitions_for(2.0, enough=0.3)
    (4, 1)
    """
    return max(1, math.ceil(enough / max(seconds, 1e-9)))


def clock(work: Callable[[], object], repetitions: int = 1) -> float:
    """Seconds that one call takes, of so many in a row."""
    start = time.perf_counter()
    for _ in range(repetitions):
        work()
    return (time.perf_counter() - start) / repetitions


def alternate(
    turns: Mapping[Name, Callable[[], float]],
    rounds: int,
    tell: Callable[[Name, int], None] = lambda name, number: None,
    pause: float = PAUSE,
) -> dict[Name, list[float]]:
    """Let everyone measure once in each round: name -> the seconds of every round.

    Each round begins with another one, so that nobody always comes after the same neighbour. ``tell`` hears
    whose turn it is.

    >>> alternate({"a": lambda: 1.0, "b": lambda: 2.0}, rounds=2, pause=0)
    {'a': [1.0, 1.0], 'b': [2.0, 2.0]}
    """
    names = list(turns)
    found: dict[Name, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            tell(name, number)
            found[name].append(turns[name]())
            time.sleep(pause)
    return found
