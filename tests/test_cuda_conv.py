"""Convolution's CUDA kernels where they have several blocks and parts; test_conv.py has the small cases."""

from functools import cache

import numpy as np
import pytest
from cases import CONVOLUTIONS, DTYPES, conv, named, normal
from emulator import use
from emulator.use import cupy

from minicnn import kernels
from minicnn.functional.conv import resolve_padding
from minicnn.kernels.cuda import compiling, conv_tiled, depthwise, implicit, tables, tensor
from minicnn.kernels.cuda.divide import divisor
from minicnn.kernels.cuda.sources import source

__all__ = ["cupy"]  # a fixture

INF = float("inf")
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


ROUNDING = {"tf32": 2.0**-10, "bf16": 2.0**-7 + 2.0**-16, "fp16": 2.0**-10 + 2.0**-20}
"""How far a product is off whose factors are rounded to 10 or 7 bits of fraction: by 2⁻¹¹ or 2⁻⁸ each."""

# Larger than a tile in every direction, with something left over; too large for loops in Python.
LARGE = [
    conv("large", (3, 9, 13, 17), (70, 9, 3, 3), padding=1),
    conv("large, stride 2", (3, 7, 16, 21), (37, 7, 3, 3), stride=2, padding=1),
    conv("large, 2 groups", (2, 80, 9, 10), (140, 40, 1, 1), groups=2),
    conv("large, dilated", (2, 35, 12, 11), (6, 35, 2, 3), dilation=2, stride=(1, 2), padding=2),
]

# Four neighbours at once where they may be: of w if it has a multiple of four for each output, of gy if its
# planes do, of x if a 1×1 filter moves by single pixels over such planes; and of results likewise.
WIDE = [
    conv("w and gy wide", (2, 8, 13, 10), (70, 8, 3, 3), padding=((1, 0), (1, 1))),
    conv("gy wide", (3, 3, 6, 6), (37, 3, 3, 3), padding=1),
    conv("all wide", (3, 36, 6, 8), (72, 36, 1, 1)),
    conv("x and gy wide, 2 groups", (5, 70, 4, 9), (66, 35, 1, 1), groups=2),
]


DEPTHWISE = [
    conv("depthwise 3x3", (2, 3, 9, 40), (3, 1, 3, 3), groups=3, padding=1),
    conv(
        "depthwise 3x3 stride 2", (3, 2, 11, 37), (6, 1, 3, 3), groups=2, stride=2, padding=((1, 0), (2, 1))
    ),
    conv("depthwise 5x5", (1, 2, 10, 12), (2, 1, 5, 5), groups=2, padding=2),
    conv("depthwise 5x5 stride 2", (2, 2, 23, 12), (4, 1, 5, 5), groups=2, stride=2, padding=(1, 2)),
    conv("depthwise 7x7", (1, 2, 9, 8), (2, 1, 7, 7), groups=2, padding=3),
    conv("depthwise 7x7 stride 2", (2, 2, 20, 17), (2, 1, 7, 7), groups=2, stride=2, padding=3),
    conv("depthwise, windows in the padding", (1, 2, 2, 1), (2, 1, 3, 3), groups=2, stride=2, padding=5),
]


@cache
def by_reference(case):
    """The reference's results in float64, and for each number Σ|x·w|, and the number of terms n of its sum.

    A sum of n products in any order errs by n·ε·Σ|x·w| at most.
    """
    g, arrays = window(case), case.arrays()
    with kernels.use("numpy", conv2d="taps"):
        results = parts(kernels.run, arrays, g)

        def run_absolute(operation, a, b, *rest):
            rest = [None if part is rest[0] and operation == PARTS[0] else part for part in rest]
            return kernels.run(operation, np.abs(a), np.abs(b), *rest)

        sizes = parts(run_absolute, arrays, g)
    (OC, C, KH, KW), (N, _, OH, OW) = case.shapes[1], results[0].shape
    terms = [C * KH * KW + 1, OC * KH * KW, N * OH * OW]
    bias = 0 if len(arrays) < 3 else np.abs(arrays[2])[:, None, None]
    sizes[0] = sizes[0] + bias
    return results, sizes, terms


def on_device(module, operation, *args):
    """Run a kernel with arrays moved to the GPU."""
    args = [module.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
    arrays = [arg for arg in args if isinstance(arg, module.ndarray)]
    before = [array.get() for array in arrays]
    result = kernels.run(operation, *args)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array.get(), copy, "an input was changed")
    return result.get()


