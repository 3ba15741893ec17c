"""Squeeze-and-excitation: equal to its definition, and to its layers one by one."""

import numpy as np
import pytest
from cases import DTYPES, assert_close, layouts, normal, run

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.functional import composed

SHAPES = [(3, 8, 5, 7), (2, 17, 1, 1), (1, 4, 9, 33), (5, 1, 2, 2)]
WHOLE = [f"squeeze_excitation.{part}" for part in ("means", "scale", "grad_scale", "grad_input")]
CLOSE = {np.float32: 2e-6, np.float64: 1e-13}


def arrays(shape, dtype=np.float64, M=3):
    """x, and the weights and biases of the dense layers: so small that σ keeps away from 0 and 1."""
    C = shape[1]
    dense = {"w1": (M, C), "b1": (M,), "w2": (C, M), "b2": (C,)}
    return [normal("x", shape, dtype), *(dtype(0.4) * normal(n, s, dtype) for n, s in dense.items())]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_its_definition(shape, backend, activation, dtype):
    given = arrays(shape, dtype)
    with mc.use(backend), mc.trace() as ran:
        results = run(lambda *inputs: F.squeeze_excitation(*inputs, activation), given)
    own = [one.operation for one in ran if one.operation.startswith("squeeze_excitation")]
    assert own == (WHOLE if backend == "numba" else [])
    wide = [array.astype(np.float64) for array in given]
    gy = normal("upstream", shape, dtype).astype(np.float64)
    assert_close(
        results, run(lambda *xs: composed.squeeze_excitation(*xs, activation), wide, gy), CLOSE[dtype]
    )


@pytest.mark.parametrize("layout", range(4))
def test_memory_in_another_order(layout):
    x, *dense = arrays((3, 8, 5, 7))
    with mc.use("numba"):
        expected = run(F.squeeze_excitation, [x, *dense])
        name, other = list(layouts(x))[layout]
        results = run(F.squeeze_excitation, [other, *dense])
    for one, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(one, wanted, name)


def layer(*settings, **options):
    """A layer whose every number matters."""
    made = nn.SqueezeExcitation(*settings, **options).double()
    for p in made.parameters():
        nn.init.normal_(p)
    return made


def what_ran(layer, x):
    """The layer's result, and the operations of squeeze-and-excitation that computed it."""
    with mc.use("numba"), mc.trace() as ran, mc.no_grad():
        y = layer(x)
    return y.data, [one.operation for one in ran if one.operation.startswith("squeeze_excitation")]


class TestLayer:
    def test_one_operation_or_several(self):
        x = mc.randn(2, 6, 4, 3, dtype="float64")
        for options in ({}, {"activation": nn.SiLU}):
            se = layer(6, 2, **options)
            joined, ran = what_ran(se, x)
            assert ran == WHOLE[:2]
            with mc.use(fuse=False):
                apart, ran = what_ran(se, x)
            assert ran == []
            np.testing.assert_allclose(joined, apart, rtol=1e-12)

    def test_a_hook_sees_its_layer(self):
        x, se, seen = mc.randn(2, 6, 4, 3, dtype="float64"), layer(6, 2), []
        expected, _ = what_ran(se, x)
        handle = se.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
        found, ran = what_ran(se, x)
        assert (seen, ran) == ([(2, 2, 1, 1)], [])
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        handle.remove()
        assert what_ran(se, x)[1] == WHOLE[:2]

    def test_other_activations(self):
        x = mc.randn(2, 6, 4, 3, dtype="float64")
        for options in ({"activation": nn.Tanh}, {"scale_activation": nn.ReLU}):
            se = layer(6, 2, **options)
            found, ran = what_ran(se, x)
            assert ran == []
            s = se.scale_activation(se.fc2(se.activation(se.fc1(x.mean((2, 3), keepdim=True)))))
            np.testing.assert_allclose(found, (x * s).data, rtol=1e-12)

    def test_sizes(self):
        for sizes in ((0, 2), (4, 0), (4, 1.5)):
            with pytest.raises(
                ValueError, match=r"SqueezeExcitation: (input|squeeze)_channels must be a whole"
            ):
                nn.SqueezeExcitation(*sizes)


@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (2, 4, 3), r"squeeze_excitation: x must be images \(N, C, H, W\), got shape \(2, 4, 3\)"),
        (
            0,
            (2, 5, 3, 3),
            r"squeeze_excitation: w1 has shape \(3, 4\), expected \(3, 5\) for x \(2, 5, 3, 3\)",
        ),
        (1, (3, 4, 1), r"squeeze_excitation: w1 has shape \(3, 4, 1\), expected \(3, 4\)"),
        (2, (4,), r"squeeze_excitation: b1 has shape \(4,\), expected \(3,\)"),
        (3, (3, 4), r"squeeze_excitation: w2 has shape \(3, 4\), expected \(4, 3\)"),
        (4, (), r"squeeze_excitation: b2 has shape \(\), expected \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(position, shape, message):
    given = arrays((2, 4, 3, 3))
    given[position] = np.zeros(shape)
    with pytest.raises(ValueError, match=message):
        F.squeeze_excitation(*given)


def test_faults_are_named():
    x, *dense = arrays((2, 4, 3, 3))
    with pytest.raises(ValueError, match=r"activation 'tanh' is unknown.*known: relu, silu"):
        F.squeeze_excitation(x, *dense, activation="tanh")
    with pytest.raises(TypeError, match="squeeze_excitation: w1 is float64, but x is float32"):
        F.squeeze_excitation(x.astype(np.float32), *dense)
