"""Convolution: the loops against numbers worked out by hand, every other algorithm against the loops."""

from functools import cache

import numpy as np
import pytest
from cases import (
    CONVOLUTIONS,
    DTYPES,
    LAYOUTS,
    Choice,
    assert_close,
    computing,
    each_algorithm,
    layouts,
    named,
    normal,
    run,
    running,
)

import minicnn as mc
from minicnn import functional as F
from minicnn import kernels
from minicnn.functional import composed
from minicnn.kernels.numpy import conv_im2col

LOOPS = Choice("numpy", "naive")
PARTS = ["conv2d.forward", "conv2d.grad_input", "conv2d.grad_weight"]


def conv2d(case, function=F.conv2d):
    return lambda *tensors: function(*tensors, **case.settings)


# The oracle, against numbers worked out by hand


def test_loops_by_hand():
    """Two channels, a window taller than wide: a flipped filter or exchanged axes or channels would show."""
    x = np.array([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[0, 1, 0], [2, 0, 0], [0, 0, 3]]]], np.float64)
    w = np.array([[[[1], [10]], [[100], [0]]], [[[0], [1]], [[0], [-1]]]], np.float64)
    b = np.array([0.5, -0.5])
    gy = np.array([[[[1, 0, 2], [0, 0, 3]], [[0, 1, 0], [0, 0, 10]]]], np.float64)
    with running("conv2d", LOOPS):
        y, gx, gw, gb = run(F.conv2d, [x, w, b], gy)
    # y[0, 0, 0, 0] = 1·1 + 10·4 + 100·0 + 0.5, and so on
    assert y.tolist() == [
        [[[41.5, 152.5, 63.5], [274.5, 85.5, 96.5]], [[1.5, 4.5, 5.5], [6.5, 7.5, 5.5]]],
    ]
    assert gx.tolist() == [
        [[[1, 0, 2], [10, 1, 23], [0, 0, 40]], [[100, 0, 200], [0, -1, 300], [0, 0, -10]]],
    ]
    assert gw.tolist() == [[[[25], [43]], [[0], [11]]], [[[62], [95]], [[1], [30]]]]
    assert gb.tolist() == [6, 11]


def test_loops_with_stride_padding_and_dilation_by_hand():
    """Rows and columns differ in every setting."""
    x = np.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    settings = {"stride": (1, 2), "padding": ((1, 0), (0, 1)), "dilation": (2, 1)}
    gy = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    with running("conv2d", LOOPS):
        y, gx, gw = run(lambda x, w: F.conv2d(x, w, **settings), [x, w], gy)
    # the padded image is 0 0 0 0 0 / 1 2 3 4 0 / 5 6 7 8 0 / 9 10 11 12 0; rows 0 and 2, then 1 and 3
    assert y.tolist() == [[[[39, 53], [72, 92]]]]
    assert gx.tolist() == [[[[100, 200, 1000, 2000], [3, 4, 30, 40], [300, 400, 3000, 4000]]]]
    assert gw.tolist() == [[[[3100, 4200], [11975, 13086]]]]


def test_loops_with_groups_by_hand():
    """Four channels in two groups, three filters each: filter oc sees the channels of its own group."""
    x = np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1, 1)
    w = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [10, 1]], np.float64).reshape(6, 2, 1, 1)
    gy = np.arange(1.0, 7.0).reshape(1, 6, 1, 1)
    with running("conv2d", LOOPS):
        y, gx, gw = run(lambda x, w: F.conv2d(x, w, groups=2), [x, w], gy)
    assert y.ravel().tolist() == [1, 2, 3, 4, 8, 48]
    assert gx.ravel().tolist() == [1 + 3, 2 + 3, 4 + 60, 5 + 6]
    assert gw.reshape(6, 2).tolist() == [[1, 2], [2, 4], [3, 6], [16, 32], [20, 40], [24, 48]]


# Every algorithm, against the loops


@cache
def by_loops(case):
    """The loops' values and gradients in float64; and of absolute values: Σ|x·w| and the like."""
    arrays = case.arrays()
    with running("conv2d", LOOPS):
        results = run(conv2d(case), arrays)
        gy = np.abs(normal("upstream", results[0].shape))
        sizes = run(conv2d(case), [np.abs(array) for array in arrays], gy)
    return results, sizes


