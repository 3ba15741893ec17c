"""Dropout, with the words of Philox's stream made where they are used: see dropout.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.arrays import empty, plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.numpy.dropout import scale, threshold
from minicnn.kernels.numpy.philox import MULTIPLIERS, ROUNDS, WEYL_STEPS
from minicnn.kernels.registry import kernel

FILE = "dropout.cu"
THREADS = 256
WORDS = 4  # of a block of the stream, and so of a thread

CONSTANTS: dict[str, str | int] = {"ROUNDS": ROUNDS}
CONSTANTS |= {f"M{i}": f"{m:#x}u" for i, m in enumerate(MULTIPLIERS)}
CONSTANTS |= {f"W{i}": f"{w:#x}u" for i, w in enumerate(WEYL_STEPS)}

declare(FILE, ("float32", "float64"), CONSTANTS)


@kernel("dropout.forward", "cuda", "philox")
def forward(x: Any, p: float, entries: tuple[int, ...], seed: int, offset: int) -> tuple[Any, Any]:
    """x -> y, and which of the ``entries`` were kept, as a byte each.

    The mask's shape may have sizes of 1, where one decision serves a whole axis (as for channels): then the
    mask is drawn first, and applied after that.
    """
    kept = devices.module_of(x).empty(entries, np.bool_)
    whole = kept.size == x.size
    y = empty(x.shape, like=x) if whole else None
    block, skipped = divmod(offset, WORDS)
    moved = None if devices.capture is None else devices.capture.moved(seed)
    first = np.uint64(seed), np.uint64(block), skipped, moved
    numbers = kept.size, *first, threshold(p), scale(p, x.dtype)
    grid = spread(WORDS - 1 + kept.size, WORDS * THREADS)
    draw = function(FILE, "forward", x.dtype, **CONSTANTS)
    launch(draw, grid, THREADS, (plain(x) if whole else None, y, kept, *numbers))
    return (y if whole else backward(x, kept, p)), kept


@kernel("dropout.backward", "cuda", "philox")
def backward(gy: Any, kept: Any, p: float) -> Any:
    """The gradient to x: gy where x was kept, scaled, and 0 elsewhere."""
    gx = empty(gy.shape, like=gy)
    axes = max((axis + 1 for axis, size in enumerate(kept.shape) if size > 1), default=0)
    if kept.shape[:axes] == gy.shape[:axes]:
        each = math.prod(gy.shape[axes:])
    else:  # a decision serves numbers that do not follow each other
        kept, each = np.broadcast_to(kept, gy.shape), 1
    args = (plain(gy), plain(kept), gx, gx.size, each, scale(p, gy.dtype))
    launch(function(FILE, "apply", gx.dtype, **CONSTANTS), spread(gx.size, THREADS), THREADS, args)
    return gx