def compare(cupy, case, algorithm, dtype, rounding=0.0, ran_by=None):
    """Run one algorithm, and hold its results against the reference's."""
    expected, sizes, terms = by_reference(case)
    with kernels.use("cuda", conv2d=algorithm), kernels.trace() as ran:
        results = parts(lambda *args: on_device(cupy, *args), case.arrays(dtype), window(case))
    names = ran_by or [algorithm] * 3
    assert ran == [(part, "cuda", name) for part, name in zip(PARTS, names, strict=True)]
    for result, wanted, size, n in zip(results, expected, sizes, terms, strict=True):
        assert result.dtype == dtype
        assert result.shape == wanted.shape
        assert (np.abs(result - wanted) <= (2 * n * np.finfo(dtype).eps + rounding) * size).all()


TILES = [(dtype, tile) for dtype, tiles in conv_tiled.TILES.items() for tile in tiles]


@pytest.mark.parametrize(("dtype", "tile"), TILES, ids=[f"{d}-{t.BM}x{t.BN}" for d, t in TILES])
@pytest.mark.parametrize("case", named([*LARGE, WIDE[0], WIDE[2]]))
def test_every_tile(cupy, monkeypatch, case, dtype, tile):
    """With parts of a gradient to weights so short that there are several."""
    monkeypatch.setitem(conv_tiled.TILES, dtype, (tile,))
    monkeypatch.setattr(implicit, "PIXELS_OF_PART", 60)
    compare(cupy, case, "tiled", np.dtype(dtype))


TENSOR_TILES = [
    pytest.param(precision, tile, id=f"{precision}-{tile.BM}x{tile.BN}")
    for precision, tiles in tensor.TILES.items()
    for tile in tiles
]


@pytest.mark.parametrize(("precision", "tile"), TENSOR_TILES)
@pytest.mark.parametrize("case", named([*LARGE, *WIDE]))
def test_tensor_cores(cupy, monkeypatch, case, precision, tile):
    monkeypatch.setitem(tensor.TILES, precision, {tile: 1.0})
    monkeypatch.setattr(implicit, "PIXELS_OF_PART", 60)
    compare(cupy, case, precision, np.float32, ROUNDING[precision])


@pytest.mark.parametrize("precision", ROUNDING)
@pytest.mark.parametrize("case", named(CONVOLUTIONS))
def test_tensor_cores_on_every_geometry(cupy, case, precision):
    compare(cupy, case, precision, np.float32, ROUNDING[precision])


def test_tensor_cores_and_what_lies_askew(cupy, monkeypatch):
    """Four neighbours can be fetched at once only from an address that is a multiple of 16."""
    case, ys, found = WIDE[2], [], []
    is_aligned = implicit.aligned
    monkeypatch.setattr(implicit, "aligned", lambda x: found.append(is_aligned(x)) or found[-1])
    for shift in (0, 1):
        shifted = [np.append(np.zeros(shift, np.float32), array) for array in case.arrays(np.float32)[:2]]
        x, w = (
            cupy.asarray(array)[shift:].reshape(shape)
            for array, shape in zip(shifted, case.shapes, strict=False)
        )
        with kernels.use("cuda", conv2d="bf16"):
            ys.append(kernels.run(PARTS[0], x, w, None, window(case)).get())
    np.testing.assert_array_equal(*ys)
    assert found == [True, True, False, False]


@pytest.mark.parametrize(
    ("precision", "given", "rounded"),
    [  # halfway, all go to the even neighbour, or TF32 before sm_90 away from zero; float16 is small
        ("tf32", [1 + 2**-12, 1 + 3 * 2**-11, -1 - 5 * 2**-12], [1, 1 + 2**-9, -1 - 2**-10]),
        ("bf16", [1 + 2**-9, 1 + 2**-8, -1 - 3 * 2**-8, 2.0**-120], [1, 1, -1 - 2**-6, 2.0**-120]),
        (
            "fp16",
            [1 + 2**-11, -1 - 3 * 2**-11, 65_504, -7e4, 2.0**-24],
            [1, -1 - 2**-9, 65_504, -INF, 2.0**-24],
        ),
    ],
)
def test_tensor_cores_round(cupy, precision, given, rounded):
    x = np.array(given, np.float32).reshape(1, 1, 1, -1)
    with kernels.use("cuda", conv2d=precision):
        y = on_device(cupy, PARTS[0], x, np.ones((1, 1, 1, 1), np.float32), None, kernels.Window((1, 1)))
    assert y.ravel().tolist() == rounded


