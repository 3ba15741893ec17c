"""The kernels for NVIDIA GPUs: CUDA sources, and beside each the functions that launch it on CuPy's arrays.

Nothing here imports CuPy before a kernel runs, so that all of it can be read, and listed, on any machine.
"""

from minicnn.kernels.cuda import (
    activation,
    conv,
    conv_naive,
    conv_shared,
    conv_tensor,
    conv_tiled,
    depthwise,
    dropout,
    first_layer,
    gemm,
    gemm_tensor,
    grid,
    implicit,
    largest,
    linear,
    loss,
    lrn,
    norm,
    optim,
    parts,
    pool,
    tensor,
)

__all__ = [
    "activation",
    "conv",
    "conv_naive",
    "conv_shared",
    "conv_tensor",
    "conv_tiled",
    "depthwise",
    "dropout",
    "first_layer",
    "gemm",
    "gemm_tensor",
    "grid",
    "implicit",
    "largest",
    "linear",
    "loss",
    "lrn",
    "norm",
    "optim",
    "parts",
    "pool",
    "tensor",
]
