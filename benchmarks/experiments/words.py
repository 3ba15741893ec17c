"""Numbers with their spread in words, and what was claimed held against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.experiments.experiment import Cell, Found
from benchmarks.measure import Spread
from benchmarks.words import number, percent


def last(column: str, write: Callable[[Spread], str] = percent) -> Cell:
    """The table's entry for what a column ends with, and how many runs diverged."""

    def cell(found: Found, variant: str) -> str:
        ended, diverged = found.last(variant, column), found.diverged(variant)
        note = f"{diverged} of {found.count(variant)} diverged" if diverged else ""
        return ", ".join(text for text in (write(ended) if ended else "", note) if text)

    return cell


def figure(found: Spread) -> str:
    """The median of numbers with their range.

    >>> figure(Spread(1234.5, 1200.0, 1300.0)), figure(Spread(2.0, 2.0, 2.0))
    ('1,230 (1,200 to 1,300)', '2')
    """
    middle, low, high = (number(value) for value in found)
    return middle if low == high else f"{middle} ({low} to {high})"


def ratio(found: Found, a: str, b: str, column: str) -> float:
    """How many times the one's median of a column is the other's; not a number where a network diverged."""
    ours, theirs = found.last(a, column), found.last(b, column)
    return ours.middle / theirs.middle if ours and theirs else float("nan")


def count(found: Spread) -> str:
    """A number that is the same in every run, in full."""
    return f"{found.middle:,.0f}"


def until(column: str, target: float) -> Cell:
    """The table's entry for the epochs that it takes until a column reaches ``target``."""

    def cell(found: Found, variant: str) -> str:
        return epochs(found.epochs_until(variant, column, target))

    return cell


def epochs(found: Sequence[int | None]) -> str:
    """Numbers of epochs, in words.

    >>> epochs([3, 5, 4]), epochs([3, None]), epochs([None, None])
    ('3 to 5', '3, in 1 of 2 runs', 'never')
    """
    reached = sorted(epoch for epoch in found if epoch is not None)
    if not reached:
        return "never"
    text = f"{reached[0]}" if reached[0] == reached[-1] else f"{reached[0]} to {reached[-1]}"
    return text if len(reached) == len(found) else f"{text}, in {len(reached)} of {len(found)} runs"


def against(claim: str, found: Found, better: str, worse: str, column: str = "test_accuracy") -> str:
    """A claim that one variant ends higher than another in a column, and what these runs say to it."""
    what = {"train_accuracy": "training accuracy"}.get(column, column.replace("_", " "))
    a, b = found.last(better, column), found.last(worse, column)
    if a is None or b is None:
        lost = " and ".join(f"“{name}”" for name, end in ((better, a), (worse, b)) if end is None)
        return f"{claim} Here every run of {lost} diverged, which leaves nothing to compare."
    figures = f"Here “{better}” ends with a {what} of {percent(a)}, “{worse}” with {percent(b)}"
    if any(found.diverged(variant) for variant in (better, worse)):
        figures += " (of the runs that did not diverge)"
    return f"{claim} {figures}: {judged(a, b, min(len(found.runs(v)) for v in (better, worse)))}"


def judged(a: Spread, b: Spread, runs: int) -> str:
    """Whether numbers that should be higher are."""
    if runs < 2:
        return "one run each, and so no more than a hint."
    if a.low > b.high:
        return "every run of the one lies above every run of the other, so this was reproduced."
    if b.low > a.high:
        return "the other way round in every run, so this was not reproduced."
    return "the runs overlap, so they neither show it nor refute it."