@pytest.mark.parametrize("precision", ROUNDING)
def test_the_error_that_the_documentation_expects(cupy, precision):
    """4e-4 or 4e-3 of a result's usual size: above a third of that, and below."""
    x, w = normal("x", (2, 64, 6, 6), np.float32), normal("w", (64, 64, 3, 3), np.float32)
    g, ys = kernels.Window((3, 3)), []
    for algorithm in (precision, "tiled"):
        with kernels.use("cuda", conv2d=algorithm):
            ys.append(on_device(cupy, PARTS[0], x, w, None, g).astype(np.float64))
    error = np.sqrt(((ys[0] - ys[1]) ** 2).mean() / (ys[1] ** 2).mean())
    expected = {"tf32": 4e-4, "bf16": 4e-3, "fp16": 4e-4}[precision]
    assert expected / 3 < error < expected


@pytest.mark.parametrize("precision", ROUNDING)
def test_tensor_cores_are_for_float32_on_gpus_that_have_them(cupy, monkeypatch, precision):
    """All else falls to the kernels that are exact."""
    case = LARGE[0]
    for dtype, capability in [(np.float64, 90), (np.float32, tensor.FIRST[precision] - 1)]:
        monkeypatch.setattr(tensor, "capability", lambda capability=capability: capability)
        for setting in ({"conv2d": precision}, {"precision": precision}):
            with kernels.use("cuda", **setting), kernels.trace() as ran:
                parts(lambda *args: on_device(cupy, *args), case.arrays(dtype), window(case))
            assert ran == [(part, "cuda", "tiled") for part in PARTS]


def test_auto_takes_tensor_cores_only_if_allowed(cupy):
    chosen = {}
    for precision in kernels.registry.PRECISIONS:
        with kernels.use("cuda", precision=precision), kernels.trace() as ran:
            parts(lambda *args: on_device(cupy, *args), LARGE[0].arrays(np.float32), window(LARGE[0]))
        chosen[precision] = [one.algorithm for one in ran]
    assert chosen == {"fp32": 3 * ["tiled"], **{name: 3 * [name] for name in ROUNDING}}
    for precision in ("bf16", "fp16"):
        with kernels.use("cuda", precision=precision, forbid=precision), kernels.trace() as ran:
            parts(lambda *args: on_device(cupy, *args), LARGE[0].arrays(np.float32), window(LARGE[0]))
        assert [one.algorithm for one in ran] == 3 * ["tf32"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(LARGE))
def test_shared_memory(cupy, monkeypatch, case, dtype):
    monkeypatch.setattr(implicit, "PIXELS_OF_PART", 60)
    compare(cupy, case, "shared", dtype)


def test_the_tile_that_is_chosen():
    """Large results get large tiles, narrow ones narrow tiles, small ones small tiles, so there are many."""
    chosen = [conv_tiled.tile_for(*sizes, 1, np.float32)[:2] for sizes in SIZES]
    assert chosen == [tile for _, tile in SIZES.items()]


SIZES = {
    (256, 100_352): (128, 128),
    (64, 401_408): (64, 128),
    (24, 401_408): (32, 128),
    (512, 196): (32, 32),
}


FIRST = [
    conv(f"first layer, {OC} filters", (3, 3, 19, 17), (OC, 3, 7, 7), stride=2, padding=3)
    for OC in (5, 16, 37)
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(FIRST))
def test_first_layer(cupy, case, dtype):
    compare(cupy, case, "first", dtype, ran_by=("first", "naive", "tiled"))


def test_first_layer_with_filters_that_do_not_fit(cupy):
    """Shared memory for eight of them is not enough, nor are there bits for their rows and columns."""
    case = conv("enormous filters", (1, 4, 40, 40), (2, 4, 40, 40))
    compare(cupy, case, "first", np.float32, ran_by=("naive", "naive", "naive"))


MOST = tables.MOST_TAPS


