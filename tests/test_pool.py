"""Pooling: the loops against numbers worked out by hand, every other algorithm against the loops."""

import math
from functools import cache

import numpy as np
import pytest
from cases import (
    DILATED_POOLS,
    DTYPES,
    LAYOUTS,
    POOLS,
    Case,
    Choice,
    algorithms,
    assert_close,
    computing,
    distinct,
    layouts,
    normal,
    pool,
    run,
    running,
)

import minicnn as mc
from minicnn import functional as F
from minicnn.functional import composed

LOOPS = Choice("numpy", "naive")
WIDE = [  # rows longer than any vector, and not a whole number of them
    pool("wide, 2x2", (1, 2, 4, 71), 2),
    pool("wide, 3x3 stride 2 padded", (1, 2, 5, 75), 3, stride=2, padding=1),
    pool("wide, 3x3 stride 1", (1, 1, 4, 41), 3, stride=1),
    pool("wide, 3x3 stride 3", (1, 1, 6, 110), 3, stride=3),
    # more windows than are taken at a time
    pool("high, 2x2, some left over", (1, 1, 93, 67), 2),
    pool("high, 3x3 stride 2 padded ceil", (1, 2, 68, 70), 3, stride=2, padding=1, ceil_mode=True),
    pool("high, 5x3 stride 1 padded", (1, 1, 40, 41), (5, 3), stride=1, padding=(2, 1)),
]
MAX_POOLS = [("max_pool2d", case) for case in POOLS + DILATED_POOLS + WIDE]
NOT_COUNTED = [
    Case(f"{case.name}, not counted", case.shapes, {**case.settings, "count_include_pad": False})
    for case in POOLS
    if "padding" in case.settings
]
CASES = MAX_POOLS + [("avg_pool2d", case) for case in POOLS + NOT_COUNTED + WIDE]


def pools(cases, without=()):
    return [
        pytest.param(op, case, choice.values[0], id=f"{op}-{case.name}-{choice.id}", marks=choice.marks)
        for op, case in cases
        for choice in algorithms(op, without)
    ]


def pooling(operation, case, module=F):
    return lambda x: getattr(module, operation)(x, **case.settings)


def by_loops(operation, case, x, gy=None):
    with running(operation, LOOPS):
        return run(pooling(operation, case), [x], gy)


@cache
def by_loops_in_float64(operation, case):
    return by_loops(operation, case, distinct(case.name, case.shapes[0]))


def as_pair(sizes):
    return sizes if isinstance(sizes, tuple) else (sizes, sizes)


# The oracle, against numbers worked out by hand

IMAGE = np.array([[[[1, 9, 3, 4], [5, 6, 2, 8], [7, 0, -1, -2]]]], np.float64)


@pytest.mark.parametrize(
    ("settings", "y", "gx"),
    [
        pytest.param(
            {"kernel_size": 2, "stride": 1},
            [[9, 9, 8], [7, 6, 8]],
            [[0, 1 + 2, 0, 0], [0, 5, 0, 3 + 6], [4, 0, 0, 0]],
            id="overlapping",
        ),
        pytest.param(
            {"kernel_size": (1, 3), "stride": (2, 1)},
            [[9, 9], [7, 0]],
            [[0, 1 + 2, 0, 0], [0, 0, 0, 0], [3, 4, 0, 0]],
            id="1x3",
        ),
        pytest.param(
            {"kernel_size": 2, "ceil_mode": True},
            [[9, 8], [7, -1]],
            [[0, 1, 0, 0], [0, 0, 0, 2], [3, 0, 4, 0]],
            id="ceil",
        ),
        pytest.param(
            {"kernel_size": (3, 2), "stride": 2, "padding": (1, 1)},
            [[5, 9, 8], [7, 6, 8]],
            [[0, 2, 0, 0], [1, 5, 0, 3 + 6], [4, 0, 0, 0]],
            id="padded",
        ),
        pytest.param(
            {"kernel_size": 2, "stride": 1, "dilation": (2, 3)},
            [[7]],
            [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]],
            id="dilated",
        ),
    ],
)
def test_maximum_by_hand(settings, y, gx):
    gy = np.arange(1.0, 1 + np.size(y)).reshape(1, 1, *np.shape(y))
    results = by_loops("max_pool2d", Case("by hand", (), settings), IMAGE, gy)
    assert [result[0, 0].tolist() for result in results] == [y, gx]


