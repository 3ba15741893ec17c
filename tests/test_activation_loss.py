"""Activations, the linear layer and losses: by hand, against their composed twins, and at the extremes."""

import math

import numpy as np
import pytest
from cases import (
    DTYPES,
    LAYOUTS,
    ROUNDED,
    algorithms,
    assert_close,
    distinct,
    layouts,
    normal,
    on_device,
    run,
    running,
)

import minicnn as mc
from minicnn import functional as F
from minicnn.functional import composed

ACTIVATIONS = {
    "relu": {},
    "relu6": {},
    "leaky_relu": {"negative_slope": 0.3},
    "tanh": {},
    "sigmoid": {},
    "silu": {},
    "softmax": {"dim": 1},
    "log_softmax": {"dim": -1},
}
KERNELS = [
    pytest.param(name, *choice.values, id=f"{name}-{choice.id}", marks=choice.marks)
    for name in ACTIVATIONS
    if "softmax" not in name
    for choice in algorithms(name)
]
SHAPES = [(5,), (4, 3), (2, 3, 4, 5), (3, 1)]


def activation(name, module=F, **settings):
    settings = settings or ACTIVATIONS[name]
    if module is composed and name == "relu6":
        return lambda x: F.minimum(composed.relu(x), 6)
    return lambda x: getattr(module, name)(x, **settings)


def axis_for(name, shape):
    """A dim for the softmaxes that every shape has; nothing for the others."""
    return {"dim": len(shape) - 1} if "softmax" in name else ACTIVATIONS[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_composed_twins(name, shape, dtype):
    x = 3 * distinct(name, shape, dtype)
    settings = axis_for(name, shape)
    expected = run(activation(name, composed, **settings), [x.astype(np.float64)])
    gy = normal("upstream", shape, dtype)
    results = run(activation(name, **settings), [x], gy)
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "choice"), KERNELS)
def test_kernels_equal_composed_twins(name, choice, dtype):
    x = 4 * distinct(name, (2, 3, 7, 50), dtype) + dtype(2)
    expected = run(activation(name, composed), [x.astype(np.float64)])
    with running(name, choice) as ran:
        results = run(activation(name), [x], normal("upstream", x.shape, dtype))
    assert [one.operation for one in ran] == [f"{name}.forward", f"{name}.backward"]
    assert_close(results, expected, 1e-15 if dtype == np.float64 else 5e-7)


@pytest.mark.parametrize(("name", "choice"), KERNELS)
def test_kernels_round_alike_at_every_place_in_an_array(name, choice):
    """At the end of an array the compiler's code is another than for whole vectors in the middle."""
    x = 5 * distinct(name, 40_003, np.float32)
    with running(name, choice):
        y, gx = run(activation(name), [x], x)
        for start in (1, 2, 3, 20_001, 39_990):
            part = run(activation(name), [x[start:].copy()], x[start:].copy())
            np.testing.assert_array_equal(part[0], y[start:])
            np.testing.assert_array_equal(part[1], gx[start:])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)], ids=str)
@pytest.mark.parametrize(("name", "choice"), KERNELS)
def test_kernels_on_one_number_and_on_none(name, choice, shape):
    x = np.full(shape, 0.75)
    with running(name, choice):
        results = run(activation(name), [x], np.full(shape, 2.0))
    assert_close(results, run(activation(name, composed), [x], np.full(shape, 2.0)), 1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "choice"), KERNELS)
