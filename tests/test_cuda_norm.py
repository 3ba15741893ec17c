"""The CUDA kernels for batch norm, beyond what the table of cases asks of every family."""

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS, assert_close, by_numpy, kernel_on, layouts, normal, on_host
from emulator.use import cupy

import minicnn as mc
from minicnn import functional as F
from minicnn import kernels, models
from minicnn.kernels.cuda import norm
from minicnn.kernels.cuda.sources import source

__all__ = ["cupy"]  # a fixture

EPS = 1e-5
CLOSE = {np.float32: 2e-5, np.float64: 1e-12}
BOUNDS = {"nothing": (-np.inf, np.inf), "ReLU": (0.0, np.inf), "ReLU6": (0.0, 6.0)}


def arrays(shape, dtype):
    """gy, x, shortcut, w and b; x far from mean 0 and deviation 1."""
    gy, x, s = (normal(name, shape, dtype) for name in ("gy", "x", "s"))
    return gy, 3 * x + 10, s, normal("w", shape[1], dtype) + 2, normal("b", shape[1], dtype)


# Batch norm: how channels are cut up

SHAPES = {
    # shape: (numbers in a pack, parts of a channel) in float32, in float64
    (2, 3, 5, 7): ((1, 1), (1, 1)),
    (3, 2, 2, 6): ((4, 1), (2, 1)),
    (3, 2, 1, 6): ((1, 1), (2, 1)),
    (3, 2, 53, 53): ((1, 8), (1, 8)),
    (5, 2, 40, 44): ((4, 2), (2, 4)),
    (33000, 1): ((1, 32), (1, 32)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_channels_in_parts(cupy, shape, dtype):
    gy, x, _, w, b = arrays(shape, dtype)
    r = norm.rows(cupy.asarray(x), None)
    assert (r.V, r.parts) == SHAPES[shape][DTYPES.index(dtype)]
    y, mean, var, inverse = kernel_on(cupy, "batch_norm.training", x, w, b, EPS)
    expected = by_numpy("batch_norm.training", x, w, b, EPS)
    assert_close([y, mean, var, inverse], expected, CLOSE[dtype])
    given = mean, var
    results = kernel_on(cupy, "batch_norm.training_backward", gy, x, mean, inverse, w)
    assert_close(results, by_numpy("batch_norm.training_backward", gy, x, mean, inverse, w), CLOSE[dtype])
    results = kernel_on(cupy, "batch_norm.inference", x, *given, w, b, EPS)
    assert_close(results, by_numpy("batch_norm.inference", x, *given, w, b, EPS), CLOSE[dtype])
    results = kernel_on(cupy, "batch_norm.inference_backward", gy, x, *given, w, EPS)
    assert_close(results, by_numpy("batch_norm.inference_backward", gy, x, *given, w, EPS), CLOSE[dtype])
    assert {result.dtype for result in results} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_silu_on_the_same_trips(cupy, shape, dtype):
    """As the reference has it of the two, one after the other."""
    gy, x, _, w, b = arrays(shape, dtype)
    z, mean, var, inverse = by_numpy("batch_norm.training", x, w, b, EPS)
    expected = [by_numpy("silu.forward", z)[0], mean, var, inverse]
    assert_close(kernel_on(cupy, "batch_norm.training_silu", x, w, b, EPS), expected, CLOSE[dtype])
    (gz,) = by_numpy("silu.backward", gy, z)
    expected = by_numpy("batch_norm.training_backward", gz, x, mean, inverse, w)
    mean, inverse = mean.astype(dtype), inverse.astype(dtype)
    found = kernel_on(cupy, "batch_norm.training_backward_silu", gy, x, mean, inverse, w, b)
    assert_close(found, expected, 2 * CLOSE[dtype])


def test_few_channels_are_cut_and_many_are_not(cupy):
    for shape, parts in (((64, 16, 32, 32), 16), ((32, 64, 112, 112), 16), ((32, 2048, 7, 7), 1)):
        like = cupy.empty((1,), np.float32)

        class Shape:  # of an array that is too large to be made here
            dtype, data = like.dtype, like.data

        Shape.shape = shape
        assert norm.rows(Shape).parts == parts


def test_an_array_that_begins_between_packs(cupy):
    """A view without gaps, whose numbers are not at addresses that are multiples of 16."""
    x = normal("x", (2, 3, 4, 4), np.float32)
    spread = cupy.asarray(np.concatenate([[np.float32(np.nan)], x.ravel()]))
    view = spread[1:].reshape(x.shape)
    assert view.flags.c_contiguous
    assert norm.rows(view).V == 1
    w, b = (cupy.asarray(one) for one in arrays(x.shape, np.float32)[3:])
    y, *_ = kernels.run("batch_norm.training", view, w, b, EPS)
    expected, *_ = kernels.run("batch_norm.training", cupy.asarray(x), w, b, EPS)
    assert_close([y.get()], [expected.get()], 1e-6)


# Batch norm: numbers that are hard on a sum

HARD = {
    "mean 1,000": lambda x: x + 1e3,
    "mean −100,000, deviation 30": lambda x: 30 * x - 1e5,
    "first number far off": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 0, 0, x + 1e3),
    "half and half": lambda x: x + 1e3 * np.sign(x),
    "tiny": lambda x: 1e-12 * x,
}


@pytest.mark.parametrize("shape", [(4, 1, 27, 31), (8, 1, 32, 36)], ids=["one by one", "in packs"])
@pytest.mark.parametrize("kind", HARD)
def test_variance_in_float32(cupy, kind, shape):
    x = HARD[kind](normal("x", shape)).astype(np.float32)
    wide = x.astype(np.float64)
    one = np.ones(1, np.float32)
    y, mean, var, inverse = kernel_on(cupy, "batch_norm.training", x, one, 0 * one, 0.0)
    np.testing.assert_allclose(var, wide.var(), rtol=1e-5)
    np.testing.assert_allclose(inverse, 1 / wide.std(), rtol=1e-5)
    np.testing.assert_allclose(mean, wide.mean(), atol=1e-6 * np.abs(wide).max())
    assert abs(y.std(dtype=np.float64) - 1) < 1e-4


def test_a_constant_has_no_variance(cupy):
    x = np.full((9, 2, 13, 13), 1234.567, np.float32)
    one = np.ones(2, np.float32)
    y, mean, var, _ = kernel_on(cupy, "batch_norm.training", x, one, one / 4, EPS)
    assert (var <= 1e-6).all()
    np.testing.assert_allclose(mean, x[0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(y, 0.25, atol=0.1)  # what rounding leaves of x − mean, over √ε


def test_nan_is_not_hidden(cupy):
    x = normal("x", (2, 2, 3, 3), np.float32)
    x[1, 0, 1, 2] = np.nan
    one = np.ones(2, np.float32)
    y, mean, var, inverse = kernel_on(cupy, "batch_norm.training_clipped", x, one, one, EPS, x, (0.0, 6.0))
    assert np.isnan(y[:, 0]).all()
    assert all(np.isnan(result[0]) for result in (mean, var, inverse))
    assert np.isfinite(y[:, 1]).all()


# Running statistics


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", ["both", "mean", "var", "every second number"])
def test_running_statistics(cupy, given, dtype):
    x = normal("x", (3, 300, 2), dtype)
    wide = x.astype(np.float64)
    batch = wide.mean((0, 2)), wide.var((0, 2)) * 6 / 5
    before = [normal(name, 600, dtype) for name in ("mean", "var")]
    step = 2 if given == "every second number" else 1
    memory = [cupy.asarray(one) for one in before]
    running = [one[: 300 * step : step] for one in memory]
    if given in ("mean", "var"):
        running[1 if given == "mean" else 0] = None
    with mc.use("cuda"), mc.trace() as ran:
        F.batch_norm(mc.Tensor(cupy.asarray(x)), *running, training=True, momentum=0.3)
    assert [one.operation for one in ran] == ["batch_norm.training", "batch_norm.update"]
    for array, old, new, one in zip(memory, before, batch, running, strict=True):
        expected = old.astype(np.float64)
        if one is not None:
            expected[: 300 * step : step] = 0.7 * old[: 300 * step : step] + 0.3 * new
        assert_close([array.get()], [expected], CLOSE[dtype] / 10)


@pytest.mark.parametrize("missing", [None, 0, 1])
def test_running_statistics_equal_numpys(cupy, missing):
    """Either may be missing, and lie in memory with gaps."""
    moved = []
    for module in (np, cupy):
        arrays = [module.asarray(normal(name, (5, 2)))[:, 0] for name in ("mean", "var", "running", "other")]
        running = [None if n == missing else array for n, array in enumerate(arrays[2:])]
        with mc.use("numpy" if module is np else "cuda"):
            kernels.run("batch_norm.update", *arrays[:2], *running, 0.3, 1.25)
        moved.append([on_host(array) for array in arrays])
    assert_close(*moved, 1e-15)


# Batch norm with what follows


def clipped(values, bounds):
    return np.clip(values, *bounds)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_shortcut", [True, False], ids=["shortcut", "alone"])
@pytest.mark.parametrize("activation", BOUNDS)
@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (2, 3, 4, 4), (5, 2)], ids=str)
def test_what_follows_on_the_same_trip(cupy, shape, activation, with_shortcut, dtype):
    gy, x, s, w, b = arrays(shape, dtype)
    bounds, s = BOUNDS[activation], s if with_shortcut else None
    shortcut = 0 if s is None else s.astype(np.float64)

    plain, *expected = by_numpy("batch_norm.training", x, w, b, EPS)
    y, *statistics = kernel_on(cupy, "batch_norm.training_clipped", x, w, b, EPS, s, bounds)
    assert_close([y, *statistics], [clipped(plain + shortcut, bounds), *expected], CLOSE[dtype])

    mean, var, inverse = statistics
    (plain,) = by_numpy("batch_norm.inference", x, mean, var, w, b, EPS)
    results = kernel_on(cupy, "batch_norm.inference_clipped", x, mean, var, w, b, EPS, s, bounds)
    assert_close(results, [clipped(plain + shortcut, bounds)], CLOSE[dtype])

    given = None if activation == "nothing" else y
    args = gy, x, mean, inverse, w, given, bounds, with_shortcut
    *results, gs = kernel_on(cupy, "batch_norm.training_backward_clipped", *args)
    passed = np.where((y > bounds[0]) & (y < bounds[1]), gy, 0)
    expected = by_numpy("batch_norm.training_backward", passed, x, mean, inverse, w)
    assert_close(results, expected, CLOSE[dtype])
    assert (gs is None) == (not with_shortcut)
    if with_shortcut:
        np.testing.assert_array_equal(gs, passed)
    assert {result.dtype for result in (y, *statistics, *results)} == {np.dtype(dtype)}


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
def test_memory_layout_makes_no_difference_to_what_follows(cupy, layout):
    gy, x, s, w, b = arrays((3, 4, 5, 3), np.float64)

    def run(*given):
        gy, x, s, w, b = given
        y, mean, _, inverse = kernels.run("batch_norm.training_clipped", x, w, b, EPS, s, (0.0, 6.0))
        args = gy, x, mean, inverse, w, like(y), (0.0, 6.0), True
        return [y, *kernels.run("batch_norm.training_backward_clipped", *args)]

    def like(array):  # the same numbers on the GPU, in the other layout
        array = array if isinstance(array, np.ndarray) else array.get()
        other = dict(layouts(array))[layout]
        memory = cupy.asarray(np.ascontiguousarray(other if other.base is None else other.base))
        if layout == "transposed":
            return memory.T
        index = slice(1, None, 2) if layout == "every other entry" else slice(None, None, -1)
        return memory[(index,) * array.ndim]

    others = [like(array) for array in (gy, x, s, w, b)]
    for other, array in zip(others, (gy, x, s, w, b), strict=True):
        np.testing.assert_array_equal(other.get(), array)
        assert other.ndim == 1 or not other.flags.c_contiguous
    results = run(*others)
    expected = run(*(cupy.asarray(array) for array in (gy, x, s, w, b)))
    assert_close([one.get() for one in results], [one.get() for one in expected], 1e-13)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 4, 4), (0, 3)], ids=str)
