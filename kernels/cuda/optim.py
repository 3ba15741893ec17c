"""The optimisers' updates, in place, of all parameters in one launch: see optim.cu. Here are its tables.

There are three: where the parameters lie, the chunks that blocks take, and the numbers. They stay on the GPU,
and are written anew only when they change: the first two when arrays are at other places, which in training
comes to an end as soon as the memory pool hands out the same places in each step; the numbers when they do,
which those of Adam do in each step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.arrays import plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.registry import kernel

FILE = "optim.cu"
CONSTANTS = {"CHUNK": 2048, "THREADS": 256}
STATES = 3  # the most arrays that an optimiser keeps

declare(FILE, ("float32", "float64"), CONSTANTS)

Row = tuple[float, ...]


class Table:
    """Where the parameters of one update lie, on the GPU, and their numbers."""

    def __init__(self, places: tuple[tuple[int, ...], ...], shape: tuple[int, int], dtype: Any) -> None:
        module = devices.module_of("cuda")
        self.parameters = module.asarray(np.array(places, np.int64))
        self.chunks = module.asarray(chunks_of([size for *_, size, _ in places]))
        self.numbers = module.empty(shape, dtype)
        self.rows: list[Row] = []  # what the numbers are

    def write(self, rows: list[Row]) -> None:
        """Bring the numbers up to date, in the order of the stream."""
        if rows != self.rows:
            self.numbers.set(np.array(rows, self.numbers.dtype))
            self.rows = rows


table_for = functools.lru_cache(maxsize=16)(Table)


def chunks_of(sizes: list[int]) -> np.ndarray:
    """(chunks, 2): of which parameter each is, and its number in it.

    >>> chunks_of([1, 5000]).tolist()
    [[0, 0], [1, 0], [1, 1], [1, 2]]
    """
    each = -(-np.array(sizes, np.int64) // CONSTANTS["CHUNK"])
    parameter = np.repeat(np.arange(len(sizes)), each)
    number = np.arange(len(parameter)) - np.repeat(np.cumsum(each) - each, each)
    return np.stack([parameter, number], axis=1).astype(np.int32)


def update(name: str, row_of: Callable[..., Row], ws: list, gs: list, states: list, numbers: list) -> None:
    """One launch of the kernel of this name for all parameters, or one for each dtype that there is.

    ``row_of`` makes what the kernel's structure holds of which arrays of the state there are, and of an
    optimiser's numbers.
    """
    for dtype in dict.fromkeys(w.dtype for w in ws):
        rows: dict[tuple, int] = {}
        own, places = [], []
        for w, g, state, one in zip(ws, gs, states, numbers, strict=True):
            if w.dtype == dtype and w.size:
                arrays = contiguous(w), contiguous(g), *state
                own.append((w, arrays))  # which also keeps copies until the kernel has been started
                pointers = [0 if array is None else array.data.ptr for array in arrays]
                kept = tuple(array is not None for array in state)
                row = rows.setdefault((kept, *one), len(rows))
                places.append((*pointers, *[0] * (STATES - len(state)), w.size, row))
        if places:
            every = [row_of(*row) for row in rows]
            table = table_for(tuple(places), (len(every), len(every[0])), dtype)
            table.write(every)
            args = (table.parameters, table.chunks, table.numbers)
            launch(function(FILE, name, dtype, **CONSTANTS), len(table.chunks), CONSTANTS["THREADS"], args)
        for w, (changed, *_) in own:
            if changed is not w:
                w[...] = changed


def contiguous(x: Any) -> Any:
    """x, or a copy if its numbers do not lie one after another."""
    return x if x.flags.c_contiguous else plain(x)


def sign(maximize: bool) -> int:
    """Of the gradient."""
    return -1 if maximize else 1


def sgd_row(kept, maximize, decay, lr, momentum, fresh, nesterov) -> Row:
    """``fresh`` is the weight of g in u; without momentum there is no u, and the step is along g."""
    per_g, per_u = (1, momentum) if nesterov else (0, 1) if kept[0] else (1, 0)
    return sign(maximize), decay, lr, momentum, fresh, per_g, per_u


def rmsprop_row(kept, maximize, decay, lr, alpha, eps, momentum) -> Row:
    """There is an m only if centred; without momentum u is the step itself."""
    return sign(maximize), decay, lr, alpha, 1 - alpha, eps, momentum, kept[1]


def adam_row(kept, maximize, decay, shrink, lr, beta1, beta2, eps, t) -> Row:
    """``shrink`` is AdamW's 1 − lr · weight_decay, and 1 for Adam."""
    return nadam_row(kept, maximize, decay, lr / (1 - beta1**t), 0, beta1, beta2, eps, t, shrink)


def nadam_row(kept, maximize, decay, ahead, now, beta1, beta2, eps, t, shrink=1) -> Row:
    """``ahead`` and ``now`` are lr times the weights of m and g in m̂."""
    averages = beta1, 1 - beta1, beta2, 1 - beta2
    return sign(maximize), decay, shrink, ahead, now, *averages, 1 / sqrt(1 - beta2**t), eps


def adamax_row(kept, maximize, decay, lr, beta1, beta2, eps, t) -> Row:
    """The bias correction is in the weight of m."""
    return sign(maximize), decay, lr / (1 - beta1**t), beta1, 1 - beta1, beta2, eps


for _operation, _kernel, _row_of in (
    ("sgd.update", "sgd", sgd_row),
    ("rmsprop.update", "rmsprop", rmsprop_row),
    ("adam.update", "adam", adam_row),
    ("nadam.update", "adam", nadam_row),
    ("adamax.update", "adamax", adamax_row),
):
    kernel(_operation, "cuda", "one_launch")(functools.partial(update, _kernel, _row_of))