@pytest.mark.parametrize(
    ("settings", "y", "gx"),
    [
        pytest.param(
            {"kernel_size": 2, "stride": (1, 2)},
            [[21 / 4, 17 / 4], [18 / 4, 7 / 4]],
            [[0.25, 0.25, 0.5, 0.5], [1, 1, 1.5, 1.5], [0.75, 0.75, 1, 1]],
            id="overlapping",
        ),
        pytest.param(
            {"kernel_size": 2, "ceil_mode": True},
            [[21 / 4, 17 / 4], [7 / 2, -3 / 2]],
            [[0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.5, 0.5], [1.5, 1.5, 2, 2]],
            id="ceil: nothing beyond the image counts",
        ),
        pytest.param(
            {"kernel_size": 2, "stride": (2, 3), "padding": 1},
            [[1 / 4, 7 / 4], [12 / 4, 7 / 4]],
            [[0.25, 0, 0.5, 0.5], [0.75, 0, 1, 1], [0.75, 0, 1, 1]],
            id="padding counts",
        ),
        pytest.param(
            {"kernel_size": 2, "stride": (2, 3), "padding": 1, "count_include_pad": False},
            [[1 / 1, 7 / 2], [12 / 2, 7 / 4]],
            [[1, 0, 1, 1], [1.5, 0, 1, 1], [1.5, 0, 1, 1]],
            id="padding does not count",
        ),
    ],
)
def test_average_by_hand(settings, y, gx):
    gy = np.arange(1.0, 1 + np.size(y)).reshape(1, 1, *np.shape(y))
    results = by_loops("avg_pool2d", Case("by hand", (), settings), IMAGE, gy)
    assert [result[0, 0].tolist() for result in results] == [y, gx]


# Every algorithm, against the loops


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("operation", "case", "choice"), pools(CASES, without=["naive"]))
def test_algorithms_equal_the_loops(operation, case, choice, dtype):
    expected = by_loops_in_float64(operation, case)
    x = distinct(case.name, case.shapes[0], dtype)
    gy = normal("upstream", expected[0].shape, dtype)
    with running(operation, choice) as ran:
        results = run(pooling(operation, case), [x], gy)
    assert [one.operation for one in ran] == [f"{operation}.forward", f"{operation}.backward"]
    if operation == "max_pool2d":
        np.testing.assert_array_equal(results[0], expected[0])
    entries = math.prod(as_pair(case.settings["kernel_size"]))  # of a sum, taken in any order
    assert_close(results, expected, 4 * entries * np.finfo(dtype).eps)


@pytest.mark.parametrize(("operation", "case"), CASES, ids=[f"{op}-{case.name}" for op, case in CASES])
def test_composed_twin_equals_the_loops(operation, case):
    with mc.trace() as ran:
        results = run(pooling(operation, case, composed), [distinct(case.name, case.shapes[0])])
    assert not computing(ran)
    assert_close(results, by_loops_in_float64(operation, case), 1e-13)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("operation", "case", "choice"),
    pools([one for one in CASES if one[1].name in ("2x2", "overlapping padded ceil", "global")]),
)
def test_memory_layout_makes_no_difference(operation, case, choice, dtype, layout):
    x = distinct(case.name, case.shapes[0], dtype)
    gy = normal("upstream", by_loops_in_float64(operation, case)[0].shape, dtype)
    with running(operation, choice):
        expected = run(pooling(operation, case), [x], gy)
        other, other_gy = dict(layouts(x))[layout], dict(layouts(gy))[layout]
        results = run(pooling(operation, case), [other], other_gy)
    assert_close(results, expected, 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("operation", "case", "choice"),
    pools([(op, pool("2x2", (0, 3, 5, 5), 2)) for op in ("max_pool2d", "avg_pool2d")]),
)
def test_no_images(operation, case, choice):
    with running(operation, choice):
        y, gx = run(pooling(operation, case), [np.ones(case.shapes[0])])
    assert (y.shape, gx.shape) == ((0, 3, 2, 2), (0, 3, 5, 5))