def test_nan_and_infinity(name, choice, dtype):
    """A NaN stays one, and nothing else becomes one; and none of it is a warning."""
    x = np.array([np.nan, 1, np.inf, -np.inf, 0, -0.0], dtype)
    bottom = {"leaky_relu": -np.inf, "tanh": -1, "silu": np.nan}.get(name, 0)
    top = {"relu6": 6, "tanh": 1, "sigmoid": 1}.get(name, np.inf)
    with running(name, choice), np.errstate(invalid="ignore"):  # silu(−∞) is −∞ · 0
        y = activation(name)(on_device(x)).cpu().numpy()
    assert np.isnan(y[0])
    np.testing.assert_array_equal(y[2:4], [top, bottom])
    np.testing.assert_array_equal(y[4:], [0.5 if name == "sigmoid" else 0] * 2)
    if name == "tanh":
        assert np.signbit(y[4:]).tolist() == [False, True]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "choice"), [one for one in KERNELS if one.values[0] in ("tanh", "sigmoid")])
def test_digits(name, choice, dtype):
    """At most 4 units in the last place, from numbers hardly above 0 to where the result stays what it is.

    Expected values have more digits than float64 where the machine does (80 bits on x86).
    """
    sizes = np.concatenate([np.geomspace(1e-30, 700, 20_000), np.linspace(0, 30, 30_001)[1:]])
    x = np.concatenate([-sizes, sizes]).astype(dtype)
    x = x[x > (-80 if dtype == np.float32 else -700)] if name == "sigmoid" else x
    wide = x.astype(np.longdouble)
    expected = np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-wide))
    with running(name, choice):
        y = activation(name)(on_device(x)).cpu().numpy()
    error = np.abs(y - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert error.max() < 4


@pytest.mark.parametrize(
    ("name", "x", "y", "slope"),
    [
        ("relu", [-2.0, 0.0, 3.0], [0, 0, 3], [0, 0, 1]),
        ("relu6", [-2.0, 0.0, 3.0, 6.0, 8.0], [0, 0, 3, 6, 6], [0, 0, 1, 0, 0]),
        ("leaky_relu", [-2.0, 0.0, 3.0], [-0.6, 0, 3], [0.3, 0.3, 1]),
        ("tanh", [0.0, math.log(2)], [0, 3 / 5], [1, 16 / 25]),
        ("sigmoid", [0.0, math.log(3)], [1 / 2, 3 / 4], [1 / 4, 3 / 16]),
        ("silu", [0.0, math.log(3)], [0, 0.75 * math.log(3)], [1 / 2, 3 / 4 + math.log(3) * 3 / 16]),
    ],
)
def test_activations_by_hand(name, x, y, slope):
    gy = normal("upstream", len(x))
    results = run(activation(name), [np.array(x)], gy)
    np.testing.assert_allclose(results[0], y, rtol=1e-15)
    np.testing.assert_allclose(results[1], gy * slope, rtol=1e-15)


def test_softmax_by_hand():
    x, gy = np.array([[0.0, math.log(3)]]), np.array([[1.0, -1.0]])
    y, gx = run(lambda x: F.softmax(x, 1), [x], gy)
    np.testing.assert_allclose(y, [[1 / 4, 3 / 4]], rtol=1e-15)
    np.testing.assert_allclose(gx, [[1 / 4 * 3 / 2, 3 / 4 * -1 / 2]], rtol=1e-15)
    y, gx = run(lambda x: F.log_softmax(x, 1), [x], gy)
    np.testing.assert_allclose(y, [[-math.log(4), math.log(3 / 4)]], rtol=1e-15)
    np.testing.assert_allclose(gx, gy, rtol=1e-15)  # Σ gy is 0


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_along_any_dim(name, dim):
    x = 2 * normal("x", (3, 4, 2))
    results = run(activation(name, dim=dim), [x])
    assert_close(results, run(activation(name, composed, dim=dim), [x]), 1e-14)
    y = results[0] if name == "softmax" else np.exp(results[0])
    np.testing.assert_allclose(y.sum(axis=dim), 1, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_neither_overflow_nor_lose_their_digits(dtype):
    """A warning would fail this test; so would a small number rounded to 0."""
    big, s = 1e4, 1 / (1 + math.exp(30))
    x = np.array([-big, -30.0, 0.0, 30.0, big], dtype)
    expected = {
        "relu": ([0, 0, 0, 30, big], [0, 0, 0, 1, 1]),
        "relu6": ([0, 0, 0, 6, 6], [0, 0, 0, 0, 0]),
        "leaky_relu": ([-0.3 * big, -9, 0, 30, big], [0.3, 0.3, 0.3, 1, 1]),
        "tanh": ([-1, -1, 0, 1, 1], [0, None, 1, None, 0]),
        "sigmoid": ([0, s, 0.5, 1 - s, 1], [0, s * (1 - s), 0.25, None, 0]),
        "silu": ([0, -30 * s, 0, 30 - 30 * s, big], [0, s * (1 - 30 * (1 - s)), 0.5, None, 1]),
        "softmax": ([0, 0, 0, 0, 1], None),
        "log_softmax": ([-2 * big, -big - 30, -big, 30 - big, 0], None),
    }
    for name, (y, slope) in expected.items():
        settings = axis_for(name, x.shape)
        gy = np.linspace(1, 2, 5, dtype=dtype)
        result, gx = run(activation(name, **settings), [x], gy)
        np.testing.assert_allclose(result, y, rtol=4 * np.finfo(dtype).eps, err_msg=name)
        for i, one in enumerate(slope or []):
            if one is not None:  # where 1 − y has no digits left
                np.testing.assert_allclose(gx[i], gy[i] * one, rtol=8 * np.finfo(dtype).eps, err_msg=name)
        assert np.isfinite(gx).all()


# The linear layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 5, 3), (1, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("linear", without=ROUNDED))
def test_linear_equals_composed_twin(choice, dtype, shape, bias):
    arrays = [normal("x", shape, dtype), normal("w", (5, 3), dtype)]
    arrays += [normal("b", 5, dtype)] if bias else []
    expected = run(composed.linear, [array.astype(np.float64) for array in arrays])
    with running("linear", choice) as ran:
        results = run(F.linear, arrays, normal("upstream", (*shape[:-1], 5), dtype))
    assert [one.operation for one in ran] == ["linear.forward", "linear.grad_input", "linear.grad_weight"]
    assert_close(results, expected, 1e-14 if dtype == np.float64 else 2e-6)


def test_linear_by_hand():
    x, w = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 10.0], [3.0, 4.0]])
    b = np.array([0.5, 0.0, -1.0])
    y, gx, gw, gb = run(F.linear, [x, w, b], np.array([[1.0, 2.0, 3.0]]))
    assert y.tolist() == [[1.5, 20, 10]]
    assert gx.tolist() == [[1 + 9, 20 + 12]]
    assert gw.tolist() == [[1, 2], [2, 4], [3, 6]]
    assert gb.tolist() == [1, 2, 3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("linear", without=ROUNDED))
