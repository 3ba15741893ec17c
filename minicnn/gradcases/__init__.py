"""The gradient check of everything: a table of cases for each operation, algorithm, layer and loss.

>>> from minicnn import gradcases
>>> for row in gradcases.run(only="exp"):
...     print(row.operation, "|", row.case, "|", row.ok, row.error < 1e-8)
exp | one shape | True True

Each case draws its inputs in float64, from a seed and its own name alone, and goes through
:func:`minicnn.gradcheck`. A case that is meant for one algorithm fails unless exactly that kernel ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minicnn import backend
from minicnn.gradcases import layers, losses, norms, operations, windows
from minicnn.gradcases.case import Case, Row
from minicnn.gradcheck import MODES

__all__ = ["Case", "Row", "cases", "names", "run"]


def cases() -> list[Case]:
    """The whole table, in the order in which it is run."""
    return [
        case
        for module in (operations, windows, norms, losses, layers)
        for entry in module.TABLE
        for case in entry.on_each_algorithm()
    ]


def names() -> list[str]:
    """The operations that there are cases for: functions, layers as "nn.Conv2d", networks as "lenet5"."""
    return list(dict.fromkeys(case.operation for case in cases()))


def run(only: str | Sequence[str] | None = None, mode: str = "directional", seed: int = 0) -> Iterator[Row]:
    """Check the cases, one row for each as it is done.

    Args:
        only: an operation, or several; all of them where None.
        mode: "directional" (all of it takes seconds), or "elementwise" (minutes, most of them the
            networks': better one operation at a time).
        seed: another one draws other inputs, parameters, upstream gradients and directions.

    Raises:
        ValueError: an operation that is not in the table (with the nearest that is), or an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"gradcases: mode {backend.unknown(mode, MODES)}")
    known = names()
    wanted = known if only is None else [only] if isinstance(only, str) else list(only)
    for name in wanted:
        if name not in known:
            raise ValueError(f"gradcases: operation {backend.unknown(name, known)}")
    chosen = [case for case in cases() if case.operation in wanted]
    return (row for case in chosen if (row := case.check(mode, seed)) is not None)
