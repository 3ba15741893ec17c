"""Tiles for tensor cores, see tensor.cuh, and where tensor cores are used."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.implicit import quickest
from minicnn.kernels.registry import precision

FIRST = {"tf32": 80, "bf16": 80, "fp16": 75}
"""The compute capability of the first GPUs whose tensor cores know them."""

ROUNDING: dict[str, list[str]] = {
    "fp32": [],
    "tf32": ["tf32"],
    "bf16": ["bf16", "tf32"],
    "fp16": ["fp16", "tf32"],
}
"""The algorithms that each precision allows, the fastest first."""


class Tile(NamedTuple):
    """The result's rows and columns of a block and of a warp, the depth of a slice, how many there are.

    A slice is 16 words deep, of one number or two. ``RESIDENT`` is how many blocks are to fit on a
    multiprocessor: the compiler then sees to registers.
    """

    BM: int
    BN: int
    WM: int
    WN: int
    BK: int = 16
    STAGES: int = 3
    BF16: int = 0
    FP16: int = 0
    RESIDENT: int = 1

    @property
    def threads(self) -> int:
        """The threads of a block."""
        return self.BM // self.WM * (self.BN // self.WN) * 32

    @property
    def shared(self) -> int:
        """The bytes of shared memory that a block needs for its slices."""
        return 4 * self.STAGES * 16 * (self.BM + 8 + self.BN + 8)


PAIRS = {"BK": 32, "STAGES": 2}


def _of_pairs(**constant: int) -> dict[Tile, float]:
    return {
        Tile(256, 128, 64, 64, **PAIRS, **constant): 5.0,
        Tile(128, 256, 64, 64, **PAIRS, **constant): 6.1,
        Tile(128, 128, 64, 32, **PAIRS, **constant): 7.5,  # more threads, as all hold numbers on their way
        Tile(64, 256, 32, 64, **PAIRS, **constant): 10.8,
        Tile(64, 64, 32, 32, **PAIRS, **constant, RESIDENT=3): 13.8,
    }


TILES = {
    "tf32": {
        Tile(128, 128, 64, 64, RESIDENT=2): 5.0,
        Tile(64, 128, 32, 64, RESIDENT=3): 7.9,
        Tile(64, 64, 32, 32, RESIDENT=4): 10.0,
    },
    "bf16": _of_pairs(BF16=1),
    "fp16": _of_pairs(FP16=1),
}
"""What there is to choose from. Small tiles leave less of a small result empty, but have a warp issue more
instructions for each product of fragments: this many, where ``gather`` has 3×3 filters, on sm_90."""

OF_MMA = 6.4
"""Cycles that tensor cores take for such a product, in each of which a warp could issue an instruction: 4 on
an H100 by its data sheet, 63 % of whose speed mma reaches (Luo et al. 2024, arXiv:2402.13499)."""


def fits(tile: Tile, capability: int) -> bool:
    """Whether a GPU has registers enough: two products in place of one, as on sm_75, take more of them."""
    return capability >= FIRST["bf16"] or tile.BM * tile.BN <= 128 * 128


def tile_for(name: str, rows: int, columns: int, products: int = 1) -> Tile:
    """The quickest, as instructions or tensor cores bound it."""
    costs = {tile: max(OF_MMA, cost) for tile, cost in TILES[name].items() if fits(tile, capability())}
    return quickest(costs, rows, columns, products, costs.__getitem__)


@functools.cache
def capability() -> int:
    """This GPU's compute capability: 75 for 7.5."""
    return int(devices.module_of("cuda").cuda.Device().compute_capability)


def suits(name: str, *arguments: Any) -> bool:
    """Whether an algorithm is for the arguments of a kernel: float32, on a GPU whose tensor cores know it."""
    return arguments[0].dtype == np.float32 and capability() >= FIRST[name]


def allowed(like: Any) -> list[str]:
    """The algorithms that may round the numbers of such an array, as ``mc.use(precision=…)`` says."""
    return [name for name in ROUNDING[precision()] if suits(name, like)]
