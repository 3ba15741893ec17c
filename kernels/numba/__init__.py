"""The fast CPU kernels: compiled by Numba for the machine they run on."""

from minicnn.kernels.numba import conv, depthwise, elementwise, linear, norm, pool

__all__ = ["conv", "depthwise", "elementwise", "linear", "norm", "pool"]