# What the maximum does with equal numbers, padding, infinities and NaN


@pytest.mark.parametrize(("operation", "case", "choice"), pools(MAX_POOLS))
@pytest.mark.parametrize("few", [True, False], ids=["few different numbers", "nothing but −∞"])
def test_first_of_equal_pixels_wins(operation, case, choice, few):
    """In reading order, and within the image, even where no pixel is above the padding's −∞."""
    x = np.round(normal(case.name, case.shapes[0])) if few else np.full(case.shapes[0], -np.inf)
    gy = normal("upstream", by_loops_in_float64(operation, case)[0].shape)
    gx = np.zeros(x.shape)
    KH, KW = as_pair(case.settings["kernel_size"])
    sh, sw = as_pair(case.settings.get("stride") or (KH, KW))
    (ph, pw), (dh, dw) = (as_pair(case.settings.get(key, n)) for key, n in (("padding", 0), ("dilation", 1)))
    for n, c, oh, ow in np.ndindex(gy.shape):
        window = [(oh * sh - ph + i * dh, ow * sw - pw + j * dw) for i, j in np.ndindex(KH, KW)]
        inside = [(h, v) for h, v in window if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]]
        first = max(inside, key=lambda at: x[n, c, at[0], at[1]])
        gx[n, c, first[0], first[1]] += gy[n, c, oh, ow]
    with running(operation, choice):
        result = run(pooling(operation, case), [x], gy)[1]
    assert_close([result], [gx], 1e-13)


@pytest.mark.parametrize("choice", algorithms("max_pool2d"))
def test_padding_never_wins_a_maximum(choice):
    x = np.full((1, 1, 2, 2), -5.0)
    gy = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    with running("max_pool2d", choice):
        y, gx = run(lambda x: F.max_pool2d(x, 2, padding=1), [x], gy)
    assert y.tolist() == [[[[-5, -5], [-5, -5]]]]
    assert gx.tolist() == [[[[1, 2], [3, 4]]]]


@pytest.mark.parametrize("choice", algorithms("max_pool2d"))
def test_nan_and_infinities(choice):
    """NaN is never hidden, and receives the gradient; −∞ is an entry as any other."""
    nan, inf = np.nan, np.inf
    x = np.array([[[[1, nan, -inf, -inf], [2, 3, -inf, -7], [inf, 0, nan, 1], [inf, 0, inf, 2]]]])
    gy = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    with running("max_pool2d", choice):
        y, gx = run(lambda x: F.max_pool2d(x, 2), [x], gy)
    np.testing.assert_array_equal(y, [[[[nan, -7], [inf, nan]]]])
    assert gx[0, 0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 2], [3, 0, 4, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("operation", "case", "choice"), pools([("max_pool2d", case) for case in WIDE], without=["naive"])
)
def test_nan_among_many_numbers(operation, case, choice, dtype):
    x = distinct(case.name, case.shapes[0], dtype)
    x[np.abs(x) < 0.1] = np.nan
    x[np.abs(x) > 0.9] = -np.inf
    expected = by_loops(operation, case, x)
    with running(operation, choice):
        y, gx = run(pooling(operation, case), [x])
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_allclose(gx, expected[1], rtol=1e-6, atol=32 * np.finfo(dtype).eps)


# Adaptive pooling


