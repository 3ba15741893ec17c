"""The kernels for NVIDIA GPUs: CUDA sources, and beside each the functions that launch it on CuPy's arrays.

Nothing here imports CuPy before a kernel runs, so that all of it can be read, and listed, on any machine.
"""

from minicnn.kernels.cuda import (
    conv,
    conv_naive,
    conv_shared,
    conv_tensor,
    conv_tiled,
    depthwise,
    first_layer,
    grid,
    implicit,
    lrn,
    norm,
    parts,
    pool,
)

__all__ = [
    "conv",
    "conv_naive",
    "conv_shared",
    "conv_tensor",
    "conv_tiled",
    "depthwise",
    "first_layer",
    "grid",
    "implicit",
    "lrn",
    "norm",
    "parts",
    "pool",
]
