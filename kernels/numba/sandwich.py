"""What multiplies tiles by Winograd's matrices.

These are small and known when a kernel is compiled: the machine code has their entries as constants, and
nothing for those that are 0.
"""

from __future__ import annotations

import functools
from typing import Any

from numba import types
from numba.extending import intrinsic

from minicnn.kernels.numba.vectors import Emitter
from minicnn.kernels.winograd import Matrix, cook_toom

# An intrinsic sees of its arguments only their types. A matrix is named to it by its number in this list, as
# the length of a tuple.
MATRICES: list[Matrix] = [matrix for m, r in ((2, 3), (4, 3), (3, 2), (3, 4)) for matrix in cook_toom(m, r)]


@functools.cache
def tag(m: int, r: int, which: str) -> tuple[bool, ...]:
    """What tells :func:`sandwich` which matrix is meant: "A", "G" or "B" of F(m, r)."""
    return (False,) * MATRICES.index(cook_toom(m, r)["AGB".index(which)])


def _sandwich(typing_context, x, x0, x_row, x_column, y, y0, y_row, y_column, matrix):
    """Y = M X Mᵀ for small matrices of vectors; x_row … say how far apart their entries lie."""
    signature = types.void(x, x0, x_row, x_column, y, y0, y_row, y_column, matrix)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        M = MATRICES[len(matrix)]
        source, target = e.pointer(0), e.pointer(4)

        def entry(i, j):
            return e.load(source, builder.add(e.index(i, arguments[2]), e.index(j, arguments[3])))

        sizes = range(len(M)), range(len(M[0]))
        half = [_times(e, M, [entry(i, j) for i in sizes[1]]) for j in sizes[1]]  # its columns
        for i in sizes[0]:
            for j, whole in enumerate(_times(e, M, [column[i] for column in half])):
                e.store(whole, target, builder.add(e.index(i, arguments[6]), e.index(j, arguments[7])))
        return context.get_dummy_value()

    return signature, emit


sandwich: Any = intrinsic(_sandwich)


def _times(e: Emitter, M: Matrix, x: list) -> list:
    """M x, for vectors x.

    The points p and −p make pairs of columns (in Aᵀ), or of rows (in G and Bᵀ), that differ in signs alone.
    Their sums and differences are formed once: 12 operations in place of 18 for the Bᵀ of F(4, 3).
    """
    rows: list[list[Any]] = [list(row) for row in M]
    x = list(x)
    for j in range(len(x) - 1):
        if all(abs(row[j]) == abs(row[j + 1]) for row in rows):
            x[j], x[j + 1] = e.builder.fadd(x[j], x[j + 1]), e.builder.fsub(x[j], x[j + 1])
            for row in rows:
                row[j], row[j + 1] = (row[j], 0) if row[j] == row[j + 1] else (0, row[j])
    y: list[Any] = []
    while len(y) < len(rows):
        row, other = rows[len(y)], rows[min(len(y) + 1, len(rows) - 1)]
        if row != other and [abs(factor) for factor in row] == [abs(factor) for factor in other]:
            common = _combine(e, [a if a == b else 0 for a, b in zip(row, other, strict=True)], x)
            opposed = _combine(e, [a if a != b else 0 for a, b in zip(row, other, strict=True)], x)
            y += [e.builder.fadd(common, opposed), e.builder.fsub(common, opposed)]
        else:
            y.append(_combine(e, row, x))
    return y


def _combine(e: Emitter, factors: list, vectors: list) -> Any:
    """Σ factor · vector, beginning with a factor of 1 where there is one."""
    terms = [(factor, vector) for factor, vector in zip(factors, vectors, strict=True) if factor]
    terms.sort(key=lambda term: term[0] != 1)
    total = None
    for factor, vector in terms:
        if total is None:
            total = vector if factor == 1 else e.builder.fmul(vector, e.constant(factor))
        elif abs(factor) == 1:
            total = (e.builder.fadd if factor == 1 else e.builder.fsub)(total, vector)
        else:
            total = e.fma(vector, e.constant(factor), total)
    return total
