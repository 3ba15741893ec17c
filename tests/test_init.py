"""The initialisers: variances and bounds by the papers' formulas, and PyTorch's where it is installed."""

from __future__ import annotations

import inspect
import tracemalloc
from math import sqrt

import numpy as np
import pytest
from cases import on_host

from minicnn import backend, nn, random, use
from minicnn.nn import init
from minicnn.random import Generator

LINEAR, CONV = (200, 300), (96, 16, 5, 3)


def parameter(shape, dtype=np.float32):
    return nn.Parameter(np.full(shape, np.nan, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("fill", "value"), [(init.zeros_, 0), (init.ones_, 1), (lambda w: init.constant_(w, -2.5), -2.5)]
)
def test_constants_fill_in_place(fill, value, dtype):
    w = parameter((3, 4), dtype)
    array = w.data
    assert fill(w) is w
    assert w.data is array
    assert w.dtype == dtype
    assert (w.data == value).all()


@pytest.mark.parametrize("fill", [init.uniform_, init.normal_])
def test_numbers_are_drawn_where_they_stay(fill):
    """A network of 575 MB must not need twice as much to begin with."""
    with use(backend.cpu_backend()):
        w = parameter((2000, 1000))
    expected = getattr(Generator(5), fill.__name__.strip("_"))((2000, 1000))
    tracemalloc.start()
    try:
        fill(w, generator=Generator(5))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(w.data, expected)
    assert most < w.data.nbytes / 2


def test_part_of_a_tensor_is_filled_in_place():
    w = parameter((4, 6))
    init.uniform_(w.detach()[:, ::2], generator=Generator(5))
    found = on_host(w.data)
    np.testing.assert_array_equal(found[:, ::2], Generator(5).uniform((4, 3)))
    assert np.isnan(found[:, 1::2]).all()


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((6, 4), (4, 6)), ((6, 3, 5, 5), (75, 150)), ((8, 1, 3, 2), (6, 48)), ((4, 2, 3), (6, 12))],
)
def test_fans(shape, fans):
    assert init.calculate_fan_in_and_fan_out(parameter(shape)) == fans
    assert init._calculate_fan_in_and_fan_out(parameter(shape)) == fans


def test_gains():
    assert (
        init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    )
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("relu") == sqrt(2)
    assert init.calculate_gain("leaky_relu") == sqrt(2 / (1 + 0.01**2))
    assert init.calculate_gain("leaky_relu", 0.2) == sqrt(2 / 1.04)
    assert init.calculate_gain("selu") == 0.75


# (a call, the standard deviation it should give for this fan_in and fan_out, whether it is uniform)
SCALES = [
    (lambda w, g: init.uniform_(w, -0.3, 0.3, generator=g), lambda i, o: 0.3 / sqrt(3), True),
    (lambda w, g: init.normal_(w, 0.0, 0.7, generator=g), lambda i, o: 0.7, False),
    (lambda w, g: init.xavier_uniform_(w, generator=g), lambda i, o: sqrt(2 / (i + o)), True),
    (
        lambda w, g: init.xavier_uniform_(w, gain=5 / 3, generator=g),
        lambda i, o: 5 / 3 * sqrt(2 / (i + o)),
        True,
    ),
    (lambda w, g: init.xavier_normal_(w, generator=g), lambda i, o: sqrt(2 / (i + o)), False),
    (lambda w, g: init.kaiming_uniform_(w, generator=g), lambda i, o: sqrt(2 / i), True),
    (lambda w, g: init.kaiming_uniform_(w, a=sqrt(5), generator=g), lambda i, o: sqrt(1 / (3 * i)), True),
    (lambda w, g: init.kaiming_uniform_(w, mode="fan_out", generator=g), lambda i, o: sqrt(2 / o), True),
    (lambda w, g: init.kaiming_normal_(w, nonlinearity="relu", generator=g), lambda i, o: sqrt(2 / i), False),
    (lambda w, g: init.kaiming_normal_(w, 0.0, "fan_out", "tanh", g), lambda i, o: 5 / 3 / sqrt(o), False),
]


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("fill", "scale", "uniform"), SCALES)
def test_scale(fill, scale, uniform, shape, dtype):
    w = parameter(shape, dtype)
    assert fill(w, Generator(5)) is w
    assert w.dtype == dtype
    n = w.data.size
    std = scale(*init.calculate_fan_in_and_fan_out(w))
    kurtosis = 9 / 5 if uniform else 3
    values = w.data.astype(np.float64)
    assert abs(values.mean()) < 4 * std / sqrt(n)
    assert abs(values.var() / std**2 - 1) < 4 * sqrt((kurtosis - 1) / n)
    assert abs((values**4).mean() / std**4 - kurtosis) < 0.15
    if uniform:
        assert 0.999 * sqrt(3) * std < abs(values).max() <= sqrt(3) * std * (1 + 1e-6)