def test_no_numbers(cupy, shape):
    """Nothing to normalise: gradients to w and b are sums of nothing."""
    gy, x, s, w, b = arrays(shape, np.float32)
    mean, var = b, w * w
    (y,) = kernel_on(cupy, "batch_norm.inference_clipped", x, mean, var, w, b, EPS, s, (0.0, 6.0))
    gx, gw, gb = kernel_on(cupy, "batch_norm.inference_backward", gy, x, mean, var, w, EPS)
    assert y.shape == gx.shape == shape
    assert not gw.any()
    assert not gb.any()
    assert gw.shape == gb.shape == w.shape


# The same bits in each run


def test_no_sum_is_in_the_order_in_which_threads_happen_to_come():
    assert "atomic" not in source(norm.FILE)


def test_the_same_bits_in_each_run(cupy):
    gy, x, s, w, b = arrays((5, 2, 40, 44), np.float32)

    def run():
        bounds = BOUNDS["ReLU"]
        y, mean, var, inverse = kernel_on(cupy, "batch_norm.training_clipped", x, w, b, EPS, s, bounds)
        args = gy, x, mean, inverse, w, y, bounds, True
        return [y, mean, var, *kernel_on(cupy, "batch_norm.training_backward_clipped", *args)]

    for one, other in zip(run(), run(), strict=True):
        assert one.tobytes() == other.tobytes()


