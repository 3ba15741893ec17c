"""The fast CPU kernels: compiled by Numba for the machine they run on."""

from minicnn.kernels.numba import (
    conv,
    depthwise,
    dropout,
    elementwise,
    linear,
    loss,
    lrn,
    norm,
    optim,
    pointwise,
    pool,
    winograd,
)
from minicnn.kernels.numba.scratch import keep_freed_memory

__all__ = [
    "conv",
    "depthwise",
    "dropout",
    "elementwise",
    "linear",
    "loss",
    "lrn",
    "norm",
    "optim",
    "pointwise",
    "pool",
    "winograd",
]

keep_freed_memory()