def test_linear_where_blocks_begin_and_end(choice, dtype):
    """One more and one less than fills a tile, a block, and a sum that is taken in parts."""
    for M, K, O in [
        (1, 1, 1),
        (6, 64, 96),
        (7, 63, 5),
        (13, 65, 97),
        (5, 512, 6),
        (65, 513, 102),
        (130, 40, 70),
    ]:
        arrays = [normal("x", (M, K), dtype), normal("w", (O, K), dtype), normal("b", O, dtype)]
        gy = normal("upstream", (M, O), dtype)
        with running("linear", choice):
            results = run(F.linear, arrays, gy)
        x, w, b, gy = (array.astype(np.float64) for array in (*arrays, gy))
        expected = [x @ w.T + b, gy @ w, gy.T @ x, gy.sum(axis=0)]
        assert_close(results, expected, 1e-13 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("choice", algorithms("linear", without=ROUNDED))
def test_linear_in_any_memory_layout(choice, layout):
    arrays, gy = [normal("x", (4, 3)), normal("w", (5, 3)), normal("b", 5)], normal("upstream", (4, 5))
    others, other_gy = [dict(layouts(array))[layout] for array in arrays], dict(layouts(gy))[layout]
    with running("linear", choice):
        expected = run(F.linear, arrays, gy)
        assert_close(run(F.linear, others, other_gy), expected, 1e-14)


# Cross-entropy

LABELS = {
    "vectors": ((6, 4), np.array([0, 3, 1, 1, 2, 0])),
    "pixels": ((2, 5, 2, 3), np.array([[[0, 4, 1], [2, 3, 0]], [[1, 1, 4], [0, 2, 2]]])),
}
WEIGHT = np.array([0.5, 2.0, 0.0, 1.5, 1.0])


def placed(options):
    """The options of a loss, with the weight where the loss is computed."""
    return {name: on_device(value) if name == "weight" else value for name, value in options.items()}


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("target", ["labels", "labels, some ignored", "probabilities", "any distribution"])
@pytest.mark.parametrize("shape", LABELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_equals_composed_twin(dtype, shape, target, reduction, weighted, label_smoothing):
    (N, C, *pixels), labels = LABELS[shape]
    x = 2 * normal("x", (N, C, *pixels), dtype)
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    if weighted:
        options["weight"] = WEIGHT[:C].astype(dtype)
    if target == "labels, some ignored":
        options["ignore_index"] = 1
    elif target != "labels":
        labels = np.exp(normal("target", x.shape)).astype(dtype)  # need not add up to 1
        labels = labels / labels.sum(axis=1, keepdims=True) if target == "probabilities" else labels
    wide = {name: value.astype(np.float64) if name == "weight" else value for name, value in options.items()}
    wide_labels = labels if labels.dtype.kind == "i" else labels.astype(np.float64)
    wide_x = x.astype(np.float64)
    expected = run(lambda x: composed.cross_entropy(x, on_device(wide_labels), **placed(wide)), [wide_x])
    gy = normal("upstream", expected[0].shape, dtype)
    results = run(lambda x: F.cross_entropy(x, on_device(labels), **placed(options)), [x], gy)
    assert results[0].shape == ((N, *pixels) if reduction == "none" else ())
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 2e-6)


def test_cross_entropy_by_hand():
    """Three classes of odds 1 : 2 : 5 and 1 : 1 : 2."""
    x = np.log(np.array([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]]))
    gy = np.array([1.0, 10.0])
    y, gx = run(lambda x: F.cross_entropy(x, [1, 2], reduction="none"), [x], gy)
    np.testing.assert_allclose(y, [math.log(4), math.log(2)], rtol=1e-15)
    np.testing.assert_allclose(gx, [[1 / 8, 2 / 8 - 1, 5 / 8], [2.5, 2.5, -5]], rtol=1e-14)
    weight = np.array([1.0, 3.0, 5.0])
    for reduction, expected in [
        ("sum", 3 * math.log(4) + 5 * math.log(2)),
        ("mean", (3 * math.log(4) + 5 * math.log(2)) / 8),
    ]:
        y = F.cross_entropy(x, [1, 2], weight, reduction=reduction)
        np.testing.assert_allclose(y.item(), expected, rtol=1e-15)
    y, gx = run(lambda x: F.cross_entropy(x, [1, 1], ignore_index=1, reduction="sum"), [x], np.array(7.0))
    assert y == 0
    assert not gx.any()
    smoothed = 0.1 * math.log(8) + 0.8 * math.log(4) + 0.1 * math.log(8 / 5)  # q is 0.1, 0.8, 0.1
    y = F.cross_entropy(x[:1], [1], label_smoothing=0.3)
    np.testing.assert_allclose(y.item(), smoothed, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3000, 10), (50, 1003), (2, 17_000)], ids=str)
