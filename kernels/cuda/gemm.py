"""The product of two matrices: see gemm.cu. Here is which tile it takes, and in how many parts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as pairs
from typing import Any

import numpy as np

from minicnn.kernels.cuda.arrays import aligned, empty, plain
from minicnn.kernels.cuda.compiling import blocks, declare, function, launch
from minicnn.kernels.cuda.conv_tiled import Tile
from minicnn.kernels.cuda.implicit import tiles_of
from minicnn.kernels.cuda.parts import add_parts, place_for

FILE = "gemm.cu"

TILES = {
    "float32": (
        Tile(128, 128, 32, 64, 8, 8, RESIDENT=2),  # 16 numbers fetched serve 64 multiplications
        Tile(64, 128, 32, 64, 8, 8),
        Tile(32, 128, 32, 32, 8, 4, BK=16),  # a batch of few images, or too few large tiles for a GPU
        Tile(32, 32, 16, 32, 4, 4, BK=16),  # few outputs, as of LeNet-5: as many blocks as can be had
    ),
    "float64": (Tile(32, 32, 16, 32, 4, 4),),  # to check gradients with: one size will do
}
"""What there is to choose from, those that fetch the least first."""

ENOUGH_THREADS = 1 << 17  # for a GPU to be busy: about a thousand on each of a hundred multiprocessors
K_OF_PART = 128  # the least: shorter sums are over before the second pass over their results would be

LAYOUTS = tuple({"A_ALONG_K": a, "B_ALONG_K": b} for a, b in ((1, 1), (1, 0), (0, 0)))
"""How A and B lie in the three products of a layer."""

for dtype, tiles in TILES.items():
    declare(FILE, [dtype], *(tile._asdict() | layout for tile, layout in pairs(tiles, LAYOUTS)))


def tile_for(M: int, N: int, K: int, dtype: Any) -> Tile:
    """The first tile that the result fills by more than half, in enough blocks; else the last."""
    *large, small = TILES[np.dtype(dtype).name]
    for tile in large:
        most = tiles_of(tile, M, N) * max(1, K // K_OF_PART)
        if 2 * M > tile.BM and 2 * N > tile.BN and most * tile.threads >= ENOUGH_THREADS:
            return tile
    return small


def kernel_for(tile: Any, layout: dict[str, int], aligned: tuple[bool, bool], A: Any) -> Any:
    """The kernel, and what it takes after its sizes: whether A and B are fetched four numbers at a time."""
    return function(FILE, "gemm", A.dtype, **tile._asdict(), **layout), (int(aligned[0]), int(aligned[1]))


def parts_for(tile: Any, M: int, N: int, K: int) -> tuple[int, int]:
    """Into how many parts the sum is cut, and how many terms each has: whole slices of them."""
    wanted = ENOUGH_THREADS // (tile.threads * tiles_of(tile, M, N))
    of_part = blocks(K, max(1, min(wanted, K // K_OF_PART)) * tile.BK) * tile.BK
    return blocks(K, of_part) if K else 1, of_part


def product(
    A: Any,
    B: Any,
    bias: Any = None,
    tile_for: Callable[..., Any] = tile_for,
    kernel_for: Callable[..., Any] = kernel_for,
) -> Any:
    """(M, K), (K, N), (N,) or None -> A·B + bias (M, N). A matrix that was transposed is read as it lies.

    ``tile_for`` and ``kernel_for`` choose tile and kernel: exact ones, if no others are given.
    """
    (M, K), N = A.shape, B.shape[1]
    C = empty((M, N), like=A)
    if C.size == 0:
        return C
    a, a_along_k, a_aligned = as_it_lies(A)
    b, b_along_columns, b_aligned = as_it_lies(B)
    if not a_along_k and not b_along_columns:  # no layer needs this, and there is no kernel for it
        a, a_along_k, a_aligned = as_it_lies(plain(A))
    tile = tile_for(M, N, K, C.dtype)
    number, of_part = parts_for(tile, M, N, K)
    parts = place_for(number, C)
    bias = None if bias is None else plain(bias)
    layout = {"A_ALONG_K": int(a_along_k), "B_ALONG_K": int(not b_along_columns)}
    gemm, more = kernel_for(tile, layout, (a_aligned, b_aligned), a)
    args = (a, b, bias if number == 1 else None, parts, M, N, K, of_part, *more)
    launch(gemm, (tiles_of(tile, M, N), number), tile.threads, args, tile.shared)
    return add_parts(parts, C, bias)


def products(A: Any, B: Any, along_k: bool = False, in_parts: bool = False) -> Any:
    """P products in one launch: (P, M, K), (P, K, N) or, along k, (P, N, K) -> (parts, P, M, N), to be added.

    Of plain arrays, the rows of B being a multiple of four.
    """
    (P, M, K), N = A.shape, B.shape[1 if along_k else 2]
    tile = tile_for(M, N, P * K, A.dtype)
    number, of_part = parts_for(tile, P * M, N, K) if in_parts else (1, K)
    C = empty((number, P, M, N), like=A)
    gemm, more = kernel_for(tile, LAYOUTS[not along_k], (K % 4 == 0 and aligned(A), aligned(B)), A)
    launch(gemm, (tiles_of(tile, M, N), number, P), tile.threads, (A, B, None, C, M, N, K, of_part, *more))
    return C


def as_it_lies(X: Any) -> tuple[Any, bool, bool]:
    """The matrix as kernels read it; whether its rows lie one after another, else its columns do; and whether
    each of these begins where four numbers can be fetched at a time."""
    by_rows = X.flags.c_contiguous or not X.flags.f_contiguous
    X = plain(X) if by_rows else X
    return X, by_rows, X.shape[1 if by_rows else 0] % 4 == 0 and aligned(X)
