"""The largest |x| of an array, which stays on the GPU: see largest.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.compiling import declare, function, launch
from minicnn.kernels.cuda.grid import spread

FILE = "largest.cu"
THREADS = 256
MOST_BLOCKS = 1 << 10  # fill a GPU once: each of their warps ends with a turn at the one address

declare(FILE, [])


def largest(x: Any) -> Any:
    """float32, one number after another, in any shape -> (1,) the bits of max |x|; of an empty x, of 0."""
    found = devices.module_of(x).zeros(1, np.uint32)
    grid = min(spread(x.size, THREADS), MOST_BLOCKS)
    launch(function(FILE, "largest"), grid, THREADS, (x, found, x.size))
    return found
