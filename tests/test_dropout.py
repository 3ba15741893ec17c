"""Dropout: how much falls, that a seed repeats it, and that every family of kernels draws the same mask."""

import numpy as np
import pytest
from cases import algorithms, layouts, normal, run, running

import minicnn as mc
from minicnn import functional as F
from minicnn import nn


def test_dropout_in_eval_mode_is_the_identity():
    x = mc.randn(3, 4, 5)
    before = mc.random.default_generator.get_state()
    for layer in (nn.Dropout(0.9).eval(), nn.Dropout2d(0.9).eval(), nn.Dropout(0.0)):
        assert layer(x) is x
    assert mc.random.default_generator.get_state() == before


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_dropout_drops_and_scales(choice, p):
    """Of n entries n·p fall, to within five standard deviations; the rest and their gradients are scaled."""
    x = np.ones((100, 1000))
    gy = normal("upstream", x.shape)
    with running("dropout", choice):
        y, gx = run(lambda x: F.dropout(x, p), [x], gy)
    dropped = (y == 0).sum()
    assert abs(dropped - p * x.size) < 5 * np.sqrt(x.size * p * (1 - p))
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-12)
    np.testing.assert_array_equal(gx, gy * y)
    rows, columns = (y == 0).mean(axis=1), (y == 0).mean(axis=0)  # no row or column is special
    assert abs(rows - p).max() < 6 * np.sqrt(p * (1 - p) / 1000)
    assert abs(columns - p).max() < 6 * np.sqrt(p * (1 - p) / 100)


@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_the_mask_is_the_same_in_every_family_and_memory_layout(choice):
    x = 1 + np.arange(120.0).reshape(2, 3, 4, 5)
    mc.manual_seed(5)
    with mc.use("numpy"):
        expected = F.dropout(x, 0.4).numpy()
    for _, other in [("as it is", x), *layouts(x)]:
        mc.manual_seed(5)
        with running("dropout", choice):
            np.testing.assert_array_equal(run(lambda x: F.dropout(x, 0.4), [other])[0], expected)
    mc.manual_seed(5)
    single = F.dropout(x.astype(np.float32), 0.4)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single.numpy() == 0, expected == 0)


@pytest.mark.parametrize("used", [0, 1, 2, 3, 2**34 - 7])
@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_the_mask_begins_anywhere_in_the_stream(choice, used):
    """The words come in blocks of four, and counters have more than 32 bits; the jobs share none of them."""
    x = 1 + np.arange(40_003.0)
    generator = mc.random.Generator(2**40 + 9)
    generator.reserve(used)
    words = mc.random.philox_uint32(2**40 + 9, used, x.size)
    with running("dropout", choice) as ran:
        y, gx = run(lambda x: F.dropout(x, 0.3, generator=generator), [x], x)
    assert [one.operation for one in ran] == ["dropout.forward", "dropout.backward"]
    expected = np.where(words >= 0.3 * 2**32, x * (1 / 0.7), 0)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(gx, expected)


def test_a_seed_repeats_the_masks_and_two_masks_differ():
    x, layer = mc.ones(1000), nn.Dropout(0.5)
    mc.manual_seed(3)
    first, second = layer(x).cpu().numpy(), layer(x).cpu().numpy()
    assert (first != second).any()
    mc.manual_seed(3)
    np.testing.assert_array_equal(layer(x).cpu().numpy(), first)
    np.testing.assert_array_equal(layer(x).cpu().numpy(), second)
    mc.manual_seed(4)
    assert (layer(x).cpu().numpy() != first).any()


def test_a_generator_of_its_own():
    x = mc.ones(100)
    layer = nn.Dropout(0.5, generator=mc.random.Generator(7))
    before = mc.random.default_generator.get_state()
    y = layer(x).cpu().numpy()
    assert mc.random.default_generator.get_state() == before
    expected = F.dropout(x, 0.5, generator=mc.random.Generator(7)).cpu().numpy()
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_dropout_of_whole_channels(choice):
    x = 1 + np.arange(4 * 50 * 6.0).reshape(4, 50, 2, 3)
    with running("dropout", choice):
        y, gx = run(lambda x: F.dropout2d(x, 0.3), [x])
    fell = (y == 0).all(axis=(2, 3))
    np.testing.assert_allclose(y[~fell], x[~fell] / 0.7, rtol=1e-15)
    assert 30 < fell.sum() < 90
    assert not gx[fell].any()


@pytest.mark.parametrize("shape", [(40, 3, 2, 2), (40,), (40, 5)], ids=str)
@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_stochastic_depth_of_rows(choice, shape):
    """One word of the stream decides for each image, and all that is in it shares the decision."""
    x = 1 + np.arange(np.prod(shape), dtype=float).reshape(shape)
    words = mc.random.philox_uint32(6, 0, 40)
    with running("dropout", choice):
        y, gx = run(lambda x: F.stochastic_depth(x, 0.3, "row", generator=mc.random.Generator(6)), [x], x)
    kept = (words >= 0.3 * 2**32).reshape(40, *[1] * (len(shape) - 1))
    assert 5 < 40 - kept.sum() < 20
    np.testing.assert_array_equal(y, np.where(kept, x * (1 / 0.7), 0))
    np.testing.assert_array_equal(gx, y)


@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_stochastic_depth_of_the_whole_batch(choice):
    x, fell = 1 + np.arange(24.0).reshape(4, 3, 2), 0
    generator = mc.random.Generator(2)
    with running("dropout", choice):
        for _ in range(40):
            y, gx = run(lambda x: F.stochastic_depth(x, 0.5, "batch", generator=generator), [x], x)
            assert not y.any() or (y == 2 * x).all()
            np.testing.assert_array_equal(gx, y)
            fell += not y.any()
    assert generator.offset == 40
    assert 10 < fell < 30


def test_stochastic_depth_outside_training():
    x, layer = mc.randn(3, 4), nn.StochasticDepth(0.5, "row")
    before = mc.random.default_generator.get_state()
    assert layer.eval()(x) is x
    assert nn.StochasticDepth(0.0, "batch")(x) is x
    assert mc.random.default_generator.get_state() == before
    assert layer.train()(x) is not x


@pytest.mark.parametrize("choice", algorithms("dropout"))
def test_dropout_of_everything(choice):
    with running("dropout", choice):
        y, gx = run(lambda x: F.dropout(x, 1.0), [normal("x", 50)])
    assert not y.any()
    assert not gx.any()
