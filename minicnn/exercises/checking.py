"""An exercise: cases to try, the truth by finite differences, and known mistakes to recognise.

The truth of a backward exercise is not another backward: it comes from nothing but the forward,

    gx[i] = (L(x + h eᵢ) − L(x − h eᵢ)) / 2h,    L = Σ gy · y, with random gy.

Only where the forward has a kink (a tie in a maximum, a rectifier at 0) do differences mean nothing; such a
case carries the convention's answer, which is the engine's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import kernels

Array = np.ndarray
Outputs = dict[str, Array]
Slips = frozenset[str]

STEP = 1e-5
CLOSE = 1e-6  # of the largest value: differences are right to 1e-8 or better on these cases
NO_SLIP: Slips = frozenset()


@dataclass(frozen=True)
class Case:
    """One call of the student's function: the arguments by name, in the order of the call.

    ``kink`` says that the forward bends exactly here, so that the engine's convention is the truth.
    """

    words: str
    arguments: dict[str, Any]
    kink: bool = False

    def copies(self) -> list[Any]:
        """The arguments, arrays as copies, so that nothing a student does to them spoils the case."""
        return [a.copy() if isinstance(a, Array) else a for a in self.arguments.values()]


@dataclass(frozen=True)
class Exercise:
    """What is to be written, how it is tried, and the mistakes that are recognised.

    Attributes:
        name: that of the function to write.
        words: what it computes, in one line.
        outputs: the names of what it returns, in order.
        cases: the calls that are tried.
        truth: a case's right answers.
        attempt: the outputs for a case's arguments with some slips switched on; right with none.
        slips: each slip's name and the words that complete "It is what you get when …".
    """

    name: str
    words: str
    outputs: tuple[str, ...]
    cases: tuple[Case, ...]
    truth: Callable[[Case], Outputs]
    attempt: Callable[..., Outputs]
    slips: dict[str, str]

    def check(self, function: Callable[..., Any]) -> Verdict:
        """Try the function on every case, and find out what is wrong with it."""
        given: list[Outputs] = []
        for case in self.cases:
            outputs, fault = self._call(function, case)
            if fault:
                return Verdict(self.name, (fault,))
            given.append(outputs)
        with kernels.use("numpy"):  # small arrays, for which nothing need be compiled
            truths = [self.truth(case) for case in self.cases]
        faults = [self._judge(name, given, truths) for name in self.outputs]
        return Verdict(self.name, tuple(fault for fault in faults if fault))

    def _call(self, function: Callable[..., Any], case: Case) -> tuple[Outputs, str]:
        """What the function returns by name, or why it cannot be judged."""
        arguments = case.copies()
        where = f'case "{case.words}"'
        result = function(*arguments)
        for name, before, after in zip(case.arguments, case.arguments.values(), arguments, strict=True):
            if isinstance(before, Array) and not np.array_equal(before, after):
                return {}, f"{where}: the function changes its argument {name}; work on a copy"
        if result is None:
            return {}, f"{where}: the function returns nothing; {_listed(self.outputs)} expected"
        values = (result,) if len(self.outputs) == 1 else result
        if not isinstance(values, tuple | list) or len(values) != len(self.outputs):
            count = f"{len(values)} values" if isinstance(values, tuple | list) else "one value"
            return {}, f"{where}: the function returns {count}; {_listed(self.outputs)} expected"
        outputs: Outputs = {}
        for name, value in zip(self.outputs, values, strict=True):
            try:
                outputs[name] = np.asarray(value)
            except ValueError:
                return {}, f"{where}: {name} is a {type(value).__name__} of unequal rows; an array expected"
        for name in self.outputs:
            fault = self._unlike(name, outputs, case)
            if fault:
                return {}, f"{where}: {fault}"
        return {name: value.astype(float) for name, value in outputs.items()}, ""

    def _unlike(self, name: str, outputs: Outputs, case: Case) -> str:
        """Why a value cannot be compared with what is expected: its kind, its shape, or a NaN in it."""
        value, expected = outputs[name], self.attempt(**case.arguments)
        if value.dtype.kind not in "fiub":
            return f"{name} is of type {value.dtype}; an array of numbers expected"
        if value.shape != expected[name].shape:
            fault = f"{name} has shape {value.shape}, expected {expected[name].shape}"
            for other in self.outputs:
                if value.shape == expected[other].shape != outputs[other].shape:
                    return f"{fault}: is it {other}? {_listed(self.outputs)} expected, in this order"
            for slips in self._combinations():
                wrong = self.attempt(**case.arguments, slips=slips)[name]
                if wrong.shape == value.shape and _close(value, wrong):
                    return f"{fault}\n  {self._words(slips)}"
            return fault
        if not np.isfinite(value).all():
            return f"{name} has values that are not finite, the first at {_at(~np.isfinite(value))}"
        return ""

    def _judge(self, name: str, given: list[Outputs], truths: list[Outputs]) -> str:
        """Why one output is wrong; empty if it is right in all cases."""
        wrong = [
            i for i, (a, b) in enumerate(zip(given, truths, strict=True)) if not _close(a[name], b[name])
        ]
        if not wrong:
            return ""
        lines = [f"{name} is wrong in {len(wrong)} of {len(self.cases)} cases"]
        slips = self._recognise(name, given, truths)
        if slips:
            lines.append(self._words(slips))
        elif multiple := self._multiple(name, given, truths):
            lines.append(multiple)
        first = wrong[0]
        lines.append(_first_difference(name, self.cases[first], given[first], truths[first]))
        lines.append("Wrong cases: " + "; ".join(self.cases[i].words for i in wrong))
        if len(wrong) < len(self.cases):
            right = [case.words for i, case in enumerate(self.cases) if i not in wrong]
            lines.append("Right cases: " + "; ".join(right))
        return "\n  ".join(lines)

    def _recognise(self, name: str, given: list[Outputs], truths: list[Outputs]) -> Slips:
        """The slips that explain an output in every case; none if no slip, and no pair of them, does."""
        for slips in self._combinations():
            attempts = (self.attempt(**case.arguments, slips=slips)[name] for case in self.cases)
            if all(_close(a[name], b) for a, b in zip(given, attempts, strict=True)):
                return slips
        return NO_SLIP

    def _multiple(self, name: str, given: list[Outputs], truths: list[Outputs]) -> str:
        """What is to be said where an output is a number times what is right, one in all cases or in each."""
        factors = []
        for a, b in ((a[name], b[name]) for a, b in zip(given, truths, strict=True)):
            factors.append(float((a * b).sum() / (b * b).sum()))
            if not _close(a, factors[-1] * b):
                return ""
        if not any(factors):
            return "It is 0 everywhere."
        if np.allclose(factors, factors[0], rtol=1e-4):
            return f"It is {factors[0]:.6g} times what is right, in every case."
        each = "; ".join(f"{k:.6g} ({case.words})" for k, case in zip(factors, self.cases, strict=True))
        return f"In each case it is a number times what is right: {each}."

    def _combinations(self) -> Iterator[Slips]:
        """Single slips first: the simplest explanation is preferred."""
        for count in (1, 2):
            yield from map(frozenset, itertools.combinations(self.slips, count))

    def _words(self, slips: Slips) -> str:
        return (
            f"It is what you get when {'; and when '.join(w for s, w in self.slips.items() if s in slips)}."
        )


@dataclass(frozen=True)
class Verdict:
    """What was found: true if nothing is wrong; ``faults`` has a paragraph for each output that is wrong."""

    exercise: str
    faults: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        if not self.faults:
            return f"{self.exercise}: right in all cases"
        return "\n".join(f"{self.exercise}: {fault}" for fault in self.faults)


def differences(
    forward: Callable[..., Array], arguments: dict[str, Any], wanted: dict[str, str], gy: Array
) -> Outputs:
    """The gradients of Σ gy · forward(arguments) to the arguments that ``wanted`` names, by differences.

    ``wanted`` maps an output's name to an argument's: ``{"gx": "x"}``.

    >>> x = np.array([1.0, 2.0])
    >>> differences(lambda x: x**2, {"x": x}, {"gx": "x"}, np.ones(2))["gx"].round(6)
    array([2., 4.])
    """
    found = {}
    for output, argument in wanted.items():
        x = arguments[argument]
        g = np.empty_like(x)
        for at in np.ndindex(x.shape):
            above, below = x.copy(), x.copy()
            above[at] += STEP
            below[at] -= STEP
            change = forward(**arguments | {argument: above}) - forward(**arguments | {argument: below})
            g[at] = (gy * change).sum() / (2 * STEP)
        found[output] = g
    return found


def _close(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(
        np.abs(a - b).max(initial=0) <= CLOSE * max(1, np.abs(b).max(initial=0))
    )


def _first_difference(name: str, case: Case, given: Outputs, truth: Outputs) -> str:
    a, b = given[name], truth[name]
    at = _at(np.abs(a - b) > CLOSE * max(1, np.abs(b).max(initial=0)))
    who = "the convention says" if case.kink else "finite differences say"
    if name == "y":
        who = "the definition says"
    index = tuple(at)
    return f'First difference, case "{case.words}": at {at} yours is {a[index]:.6g}, {who} {b[index]:.6g}.'


def _at(mask: Array) -> list[int]:
    return [int(i) for i in np.argwhere(mask)[0]]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
