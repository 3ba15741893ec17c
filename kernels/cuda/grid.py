"""How many blocks a kernel is launched with that goes through its numbers in steps of the whole grid."""

from __future__ import annotations

from minicnn.kernels.cuda.compiling import blocks

MOST_BLOCKS = 1 << 14
"""Of such a grid. What keeps memory busy is how much of it is asked for at a time, hence that each
multiprocessor is full of threads: 8 blocks of 256 on one that holds 2,048. So many blocks fill even 132
multiprocessors fifteen times over, which evens out their ends. Beyond, more blocks only cost their start."""


def spread(count: int, threads: int) -> int:
    """Blocks of so many threads for so many numbers: a thread for each, unless there are very many.

    >>> spread(1000, 256), spread(2**31 - 1, 256)
    (4, 16384)
    """
    return min(blocks(count, threads), MOST_BLOCKS)
