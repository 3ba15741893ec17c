"""Convolution as a product of matrices in register tiles: see conv_tiled.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.cuda.compiling import declare
from minicnn.kernels.cuda.implicit import Implicit, quickest

FILE = "conv_tiled.cu"


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

    @property
    def shared(self) -> int:
        """None beyond what the file declares."""
        return 0


TILES = {
    "float32": (
        Tile(128, 128, 32, 64, 8, 8, RESIDENT=2),
        Tile(64, 128, 32, 64, 8, 8),
        Tile(32, 128, 32, 32, 8, 4),
        Tile(64, 64, 32, 32, 8, 4),
        Tile(32, 32, 16, 32, 4, 4),
    ),
    "float64": (Tile(64, 64, 32, 32, 8, 4), Tile(32, 32, 16, 32, 4, 4)),
}
"""What there is to choose from: large tiles fetch less, small ones leave less of a small result empty."""

for dtype, tiles in TILES.items():
    declare(FILE, [dtype], *(tile._asdict() for tile in tiles))


def tile_for(rows: int, columns: int, products: int, dtype: Any) -> Tile:
    """The quickest: for TM·TN multiplications threads fetch TM + TN numbers."""
    tiles = TILES[np.dtype(dtype).name]
    return quickest(tiles, rows, columns, products, lambda tile: 1 + 1 / tile.TM + 1 / tile.TN)


Implicit(FILE, tile_for).register("tiled")
