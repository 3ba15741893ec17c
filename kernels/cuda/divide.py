"""Division by a number that is known before a kernel starts: see divide.cuh."""

from __future__ import annotations

import numpy as np


def divisor(d: int) -> np.uint64:
    """How to divide a number n below 2³¹ by d: (⌊n·multiplier / 2³²⌋ + n) / 2^shift, in one word of 64 bits.

    >>> shift, multiplier = divmod(int(divisor(7)), 2**32)
    >>> [(n * multiplier // 2**32 + n) >> shift for n in (0, 6, 7, 699, 700, 2**31 - 1)]
    [0, 0, 1, 99, 100, 306783378]
    """
    shift = (d - 1).bit_length()
    return np.uint64((shift << 32) + 2**32 * (2**shift - d) // d + 1)