@pytest.mark.parametrize("algorithm", ["shared", "tiled", "tf32"])
@pytest.mark.parametrize("kernel", [(MOST, 1), (1, MOST), (MOST + 1, 1), (1, MOST + 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_there_are_bits_for_so_many_taps(cupy, algorithm, kernel, stride):
    """For the filters' last row and column, too; larger filters are the naive kernels' matter."""
    case = conv("long filters", (2, 9, 19, 17), (10, 9, *kernel), stride=stride, padding=(9, 7))
    ran_by = [algorithm if max(kernel) <= MOST else "naive"] * 3
    compare(cupy, case, algorithm, np.float32, ROUNDING.get(algorithm, 0.0), ran_by)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounds", [(0.0, np.inf), (0.0, 6.0)])
@pytest.mark.parametrize("algorithm", ["naive", "shared", "tiled"])
def test_results_clipped_on_the_way(cupy, bounds, dtype, algorithm):
    case = LARGE[0]
    x, w, b = (10 * array for array in case.arrays(dtype))
    x[0, 0, 0, 0] = np.nan
    with kernels.use("cuda", conv2d=algorithm):
        y = on_device(cupy, "conv2d.forward", x, w, b, window(case))
        clipped = on_device(cupy, "conv2d.forward_clipped", x, w, b, window(case), bounds)
    assert np.isnan(y).any()
    np.testing.assert_array_equal(clipped, np.minimum(np.maximum(y, bounds[0]), bounds[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(DEPTHWISE))
def test_depthwise(cupy, monkeypatch, case, dtype):
    monkeypatch.setattr(depthwise, "COLUMNS_OF_PART", 30)
    compare(cupy, case, "depthwise", dtype)


@pytest.mark.parametrize(
    ("w", "groups", "expected"),
    [
        pytest.param((16, 8, 3, 3), 1, ("tiled", "tiled", "tiled"), id="ordinary"),
        pytest.param((16, 3, 3, 3), 1, ("first", "naive", "tiled"), id="few input channels"),
        pytest.param((6, 8, 5, 5), 1, ("naive", "tiled", "tiled"), id="few output channels"),
        pytest.param((8, 1, 3, 3), 8, ("depthwise", "depthwise", "depthwise"), id="depthwise"),
        pytest.param((8, 1, 3, 5), 8, ("naive", "naive", "tiled"), id="depthwise of another size"),
        pytest.param((16, 1, 3, 3), 1, ("first", "naive", "tiled"), id="one channel"),
    ],
)
def test_what_auto_chooses(cupy, w, groups, expected):
    x, g = normal("x", (2, w[1] * groups, 7, 7), np.float32), kernels.Window(w[2:], groups=groups)
    w = normal("w", w, np.float32)
    with kernels.use("cuda"), kernels.trace() as ran:
        y = parts(lambda *args: on_device(cupy, *args), [x, w], g)[0]
    assert ran == [(part, "cuda", name) for part, name in zip(PARTS, expected, strict=True)]
    with kernels.use("cuda"):
        clipped = on_device(cupy, "conv2d.forward_clipped", x, w, None, g, (0.0, np.inf))
    np.testing.assert_allclose(clipped, np.maximum(y, 0), atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 7, 49, 224 * 224, 2**20, 2**30 + 1, 2**31 - 1])
def test_division_by_a_multiplication(d):
    """As divide() in divide.cuh has it, for the numbers where a quotient changes, and the largest."""
    quotients = np.unique(np.linspace(0, (2**31 - 1) // d, 1000, dtype=np.int64))
    n = np.concatenate([quotients * d, np.maximum(quotients * d - 1, 0), [2**31 - 1]]).astype(np.uint64)
    by = divisor(d)
    multiplier, shift = by & np.uint64(2**32 - 1), by >> np.uint64(32)
    found = ((n * multiplier >> np.uint64(32)) + n) >> shift
    np.testing.assert_array_equal(found, n // np.uint64(d))


def sabotage(monkeypatch, change):
    """Have every source changed before it is compiled."""
    monkeypatch.setattr(compiling, "source", lambda *args: change(source(*args)))
    for cached in (compiling._function, compiling._module):
        monkeypatch.setattr(compiling, cached.__name__, cached.__wrapped__)


BARRIER = "__syncthreads();"
AUTO = {"first": ("first", "naive", "tiled")}
BARRIERS = [
    (algorithm, number)
    for algorithm, file in {
        "shared": "conv_shared.cu",
        "tiled": "conv_tiled.cu",
        "depthwise": "depthwise.cu",
        "first": "first_layer.cu",
    }.items()
    for number in range(source(file).count(BARRIER))
]
BARRIERS += [("bf16", 0), ("tf32", 1)]  # either's own of the two in tensor.cuh


@pytest.mark.skipif(use.kind() == "GPU", reason="a GPU may get it right by luck")
@pytest.mark.parametrize(("algorithm", "number"), BARRIERS)
def test_every_barrier_is_needed(cupy, monkeypatch, algorithm, number):
    """The emulator notices if one is left out: so none lacks, as far as these cases reach."""

    def without(text):
        pieces = text.split(BARRIER)
        return pieces[0] + "".join(
            ("" if i == number else BARRIER) + piece for i, piece in enumerate(pieces[1:])
        )

    sabotage(monkeypatch, without)
    monkeypatch.setattr(implicit, "PIXELS_OF_PART", 60)
    case = {"depthwise": DEPTHWISE[0], "first": FIRST[1]}.get(algorithm, LARGE[1])
    rounding = ROUNDING.get(algorithm, 0.0)
    with pytest.raises(AssertionError, match="assert"):
        compare(cupy, case, algorithm, np.float32, rounding, ran_by=AUTO.get(algorithm))
