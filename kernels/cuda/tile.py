"""The shape of a block's work in a product of matrices: see tile.cuh."""

from __future__ import annotations

from typing import NamedTuple

from minicnn.kernels.cuda.compiling import blocks


class Tile(NamedTuple):
    """The result's rows and columns of a block, a warp and a thread, and the depth of a slice.

    ``RESIDENT`` is how many blocks are to fit on a multiprocessor: the compiler then sees to registers.
    """

    BM: int
    BN: int
    WM: int
    WN: int
    TM: int
    TN: int
    RESIDENT: int = 1
    BK: int = 8

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.BM // self.WM * (self.BN // self.WN) * 32

    def blocks(self, rows: int, columns: int) -> int:
        """How many blocks it takes for a result of this size."""
        return blocks(rows, self.BM) * blocks(columns, self.BN)
