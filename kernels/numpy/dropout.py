"""Dropout: keep each entry with probability 1 − p, and scale what is kept so that the mean stays.

Entry number i of x looks at word number offset + i of the seed's Philox stream: whichever backend or
thread computes it, the mask is the same. A word is uniform on 0 … 2³² − 1, so that "word ≥ p · 2³²"
holds with probability 1 − p.
"""

import numpy as np

from minicnn.kernels.numpy.philox import philox_uint32
from minicnn.kernels.registry import kernel


def threshold(p):
    """The least word that keeps its entry."""
    return np.uint32(min(round(p * 2**32), 2**32 - 1))


def scale(p, dtype):
    """What the entries that are kept are multiplied by."""
    return dtype.type(1 / (1 - p) if p < 1 else 0)


@kernel("dropout.forward", "numpy", "philox")
def forward(x, p, entries, seed, offset):
    """x -> y, and which of the ``entries`` were kept, as a byte each.

    The mask's shape may have sizes of 1, where one decision serves a whole axis (as for channels).
    """
    words = philox_uint32(seed, offset, int(np.prod(entries)))
    kept = (words >= threshold(p)).reshape(entries)
    return x * (kept * scale(p, x.dtype)), kept


@kernel("dropout.backward", "numpy", "philox")
def backward(gy, kept, p):
    """The gradient to x: gy where x was kept, scaled, and 0 elsewhere."""
    return gy * (kept * scale(p, gy.dtype))
