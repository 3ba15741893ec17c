"""The tables of tables.cuh: what is known of a convolution's geometry before its kernels start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend as devices
from minicnn import cuda_graphs
from minicnn.kernels.geometry import Window, phases, window_of

MOST_TAPS = 15  # along either axis: there is a bit for each, and one that no window has
NEVER, COLUMNS = MOST_TAPS, MOST_TAPS + 1  # that bit, and the first of the columns'
SLICE = 32  # the most taps that any rung has in a slice: a phase's are filled up, with some that read nothing


class Tables(NamedTuple):
    """What ``gather`` reads on the GPU; how many phases there are, and pixels in the largest."""

    phases: Any
    taps: Any
    weights: Any
    windows: Any
    number: int
    pixels: int


def suits(*arguments: Any) -> bool:
    """Whether there is a bit for each row and column of the filters that a kernel is given."""
    return max(window_of(arguments).kernel) <= MOST_TAPS


@cuda_graphs.remembered
def forward_tables(C: int, H: int, W: int, size: tuple[int, int], g: Window) -> Tables:
    """The only phase of y; C is the channels of one group."""
    (OH, OW), (KH, KW) = size, g.kernel
    (top, _), (left, _) = g.padding
    positions = [(i, j, i * g.dilation[0], j * g.dilation[1]) for i in range(KH) for j in range(KW)]
    taps, weights = taps_of(C, positions, (H, W), KW, KH * KW)
    rows, columns = np.arange(OH) * g.stride[0] - top, np.arange(OW) * g.stride[1] - left
    windows = windows_of(rows, columns, positions, (H, W))
    phase = np.array([[0, C * KH * KW, 0, 0, OH, OW, 0]])
    return Tables(on_gpu(phase), on_gpu(taps), on_gpu(weights), on_gpu(windows), 1, OH * OW)


@cuda_graphs.remembered
def input_tables(
    w_shape: tuple[int, ...], x_size: tuple[int, int], y_size: tuple[int, int], g: Window
) -> Tables:
    """The phases of gx, whose windows lie in gy."""
    OC, C, KH, KW = w_shape
    channels = OC // g.groups
    found = phases(*x_size, *y_size, g)[1]
    records, tables = [], []
    first_tap = first_window = 0
    for phase in found:
        taps, weights = taps_of(channels, phase.taps, y_size, KW, C * KH * KW)
        rows, columns = (np.arange(count) for count in phase.size)
        windows = windows_of(rows, columns, phase.taps, y_size)
        records.append((first_tap, channels * len(phase.taps), *phase.first, *phase.size, first_window))
        tables.append((taps, weights, windows))
        first_tap, first_window = first_tap + len(taps), first_window + len(windows)
    most = max(phase.size[0] * phase.size[1] for phase in found)
    taps, weights, windows = (on_gpu(np.concatenate(parts)) for parts in zip(*tables, strict=True))
    return Tables(on_gpu(np.array(records)), taps, weights, windows, len(found), most)


Positions = Sequence[tuple[int, int, int, int]]
"""(i, j, rows away, columns away) of the taps of one channel."""


def taps_of(
    channels: int, positions: Positions, size: tuple[int, int], KW: int, apart: int
) -> tuple[np.ndarray, np.ndarray]:
    """(K, 2) and (K,): how far taps look and what they need, and where their weights are.

    Weights of one channel are ``apart`` from those of the next; ``size`` is that of the image.
    """
    i, j, h, v = np.array(positions, np.int64).reshape(-1, 4).T
    c = np.arange(channels)[:, None]
    away = (c * size[0] + h) * size[1] + v
    needs = np.broadcast_to((1 << i) + (1 << COLUMNS + j), away.shape)
    weights = c * apart + i * KW + j
    rest = -away.size % SLICE
    nothing = np.tile([0, 1 << NEVER, 0], (rest, 1))
    table = np.stack([away.ravel(), needs.ravel(), weights.ravel()], axis=1)
    table = np.concatenate([table, nothing])
    return table[:, :2], table[:, 2]


def windows_of(
    rows: np.ndarray, columns: np.ndarray, positions: Positions, size: tuple[int, int]
) -> np.ndarray:
    """(rows + columns, 2): where the windows begin in an image, and the taps that they have in it.

    >>> windows = windows_of(np.array([-1, 0, 1]), np.array([0]), [(0, 0, 0, 0), (1, 0, 1, 0)], (2, 5))
    >>> [(at, bin(has)) for at, has in windows.tolist()]
    [(-5, '0b10'), (0, '0b11'), (5, '0b1'), (0, '0b10000000000000000')]
    """
    tables = []
    for axis, (begin, pitch) in enumerate([(rows, size[1]), (columns, 1)]):
        has = np.zeros_like(begin)
        for tap, away in {(position[axis], position[axis + 2]) for position in positions}:
            inside = (begin + away >= 0) & (begin + away < size[axis])
            has += inside.astype(has.dtype) << tap + axis * COLUMNS
        tables.append(np.stack([begin * pitch, has], axis=1))
    return np.concatenate(tables)


def on_gpu(table: np.ndarray) -> Any:
    """A table where kernels read it."""
    return devices.move(table.astype(np.int32), "cuda")
