"""What an experiment is: a table of variants, how one is measured, and what is made of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.measure import Spread, spread
from benchmarks.results import Row

Tell = Callable[[str], None]
"""Hears what is going on."""


class Found:
    """The rows of an experiment: of each variant and seed one for each epoch, with numbers in columns.

    A run that diverged ends with a row without numbers; it counts in ``diverged`` and nowhere else.

    >>> found = Found([{"variant": "He", "seed": seed, "epoch": 1, "loss": seed / 2} for seed in (0, 1, 2)])
    >>> found.last("He", "loss")
    Spread(middle=0.5, low=0.0, high=1.0)
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._runs: dict[str, dict[int, list[Row]]] = {}
        for row in rows:
            self._runs.setdefault(row["variant"], {}).setdefault(row["seed"], []).append(row)

    def has(self, variant: str, seed: int | None = None) -> bool:
        """Whether a variant was measured, with this seed or with any."""
        return variant in self._runs and (seed is None or seed in self._runs[variant])

    def runs(self, variant: str) -> list[list[Row]]:
        """The rows of each seed, epoch by epoch; those that diverged left out."""
        return [rows for rows in self._all(variant) if rows[-1]["loss"] is not None]

    def count(self, variant: str) -> int:
        """How many runs there are of a variant."""
        return len(self._all(variant))

    def diverged(self, variant: str) -> int:
        """How many runs diverged."""
        return self.count(variant) - len(self.runs(variant))

    def last(self, variant: str, column: str) -> Spread | None:
        """What a column ends with, over the seeds; None where every run diverged."""
        values = [rows[-1][column] for rows in self.runs(variant)]
        return spread(values) if values else None

    def curve(self, variant: str, column: str) -> list[Spread]:
        """A column epoch by epoch, over the seeds."""
        return [spread(values) for values in zip(*self._column(variant, column), strict=True)]

    def epochs_until(self, variant: str, column: str, target: float) -> list[int | None]:
        """For each seed the first epoch after which a column is at least ``target``; None: never."""
        return [
            next((epoch for epoch, value in enumerate(values, 1) if value >= target), None)
            for values in self._column(variant, column)
        ]

    def seconds(self, variant: str) -> float | None:
        """What a run has taken on average; None where there is none."""
        runs = self._all(variant)
        return sum(row["seconds"] or 0.0 for rows in runs for row in rows) / len(runs) if runs else None

    def _all(self, variant: str) -> list[list[Row]]:
        return list(self._runs.get(variant, {}).values())

    def _column(self, variant: str, column: str) -> list[list[Any]]:
        return [[row[column] for row in rows] for rows in self.runs(variant)]


Cell = Callable[[Found, str], str]
"""A variant's entry in a column of the table."""


class Experiment(NamedTuple):
    """An experiment that the harness can run.

    Args:
        name: of its files.
        about: its module's docstring, which --help shows.
        question: the heading of its page.
        variants: what is compared, by name; ``measure`` knows what to do with one.
        published: what a course or a paper says of a variant; a dash stands beside the others.
        setting: what all variants have in common, kept beside the rows; ``quick`` is what --quick changes.
        measure: of a variant, a seed and the setting, the rows without variant and seed.
        columns: the table's, after that of the variants and the published.
        draw: the picture, a PNG's bytes.
        conclude: sentences on what all variants together show.
        load: reads the images of a setting; ValueError or OSError where it cannot. None: there are none.
    """

    name: str
    about: str | None
    question: str
    variants: Mapping[str, Any]
    published: Mapping[str, str]
    setting: Row
    quick: Row
    measure: Callable[[Any, int, Row, Tell], list[Row]]
    columns: Mapping[str, Cell]
    draw: Callable[[Found, Sequence[str]], bytes]
    conclude: Callable[[Found], list[str]]
    load: Callable[[Row], object] | None = None
