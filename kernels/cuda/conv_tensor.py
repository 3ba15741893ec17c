"""Convolution on tensor cores: see conv_tensor.cu."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

from minicnn.kernels.cuda.compiling import declare, function
from minicnn.kernels.cuda.implicit import Implicit
from minicnn.kernels.cuda.largest import largest
from minicnn.kernels.cuda.tensor import TILES, Tile, suits, tile_for

FILE = "conv_tensor.cu"


def constants(tile: Tile, wide: tuple[bool, ...]) -> dict[str, int]:
    """What the file is compiled with; ``wide`` says of which operands four numbers come at once."""
    return tile._asdict() | {"A_WIDE": int(wide[0]), "B_WIDE": int(wide[1])}


class OnTensorCores(Implicit):
    """The three passes with factors rounded to one precision."""

    def __init__(self, precision: str) -> None:
        super().__init__(FILE, lambda *sizes: tile_for(precision, *sizes[:3]))
        self.precision = precision

    def last(self, gradient: Any = None) -> tuple[Any, ...]:
        """How large the numbers of a gradient are, if that matters."""
        return (largest(gradient) if self.precision == "fp16" and gradient is not None else None,)

    def function(self, name: str, tile: Any, dtype: Any, wide: tuple[bool, bool]) -> Any:
        """The kernel for a tile."""
        return function(self.file, name, dtype, **constants(tile, wide))


for precision, tiles in TILES.items():
    every = product(tiles, product((False, True), (False, True)))
    declare(FILE, ["float32"], *(constants(tile, wide) for tile, wide in every))
    OnTensorCores(precision).register(precision, partial(suits, precision))
