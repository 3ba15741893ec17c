"""Convolution as a product of matrices in tiles of shared memory: see conv_shared.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicnn.kernels.cuda.compiling import declare
from minicnn.kernels.cuda.implicit import Implicit
from minicnn.kernels.registry import kernel

FILE = "conv_shared.cu"


class Tile(NamedTuple):
    """A square, with a thread for each of its numbers; slices are as deep as it is wide."""

    TILE: int

    BM = BN = BK = property(lambda self: self.TILE)
    shared = 0  # bytes beyond what the file declares
    threads = property(lambda self: self.TILE**2)


TILE = Tile(16)

declare(FILE, ("float32", "float64"), TILE._asdict())


def tile_for(rows: int, columns: int, products: int, dtype: Any) -> Tile:
    """There is one tile only."""
    return TILE


SHARED = Implicit(FILE, tile_for)

kernel("conv2d.forward", "cuda", "shared")(SHARED.forward)
kernel("conv2d.forward_clipped", "cuda", "shared")(SHARED.forward)
kernel("conv2d.grad_input", "cuda", "shared")(SHARED.grad_input)
kernel("conv2d.grad_weight", "cuda", "shared")(SHARED.grad_weight)
