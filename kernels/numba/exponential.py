"""e to the power of x ≤ 0, in arithmetic that the compiler can vectorise, as it cannot a library's function.

With n = round(x / ln 2) and the remainder r = x − n ln 2, at most ln 2 / 2 in size,

    eˣ = 2ⁿ · eʳ,    eʳ = 1 + p,    p = r + r²/2! + r³/3! + …   (7 terms for float32, 13 for float64)

2ⁿ and p are handed out apart, since some need eˣ and others eˣ − 1 with all its digits. As all that use it
need powers of negative numbers only (softmax subtracts the largest entry), nothing overflows.

The largest errors measured, in units in the last place: tanh 2.5, sigmoid 2.8 (in both dtypes).
"""

from __future__ import annotations

from math import factorial, log
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

LN2_REST = 2.3190468138462996e-17  # ln 2 less the float64 nearest to it


class _Numbers(NamedTuple):
    """What :func:`power` needs to know for a dtype."""

    lowest: Any  # the lowest x whose power is a normal number
    per_ln2: Any
    shift: Any  # 1.5 · 2^bits, for so many bits after the binary point
    high: Any  # ln 2 in two parts: n · high has no rounding error, as the last bits of high are zeros
    low: Any
    series: tuple[Any, ...]  # 1/k!, from the last to 1/2!


def _numbers(dtype: type, lowest: float, bits: int, terms: int) -> _Numbers:
    grid = 2 ** (bits - 11)
    high = round(log(2) * grid) / grid
    constants: Any = lowest, 1 / log(2), 1.5 * 2**bits, high, log(2) - high + LN2_REST
    series = tuple(dtype(1 / factorial(k)) for k in range(terms, 1, -1))
    numbers: Any = [*(dtype(constant) for constant in constants), series]
    return _Numbers(*numbers)


NUMBERS = {
    types.float32: _numbers(np.float32, -87.3, 23, 7),
    types.float64: _numbers(np.float64, -708.3, 52, 13),
}


def _shifted(typing: Any, t: Any) -> Any:
    """2ⁿ, given t = n + 1.5 · 2^bits, whose last bits are n: they are shifted to where exponents are."""
    bits, bias, size = (23, 127, 32) if t == types.float32 else (52, 1023, 64)

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        whole = ir.IntType(size)
        n = builder.add(builder.bitcast(arguments[0], whole), whole(bias))
        return builder.bitcast(builder.shl(n, whole(bits)), arguments[0].type)

    return t(t), emit


_power_of_two: Any = intrinsic(_shifted)


# Sums must keep their order here, or the compiler would find that x + c − c is x.
OPTIONS: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


def power(x: float) -> tuple[float, float]:
    """x ≤ 0 -> 2ⁿ and p with eˣ = 2ⁿ + 2ⁿ·p; below the lowest x, those of the lowest. A NaN stays one."""
    raise NotImplementedError("power: to be called by compiled functions only")


@overload(power, jit_options=OPTIONS)
def _power(x):
    lowest, per_ln2, shift, high, low, (first, *others) = NUMBERS[x]
    rest = tuple(others)

    def compute(x):
        x = lowest if x < lowest else x
        t = x * per_ln2 + shift  # leaves no room for digits after the point, and so rounds to n
        n = t - shift
        r = (x - n * high) - n * low
        p = first
        for coefficient in rest:
            p = p * r + coefficient
        return _power_of_two(t), r + r * r * p

    return compute


def exp(x: float) -> float:
    """eˣ for x ≤ 0; 0 where that is below the smallest normal number."""
    raise NotImplementedError("exp: to be called by compiled functions only")


@overload(exp, jit_options=OPTIONS)
def _exp(x):
    lowest, zero = NUMBERS[x].lowest, NUMBERS[x].lowest * 0

    def compute(x):
        scale, p = power(x)
        y = scale + scale * p  # in any case: under a condition it would be a branch, and keep vectors away
        return zero if x < lowest else y

    return compute
