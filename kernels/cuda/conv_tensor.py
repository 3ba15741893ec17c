"""Convolution on tensor cores: see conv_tensor.cu."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.compiling import blocks, declare
from minicnn.kernels.cuda.implicit import Implicit, tiles_of
from minicnn.kernels.registry import kernel

FILE = "conv_tensor.cu"
FIRST = 80  # the compute capability of the first GPUs that know TF32


class Tile(NamedTuple):
    """The result's rows and columns of a block and of a warp, the depth of a slice, how many there are."""

    BM: int
    BN: int
    WM: int
    WN: int
    BK: int = 16
    STAGES: int = 3

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.BM // self.WM * (self.BN // self.WN) * 32

    @property
    def shared(self) -> int:
        """The bytes of shared memory that a block needs for its slices."""
        return 4 * self.STAGES * (self.BM * (self.BK + 4) + self.BK * (self.BN + 8))


TILES = (Tile(128, 128, 64, 64), Tile(64, 128, 32, 64), Tile(64, 64, 32, 32))

declare(FILE, ["float32"], *(tile._asdict() for tile in TILES))

PROCESSORS = 100  # of a GPU, for the choice of a tile: a fixed number, so that all compute the same


def tile_for(rows: int, columns: int, products: int, dtype: Any) -> Tile:
    """The tile for so many products, each with a result of so many rows and columns.

    A warp reads WM + WN numbers for each WM·WN products; shared memory gives four in the time of 64 products.
    """

    def time(tile: Tile) -> float:
        rounds = blocks(products * tiles_of(tile, rows, columns), PROCESSORS)
        return rounds * tile.BM * tile.BN * (1 + 16 / tile.WM + 16 / tile.WN)

    return min(TILES, key=time)


@functools.cache
def known() -> bool:
    """Whether this GPU multiplies TF32."""
    return int(devices.module_of("cuda").cuda.Device().compute_capability) >= FIRST


def suits(*arguments: Any) -> bool:
    """Whether this is for the arguments of a kernel: float32, on a GPU that can."""
    return arguments[0].dtype == np.float32 and known()


TENSOR = Implicit(FILE, tile_for)

kernel("conv2d.forward", "cuda", "tf32", suits)(TENSOR.forward)
kernel("conv2d.forward_clipped", "cuda", "tf32", suits)(TENSOR.forward)
kernel("conv2d.grad_input", "cuda", "tf32", suits)(TENSOR.grad_input)
kernel("conv2d.grad_weight", "cuda", "tf32", suits)(TENSOR.grad_weight)
