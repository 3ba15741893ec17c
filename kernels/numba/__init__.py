"""The fast CPU kernels: compiled by Numba for the machine they run on."""

from minicnn.kernels.numba import (
    conv,
    depthwise,
    dropout,
    elementwise,
    linear,
    loss,
    lrn,
    memory,
    norm,
    optim,
    pointwise,
    pool,
    squeeze,
    winograd,
)

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
    "squeeze",
    "winograd",
]

memory.keep_freed()
