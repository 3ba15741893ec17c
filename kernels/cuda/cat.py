"""Concatenation: see cat.cu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minicnn import backend as devices
from minicnn.kernels.cuda.arrays import VECTOR, aligned, empty, plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.registry import kernel

FILE = "cat.cu"
THREADS = 256
AT_ONCE = 4  # arrays of a launch

for dtype, longest in VECTOR.items():
    declare(FILE, [dtype], *({"V": V, "THREADS": THREADS} for V in (1, longest)))


@kernel("cat.forward", "cuda", "packs")
def forward(arrays: list[Any], axis: int) -> Any:
    """Arrays one after another along an axis."""
    first = arrays[0]
    if first.dtype.name not in VECTOR:  # labels, or a mask: no network waits for those
        return devices.module_of(first).concatenate(arrays, axis)
    shape = list(first.shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    y = empty(tuple(shape), like=first)
    move("forward", y, [plain(array) for array in arrays], axis)
    return y


@kernel("cat.backward", "cuda", "packs")
def backward(gy: Any, sizes: Sequence[int], axis: int) -> tuple[Any, ...]:
    """gy and the arrays' sizes along the axis -> the gradient to each, in memory of its own."""
    parts = [empty((*gy.shape[:axis], size, *gy.shape[axis + 1 :]), like=gy) for size in sizes]
    move("backward", plain(gy), parts, axis)
    return tuple(parts)


def move(name: str, whole: Any, parts: list[Any], axis: int) -> None:
    """Between one array and the parts of its rows."""
    rows, *lengths = math.prod(whole.shape[:axis]), *(math.prod(part.shape[axis:]) for part in parts)
    V = VECTOR[whole.dtype.name]
    if any(length % V for length in lengths) or not all(map(aligned, (whole, *parts))):
        V = 1
    copy = function(FILE, name, whole.dtype, V=V, THREADS=THREADS)
    packs = [length // V for length in lengths]
    for begin in range(0, len(parts), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        four = list(zip(parts[some], packs[some], strict=True)) + AT_ONCE * [(None, 0)]
        where = rows, sum(packs), sum(packs[:begin])
        args = whole, *(one for pair in four[:AT_ONCE] for one in pair), *where
        launch(copy, spread(rows * sum(packs[some]), THREADS), THREADS, args)