def test_the_generator_is_used_and_else_the_default_one():
    first, second = parameter((4, 5)), parameter((4, 5))
    init.normal_(first, generator=Generator(1))
    init.normal_(second, generator=Generator(1))
    assert (first.data == second.data).all()
    saved = random.default_generator.get_state()
    try:
        random.manual_seed(1)
        init.normal_(second)
        assert (first.data == second.data).all()
        assert random.default_generator.offset == 40
    finally:
        random.default_generator.set_state(saved)


def test_a_filled_tensor_counts_as_changed():
    w = nn.Parameter(np.ones(5000))  # too long to be compared by value
    y = (w * w).sum()
    init.zeros_(w)
    with pytest.raises(RuntimeError, match="changed"):
        y.backward()


@pytest.mark.parametrize(
    "depth_keeps_power", [(init.kaiming_normal_, "relu"), (init.xavier_normal_, "linear")]
)
def test_twenty_layers_keep_the_power_of_the_signal(depth_keeps_power):
    fill, activation = depth_keeps_power
    g = Generator(0)
    x = g.normal((64, 256), dtype=np.float64)
    for _ in range(20):
        w = fill(parameter((256, 256), np.float64), generator=g).data
        x = x @ w.T
        power = (x**2).mean()
        x = np.maximum(x, 0) if activation == "relu" else x
    expected = 2 if activation == "relu" else 1  # before a rectifier, twice the power behind it
    assert 0.4 * expected < power < 2.5 * expected


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.xavier_uniform_(parameter(5)), ValueError, r"xavier_uniform_: tensor has shape \(5,\)"),
        (lambda: init.kaiming_normal_(parameter(())), ValueError, r"kaiming_normal_: tensor has shape \(\)"),
        (
            lambda: init.kaiming_normal_(parameter((0, 3))),
            ValueError,
            r"tensor is empty, its shape is \(0, 3\)",
        ),
        (lambda: init.kaiming_normal_(parameter((2, 3)), mode="fan"), ValueError, "mode is 'fan'"),
        (
            lambda: init.kaiming_normal_(parameter((2, 3)), nonlinearity="rleu"),
            ValueError,
            "did you mean 'relu'",
        ),
        (lambda: init.calculate_gain("thanh"), ValueError, "did you mean 'tanh'"),
        (lambda: init.zeros_(np.ones(3)), TypeError, "zeros_|constant_: tensor is ndarray"),
        (lambda: init.normal_([1.0]), TypeError, "normal_: tensor is list"),
        (lambda: init.uniform_(parameter(3), 2.0, 1.0), ValueError, "low is 2.0 and high is 1.0"),
        (lambda: init.normal_(parameter(3), std=-1.0), ValueError, "std is -1.0"),
    ],
)
def test_a_wrong_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.oracle
@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 5, 5)])
def test_fans_gains_and_signatures_are_pytorchs(shape):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.init
    assert init.calculate_fan_in_and_fan_out(parameter(shape)) == theirs._calculate_fan_in_and_fan_out(
        torch.empty(shape)
    )
    for name in ("linear", "conv1d", "conv2d", "conv3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == pytest.approx(theirs.calculate_gain(name), rel=1e-15)
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(
        theirs.calculate_gain("leaky_relu", 0.3), rel=1e-15
    )
    for name in ("zeros_", "ones_", "constant_", "uniform_", "normal_", "calculate_gain"):
        assert list(inspect.signature(getattr(init, name)).parameters) == list(
            inspect.signature(getattr(theirs, name)).parameters
        )
    for name in ("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"):
        ours = inspect.signature(getattr(init, name)).parameters
        assert [(p.name, p.default) for p in ours.values()] == [
            (p.name, p.default) for p in inspect.signature(getattr(theirs, name)).parameters.values()
        ]


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{}, {"a": sqrt(5)}, {"mode": "fan_out", "nonlinearity": "relu"}])
def test_kaiming_scale_is_pytorchs(options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours = init.kaiming_uniform_(parameter(CONV), generator=Generator(0), **options).data
    theirs = torch.nn.init.kaiming_uniform_(torch.empty(CONV), **options).numpy()
    assert abs(ours).max() == pytest.approx(abs(theirs).max(), rel=1e-3)
    assert ours.std() == pytest.approx(theirs.std(), rel=2e-2)