@pytest.mark.parametrize("choice", algorithms("cross_entropy"))
def test_kernels_of_cross_entropy(choice, shape, dtype):
    """More rows, and longer ones, than one job or one vector has room for; some count nothing."""
    x, gy = 3 * normal("x", shape, dtype), normal("upstream", shape[0], dtype)
    labels = np.arange(shape[0]) * 7 % shape[1]
    weight = np.abs(normal("weight", shape[1], dtype)) + dtype(0.1)

    def loss(module, weight):
        return lambda x: module.cross_entropy(
            x, on_device(labels), on_device(weight), 7, "none", label_smoothing=0.1
        )

    wide_x, wide_weight = x.astype(np.float64), weight.astype(np.float64)
    expected = run(loss(composed, wide_weight), [wide_x], gy.astype(np.float64))
    with running("cross_entropy", choice) as ran:
        results = run(loss(F, weight), [x], gy)
    assert [one.operation for one in ran] == ["cross_entropy.forward", "cross_entropy.backward"]
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 2e-6)
    assert not results[1][labels == 7].any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("choice", algorithms("cross_entropy"))
def test_cross_entropy_in_any_memory_layout(choice, layout):
    x, labels, gy = normal("x", (6, 4)), np.arange(6) % 4, normal("upstream", 6)

    def loss(x):
        return F.cross_entropy(x, on_device(labels), on_device(weight), reduction="none")

    weight = WEIGHT[:4]
    with running("cross_entropy", choice):
        expected = run(loss, [x], gy)
        x, gy, labels, weight = (dict(layouts(one))[layout] for one in (x, gy, 1.0 * labels, weight))
        labels = labels.astype(int)
        results = run(loss, [x], gy)
    assert_close(results, expected, 1e-15)


