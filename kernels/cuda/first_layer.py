"""Convolution of images with few channels: see first_layer.cu. The gradients are left to other kernels."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.arrays import FREE, empty, plain
from minicnn.kernels.cuda.compiling import SHARED, blocks, declare, function, launch
from minicnn.kernels.cuda.conv_naive import geometry
from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel

FILE = "first_layer.cu"
THREADS = 128
PIXELS = 2  # of a thread
FEW = 4  # the most channels of an image

CHANNELS = {"float32": (8, 16, 32), "float64": (8, 16)}
"""How many outputs of a pixel a thread computes: all in registers, and two pixels."""

for dtype, numbers in CHANNELS.items():
    for number in numbers:
        declare(FILE, [dtype], {"CHANNELS": number, "THREADS": THREADS, "PIXELS": PIXELS})


def channels_for(w: Any) -> int:
    """As many as there are filters, or the most whose weights fit into shared memory; 0 if none do."""
    numbers = CHANNELS[w.dtype.name]
    fit = [n for n in numbers if n * w.size // w.shape[0] * w.dtype.itemsize <= SHARED]
    return next((n for n in fit if n >= w.shape[0]), max(fit, default=0))


def suits(x: Any, w: Any, b: Any, g: Window, *_: Any) -> bool:
    """Whether this is for the arguments of forward: few channels, and filters that are not enormous."""
    return g.groups == 1 and w.shape[1] <= FEW and channels_for(w) > 0


@kernel("conv2d.forward", "cuda", "first", suits)
@kernel("conv2d.forward_clipped", "cuda", "first", suits)
def forward(x: Any, w: Any, b: Any, g: Window, bounds: tuple[float, float] = FREE) -> Any:
    """(N, C, H, W), (OC, C, KH, KW), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    OC, size = w.shape[0], g.output_size(*x.shape[2:])
    y = empty((x.shape[0], OC, *size), like=x)
    channels = channels_for(w)
    limits = (x.dtype.type(bound) for bound in bounds)
    sizes = (*geometry(x.shape, OC, size, g)[:-1], *limits)  # there are no groups
    args = (plain(x), plain(w), None if b is None else plain(b), y, *sizes)
    table = {"CHANNELS": channels, "THREADS": THREADS, "PIXELS": PIXELS}
    grid = blocks(x.shape[0] * size[0] * size[1], THREADS * PIXELS), blocks(OC, channels)
    shared = channels * w.size // OC * w.dtype.itemsize
    launch(function(FILE, "forward", y.dtype, **table), grid, THREADS, args, shared)
    return y
