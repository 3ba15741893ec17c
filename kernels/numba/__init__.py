"""The fast CPU kernels: compiled by Numba for the machine they run on."""

from minicnn.kernels.numba import (
    conv,
    depthwise,
    dropout,
    elementwise,
    excitation,
    linear,
    loss,
    lrn,
    memory,
    norm,
    optim,
    pointwise,
    pool,
    winograd,
)

__all__ = [
    "conv",
    "depthwise",
    "dropout",
    "elementwise",
    "excitation",
    "linear",
    "loss",
    "lrn",
    "norm",
    "optim",
    "pointwise",
    "pool",
    "winograd",
]

memory.keep_freed()
