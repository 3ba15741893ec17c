"""Winograd's convolution: its matrices, and the windows that it is for.

numba/winograd.py, for the CPU, tells how it works, and cuda/winograd.cu what is different on a GPU.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any

from minicnn.kernels.geometry import Window, window_of

POINTS = (0, 1, -1, 2, -2)
Matrix = tuple[tuple[Fraction, ...], ...]


def cook_toom(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """Aᵀ (m, m+r−1), G (m+r−1, r) and Bᵀ (m+r−1, m+r−1) for m outputs of a filter of r taps.

    The filter, as a polynomial, is evaluated at m + r − 2 points and at infinity (G); so are the outputs,
    whose transposed problem this is (Aᵀ); Bᵀ interpolates, by Lagrange's polynomials.

    >>> A, G, B = cook_toom(2, 3)
    >>> [[int(number) for number in row] for row in A]
    [[1, 1, 1, 0], [0, 1, -1, 1]]
    """
    points = [Fraction(p) for p in POINTS[: m + r - 2]]
    n = len(points)
    others = [[p for p in points if p != point] for point in points]
    A = [[point**i for point in points] + [Fraction(i == m - 1)] for i in range(m)]
    G = [
        [point**i / _product([point - p for p in rest]) for i in range(r)]
        for point, rest in zip(points, others, strict=True)
    ]
    G.append([Fraction(i == r - 1) for i in range(r)])
    B = [_coefficients(rest) + [Fraction(0)] for rest in others] + [_coefficients(points)]
    assert all(len(row) == n + 1 for row in B)
    return tuple(map(tuple, A)), tuple(map(tuple, G)), tuple(map(tuple, B))


def _product(numbers: list[Fraction]) -> Fraction:
    return functools.reduce(lambda a, b: a * b, numbers, Fraction(1))


def _coefficients(roots: list[Fraction]) -> list[Fraction]:
    """Of the polynomial Π (x − root), from x⁰ on."""
    found = [Fraction(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


def is_for(g: Window) -> bool:
    """Whether these windows move as Winograd's tiles can: 3×3, a pixel at a time."""
    padded = max(max(sides) for sides in g.padding)
    return g.kernel == (3, 3) and g.stride == g.dilation == (1, 1) and g.groups == 1 and padded <= 2


def suits(*arguments: Any) -> bool:
    """Whether this is for the arguments of a convolution's kernel."""
    return is_for(window_of(arguments))
