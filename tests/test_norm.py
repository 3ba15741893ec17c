"""Normalisation: against numbers worked out by hand, and against the twins composed of simple operations."""

import numpy as np
import pytest
from cases import (
    BATCH_NORMS,
    DTYPES,
    LAYOUTS,
    LOCAL_RESPONSE_NORMS,
    algorithms,
    assert_close,
    layouts,
    named,
    normal,
    on_device,
    on_host,
    run,
    running,
)

import minicnn as mc
from minicnn import functional as F
from minicnn.functional import composed

TRAINING = ["batch_norm.training", "batch_norm.update", "batch_norm.training_backward"]
INFERENCE = ["batch_norm.inference", "batch_norm.inference_backward"]


def statistics(case, dtype):
    """A running mean and a running variance, neither 0 nor 1."""
    C = case.shapes[0][1]
    return normal("running mean", C, dtype), np.square(normal("running variance", C, dtype)) + dtype(0.3)


def arrays_of(case, dtype):
    """x far from mean 0 and deviation 1, as it is where normalisation is needed; w and b as they come."""
    x, *parameters = case.arrays(dtype)
    return [3 * x + 10, *parameters]


def batch_norm(function, case, dtype, training, momentum=0.3):
    mean, var = (on_device(array) for array in statistics(case, dtype))

    def normalised(x, *parameters):
        return function(x, mean, var, *parameters, training=training, momentum=momentum, **case.settings)

    return normalised, mean, var