# From one end of a block to the other


@pytest.mark.parametrize(("C", "M", "stride"), [(4, 4, 1), (3, 4, 2)], ids=["identity", "projection"])
def test_residual_block(cupy, C, M, stride):
    """Forward and backward through ResNet's block, against NumPy's kernels: values, gradients, statistics."""

    def run(backend):
        with mc.use(backend), mc.trace() as ran:
            mc.manual_seed(0)
            projection = None
            if C != M:
                projection = mc.nn.Sequential(mc.nn.Conv2d(C, M, 1, stride, bias=False), mc.nn.BatchNorm2d(M))
            block = models.resnet.BasicBlock(C, M, stride, projection)
            x = mc.Tensor(mc.backend.move(normal("x", (3, C, 6, 5), np.float32), mc.backend.default_device()))
            x.requires_grad = True
            y = block(x)
            gy = normal("gy", y.shape, np.float32)
            y.backward(mc.Tensor(mc.backend.move(gy, mc.backend.default_device())))
            state = {name: one for name, one in block.state_dict().items() if "tracked" not in name}
            found = {"y": y.data, "x": x.grad, **state}
            found |= {f"gradient to {name}": one.grad for name, one in block.named_parameters()}
            return {name: mc.backend.move(one, "cpu") for name, one in found.items()}, ran

    expected, _ = run("numpy")
    results, ran = run("cuda")
    assert {one.backend for one in ran} == {"cuda"}
    assert {"batch_norm.training_clipped", "batch_norm.training_backward_clipped"} <= {
        one.operation for one in ran
    }
    assert results.keys() == expected.keys()
    for name, wanted in expected.items():
        assert_close([results[name]], [wanted], 2e-5)