@pytest.mark.parametrize("choice", algorithms("cross_entropy"))
def test_cross_entropy_of_nothing_and_of_nan(choice):
    with running("cross_entropy", choice):
        labels = mc.zeros(0, dtype=int)
        assert F.cross_entropy(mc.zeros(0, 3), labels, reduction="sum").item() == 0
        x = np.array([[np.nan, 0.0, 1.0], [1.0, 2.0, 3.0], [np.nan, 0.0, 1.0]])
        y, gx = run(lambda x: F.cross_entropy(x, [0, 1, -100], reduction="none"), [x], np.ones(3))
    assert np.isnan(y).tolist() == [True, False, False]
    assert np.isnan(gx).any(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_certain_outputs(dtype):
    """Softmax alone would overflow, and its logarithm be −∞."""
    x = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 0]], dtype)
    y, gx = run(lambda x: F.cross_entropy(x, [0, 0], reduction="none"), [x], np.array([1, 2], dtype))
    assert y.tolist() == [0, 2e4]
    assert gx.tolist() == [[0, 0, 0], [-2, 2, 0]]


def test_targets_of_every_integer_type_and_list():
    x, labels = mc.tensor(normal("x", (3, 4))), [3, 0, 2]
    expected = F.cross_entropy(x, labels).item()
    for dtype in (np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint64):
        assert F.cross_entropy(x, mc.tensor(labels, dtype)).item() == expected
    assert F.cross_entropy(x, mc.tensor(labels)).item() == expected
    assert F.cross_entropy(x, F.one_hot(labels, 4, np.float64)).item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("shape", LABELS)
def test_nll_loss_equals_composed_twin(shape, weighted, reduction):
    (N, C, *pixels), labels = LABELS[shape]
    x = normal("x", (N, C, *pixels))
    weight = on_device(WEIGHT[:C]) if weighted else None
    arguments = (on_device(labels), weight, 1, reduction)
    expected = run(lambda x: composed.nll_loss(x, *arguments), [x])
    assert_close(run(lambda x: F.nll_loss(x, *arguments), [x]), expected, 1e-14)
    joined = run(lambda x: F.nll_loss(F.log_softmax(x, 1), *arguments), [x])
    assert_close(run(lambda x: F.cross_entropy(x, *arguments), [x]), joined, 1e-13)


