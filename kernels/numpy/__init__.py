"""The reference kernels: NumPy, written to be read and checked by hand."""

from minicnn.kernels.numpy import (
    activation,
    cat,
    conv_im2col,
    conv_naive,
    conv_taps,
    conv_toeplitz,
    dropout,
    linear,
    loss,
    norm,
    optim,
    philox,
    pool,
)

__all__ = [
    "activation",
    "cat",
    "conv_im2col",
    "conv_naive",
    "conv_taps",
    "conv_toeplitz",
    "dropout",
    "linear",
    "loss",
    "norm",
    "optim",
    "philox",
    "pool",
]
