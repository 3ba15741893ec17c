"""Kernels for the GPU that are none: the reference on the CPU, with arrays copied there and back.

They let everything around the kernels be tested with a GPU whose own kernels would take hours to emulate.
"""

import sys
from contextlib import contextmanager

import numpy as np

from minicnn import kernels
from minicnn.kernels import registry


@contextmanager
def stand_ins(monkeypatch):
    """In this block, every operation that the reference computes, it computes on the GPU's arrays too."""
    kernels.registered("numpy")  # which loads them
    kernels.registered("cuda")
    with monkeypatch.context() as patch:
        for table in (registry._kernels, registry._choosers):
            for operation, family in list(table):
                if family == "cuda":
                    patch.delitem(table, (operation, family))
        for operation, family in list(registry._kernels):
            if family == "numpy":
                patch.setitem(registry._kernels, (operation, "cuda"), {"stand-in": _stand_in(operation)})
        yield


def _stand_in(operation):
    def kernel(*args):
        cupy = sys.modules["cupy"]
        inside = [_numbers(arg) if isinstance(arg, cupy.ndarray) else arg for arg in args]
        algorithm = registry._auto(operation, "numpy", tuple(inside))
        result = registry._kernels[operation, "numpy"][algorithm](*inside)
        if operation.endswith(".update"):  # in place
            for arg, changed in zip(args, inside, strict=True):
                if isinstance(arg, cupy.ndarray):
                    arg[...] = cupy.asarray(changed)
        return _back(cupy, result)

    return kernel


def _numbers(array):
    """A copy on the host; behind the emulator's back, as a kernel on the GPU would need none."""
    return array._host.copy() if hasattr(array, "_host") else array.get()


def _back(cupy, result):
    if isinstance(result, tuple):
        return tuple(_back(cupy, one) for one in result)
    return cupy.asarray(result) if isinstance(result, np.ndarray | np.generic) else result
