"""Convolution as a product of matrices in tiles of shared memory: see conv_shared.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicnn.kernels.cuda.compiling import declare
from minicnn.kernels.cuda.implicit import Implicit

FILE = "conv_shared.cu"


class Tile(NamedTuple):
    """A square, with a thread for each of its numbers; slices are as deep as it is wide."""

    TILE: int

    @property
    def BM(self) -> int:
        """The result's rows."""
        return self.TILE

    @property
    def BN(self) -> int:
        """The result's columns."""
        return self.TILE

    @property
    def BK(self) -> int:
        """The depth of a slice."""
        return self.TILE

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.TILE**2

    @property
    def shared(self) -> int:
        """None beyond what the file declares."""
        return 0


TILE = Tile(16)

declare(FILE, ("float32", "float64"), TILE._asdict())


def tile_for(rows: int, columns: int, products: int, dtype: Any) -> Tile:
    """There is one tile only."""
    return TILE


Implicit(FILE, tile_for).register("shared")
