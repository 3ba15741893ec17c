"""Concatenation: arrays one after another along an axis."""

import itertools

import numpy as np

from minicnn.kernels.registry import kernel


@kernel("cat.forward", "numpy", "copies")
def forward(arrays, axis):
    """Arrays whose shapes differ along the axis at most -> one that holds them all."""
    return np.concatenate(arrays, axis)


@kernel("cat.backward", "numpy", "views")
def backward(gy, sizes, axis):
    """gy and the arrays' sizes along the axis -> the part of gy that each of them receives."""
    return tuple(np.split(gy, list(itertools.accumulate(sizes))[:-1], axis))