# Losses of pairs


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_pairs_equal_composed_twins(dtype, name, reduction):
    """Gradients to the targets as well."""
    x = distinct("x", (4, 5), dtype)
    x = (x + 1) / 2 if name == "binary_cross_entropy" else 5 * x
    t = (distinct("t", (4, 5), dtype) + 1) / 2
    wide = [array.astype(np.float64) for array in (x, t)]
    expected = run(lambda x, t: getattr(composed, name)(x, t, reduction), wide)
    gy = normal("upstream", expected[0].shape, dtype)
    results = run(lambda x, t: getattr(F, name)(x, t, reduction), [x, t], gy)
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 2e-5)


def test_losses_of_pairs_by_hand():
    x, t, gy = np.array([0.25, 0.5]), np.array([1.0, 0.25]), np.array([3.0, 8.0])
    y, gx, gt = run(lambda x, t: F.binary_cross_entropy(x, t, "none"), [x, t], gy)
    np.testing.assert_allclose(y, [math.log(4), math.log(2)], rtol=1e-15)
    np.testing.assert_allclose(gx, [3 * -4, 8 * (0.5 - 0.25) * 4], rtol=1e-15)
    np.testing.assert_allclose(gt, [3 * math.log(3), 0], rtol=1e-15)
    y, gx, gt = run(lambda x, t: F.mse_loss(x, t, "none"), [x, t], gy)
    assert [y.tolist(), gx.tolist(), gt.tolist()] == [[0.5625, 0.0625], [-4.5, 4], [4.5, -4]]
    assert F.mse_loss(x, t).item() == 0.3125
    assert F.mse_loss(x, t, "sum").item() == 0.625
    logit = np.array([math.log(1 / 3), 0.0])  # σ of which is x
    np.testing.assert_allclose(
        F.binary_cross_entropy_with_logits(logit, t, "none").numpy(), [math.log(4), math.log(2)], rtol=1e-15
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_of_certain_outputs(dtype):
    x, t = np.array([0, 1, 0, 1], dtype), np.array([0, 1, 1, 0], dtype)
    y, gx, _ = run(lambda x, t: F.binary_cross_entropy(x, t, "none"), [x, t], np.ones(4, dtype))
    assert y.tolist() == [0, 0, 100, 100]
    assert np.isfinite(gx).all()
    x, t = np.array([1e4, -1e4, -1e4, 1e4], dtype), np.array([1, 0, 1, 0], dtype)
    gy = np.array([2, 3, 4, 5], dtype)
    y, gx, _ = run(lambda x, t: F.binary_cross_entropy_with_logits(x, t, "none"), [x, t], gy)
    assert y.tolist() == [0, 0, 1e4, 1e4]
    assert gx.tolist() == [0, 0, -4, 5]


def test_a_confident_mistake_is_still_corrected_through_sigmoid():
    """In float32, σ(−20) is 2e-9 and not 0: its logarithm and the gradient survive."""
    x, t = np.array([-20.0], np.float32), np.ones(1, np.float32)
    y, gx = run(lambda x: F.binary_cross_entropy(F.sigmoid(x), on_device(t)), [x], np.array(3, np.float32))
    np.testing.assert_allclose(y, 20, rtol=1e-6)
    np.testing.assert_allclose(gx, -3, rtol=1e-6)


def test_one_hot():
    y = F.one_hot(np.array([[2, 0], [1, 1]]), 3)
    assert y.dtype == np.float32
    assert y.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert F.one_hot([0], 1, "float64").dtype == np.float64


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_gives_probability_targets_their_gradient(weighted):
    generator = np.random.default_rng(3)
    weight = [0.5, 1.0, 2.0] if weighted else None
    x, t = generator.standard_normal((4, 3)), generator.dirichlet(np.ones(3), size=4)
    mc.gradcheck(lambda x, t: F.cross_entropy(x, t, weight=weight, label_smoothing=0.2), (x, t))


def test_a_mean_over_no_targets_is_nan_without_a_warning():
    x = mc.tensor([[1.0, 2.0]], requires_grad=True)
    assert np.isnan(F.cross_entropy(x, [-100]).item())
