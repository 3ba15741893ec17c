"""The one table of geometries for convolution, pooling and normalisation, and how a case is run.

Arrays are small, since the oracle is plain Python loops. Every kernel that is registered joins by itself:
``algorithms("conv2d")`` lists one parameter for each family and algorithm, and ``running`` makes the
block use it and asserts that nothing else ran.
"""

import zlib
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from emulator import use

import minicnn as mc
from minicnn import kernels
from minicnn.backend import default_device, move

DTYPES = (np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Case:
    """One geometry: the shapes of the arrays, and the operation's settings."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    settings: dict

    def arrays(self, dtype=np.float64):
        """Random normal arrays, the same for every dtype: they are drawn in float32."""
        return [normal(f"{self.name} {i}", shape, dtype) for i, shape in enumerate(self.shapes)]


def conv(name, x, w, bias=True, **settings):
    return Case(name, (x, w, w[:1]) if bias else (x, w), settings)


# name, x (N, C, H, W), w (OC, C/groups, KH, KW), settings
CONVOLUTIONS = [
    conv("one pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    conv("1x1", (2, 5, 4, 3), (7, 5, 1, 1)),
    conv("1x1 stride 2", (2, 3, 5, 6), (2, 3, 1, 1), stride=2),
    conv("1x1 padded", (1, 3, 3, 4), (4, 3, 1, 1), padding=1),
    conv("1x1 stride 2 padded", (1, 2, 4, 5), (3, 2, 1, 1), stride=2, padding=1),
    conv("1x3", (2, 3, 4, 6), (4, 3, 1, 3), padding=(0, 1)),
    conv("3x1", (2, 3, 6, 4), (4, 3, 3, 1), padding=(1, 0)),
    conv("1x7", (1, 2, 3, 9), (3, 2, 1, 7), padding=(0, 3)),
    conv("7x1", (1, 2, 9, 3), (3, 2, 7, 1), padding=(3, 0)),
    conv("2x2", (2, 3, 5, 4), (3, 3, 2, 2)),
    conv("2x3 stride 1x2", (1, 2, 5, 7), (3, 2, 2, 3), stride=(1, 2)),
    conv("3x3", (2, 3, 5, 6), (4, 3, 3, 3), padding=1),
    conv("3x3 without bias", (2, 3, 5, 4), (2, 3, 3, 3), bias=False),
    conv("3x3 stride 2, nothing left over", (1, 3, 7, 5), (4, 3, 3, 3), stride=2),
    conv("3x3 stride 2, a row and a column left over", (2, 2, 8, 6), (3, 2, 3, 3), stride=2),
    conv("3x3 stride 2x3 padded, some left over", (1, 2, 6, 9), (3, 2, 3, 3), stride=(2, 3), padding=1),
    conv("4x4 stride 2", (1, 2, 8, 7), (3, 2, 4, 4), stride=2, padding=1),
    conv("5x5", (1, 2, 6, 7), (3, 2, 5, 5), padding=2),
    conv("6x6", (1, 1, 7, 8), (2, 1, 6, 6), padding=1),
    conv("7x7 stride 2", (1, 3, 9, 8), (2, 3, 7, 7), stride=2, padding=3),
    conv("8x8 stride 8", (1, 1, 16, 9), (2, 1, 8, 8), stride=8),
    conv("9x9", (1, 1, 9, 10), (2, 1, 9, 9), padding=1),
    conv("10x10 same", (1, 1, 6, 5), (1, 1, 10, 10), padding="same"),
    conv("11x11 stride 4", (1, 2, 15, 14), (2, 2, 11, 11), stride=4, padding=2),
    conv("stride 3 above window 2", (2, 2, 8, 9), (3, 2, 2, 2), stride=3),
    conv("stride 4x5 above window 3", (1, 2, 9, 8), (2, 2, 3, 3), stride=(4, 5), padding=1),
    conv("stride beyond the image", (2, 2, 4, 3), (3, 2, 2, 2), stride=9),
    conv("padding from side to side", (1, 2, 4, 5), (3, 2, 3, 2), padding=((0, 1), (2, 0))),
    conv("padding top right, stride 2", (1, 2, 4, 5), (3, 2, 3, 3), stride=2, padding=((3, 0), (0, 2))),
    conv("padding above the window", (1, 2, 2, 3), (2, 2, 2, 2), padding=3),
    conv("valid", (1, 2, 5, 4), (2, 2, 3, 2), padding="valid"),
    conv("same", (1, 2, 5, 4), (2, 2, 3, 3), padding="same"),
    conv("same 4x2", (1, 2, 5, 4), (2, 2, 4, 2), padding="same"),
    conv("same stride 2", (2, 2, 6, 5), (3, 2, 3, 3), padding="same", stride=2),
    conv("same 4x4 stride 3", (1, 2, 7, 8), (2, 2, 4, 4), padding="same", stride=3),
    conv("same stride 3 above window 2", (1, 2, 7, 8), (2, 2, 2, 2), padding="same", stride=3),
    conv("same stride 2 dilated", (1, 2, 7, 6), (2, 2, 3, 2), padding="same", stride=2, dilation=2),
    conv("dilation 2", (1, 2, 7, 6), (3, 2, 3, 3), dilation=2, padding=1),
    conv("dilation 1x3", (1, 2, 5, 9), (2, 2, 2, 3), dilation=(1, 3)),
    conv("dilation 3x2 stride 2 padded", (1, 2, 9, 8), (2, 2, 3, 3), dilation=(3, 2), stride=2, padding=2),
    conv("2 groups", (2, 4, 5, 4), (6, 2, 3, 3), groups=2, padding=1),
    conv("3 groups stride 2", (1, 6, 6, 5), (3, 2, 3, 3), groups=3, stride=2),
    conv("5 groups 1x1", (2, 10, 3, 3), (5, 2, 1, 1), groups=5),
    conv("2 groups to one channel each", (1, 6, 4, 4), (2, 3, 3, 3), groups=2),
    conv("depthwise", (2, 5, 5, 6), (5, 1, 3, 3), groups=5, padding=1),
    conv("depthwise multiplier 3", (2, 3, 5, 4), (9, 1, 3, 3), groups=3),
    conv("depthwise 5x5 stride 2", (1, 7, 8, 7), (7, 1, 5, 5), groups=7, stride=2, padding=2),
    conv("depthwise 2x3 dilated", (1, 3, 6, 7), (3, 1, 2, 3), groups=3, dilation=2, padding=((1, 0), (2, 1))),
    conv("depthwise 1x1", (2, 4, 3, 3), (8, 1, 1, 1), groups=4),
    conv("3x3 padded twice", (1, 2, 3, 6), (3, 2, 3, 3), padding=2),
    conv("3x3, tiles and channels left over", (2, 9, 6, 11), (17, 9, 3, 3), padding=1),
    conv("3x3 to one pixel", (2, 8, 3, 3), (8, 8, 3, 3)),
    conv("1x1, pixels left over", (3, 9, 5, 7), (13, 9, 1, 1)),
    conv("17 channels", (1, 17, 4, 3), (5, 17, 3, 3), padding=1),
    conv("7 to 17 channels", (1, 7, 3, 4), (17, 7, 2, 2)),
    conv("one channel to 16", (2, 1, 6, 6), (16, 1, 3, 3)),
    conv("batch of 5", (5, 2, 4, 4), (3, 2, 3, 3), padding=1),
    conv("image as large as the window", (2, 3, 3, 5), (4, 3, 3, 5)),
    conv("image smaller than the window", (2, 2, 2, 2), (3, 2, 4, 3), padding=1),
    conv("one row", (1, 2, 1, 9), (2, 2, 1, 4)),
    conv("33 columns", (1, 1, 3, 33), (2, 1, 3, 3), padding=1),
]


def pool(name, x, kernel_size, **settings):
    return Case(name, (x,), {"kernel_size": kernel_size, **settings})


# name, x (N, C, H, W), window, settings; all of these hold for the maximum and for the mean
POOLS = [
    pool("2x2", (2, 3, 4, 6), 2),
    pool("2x2, some left over", (2, 3, 5, 7), 2),
    pool("2x2 ceil", (2, 3, 5, 7), 2, ceil_mode=True),
    pool("overlapping", (2, 3, 7, 9), 3, stride=2),
    pool("overlapping ceil", (1, 2, 8, 6), 3, stride=2, ceil_mode=True),
    pool("overlapping padded", (2, 2, 7, 6), 3, stride=2, padding=1),
    pool("overlapping padded ceil", (1, 3, 7, 6), 3, stride=2, padding=1, ceil_mode=True),
    pool("stride 1", (1, 5, 4, 5), 3, stride=1),
    pool("stride 1 padded", (1, 2, 4, 5), 3, stride=1, padding=1),
    pool("stride 3 above window 2", (2, 2, 7, 9), 2, stride=3),
    pool("stride 3 above window 2 ceil", (2, 2, 6, 7), 2, stride=3, ceil_mode=True),
    pool("stride 4 above window 1 ceil", (1, 2, 6, 5), 1, stride=4, ceil_mode=True),
    pool(
        "ceil, a window in the padding dropped",
        (1, 2, 4, 4),
        2,
        stride=3,
        padding=1,
        ceil_mode=True,
    ),
    pool("ceil, image smaller than the window", (1, 2, 2, 2), 3, stride=2, ceil_mode=True),
    pool("2x3 stride 1x2", (1, 2, 5, 8), (2, 3), stride=(1, 2)),
    pool("3x2 padded 1x0 ceil", (1, 2, 6, 5), (3, 2), stride=(2, 2), padding=(1, 0), ceil_mode=True),
    pool("4x4 padded 2", (1, 2, 5, 6), 4, stride=3, padding=2),
    pool("5x5 padded 2 stride 3 ceil", (1, 1, 8, 9), 5, stride=3, padding=2, ceil_mode=True),
    pool("1x1", (2, 3, 3, 4), 1),
    pool("1x1 stride 2", (2, 3, 3, 4), 1, stride=2),
    pool("global", (2, 17, 3, 5), (3, 5)),
    pool("17x17: more taps than a byte counts", (1, 1, 19, 18), 17, stride=1),
    pool("one row", (1, 3, 1, 7), (1, 2)),
]
DILATED_POOLS = [
    pool("dilation 2", (1, 2, 7, 6), 3, stride=1, dilation=2),
    pool("dilation 2x1 padded", (2, 2, 6, 6), (2, 3), stride=2, padding=1, dilation=(2, 1)),
    pool("dilation 1x3 ceil", (1, 2, 5, 9), 2, stride=2, dilation=(1, 3), ceil_mode=True),
]

BATCH_NORMS = [
    Case("vectors", ((6, 3), (3,), (3,)), {}),
    Case("two vectors", ((2, 5), (5,), (5,)), {"eps": 3.0}),
    Case("sequences", ((3, 4, 5), (4,), (4,)), {}),
    Case("images", ((4, 3, 5, 2), (3,), (3,)), {}),
    Case("one image", ((1, 7, 3, 4), (7,), (7,)), {}),
    Case("17 channels of one pixel", ((5, 17, 1, 1), (17,), (17,)), {}),
    Case("one channel", ((3, 1, 2, 3), (1,), (1,)), {"eps": 0.1}),
    Case("without scale and shift", ((4, 3, 2, 2),), {}),
]

# alpha is 1, so that a window of the wrong width or place cannot hide
LOCAL_RESPONSE_NORMS = [
    Case("AlexNet's window", ((2, 7, 2, 3),), {"size": 5, "alpha": 1.0, "beta": 0.75, "k": 2.0}),
    Case("one channel wide", ((1, 3, 2, 2),), {"size": 1, "alpha": 1.0}),
    Case("even", ((1, 5, 2, 2),), {"size": 2, "alpha": 1.0}),
    Case("even, four", ((2, 5, 1, 3),), {"size": 4, "alpha": 1.0, "beta": 0.5}),
    Case("odd", ((1, 6, 3, 1),), {"size": 3, "alpha": 1.0, "beta": 1.0, "k": 0.5}),
    Case("wider than the image is deep", ((1, 3, 2, 2),), {"size": 9, "alpha": 1.0}),
    Case("even, wider than the image is deep", ((1, 2, 2, 2),), {"size": 8, "alpha": 1.0}),
    Case("one channel", ((2, 1, 2, 2),), {"size": 5, "alpha": 1.0}),
    Case("sequences", ((2, 4, 5),), {"size": 3, "alpha": 1.0}),
]


def named(cases):
    """Parameters for pytest, under the cases' names."""
    return [pytest.param(case, id=case.name) for case in cases]


# Numbers


def normal(name, shape, dtype=np.float64):
    """Random normal numbers that depend on the name alone."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return random.standard_normal(shape, np.float32).astype(dtype)


def distinct(name, shape, dtype=np.float64):
    """Numbers between −1 and 1 of which no two are equal or close, in random order."""
    size = int(np.prod(shape))
    order = np.random.default_rng(zlib.crc32(name.encode())).permutation(size)
    return (2 * (order.reshape(shape) + 0.5) / size - 1).astype(np.float32).astype(dtype)


def layouts(array):
    """The same numbers in other memory: (name, array)."""
    yield "transposed", np.ascontiguousarray(array.T).T
    spread = np.full(tuple(2 * size + 1 for size in array.shape), np.nan, array.dtype)
    every_other = spread[(slice(1, None, 2),) * array.ndim]
    every_other[...] = array
    yield "every other entry", every_other
    backwards = (slice(None, None, -1),) * array.ndim
    yield "backwards", np.ascontiguousarray(array[backwards])[backwards]
    read_only = array.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only


LAYOUTS = [name for name, _ in layouts(np.zeros((1, 1)))]


# Kernels


class Choice(NamedTuple):
    """A family of kernels, and one of its algorithms."""

    backend: str
    algorithm: str


# Algorithms that are for certain geometries only: whether a case is one of them. Others are for all.
def _window(case, *names):
    return case.shapes[1][2:] == (3, 3) and not set(case.settings) - {*names}


def _cuda_depthwise(case):
    (_, C, KH, KW), stride = case.shapes[1], case.settings.get("stride", 1)
    listed = KH == KW and KH in (3, 5, 7) and stride in (1, 2) and not case.settings.get("dilation")
    return C == 1 and listed


ROUNDED = (Choice("cuda", "tf32"), Choice("cuda", "bf16"), Choice("cuda", "fp16"))
"""They round their factors, too much for tests of all algorithms: test_cuda_conv.py and test_cuda_linear.py
have tests of their own for them."""

ONLY_FOR = {
    **dict.fromkeys(ROUNDED, lambda case: False),
    Choice("cuda", "depthwise"): _cuda_depthwise,
    Choice("cuda", "first"): lambda case: case.shapes[1][1] <= 4 and "groups" not in case.settings,
    "narrow": lambda case: case.settings.get("stride", 1) == 1,
    "depthwise": lambda case: case.shapes[1][1] == 1 and case.shapes[0][1] == case.settings.get("groups", 1),
    "pointwise": lambda case: case.shapes[1][2:] == (1, 1) and not case.settings,
    "winograd": lambda case: _window(case, "padding"),
    "winograd2": lambda case: _window(case, "padding"),
}


def applies(choice, case):
    only_for = ONLY_FOR.get(choice, ONLY_FOR.get(choice.algorithm))
    return only_for is None or only_for(case)


def each_algorithm(operation, cases, without=()):
    """Parameters for pytest: every case with every algorithm that is for it."""
    return [
        pytest.param(case, choice.values[0], id=f"{case.name}-{choice.id}", marks=choice.marks)
        for case in cases
        for choice in algorithms(operation, without)
        if applies(choice.values[0], case)
    ]


def algorithms(operation, without=()):
    """Parameters for pytest: every family and algorithm there is for an operation, or for a part of one.

    Those of the GPU are among them. Without one they run on the emulated GPU, as their ids then say.
    ``without`` names algorithms, of all families or as a Choice.
    """
    found = dict.fromkeys(
        Choice(ran.backend, ran.algorithm)
        for ran in (*kernels.registered(), *kernels.registered("cuda"))
        if f"{ran.operation}.".startswith(f"{operation}.")
        and not {ran.algorithm, Choice(ran.backend, ran.algorithm)} & {*without}
    )
    return [on_its_device(choice) for choice in found]


def on_its_device(choice):
    """A parameter for pytest, marked if it needs what may not be there."""
    name = f"{choice.backend}-{choice.algorithm}"
    if choice.backend != "cuda":
        return pytest.param(choice, id=name)
    missing = pytest.mark.skip(reason=use.MISSING)
    marks = {"GPU": (pytest.mark.gpu,), "": (missing,)}.get(use.kind(), ())
    return pytest.param(choice, id=name if use.kind() == "GPU" else f"{name}-emulated", marks=marks)


def device_of(choice):
    """A block in which the family's device is there."""
    return use.gpu() if choice.backend == "cuda" else nullcontext()


@contextmanager
def running(operation, choice):
    """Compute with one family's algorithm, on its device, and assert that it did. Gives the trace.

    Parts of the operation that this algorithm does not have are left to whatever the backend chooses.
    """
    parts = {
        ran.operation: ran
        for ran in kernels.registered(choice.backend)
        if ran.operation.partition(".")[0] == operation and Choice(ran.backend, ran.algorithm) == choice
    }
    with (
        device_of(choice),
        mc.use(choice.backend, dict.fromkeys(parts, choice.algorithm)),
        mc.trace() as ran,
    ):
        yield ran
    own = [one for one in ran if one.operation in parts]
    assert own, f"no kernel of {operation}[{choice.backend}:{choice.algorithm}] ran, but {ran}"
    expected = [parts[one.operation] for one in own]
    assert own == expected, f"{operation}[{choice.backend}:{choice.algorithm}] was asked for, but {ran}"


def run(function, arrays, gy=None):
    """[y, g1, g2, …]: the value of function(*tensors), and its gradient to each array, as NumPy arrays.

    It is computed where new tensors are made: within :func:`running` on the family's device. The upstream
    gradient is random unless given. Asserts that no array was changed, and that values and gradients have
    the arrays' dtype and are in memory of their own.
    """
    before = [array.copy() for array in arrays]
    tensors = [on_device(array) for array in arrays]
    for tensor in tensors:
        tensor.requires_grad = True
    y = function(*tensors)
    if gy is None:
        gy = normal("upstream", y.shape, y.dtype)
    upstream = gy.copy()
    y.backward(on_device(gy))
    results = [on_host(y.data), *(on_host(tensor.grad) for tensor in tensors)]
    for result, array in zip(results[1:], arrays, strict=True):
        assert result.shape == array.shape
    assert {result.dtype for result in results} == {array.dtype for array in arrays}
    for array, copy in zip((*arrays, gy), (*before, upstream), strict=True):
        np.testing.assert_array_equal(array, copy, "an input was changed")
        for result in results:
            assert not np.shares_memory(array, result), "a result is a view of an input"
    return results


def on_device(array):
    """A tensor of an array, where new tensors are made: on the CPU of the very same memory."""
    return mc.Tensor(there(array))


def there(array):
    """An array where new tensors are made; on the CPU the very same."""
    return move(array, default_device())


def on_host(value):
    """The numbers of an array or a tensor as a NumPy array, from wherever they are."""
    return move(value.data if isinstance(value, mc.Tensor) else value, "cpu")


def cpu_only(reason):
    """Mark a test of what only the CPU has."""
    return pytest.mark.skipif(default_device() != "cpu", reason=f"the CPU's only: {reason}")


def kernel_on(module, operation, *args):
    """Run one kernel on a module's copies of the arrays; its results as NumPy arrays, None as it is."""
    results = kernels.run(operation, *(module.asarray(a) if isinstance(a, np.ndarray) else a for a in args))
    results = results if isinstance(results, tuple) else (results,)
    return [None if result is None else move(result, "cpu") for result in results]


def computing(ran):
    """The kernels of a trace that compute something; concatenation only copies."""
    return [one for one in ran if not one.operation.startswith("cat.")]


def by_numpy(operation, *args):
    """The results of NumPy's kernel for the same arguments, in float64."""
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args]
    with mc.use("numpy"):
        return kernel_on(np, operation, *wide)


def assert_close(results, expected, relative):
    """Equal to within ``relative`` times the largest entry of each expected array."""
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        size = max(np.abs(wanted).max(initial=0), 1e-3)
        np.testing.assert_allclose(result, wanted, rtol=0, atol=relative * size)
