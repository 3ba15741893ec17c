"""Batch norm, perhaps with a shortcut and an activation after it: see norm.cu."""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

from minicnn.kernels.cuda.arrays import FREE, VECTOR, aligned, empty, plain
from minicnn.kernels.cuda.compiling import blocks, declare, function, launch
from minicnn.kernels.cuda.grid import spread
from minicnn.kernels.registry import kernel

FILE = "norm.cu"
THREADS = 256
"""Of a block. Each thread asks for 4 numbers of each array at a time: from 2,048 threads of a multiprocessor
that is 32 KiB on their way for each array, what it takes while memory answers."""

# Channels are cut into parts, so that there are blocks enough where channels are few.
ENOUGH_BLOCKS = 1000  # for a GPU to be busy: of 8 that a multiprocessor holds, for 132 multiprocessors
PACKS_OF_PART = 4 * THREADS  # at least: each block of the second kernel takes its time to join the parts
MOST_PARTS = 32  # the lanes of a warp, which joins them

for dtype, longest in VECTOR.items():
    for V, SILU in product((1, longest), (0, 1)):
        declare(FILE, [dtype], {"V": V, "SILU": SILU, "THREADS": THREADS})


class Rows(NamedTuple):
    """(N, C, …) as a kernel goes through it: C channels of N rows of P packs, cut into parts."""

    V: int  # numbers in a pack
    N: int
    C: int
    P: int
    of_part: int  # packs
    parts: int


