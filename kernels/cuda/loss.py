"""Softmax and cross-entropy, a warp for each row: see loss.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn.kernels.cuda.arrays import empty, plain
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.registry import kernel

FILE = "loss.cu"
THREADS = 128
ROWS = THREADS // 32  # of a block

declare(FILE)


@kernel("cross_entropy.forward", "cuda", "by_rows")
def cross_entropy(x: Any, labels: Any, weight: Any, smoothing: float) -> tuple[Any, Any]:
    """x (R, C), labels (R,), −1 where nothing counts, weight (C,) -> the losses (R,), and p (R, C)."""
    losses, p = empty(x.shape[:1], like=x), empty(x.shape, like=x)
    arrays = plain(x), whole_numbers(labels), plain(weight), losses, p
    run("forward", x, arrays, smoothing)
    return losses, p


@kernel("cross_entropy.backward", "cuda", "by_rows")
def cross_entropy_backward(gy: Any, p: Any, labels: Any, weight: Any, smoothing: float) -> Any:
    """The gradient to x."""
    gx = empty(p.shape, like=p)
    run("backward", p, (plain(gy), plain(p), whole_numbers(labels), plain(weight), gx), smoothing)
    return gx


def whole_numbers(labels: Any) -> Any:
    """Labels as the kernels read them."""
    return plain(labels.astype(np.int64, copy=False))


def run(name: str, like: Any, arrays: tuple, smoothing: float) -> None:
    """Launch with a warp for each row."""
    R, C = like.shape
    args = (*arrays, R, C, like.dtype.type(smoothing))
    launch(function(FILE, name, like.dtype), spread(R, ROWS), THREADS, args)
