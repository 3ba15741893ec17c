"""The product of two matrices on tensor cores: see gemm_tensor.cu."""

from __future__ import annotations

from itertools import product as pairs
from typing import Any

from minicnn.kernels.cuda import gemm
from minicnn.kernels.cuda.compiling import declare, function
from minicnn.kernels.cuda.tensor import TILES, tile_for

FILE = "gemm_tensor.cu"

for tiles in TILES.values():
    for tile, layout in pairs(tiles, gemm.LAYOUTS):
        declare(FILE, ["float32"], *(tile._asdict() | layout | {"WIDE": wide} for wide in (0, 1)))


def kernel_for(tile: Any, layout: dict[str, int], aligned: tuple[bool, bool], dtype: Any) -> Any:
    """The kernel, which takes nothing after its sizes."""
    return function(FILE, "gemm", dtype, **tile._asdict(), **layout, WIDE=int(all(aligned))), ()


def product(name: str, A: Any, B: Any, bias: Any = None) -> Any:
    """(M, K), (K, N), (N,) or None -> A·B + bias (M, N), with factors rounded to "tf32" or "bf16"."""

    def tile_of(M: int, N: int, K: int, dtype: Any) -> Any:
        return tile_for(name, M, N, max(1, K // gemm.K_OF_PART))

    return gemm.product(A, B, bias, tile_of, kernel_for)