def rows(*arrays: Any) -> Rows:
    """How to go through arrays of one shape that lie in memory without gaps; None is left out."""
    given = [array for array in arrays if array is not None]
    N, C, *size = given[0].shape
    P, V = math.prod(size), VECTOR[given[0].dtype.name]
    if P % V or not all(map(aligned, given)):
        V = 1
    packs = N * P // V
    parts = max(1, min(blocks(ENOUGH_BLOCKS, max(C, 1)), packs // PACKS_OF_PART, MOST_PARTS))
    return Rows(V, N, C, P // V, blocks(packs, parts), parts)


def run(name: str, r: Rows, dtype: Any, args: tuple, silu: bool = False) -> None:
    """Launch a kernel with a block for each part of each channel."""
    kernel = function(FILE, name, dtype, V=r.V, SILU=int(silu), THREADS=THREADS)
    launch(kernel, (r.C, r.parts), THREADS, (*args, r.N, r.C, r.P, r.of_part))


def numbers(dtype: Any, *values: float) -> tuple:
    """Numbers as kernels expect them, in the arrays' dtype."""
    return tuple(dtype.type(value) for value in values)


@kernel("batch_norm.training", "cuda", "two_kernels")
@kernel("batch_norm.training_clipped", "cuda", "two_kernels")
def training(
    x: Any, w: Any, b: Any, eps: float, shortcut: Any = None, bounds: tuple = FREE, silu: bool = False
) -> tuple[Any, Any, Any, Any]:
    """x (N, C, …), w and b (C,), perhaps a shortcut like x -> y, mean, var and 1/√(var + ε)."""
    x, shortcut = plain(x), None if shortcut is None else plain(shortcut)
    y, dtype = empty(x.shape, like=x), x.dtype
    r = rows(x, shortcut, y)
    statistics = [empty((r.C,), like=x) for _ in range(3)]
    parts = empty((r.C, r.parts, 3), like=x)
    run("moments", r, dtype, (x, parts))
    given = plain(w), plain(b), *numbers(dtype, eps), shortcut, *numbers(dtype, *bounds)
    run("training", r, dtype, (x, parts, r.parts, *given, y, *statistics), silu)
    return y, *statistics


@kernel("batch_norm.training_silu", "cuda", "two_kernels")
def training_silu(x: Any, w: Any, b: Any, eps: float) -> tuple[Any, Any, Any, Any]:
    """The same with SiLU after it."""
    return training(x, w, b, eps, silu=True)


@kernel("batch_norm.update", "cuda", "one_kernel")
def update(
    mean: Any, var: Any, running_mean: Any, running_var: Any, momentum: float, unbiased: float
) -> None:
    """Move the running statistics, unless None, in place: var is multiplied by ``unbiased``, M / (M − 1)."""
    steps = [0 if one is None else one.strides[0] // one.itemsize for one in (running_mean, running_var)]
    rest = numbers(mean.dtype, 1 - momentum, momentum, unbiased)
    update = function(FILE, "update", mean.dtype, V=1, SILU=0, THREADS=THREADS)
    args = plain(mean), plain(var), running_mean, running_var, *steps, *rest, mean.size
    launch(update, spread(mean.size, THREADS), THREADS, args)


@kernel("batch_norm.inference", "cuda", "one_kernel")
@kernel("batch_norm.inference_clipped", "cuda", "one_kernel")
def inference(
    x: Any, mean: Any, var: Any, w: Any, b: Any, eps: float, shortcut: Any = None, bounds: tuple = FREE
) -> Any:
    """x normalised by a given mean and var (C,), perhaps with a shortcut added, and clipped."""
    x, shortcut = plain(x), None if shortcut is None else plain(shortcut)
    y, dtype = empty(x.shape, like=x), x.dtype
    vectors = (plain(vector) for vector in (mean, var, w, b))
    rest = *numbers(dtype, eps), shortcut, *numbers(dtype, *bounds), y
    run("inference", rows(x, shortcut, y), dtype, (x, *vectors, *rest))
    return y


@kernel("batch_norm.training_backward", "cuda", "two_kernels")
def training_backward(gy: Any, x: Any, mean: Any, inverse_std: Any, w: Any) -> tuple[Any, ...]:
    """The gradients to x, w and b where mean and var were the batch's own."""
    return training_backward_clipped(gy, x, mean, inverse_std, w, None, FREE, False)[:3]


@kernel("batch_norm.training_backward_clipped", "cuda", "two_kernels")
def training_backward_clipped(
    gy: Any, x: Any, mean: Any, inverse_std: Any, w: Any, y: Any, bounds: tuple, to_shortcut: bool
) -> tuple[Any, ...]:
    """The gradients to x, w, b and the shortcut (or None) where the results y were clipped to the bounds."""
    return backward(gy, x, mean, inverse_std, w, None, y, bounds, to_shortcut)


@kernel("batch_norm.training_backward_silu", "cuda", "two_kernels")
def training_backward_silu(gy: Any, x: Any, mean: Any, inverse_std: Any, w: Any, b: Any) -> tuple[Any, ...]:
    """The gradients to x, w and b where SiLU came after it."""
    return backward(gy, x, mean, inverse_std, w, plain(b), None, FREE, False)[:3]


def backward(gy, x, mean, inverse_std, w, b, y, bounds, to_shortcut) -> tuple[Any, ...]:
    """The gradients to x, w, b and the shortcut: after SiLU, if b is given, or where y was clipped."""
    gy, x, y, mean = plain(gy), plain(x), None if y is None else plain(y), plain(mean)
    gx, dtype = empty(x.shape, like=x), x.dtype
    gs = empty(x.shape, like=x) if to_shortcut else None
    r = rows(gy, x, y, gx, gs)
    gw, gb, parts = empty((r.C,), like=x), empty((r.C,), like=x), empty((r.C, r.parts, 2), like=x)
    limits, line = numbers(dtype, *bounds), (mean, plain(inverse_std), plain(w), b)
    run("gradient_sums", r, dtype, (gy, x, *line, y, *limits, gs, parts), b is not None)
    if to_shortcut:  # what was clipped is known from the first kernel
        gy, y = gs, None
    given = gy, x, *line, y, *limits, parts, r.parts
    run("training_gradient", r, dtype, (*given, gx, gw, gb), b is not None)
    return gx, gw, gb, gs


@kernel("batch_norm.inference_backward", "cuda", "two_kernels")
def inference_backward(gy: Any, x: Any, mean: Any, var: Any, w: Any, eps: float) -> tuple[Any, Any, Any]:
    """The gradients to x, w and b where mean and var were given."""
    gy, x, dtype = plain(gy), plain(x), x.dtype
    gx = empty(x.shape, like=x)
    r = rows(gy, x, gx)
    gw, gb, parts = empty((r.C,), like=x), empty((r.C,), like=x), empty((r.C, r.parts, 2), like=x)
    line = plain(mean), None, None, None
    run("gradient_sums", r, dtype, (gy, x, *line, None, *numbers(dtype, *FREE), None, parts))
    given = gy, plain(var), plain(w), *numbers(dtype, eps)
    run("inference_gradient", r, dtype, (*given, parts, r.parts, gx, gw, gb))
    return gx, gw, gb