@pytest.mark.parametrize("output_size", [1, 2, 3, (2, 5), (5, 7), (None, 3), (7, 9), (1, None)])
@pytest.mark.parametrize("operation", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_equals_composed_twin(operation, output_size):
    x = distinct("adaptive", (2, 3, 5, 7))
    expected = run(lambda x: getattr(composed, operation)(x, output_size), [x])
    assert expected[0].shape[2:] == tuple(a or b for a, b in zip(as_pair(output_size), (5, 7), strict=True))
    for array in (x, *dict(layouts(x)).values()):
        results = run(lambda x: getattr(F, operation)(x, output_size), [array])
        assert_close(results, expected, 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output_size", [1, (1, 4), (3, 2)])
@pytest.mark.parametrize(
    ("operation", "choice"),
    [
        pytest.param(operation, *choice.values, id=f"{operation}-{choice.id}", marks=choice.marks)
        for operation in ("adaptive_avg_pool2d", "adaptive_max_pool2d")
        for choice in algorithms(operation)
    ],
)
def test_kernels_of_adaptive_pooling(operation, choice, output_size, dtype):
    x = distinct("adaptive", (2, 3, 7, 37), dtype)
    expected = run(lambda x: getattr(composed, operation)(x, output_size), [x.astype(np.float64)])
    gy = normal("upstream", expected[0].shape, dtype)
    for array in (x, *dict(layouts(x)).values()):
        with running(operation, choice) as ran:
            results = run(lambda x: getattr(F, operation)(x, output_size), [array], gy)
        assert [one.operation.partition(".")[2] for one in ran] == ["forward", "backward"]
        assert_close(results, expected, 1e-6 if dtype == np.float32 else 1e-14)


def test_adaptive_by_hand():
    x = np.arange(1.0, 6.0).reshape(1, 1, 1, 5)
    gy = np.array([1.0, 10.0, 100.0]).reshape(1, 1, 1, 3)  # the bins are 1 2, 2 3 4 and 4 5
    y, gx = run(lambda x: F.adaptive_avg_pool2d(x, (1, 3)), [x], gy)
    np.testing.assert_allclose(y.ravel(), [1.5, 3, 4.5], rtol=1e-15)
    np.testing.assert_allclose(gx.ravel(), [1 / 2, 1 / 2 + 10 / 3, 10 / 3, 10 / 3 + 50, 50], rtol=1e-15)
    y, gx = run(lambda x: F.adaptive_max_pool2d(x, (1, 3)), [x], gy)
    assert (y.ravel().tolist(), gx.ravel().tolist()) == ([2, 4, 5], [0, 1, 0, 10, 100])


# Sizes


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("operation", ["max_pool2d", "avg_pool2d"])
def test_output_size(operation, kernel, stride, padding, ceil_mode):
    """As many windows as fit; in ceil mode one more where pixels are left over and it starts on the image."""
    for size in range(kernel, 10):
        y = getattr(F, operation)(mc.zeros(1, 1, size, 9), kernel, stride, padding, ceil_mode=ceil_mode)
        starts = range(-padding, size + padding, stride)
        windows = [start for start in starts if start + kernel <= size + padding]
        if ceil_mode and windows[-1] + kernel < size + padding:
            windows += [start for start in starts if windows[-1] < start < size][:1]
        assert y.shape[2] == len(windows)


def test_stride_is_the_window_unless_given():
    x = normal("x", (1, 1, 7, 8))
    for operation in (F.max_pool2d, F.avg_pool2d):
        expected = operation(x, (2, 3), stride=(2, 3)).numpy()
        np.testing.assert_array_equal(operation(x, (2, 3)).numpy(), expected)


def test_adaptive_average_keeps_nan_to_its_own_bins():
    x = np.ones((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.nan
    y = F.adaptive_avg_pool2d(x, 2).numpy()[0, 0]
    assert np.isnan(y).tolist() == [[True, False], [False, False]]