# Winograd's transforms multiply rounding by their own factors, and spread it over a tile of outputs.
WORSE = {"winograd2": 2, "winograd": 10}


def rounding(case, dtype, algorithm):
    """How far rounding may take each result: n products summed in any order err by n·ε·Σ|x·w| at most."""
    results, sizes = by_loops(case)
    if algorithm in WORSE:
        sizes = [WORSE[algorithm] * size.max() for size in sizes]
    (OC, C, KH, KW), (N, _, OH, OW) = case.shapes[1], results[0].shape
    terms = [C * KH * KW + 1, OC * KH * KW, N * OH * OW, N * OH * OW]
    return [2 * n * np.finfo(dtype).eps * size for n, size in zip(terms, sizes, strict=False)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "choice"), each_algorithm("conv2d", CONVOLUTIONS, without=["naive"]))
def test_algorithms_equal_the_loops(case, choice, dtype):
    expected, _ = by_loops(case)
    with running("conv2d", choice) as ran:
        results = run(conv2d(case), case.arrays(dtype), normal("upstream", expected[0].shape, dtype))
    assert [one.operation for one in ran] == PARTS
    for result, wanted, error in zip(results, expected, rounding(case, dtype, choice.algorithm), strict=True):
        assert result.shape == wanted.shape
        assert (np.abs(result - wanted) <= error).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named([case for case in CONVOLUTIONS if "stride" in case.settings]))
def test_narrow_gradient_to_the_input_with_strides(case, dtype):
    """In its other parts this algorithm is for stride 1 only."""
    expected, _ = by_loops(case)
    with mc.use("numba", {"conv2d.grad_input": "narrow"}), mc.trace() as ran:
        results = run(conv2d(case), case.arrays(dtype), normal("upstream", expected[0].shape, dtype))
    assert ("conv2d.grad_input", "numba", "narrow") in ran
    assert (np.abs(results[1] - expected[1]) <= rounding(case, dtype, "narrow")[1]).all()


@pytest.mark.parametrize("case", named(CONVOLUTIONS))
def test_composed_twin_equals_the_loops(case):
    with mc.trace() as ran:
        results = run(conv2d(case, composed.conv2d), case.arrays())
    assert not computing(ran)
    assert_close(results, by_loops(case)[0], 1e-12)


FEW = [case for case in CONVOLUTIONS if case.name in ("1x1", "3x3", "3x3 stride 2x3 padded, some left over")]
FEW += [case for case in CONVOLUTIONS if case.name in ("depthwise", "3 groups stride 2")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("case", "choice"), each_algorithm("conv2d", FEW))
@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_layout_makes_no_difference(dtype, case, choice, layout):
    arrays = case.arrays(dtype)
    gy = normal("upstream", by_loops(case)[0][0].shape, dtype)
    with running("conv2d", choice):
        expected = run(conv2d(case), arrays, gy)
        others = [dict(layouts(array))[layout] for array in arrays]
        results = run(conv2d(case), others, dict(layouts(gy))[layout])
    assert_close(results, expected, 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("case", "choice"), each_algorithm("conv2d", FEW))
def test_upstream_gradient_without_strides(case, choice):
    """What a sum hands down: one number, repeated by strides of zero."""
    shape = by_loops(case)[0][0].shape
    gy = np.broadcast_to(normal("one for each filter", (shape[1], 1, 1)), shape)
    with running("conv2d", choice):
        expected = run(conv2d(case), case.arrays(), gy.copy())
        assert_close(run(conv2d(case), case.arrays(), gy), expected, 1e-13)


