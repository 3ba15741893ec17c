"""Numbers and shapes in sentences, the same in a note, on a page and in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.document import Made, Term


def number(value: float) -> str:
    """A number with at most four digits that count, and a true minus sign.

    >>> number(-3.0), number(2 / 3), number(float("-inf")), number(-0.0)
    ('−3', '0.6667', '−∞', '0')
    """
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.4g}" if value else "0"
    return text.replace("-", "−")


def by(shape: Iterable[int]) -> str:
    """A shape as people say it.

    >>> by((1, 3, 5, 5))
    '1×3×5×5'
    """
    return "×".join(map(str, shape)) or "one number"


def count(how_many: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "product"), count(9, "product")
    ('1 product', '9 products')
    """
    return f"{how_many:,} {thing}{'' if how_many == 1 else 's'}"


def sums(cells: Array, values: Array, *factors: tuple[str, Array] | str) -> dict[int, list[Term]]:
    """What cells are made of, from parallel arrays: ``values[k]`` is a part of cell ``cells[k]``.

    Each value is a product of factors; a factor is a grid's key with the cells there, or one text for all.

    >>> sums(np.array([0, 0, 1]), np.array([6.0, 5.0, 4.0]), ("x", np.array([3, 4, 4])), "1/2")
    {0: [(6.0, ('x', 3), '1/2'), (5.0, ('x', 4), '1/2')], 1: [(4.0, ('x', 4), '1/2')]}
    """
    made: dict[int, list[Term]] = {}
    columns = [
        [f] * cells.size if isinstance(f, str) else [(f[0], at) for at in f[1].tolist()] for f in factors
    ]
    for cell, value, *parts in zip(cells.tolist(), values.tolist(), *columns, strict=True):
        made.setdefault(cell, []).append((value, *parts))
    return made


def joined(*several: Made) -> dict[int, list[Term]]:
    """Parts of the same cells from several tables, one after another."""
    made: dict[int, list[Term]] = {}
    for one in several:
        for cell, terms in one.items():
            made.setdefault(cell, []).extend(terms)
    return made


def numbered(array: Array) -> Array:
    """The cell numbers of an array, in its shape."""
    return np.arange(array.size).reshape(array.shape)


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without leading sizes of 1, of which tables need no panels.

    >>> without_ones((1, 1, 9, 4)), without_ones((1, 2, 9, 4)), without_ones((1, 4))
    ((9, 4), (2, 9, 4), (1, 4))
    """
    shape = tuple(shape)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape
