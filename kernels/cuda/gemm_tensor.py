"""The product of two matrices on tensor cores: see gemm_tensor.cu."""

from __future__ import annotations

from itertools import product as pairs
from typing import Any

from minicnn.kernels.cuda import gemm
from minicnn.kernels.cuda.compiling import declare, function
from minicnn.kernels.cuda.largest import largest
from minicnn.kernels.cuda.tensor import TILES, tile_for

FILE = "gemm_tensor.cu"

for tiles in TILES.values():
    for tile, layout in pairs(tiles, gemm.LAYOUTS):
        declare(FILE, ["float32"], *(tile._asdict() | layout | {"WIDE": wide} for wide in (0, 1)))


def kernel_for(tile: Any, layout: dict[str, int], aligned: tuple[bool, bool], A: Any) -> Any:
    """The kernel, and what it takes after its sizes: how large A's numbers are, if that matters.

    A is a gradient, or the images of a batch, few beside the weights: it is looked at in either case.
    """
    gemm = function(FILE, "gemm", A.dtype, **tile._asdict(), **layout, WIDE=int(all(aligned)))
    return gemm, (largest(A) if tile.FP16 else None,)


def product(name: str, A: Any, B: Any, bias: Any = None) -> Any:
    """(M, K), (K, N), (N,) or None -> A·B + bias (M, N), with factors rounded to such a precision."""

    def tile_of(M: int, N: int, K: int, dtype: Any) -> Any:
        return tile_for(name, M, N, max(1, K // gemm.K_OF_PART))

    return gemm.product(A, B, bias, tile_of, kernel_for)
