"""Kernels: arrays in, arrays out. Nothing in this room knows of tensors or gradients' graphs.

Every kernel keeps one contract: it never changes its inputs, takes arrays of any memory layout,
and returns the dtype it was given. The families compute the same numbers; :mod:`.registry` picks.
"""

from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import (
    Ran,
    chooser,
    for_some,
    fusing,
    kernel,
    offers,
    precision,
    registered,
    run,
    settings,
    trace,
    tracing,
    use,
)

__all__ = [
    "Ran",
    "Window",
    "chooser",
    "for_some",
    "fusing",
    "kernel",
    "offers",
    "precision",
    "registered",
    "run",
    "settings",
    "trace",
    "tracing",
    "use",
]