def test_training_by_hand():
    """Two channels of four entries: 1 3 5 7, of mean 4 and variance 5, and 0 0 0 2, of 1/2 and 3/4."""
    x = np.array([[[1.0, 3.0], [0.0, 0.0]], [[5.0, 7.0], [0.0, 2.0]]])
    w, b = np.array([2.0, -1.0]), np.array([0.5, 3.0])
    gy = np.array([[[1.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mean, var = mc.tensor([10.0, 20.0], dtype="float64"), mc.tensor([1.0, 2.0], dtype="float64")
    y, gx, gw, gb = run(
        lambda x, w, b: F.batch_norm(x, mean, var, w, b, training=True, momentum=0.5, eps=0.0), [x, w, b], gy
    )
    r5, r3 = np.sqrt(5), np.sqrt(3)
    np.testing.assert_allclose(
        y,
        [
            [[0.5 - 6 / r5, 0.5 - 2 / r5], [3 + 1 / r3, 3 + 1 / r3]],
            [[0.5 + 2 / r5, 0.5 + 6 / r5], [3 + 1 / r3, 3 - 3 / r3]],
        ],
        rtol=1e-14,
    )
    # x̂ is (−3, −1, 1, 3)/√5 and (−1, −1, −1, 3)/√3. In channel 0 gy = (1, 0, 0, 0): mean(gy) = 1/4 and
    # mean(gy·x̂) = −3/4√5, hence gx = 2/√5 · (gy − 1/4 + 3/4√5 · x̂); in channel 1 gy = (0, 4, 0, 0).
    np.testing.assert_allclose(gb, [1, 4], rtol=1e-15)
    np.testing.assert_allclose(gw, [-3 / r5, -4 / r3], rtol=1e-15)
    np.testing.assert_allclose(
        gx,
        [
            [[2 / r5 * (3 / 4 - 9 / 20), 2 / r5 * (-1 / 4 - 3 / 20)], [2 / r3 * 4 / 3, -2 / r3 * 8 / 3]],
            [[2 / r5 * (-1 / 4 + 3 / 20), 2 / r5 * (-1 / 4 + 9 / 20)], [2 / r3 * 4 / 3, 0]],
        ],
        atol=1e-15,
    )
    # half of the old and half of the new, where the new variance has the divisor 3: 20/3 and 1
    np.testing.assert_allclose(on_host(mean.data), [7, 10.25], rtol=1e-15)
    np.testing.assert_allclose(on_host(var.data), [(1 + 20 / 3) / 2, 1.5], rtol=1e-15)


def test_inference_by_hand():
    x, gy = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.0, 10.0], [2.0, 20.0]])
    w, b = np.array([2.0, -1.0]), np.array([0.5, 3.0])
    mean, var = mc.tensor([1.0, 1.0], dtype="float64"), mc.tensor([3.0, 0.0], dtype="float64")
    y, gx, gw, gb = run(lambda x, w, b: F.batch_norm(x, mean, var, w, b, eps=1.0), [x, w, b], gy)
    assert y.tolist() == [[0.5, 2], [2.5, -1]]
    assert gx.tolist() == [[1, -10], [2, -20]]
    assert gw.tolist() == [2, 90]
    assert gb.tolist() == [3, 30]
    assert (mean.tolist(), var.tolist()) == ([1, 1], [3, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("batch_norm.training"))
@pytest.mark.parametrize("case", named(BATCH_NORMS))
def test_training_equals_composed_twin(case, choice, dtype):
    twin, *expected_statistics = batch_norm(composed.batch_norm, case, np.float64, training=True)
    expected = run(twin, arrays_of(case, np.float64))
    gy = normal("upstream", expected[0].shape, dtype)
    with running("batch_norm", choice) as ran:
        fused, *moved = batch_norm(F.batch_norm, case, dtype, training=True)
        results = run(fused, arrays_of(case, dtype), gy)
        moved = [on_host(one.data) for one in moved]
    assert [one.operation for one in ran] == TRAINING
    tolerance = 1e-12 if dtype == np.float64 else 3e-5  # a mean of 10 in units of ε, twice squared
    assert_close(results, expected, tolerance)
    assert_close(moved, [on_host(one.data) for one in expected_statistics], tolerance)
    assert all(one.dtype == dtype for one in moved)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("batch_norm.inference"))
@pytest.mark.parametrize("case", named(BATCH_NORMS))
def test_inference_equals_composed_twin(case, choice, dtype):
    twin, *_ = batch_norm(composed.batch_norm, case, np.float64, training=False)
    expected = run(twin, arrays_of(case, np.float64))
    gy = normal("upstream", expected[0].shape, dtype)
    with running("batch_norm", choice) as ran:
        fused, *given = batch_norm(F.batch_norm, case, dtype, training=False)
        results = run(fused, arrays_of(case, dtype), gy)
        given = [on_host(one.data) for one in given]
    assert [one.operation for one in ran] == INFERENCE
    assert_close(results, expected, 1e-12 if dtype == np.float64 else 1e-5)
    for one, before in zip(given, statistics(case, dtype), strict=True):
        np.testing.assert_array_equal(one, before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("training", "choice"),
    [(True, *c.values) for c in algorithms("batch_norm.training")]
    + [(False, *c.values) for c in algorithms("batch_norm.inference")],
)
def test_batch_norm_in_any_memory_layout(training, choice, layout):
    case = next(case for case in BATCH_NORMS if case.name == "images")
    arrays, gy = arrays_of(case, np.float64), normal("upstream", case.shapes[0])
    others, other_gy = [dict(layouts(array))[layout] for array in arrays], dict(layouts(gy))[layout]
    with running("batch_norm", choice):
        function, *_ = batch_norm(F.batch_norm, case, np.float64, training, momentum=0.0)
        expected = run(function, arrays, gy)
        results = run(function, others, other_gy)
    assert_close(results, expected, 1e-13)


def test_large_mean_and_small_variance():
    """x − mean first, then its square: E[x²] − E[x]² would lose every digit here in float32."""
    x = (normal("x", (64, 2, 3, 3), np.float32) * np.float32(0.5) + np.float32(4096)).astype(np.float32)
    y = F.batch_norm(x, None, None, training=True).numpy()
    wide = x.astype(np.float64)
    mean, var = wide.mean((0, 2, 3), keepdims=True), wide.var((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(y, (wide - mean) / np.sqrt(var + 1e-5), atol=5e-3)
    assert abs(y.std() - 1) < 1e-3


def test_a_constant_channel_gives_the_bias():
    """Variance 0: only ε stands below the line."""
    x = np.full((4, 1, 2, 2), 7.0)
    results = run(lambda x, b: F.batch_norm(x, None, None, None, b, training=True), [x, np.array([0.25])])
    assert (results[0] == 0.25).all()
    assert np.isfinite(results[1]).all()


def test_later_training_does_not_disturb_an_earlier_inference():
    """Backward of an inference pass must use the statistics of its forward pass."""
    mean, var = mc.zeros(2, dtype="float64"), mc.ones(2, dtype="float64")
    x = mc.tensor(normal("x", (5, 2)), requires_grad=True)
    y = F.batch_norm(x, mean, var, eps=0.0)
    F.batch_norm(mc.tensor(normal("other", (5, 2))), mean, var, training=True)
    gy = normal("upstream", (5, 2))
    y.backward(mc.tensor(gy))
    np.testing.assert_array_equal(on_host(x.grad), gy)


def test_statistics_are_optional_in_training():
    x = normal("x", (4, 3))
    expected = F.batch_norm(x, np.zeros(3), np.ones(3), training=True).numpy()
    np.testing.assert_array_equal(F.batch_norm(x, None, None, training=True).numpy(), expected)
    for mean, var in [(np.zeros(3), None), (None, np.ones(3))]:
        np.testing.assert_array_equal(F.batch_norm(x, mean, var, training=True).numpy(), expected)
        assert mean is None or mean.any()
        assert var is None or (var != 1).any()


# Local response normalisation


@pytest.mark.parametrize(
    ("size", "y"),
    [
        (1, [1 / 2, 2 / 5, 3 / 10, 4 / 17]),
        (2, [1 / 1.5, 2 / 3.5, 3 / 7.5, 4 / 13.5]),  # the window is c − 1 and c
        (3, [1 / (1 + 5 / 3), 2 / (1 + 14 / 3), 3 / (1 + 29 / 3), 4 / (1 + 25 / 3)]),
        (4, [1 / (1 + 5 / 4), 2 / (1 + 14 / 4), 3 / (1 + 30 / 4), 4 / (1 + 29 / 4)]),  # c − 2 to c + 1
    ],
)
def test_local_response_norm_by_hand(size, y):
    x = np.arange(1.0, 5.0).reshape(1, 4, 1)
    result = F.local_response_norm(x, size, alpha=1.0, beta=1.0, k=1.0).numpy()
    np.testing.assert_allclose(result.ravel(), y, rtol=1e-14)


def test_gradient_of_local_response_norm_by_hand():
    """Two channels, size 2, k = 0, α = 2: y0 = x0/x0² and y1 = x1/(x0² + x1²), here at (1, 2)."""
    x, gy = np.array([1.0, 2.0]).reshape(1, 2, 1), np.array([10.0, 1.0]).reshape(1, 2, 1)
    y, gx = run(lambda x: F.local_response_norm(x, 2, alpha=2.0, beta=1.0, k=0.0), [x], gy)
    np.testing.assert_allclose(y.ravel(), [1, 2 / 5], rtol=1e-15)
    # ∂y0/∂x0 = −1/x0² = −1;  ∂y1/∂x0 = −2·x0·x1/25 = −4/25;  ∂y1/∂x1 = 1/5 − 2·x1²/25 = −3/25
    np.testing.assert_allclose(gx.ravel(), [-10 - 4 / 25, -3 / 25], rtol=1e-14)


def local_response_norm(case, function=F.local_response_norm):
    return lambda x: function(x, **case.settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("local_response_norm"))
@pytest.mark.parametrize("case", named(LOCAL_RESPONSE_NORMS))
def test_local_response_norm_equals_composed_twin(case, choice, dtype):
    expected = run(local_response_norm(case, composed.local_response_norm), case.arrays())
    gy = normal("upstream", case.shapes[0], dtype)
    with running("local_response_norm", choice) as ran:
        results = run(local_response_norm(case), case.arrays(dtype), gy)
    assert [one.operation for one in ran] == ["local_response_norm.forward", "local_response_norm.backward"]
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 2e-6)


@pytest.mark.parametrize("beta", [0.75, 0.5, 1.25])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", algorithms("local_response_norm"))
def test_local_response_norm_of_large_images(choice, dtype, beta):
    """More pixels than one job has, and not a whole number of jobs; numbers of very different sizes."""
    x = (10.0 ** (2 * normal("x", (2, 7, 23, 25)))).astype(dtype)
    settings = {"size": 4, "alpha": 0.5, "beta": beta, "k": 2.0}
    twin = lambda x: composed.local_response_norm(x, **settings)  # noqa: E731
    gy = normal("upstream", x.shape, dtype)
    expected = run(twin, [x.astype(np.float64)], gy.astype(np.float64))
    with running("local_response_norm", choice):
        results = run(lambda x: F.local_response_norm(x, **settings), [x], gy)
    assert_close(results, expected, 1e-13 if dtype == np.float64 else 5e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("choice", algorithms("local_response_norm"))
def test_local_response_norm_in_any_memory_layout(choice, layout):
    case = LOCAL_RESPONSE_NORMS[0]
    (x,), gy = case.arrays(), normal("upstream", case.shapes[0])
    with running("local_response_norm", choice):
        expected = run(local_response_norm(case), [x], gy)
        other, other_gy = dict(layouts(x))[layout], dict(layouts(gy))[layout]
        results = run(local_response_norm(case), [other], other_gy)
    assert_close(results, expected, 1e-14)
