"""Convolution as a product of matrices in register tiles: see conv_tiled.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels.cuda.compiling import blocks, declare
from minicnn.kernels.cuda.implicit import Implicit, tiles_of
from minicnn.kernels.registry import kernel

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

PROCESSORS = 100  # of a GPU, for the choice of a tile: a fixed number, so that all compute the same


def tile_for(rows: int, columns: int, products: int, dtype: Any) -> Tile:
    """The tile for so many products, each with a result of so many rows and columns.

    The time that blocks take, one after another on each processor, grows with their area and with what their
    threads fetch, TM + TN numbers for TM·TN multiplications.
    """

    def time(tile: Tile) -> float:
        rounds = blocks(products * tiles_of(tile, rows, columns), PROCESSORS)
        return rounds * tile.BM * tile.BN * (1 + 1 / tile.TM + 1 / tile.TN)

    return min(TILES[np.dtype(dtype).name], key=time)


TILED = Implicit(FILE, tile_for)

kernel("conv2d.forward", "cuda", "tiled")(TILED.forward)
kernel("conv2d.forward_clipped", "cuda", "tiled")(TILED.forward)
kernel("conv2d.grad_input", "cuda", "tiled")(TILED.grad_input)
kernel("conv2d.grad_weight", "cuda", "tiled")(TILED.grad_weight)
