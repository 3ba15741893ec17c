"""Dropout: keep each entry with probability 1 − p, and scale what is kept so that the mean stays.

Entry number i of x looks at word number offset + i of the seed's Philox stream: whichever backend or
thread computes it, the mask is the same. A word is uniform on 0 … 2³² − 1, so that "word ≥ p · 2³²"
holds with probability 1 − p.
"""

import numpy as np

from minicnn.kernels.numpy.philox import philox_uint32
from minicnn.kernels.registry import kernel


@kernel("dropout.forward", "numpy", "philox")
def forward(x, p, entries, seed, offset):
    """x -> y, and the mask of ``entries`` numbers, 0 or 1/(1 − p), by which x was multiplied.

    The mask's shape may have sizes of 1, where one decision serves a whole axis (as for channels).
    """
    words = philox_uint32(seed, offset, int(np.prod(entries)))
    keep = words >= np.uint32(min(round(p * 2**32), 2**32 - 1))
    mask = keep.reshape(entries) * x.dtype.type(1 / (1 - p) if p < 1 else 0)
    return x * mask, mask