@pytest.mark.parametrize(("case", "choice"), each_algorithm("conv2d", FEW))
def test_no_images(case, choice):
    (_, *image), *others = case.shapes
    arrays = [np.ones((0, *image)), *(np.ones(shape) for shape in others)]
    with running("conv2d", choice):
        y, *gradients = run(conv2d(case), arrays)
    assert y.shape == (0, *by_loops(case)[0][0].shape[1:])
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("images", [1, 2, 3, 5])
def test_im2col_over_parts_of_a_batch(monkeypatch, images):
    """Five images, so many at a time, must be the same as all at once."""
    case = next(case for case in CONVOLUTIONS if case.name == "batch of 5")
    columns = 2 * 3 * 3 * 4 * 4 * 8
    monkeypatch.setattr(conv_im2col, "COLUMN_BYTES", images * columns)
    parts = conv_im2col.images_at_a_time((5, 2, 4, 4), 4, 4, kernels.Window((3, 3)), 8)
    assert len(parts) == -(-5 // images)
    expected = by_loops(case)[0]
    with running("conv2d", Choice("numpy", "im2col")):
        assert_close(run(conv2d(case), case.arrays()), expected, 1e-13)


def test_only_the_gradients_that_are_needed_are_computed():
    x, w, b = (mc.Tensor(array) for array in CONVOLUTIONS[-1].arrays())
    for needed, parts in [(x, ["conv2d.grad_input"]), (w, ["conv2d.grad_weight"]), (b, [])]:
        for tensor in (x, w, b):
            tensor.requires_grad, tensor.grad = tensor is needed, None
        y = F.conv2d(x, w, b, padding=1)
        with mc.trace() as ran:
            y.backward(normal("upstream", y.shape))
        assert [one.operation for one in ran] == parts
        assert [tensor.grad is not None for tensor in (x, w, b)] == [tensor is needed for tensor in (x, w, b)]


@pytest.mark.parametrize(
    ("w", "groups", "expected"),
    [
        pytest.param((4, 3, 3, 3), 1, "im2col", id="ordinary"),
        pytest.param((4, 1, 3, 3), 1, "im2col", id="one channel"),
        pytest.param((6, 1, 3, 3), 6, "taps", id="depthwise"),
        pytest.param((6, 1, 3, 3), 3, "im2col", id="depthwise multiplier 2"),
    ],
)
def test_what_auto_chooses(w, groups, expected):
    x = normal("x", (2, w[1] * groups, 5, 5))
    with mc.use("numpy", conv2d="auto"), mc.trace() as ran:
        run(lambda x, w: F.conv2d(x, w, groups=groups), [x, normal("w", w)])
    assert ran == [(part, "numpy", expected) for part in PARTS]


# The geometry


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [1, 4, 5, 6, 7])
def test_same_padding(size, kernel, stride):
    """⌈H/s⌉ rows come out; the padding is what that takes and no more, the odd row after the image."""
    x, w = normal("x", (1, 1, size, size + 3)), normal("w", (1, 1, kernel, kernel))
    y = F.conv2d(x, w, stride=stride, padding="same").numpy()
    assert y.shape == (1, 1, -(-size // stride), -(-(size + 3) // stride))
    padding = []
    for length, out in zip(x.shape[2:], y.shape[2:], strict=True):
        total = next(
            p for p in range(20) if (length + p - kernel) // stride + 1 >= out and length + p >= kernel
        )
        padding.append((total // 2, total - total // 2))
    np.testing.assert_array_equal(y, F.conv2d(x, w, stride=stride, padding=padding).numpy())


def test_ways_to_say_padding():
    x, w = normal("x", (1, 2, 5, 6)), normal("w", (1, 2, 3, 3))
    by_number = F.conv2d(x, w, padding=2).numpy()
    for padding in [(2, 2), [2, 2], ((2, 2), (2, 2)), np.int64(2)]:
        np.testing.assert_array_equal(F.conv2d(x, w, padding=padding).numpy(), by_number)
    np.testing.assert_array_equal(F.conv2d(x, w, padding="valid").numpy(), F.conv2d(x, w, padding=0).numpy())
    np.testing.assert_array_equal(
        F.conv2d(x, w, padding=((1, 0), (3, 2))).numpy(), F.conv2d(F.pad(x, (3, 2, 1, 0)), w).numpy()
    )


def test_output_pixels_meet_the_input_pixels_that_the_definition_says():
    """A single weight moves the image about: y[oh, ow] = x[oh·s + i·d − p, ow·s + j·d − p]."""
    x = np.arange(1.0, 31.0).reshape(1, 1, 5, 6)
    for i, j in np.ndindex(2, 3):
        w = np.zeros((1, 1, 2, 3))
        w[0, 0, i, j] = 1
        y = F.conv2d(x, w, stride=(2, 1), padding=(1, 2), dilation=(3, 2)).numpy()[0, 0]
        assert y.shape == (2, 6)
        for oh, ow in np.ndindex(y.shape):
            h, v = oh * 2 + i * 3 - 1, ow + j * 2 - 2
            assert y[oh, ow] == (x[0, 0, h, v] if 0 <= h < 5 and 0 <= v < 6 else 0)
