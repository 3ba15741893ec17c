"""Convolution as a product of matrices: how the kernels that share tables.cuh are launched.

The rungs that work this way differ in how they multiply; their files have the same two kernels, ``gather``
for forward and for the gradient to the input, and ``grad_weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from minicnn.kernels.cuda.arrays import FREE, aligned, empty, plain
from minicnn.kernels.cuda.compiling import blocks, function, launch
from minicnn.kernels.cuda.divide import divisor
from minicnn.kernels.cuda.parts import add_parts, place_for
from minicnn.kernels.cuda.tables import Tables, forward_tables, input_tables
from minicnn.kernels.cuda.tables import suits as has_tables
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel

ENOUGH_BLOCKS = 400  # for a GPU to be busy: a gradient to weights is cut into parts until there are so many,
PIXELS_OF_PART = 256  # but none of them shorter than this

PROCESSORS = 100  # of a GPU, for the choice of a tile: a fixed number, so that all compute the same


class Tile(Protocol):
    """The result's rows and columns that a block computes, and the depth of a slice of the sum."""

    @property
    def BM(self) -> int: ...
    @property
    def BN(self) -> int: ...
    @property
    def BK(self) -> int: ...

    @property
    def threads(self) -> int:
        """The threads of a block."""

    @property
    def shared(self) -> int:
        """The bytes of dynamic shared memory of a block."""

    def _asdict(self) -> dict[str, Any]: ...


def tiles_of(tile: Tile, rows: int, columns: int) -> int:
    """How many blocks it takes for a result of this size."""
    return blocks(rows, tile.BM) * blocks(columns, tile.BN)


AnyTile = TypeVar("AnyTile", bound=Tile)


def quickest(
    tiles: Iterable[AnyTile], rows: int, columns: int, products: int, cost: Callable[[AnyTile], float]
) -> AnyTile:
    """The tile for so many products, each with a result of so many rows and columns.

    The time that blocks take, one after another on each processor, grows with their area and with what each
    multiplication costs.
    """

    def time(tile: AnyTile) -> float:
        rounds = blocks(products * tiles_of(tile, rows, columns), PROCESSORS)
        return rounds * tile.BM * tile.BN * cost(tile)

    return min(tiles, key=time)


class Implicit:
    """The three passes of a convolution by the kernels of a file, with the tiles that ``tile_for`` chooses.

    It is given the result's rows and columns, the number of such products, and the dtype.
    """

    def __init__(self, file: str, tile_for: Callable[[int, int, int, Any], Tile]) -> None:
        self.file, self.tile_for = file, tile_for

    def register(self, algorithm: str, suits: Callable[..., bool] | None = None) -> None:
        """Make these the kernels of an algorithm, for what suits it and for which there are tables."""

        def suits_both(*arguments: Any) -> bool:
            return has_tables(*arguments) and (suits is None or suits(*arguments))

        kernel("conv2d.forward", "cuda", algorithm, suits_both)(self.forward)
        kernel("conv2d.forward_clipped", "cuda", algorithm, suits_both)(self.forward)
        kernel("conv2d.grad_input", "cuda", algorithm, suits_both)(self.grad_input)
        kernel("conv2d.grad_weight", "cuda", algorithm, suits_both)(self.grad_weight)

    def forward(self, x: Any, w: Any, b: Any, g: Window, bounds: tuple[float, float] = FREE) -> Any:
        """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
        x, w = plain(x), plain(w)
        (N, C, H, W), OC, G = x.shape, w.shape[0], g.groups
        size = g.output_size(H, W)
        y = empty((N, OC, *size), like=x)
        K = w.size // OC
        tables = forward_tables(C // G, H, W, size, g)
        wide = K % 4 == 0 and aligned(w), as_it_lies(x, g)
        weights = K, OC // G * K
        return self._gather(x, w, b, y, tables, (1, 1), G, weights, bounds, wide, self.last())

    def grad_input(self, gy: Any, w: Any, x_shape: tuple[int, ...], g: Window) -> Any:
        """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
        gy, w, G, gx = plain(gy), plain(w), g.groups, empty(x_shape, like=gy)
        tables = input_tables(w.shape, tuple(x_shape[2:]), gy.shape[2:], g)
        weights = w.shape[2] * w.shape[3], w.size // G
        wide = False, as_it_lies(gy, g)
        last = self.last(gy)
        return self._gather(gy, w, None, gx, tables, g.stride, G, weights, FREE, wide, last)

    def _gather(self, source, w, b, result, tables: Tables, apart, G, weights, bounds, wide, last) -> Any:
        *on_gpu, number, pixels = tables
        N, RC, RH, RW = result.shape
        tile = self.tile_for(RC // G, N * pixels, G * number, result.dtype)
        grid = tiles_of(tile, RC // G, N * pixels), number, G
        limits = (result.dtype.type(bound) for bound in bounds)
        bias = None if b is None else plain(b)
        _, SC, SH, SW = source.shape
        sizes = (N, SC, SH * SW, RC, RH, RW, *apart, G, *weights, *limits)
        args = (source, w, bias, result, *on_gpu, *sizes, *last)
        launch(self.function("gather", tile, result.dtype, wide), grid, tile.threads, args, tile.shared)
        return result

    def grad_weight(self, gy: Any, x: Any, w_shape: tuple[int, ...], g: Window) -> Any:
        """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
        (N, C, H, W), (_, OC, OH, OW), G = x.shape, gy.shape, g.groups
        gy, x, gw = plain(gy), plain(x), empty(w_shape, like=gy)
        K, pixels = gw.size // OC, N * OH * OW
        tile = self.tile_for(OC // G, K, G * blocks(pixels, PIXELS_OF_PART), gw.dtype)
        tiles = tiles_of(tile, OC // G, K)
        number = max(1, min(ENOUGH_BLOCKS // (tiles * G), pixels // PIXELS_OF_PART))
        of_part = blocks(pixels, number * tile.BK) * tile.BK
        number = blocks(pixels, of_part) if pixels else 1
        parts = place_for(number, gw)
        tables = forward_tables(C // G, H, W, (OH, OW), g)
        sizes = (K, of_part, N, C, H * W, OC, OH, OW, G, divisor(OH * OW), divisor(OW))
        args = (gy, x, parts, tables.taps, tables.windows, *sizes, *self.last(gy))
        grid = tiles, number, G
        wide = OH * OW % 4 == 0 and aligned(gy), as_it_lies(x, g)
        launch(self.function("grad_weight", tile, gw.dtype, wide), grid, tile.threads, args, tile.shared)
        return add_parts(parts, gw)

    def function(self, name: str, tile: Tile, dtype: Any, wide: tuple[bool, bool]) -> Any:
        """The kernel; ``wide`` says of either operand whether four neighbours may be fetched at once."""
        return function(self.file, name, dtype, **tile._asdict())

    def last(self, gradient: Any = None) -> tuple[Any, ...]:
        """What the kernels take after all else, of the gradient to y where they are given one."""
        return ()


def as_it_lies(x: Any, g: Window) -> bool:
    """Whether four pixels of windows are neighbours in the image: filters of 1×1 that move by single ones."""
    whole = g.kernel == (1, 1) and g.stride == (1, 1) and g.padding == ((0, 0), (0, 0))
    return whole and x.shape[2] * x.shape[3] % 4 == 0 and aligned(x)
