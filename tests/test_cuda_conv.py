"""Convolution's CUDA kernels against the loops, on a GPU where there is one, else on the emulated one."""

from functools import cache

import numpy as np
import pytest
from cases import CONVOLUTIONS, DTYPES, normal
from emulator.use import cupy

from minicnn import kernels
from minicnn.functional.conv import resolve_padding

__all__ = ["cupy"]  # a fixture

PARTS = ("conv2d.forward", "conv2d.grad_input", "conv2d.grad_weight")


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def window(case):
    """A case's settings as kernels take them."""
    x, w = case.shapes[:2]
    stride, dilation = (pair(case.settings.get(name, 1)) for name in ("stride", "dilation"))
    padding = case.settings.get("padding", 0)
    padding = resolve_padding("conv2d", padding, x[2:], w[2:], stride, dilation)
    return kernels.Window(w[2:], stride, padding, dilation, case.settings.get("groups", 1))


def parts(run, arrays, g):
    """y, gx and gw by whatever ``run`` runs, for a random upstream gradient."""
    x, w, *b = arrays
    y_shape = (x.shape[0], w.shape[0], *g.output_size(*x.shape[2:]))
    gy = normal("upstream", y_shape, x.dtype)
    return [
        run(PARTS[0], x, w, b[0] if b else None, g),
        run(PARTS[1], gy, w, x.shape, g),
        run(PARTS[2], gy, x, w.shape, g),
    ]


@cache
def by_loops(case):
    """The loops' results in float64, and how far each may be off in units of its dtype's rounding."""
    loops = {ran.operation: ran for ran in kernels.registered("numpy") if ran.algorithm == "naive"}
    assert set(PARTS) <= set(loops)
    g, arrays = window(case), case.arrays()
    with kernels.use("numpy", conv2d="naive"):
        results = parts(kernels.run, arrays, g)

        def run_absolute(operation, a, b, *rest):
            rest = [None if part is rest[0] and operation == PARTS[0] else part for part in rest]
            return kernels.run(operation, np.abs(a), np.abs(b), *rest)

        sizes = parts(run_absolute, arrays, g)
    (OC, C, KH, KW), (N, _, OH, OW) = case.shapes[1], results[0].shape
    terms = [C * KH * KW + 1, OC * KH * KW, N * OH * OW]
    bias = 0 if len(arrays) < 3 else np.abs(arrays[2])[:, None, None]
    sizes[0] = sizes[0] + bias
    return results, [2 * n * size for n, size in zip(terms, sizes, strict=True)]


def on_device(module, operation, *args):
    """Run a kernel with arrays moved to the GPU."""
    args = [module.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
    before = [arg.copy() if isinstance(arg, module.ndarray) else None for arg in args]
    result = kernels.run(operation, *args)
    for arg, copy in zip(args, before, strict=True):
        assert copy is None or (arg == copy).all(), "an input was changed"
    return result.get()


ALGORITHMS = sorted(
    {ran.algorithm for ran in kernels.registered("cuda") if ran.operation == "conv2d.forward"}
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CONVOLUTIONS])
def test_kernels_equal_the_loops(cupy, case, algorithm, dtype):
    expected, room = by_loops(case)
    with kernels.use("cuda", conv2d=algorithm), kernels.trace() as ran:
        results = parts(lambda *args: on_device(cupy, *args), case.arrays(dtype), window(case))
    assert ran == [(part, "cuda", algorithm) for part in PARTS]
    for result, wanted, off in zip(results, expected, room, strict=True):
        assert result.dtype == dtype
        assert result.shape == wanted.shape
        assert (np.abs(result - wanted) <= off * np.finfo(dtype).eps).all()
