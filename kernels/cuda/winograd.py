"""Winograd's convolution: see winograd.cu."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from minicnn.kernels.cuda import gemm
from minicnn.kernels.cuda.arrays import FREE, empty, plain
from minicnn.kernels.cuda.compiling import MOST_NUMBERS, blocks, declare, function, launch
from minicnn.kernels.cuda.divide import divisor
from minicnn.kernels.cuda.parts import add_parts
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel
from minicnn.kernels.winograd import Matrix, cook_toom, suits

FILE = "winograd.cu"
THREADS = 128
M = 4  # rows and columns of outputs in a tile
POINTS = (M + 2) ** 2

CACHE = 1 << 26  # bytes of values at the points at a time: what caches of large GPUs hold, 40 to 72 MB
FEWEST = 1024  # tiles at a time, though: with many channels, else, a product would have too few columns


def initialiser(matrix: Matrix) -> str:
    """A matrix as C++ has it.

    >>> initialiser(cook_toom(2, 3)[1][:2])
    '{{-1.0 / 1, 0.0 / 1, 0.0 / 1}, {1.0 / 2, 1.0 / 2, 1.0 / 2}}'
    """
    rows = (", ".join(f"{entry.numerator}.0 / {entry.denominator}" for entry in row) for row in matrix)
    return "{{" + "}, {".join(rows) + "}}"


MATRICES = dict(zip(("OF_OUTPUTS", "OF_FILTERS", "OF_TILES"), cook_toom(M, 3), strict=True))  # Aᵀ, G, Bᵀ
MATRICES |= dict(zip(("OF_WEIGHTS", "OF_GRADIENTS"), cook_toom(3, M), strict=False))  # A₃ᵀ, G₃; the same Bᵀ
CONSTANTS: dict[str, str | int] = {name: initialiser(matrix) for name, matrix in MATRICES.items()}
CONSTANTS |= {"M": M, "THREADS": THREADS}
declare(FILE, ("float32", "float64"), CONSTANTS)


def run(name: str, grid: int | tuple[int, ...], like: Any, args: tuple[Any, ...]) -> None:
    """Launch a kernel for the dtype of an array."""
    launch(function(FILE, name, like.dtype, **CONSTANTS), grid, THREADS, args)


class Tiles(NamedTuple):
    """What kernels are told of tiles of outputs, in C's order."""

    first: int
    number: int
    pitch: int  # place for so many
    TH: int  # of each image
    TW: int
    by_TW: Any
    by_TH: Any


def tiles_at_a_time(N: int, size: tuple[int, ...], channels: int, itemsize: int) -> Iterator[Tiles]:
    """The tiles of N results of a size, as many at a time as are to be in the cache."""
    TH, TW = blocks(size[0], M), blocks(size[1], M)
    most = max(FEWEST, CACHE // (POINTS * channels * itemsize))
    for first in range(0, N * TH * TW, most):
        count = min(most, N * TH * TW - first)
        pitch = blocks(count, 4) * 4  # gemm.cu fetches four at once
        yield Tiles(first, count, pitch, TH, TW, divisor(TW), divisor(TH))


def at_points(name: str, x: Any, tiles: Tiles, *padding: int) -> Any:
    """(POINTS, C, pitch): the values at the points of such tiles of (N, C, H, W)."""
    _, C, H, W = x.shape
    values = empty((POINTS, C, tiles.pitch), like=x)
    run(name, (blocks(tiles.pitch, THREADS), C), x, (x, values, C, H, W, *padding, *tiles))
    return values


def convolution(x: Any, filters: Any, b: Any, padding: tuple, size: tuple[int, ...], bounds: Any) -> Any:
    """x (N, C, H, W) with filters at the points (POINTS, OC, C) -> (N, OC, *size)."""
    (N, C), OC = x.shape[:2], filters.shape[1]
    y = empty((N, OC, *size), like=x)
    limits = [x.dtype.type(bound) for bound in bounds]
    (top, _), (left, _) = padding
    for tiles in tiles_at_a_time(N, size, C + OC, x.itemsize):
        products = gemm.products(filters, at_points("tiles", x, tiles, top, left))
        run("outputs", (blocks(tiles.number, THREADS), OC), x, (products, b, y, OC, *size, *limits, *tiles))
    return y


def filters_at_points(w: Any, rows: int, K: int, apart: tuple[int, int], turned: bool) -> Any:
    """(POINTS, rows, K): G w Gᵀ of the filters for each row and k, which are so far apart in memory."""
    values = empty((POINTS, rows, K), like=w)
    run("filters", blocks(rows * K, THREADS), w, (plain(w), values, rows, K, *apart, int(turned)))
    return values


@kernel("conv2d.forward", "cuda", "winograd", suits)
@kernel("conv2d.forward_clipped", "cuda", "winograd", suits)
def forward(x: Any, w: Any, b: Any, g: Window, bounds: tuple[float, float] = FREE) -> Any:
    """(N, C, H, W), (OC, C, 3, 3), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    (OC, C), size = w.shape[:2], g.output_size(*x.shape[2:])
    filters = filters_at_points(w, OC, C, (9 * C, 9), False)
    return convolution(plain(x), filters, None if b is None else plain(b), g.padding, size, bounds)


@kernel("conv2d.grad_input", "cuda", "winograd", suits)
def grad_input(gy: Any, w: Any, x_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    OC, C = w.shape[:2]
    filters = filters_at_points(w, C, OC, (9, 9 * C), True)
    padding = tuple((2 - before, 2 - after) for before, after in g.padding)
    return convolution(plain(gy), filters, None, padding, x_shape[2:], FREE)


@kernel("conv2d.grad_weight", "cuda", "winograd", suits)
def grad_weight(gy: Any, x: Any, w_shape: tuple[int, ...], g: Window) -> Any:
    """The gradient of the loss to w, given the gradient gy to y: (OC, C, 3, 3)."""
    (OC, C), (N, _, *size) = w_shape[:2], gy.shape
    (top, _), (left, _) = g.padding
    gy, x, gw = plain(gy), plain(x), empty(w_shape, like=gy)
    every = list(tiles_at_a_time(N, tuple(size), C + OC, x.itemsize))
    sums = empty((len(every), POINTS, OC, C), like=gy)
    for part, tiles in enumerate(every):
        values = at_points("gradients", gy, tiles), at_points("tiles", x, tiles, top, left)
        add_parts(gemm.products(*values, along_k=True, in_parts=True), sums[part])
    run("weights", blocks(OC * C, THREADS), gy, (sums, gw, len(every), OC * C))
    return gw


def pays(channels: int, outputs: int, size: tuple[int, ...]) -> bool:
    """Whether fewer multiplications are worth two more trips to memory for each value at a point.

    To bring a number, or take it, is reckoned as 25 multiplications. On an H200, with the 67 Tflop/s and
    4.8 TB/s of its data sheet, it takes the time of 28.
    """
    if POINTS * channels * outputs > MOST_NUMBERS:  # of the filters at the points
        return False
    tiles = blocks(size[0], M) * blocks(size[1], M)
    winograd = POINTS * tiles * (channels * outputs + 2 * 25 * (channels + outputs))
    return winograd < 9 * size[0] * size[1] * channels * outputs
