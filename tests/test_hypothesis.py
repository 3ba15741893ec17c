"""Geometries and shapes that nobody thought of: hypothesis draws them, the same ones in every run."""

import math

import numpy as np
import pytest
from cases import ONLY_FOR, Case, Choice, algorithms, applies, assert_close, distinct, normal, run, running
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minicnn as mc
from minicnn import functional as F
from minicnn.functional import composed

LOOPS = Choice("numpy", "naive")


ONE = st.just((1, 1))
PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
ONLY_WINDOWS = {  # of kernels that are for few geometries: kernel, stride, dilation, the most padding, groups
    "pointwise": (ONE, ONE, ONE, 0, 1),
    "narrow": (PAIRS, ONE, PAIRS, 3, 3),
    "winograd": (st.just((3, 3)), ONE, ONE, 2, 1),
    "winograd2": (st.just((3, 3)), ONE, ONE, 2, 1),
}


@st.composite
def convolutions(draw, algorithm):
    """Shapes of x and w, and settings, in which at least one window fits."""
    *windows, most, most_groups = ONLY_WINDOWS.get(algorithm, (PAIRS, PAIRS, PAIRS, 3, 3))
    kernel, stride, dilation = (draw(window) for window in windows)
    sides = st.tuples(st.integers(0, most), st.integers(0, most))
    padding = draw(sides), draw(sides)
    groups, C, OC, N = (draw(st.integers(1, most)) for most in (most_groups, 3, 3, 3))
    size = [
        max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 5))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    if most and draw(st.booleans()):
        padding = "same"
    shapes = (N, groups * C, *size), (groups * OC, C, *kernel), (groups * OC,)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    usual = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    return shapes, {name: value for name, value in options.items() if value != usual[name]}


# Some kernels are for a few sizes only, or round: their own tests go through what there is.
OF_A_LIST = [choice for choice in ONLY_FOR if isinstance(choice, Choice)]


@pytest.mark.parametrize("choice", algorithms("conv2d", without=["naive", *OF_A_LIST]))
@given(st.data())
@settings(max_examples=60)
def test_convolution_of_any_geometry(choice, data):
    shapes, options = data.draw(convolutions(choice.algorithm))
    assume(applies(choice, Case("any", shapes, options)))
    arrays = [normal(f"{i}", shape) for i, shape in enumerate(shapes)]
    with mc.no_grad():
        outputs = math.prod(F.conv2d(*arrays, **options).shape)
    assume(outputs * math.prod(shapes[1][1:]) < 8000)  # what the loops can do in a moment
    with running("conv2d", LOOPS):
        expected = run(lambda *tensors: F.conv2d(*tensors, **options), arrays)
    with running("conv2d", choice):
        results = run(lambda *tensors: F.conv2d(*tensors, **options), arrays)
    assert_close(results, expected, 1e-12)


@st.composite
def poolings(draw):
    kernel, stride = (draw(st.tuples(st.integers(1, 4), st.integers(1, 5))) for _ in range(2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [max(1, k - 2 * p) + draw(st.integers(0, 6)) for k, p in zip(kernel, padding, strict=True)]
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return shape, options | {"ceil_mode": draw(st.booleans())}


@pytest.mark.parametrize(
    ("operation", "choice"),
    [(op, *c.values) for op in ("max_pool2d", "avg_pool2d") for c in algorithms(op, without=["naive"])],
)
@given(poolings(), st.booleans())
@settings(max_examples=60)
def test_pooling_of_any_geometry(operation, choice, geometry, count_include_pad):
    shape, options = geometry
    if operation == "avg_pool2d":
        options = options | {"count_include_pad": count_include_pad}
    x = distinct("x", shape)
    with running(operation, LOOPS):
        expected = run(lambda x: getattr(F, operation)(x, **options), [x])
    with running(operation, choice):
        results = run(lambda x: getattr(F, operation)(x, **options), [x])
    assert_close(results, expected, 1e-13)
    assert_close(run(lambda x: getattr(composed, operation)(x, **options), [x]), expected, 1e-13)


@given(
    hnp.array_shapes(min_dims=3, max_dims=4, max_side=6),
    st.integers(1, 7),
    st.sampled_from([0.5, 0.75, 1.0, 2.0]),
    st.sampled_from([0.5, 1.0, 2.0]),
)
@settings(max_examples=40)
def test_local_response_norm_of_any_shape(shape, size, beta, k):
    x = normal("x", shape)
    expected = run(lambda x: composed.local_response_norm(x, size, 1.0, beta, k), [x])
    assert_close(run(lambda x: F.local_response_norm(x, size, 1.0, beta, k), [x]), expected, 1e-12)


# Broadcasting: ga at one entry is the sum of gy · ∂y/∂a over the outputs that the entry took part in

BINARY = {
    "add": (lambda a, b: 1, lambda a, b: 1),
    "sub": (lambda a, b: 1, lambda a, b: -1),
    "mul": (lambda a, b: b, lambda a, b: a),
    "div": (lambda a, b: 1 / b, lambda a, b: -a / b**2),
    "pow": (lambda a, b: b * a ** (b - 1), lambda a, b: a**b * math.log(a)),
    "maximum": (lambda a, b: (a > b) + (a == b) / 2, lambda a, b: (a < b) + (a == b) / 2),
    "minimum": (lambda a, b: (a < b) + (a == b) / 2, lambda a, b: (a > b) + (a == b) / 2),
}
NUMPY = {"sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}
two_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3)


def entry(shape, position):
    """The entry of an array of this shape that broadcasting repeats at a position of the result."""
    return tuple(
        0 if size == 1 else i for size, i in zip(shape, position[len(position) - len(shape) :], strict=True)
    )


@pytest.mark.parametrize("name", BINARY)
@given(two_shapes)
@settings(max_examples=40)
def test_binary_operations_of_any_shapes(name, shapes):
    a, b = (np.asarray(np.abs(normal(f"{i}", shape)) + 0.5) for i, shape in enumerate(shapes.input_shapes))
    gy = normal("upstream", shapes.result_shape)
    y, ga, gb = run(getattr(F, name), [a, b], gy)
    np.testing.assert_allclose(y, getattr(np, NUMPY.get(name, name))(a, b), rtol=1e-14)
    expected = np.zeros(a.shape), np.zeros(b.shape)
    for position in np.ndindex(gy.shape):
        at = entry(a.shape, position), entry(b.shape, position)
        for which in (0, 1):
            expected[which][at[which]] += gy[position] * BINARY[name][which](float(a[at[0]]), float(b[at[1]]))
    assert_close([ga, gb], expected, 1e-12)


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3))
@settings(max_examples=40)
def test_where_of_any_shapes(shapes):
    c, a, b = (normal(f"{i}", shape) for i, shape in enumerate(shapes.input_shapes))
    gy = normal("upstream", shapes.result_shape)
    y, ga, gb = run(lambda a, b: mc.where(c > 0, a, b), [a, b], gy)
    np.testing.assert_array_equal(y, np.where(c > 0, a, b))
    expected = np.zeros(a.shape), np.zeros(b.shape)
    for position in np.ndindex(gy.shape):
        which = 0 if c[entry(c.shape, position)] > 0 else 1
        expected[which][entry((a, b)[which].shape, position)] += gy[position]
    assert_close([ga, gb], expected, 1e-12)


@given(hnp.mutually_broadcastable_shapes(signature="(n?,k),(k,m?)->(n?,m?)", max_dims=2, max_side=4))
@settings(max_examples=80)
def test_matmul_of_any_shapes(shapes):
    """Against Σ_k a[n, k] · b[k, m] by multiplication and a sum; a vector has one row, or one column."""
    a, b = (normal(f"{i}", shape) for i, shape in enumerate(shapes.input_shapes))

    def by_definition(a, b):
        rows = a.unsqueeze(0) if a.ndim == 1 else a
        columns = b.unsqueeze(1) if b.ndim == 1 else b
        return (rows.unsqueeze(-1) * columns.unsqueeze(-3)).sum(-2).reshape(shapes.result_shape)

    results = run(F.matmul, [a, b], normal("upstream", shapes.result_shape))
    np.testing.assert_allclose(results[0], np.matmul(a, b), rtol=1e-12, atol=1e-13)
    assert_close(results, run(by_definition, [a, b], normal("upstream", shapes.result_shape)), 1e-12)


# Indexing and reductions


@given(st.data())
@settings(max_examples=120)
def test_any_index(data):
    """As NumPy picks; each entry receives gy from every place to which it was picked."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    x = normal("x", shape)
    index = data.draw(
        st.one_of(
            hnp.basic_indices(shape, allow_newaxis=True),
            hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=3)),
            hnp.arrays(bool, shape),
        )
    )
    y, gx = run(lambda x: x[index] * 1, [x], gy := normal("upstream", x[index].shape))
    np.testing.assert_array_equal(y, x[index])
    picked = np.arange(x.size).reshape(shape)[index]
    expected = np.bincount(np.ravel(picked), np.ravel(gy), x.size).reshape(shape)
    assert_close([gx], [expected], 1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin"])
@given(st.data())
@settings(max_examples=40)
def test_any_reduction(name, data):
    """Against NumPy; and reduced over its axes one by one, where that is the same."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    axes = data.draw(hnp.valid_tuple_axes(len(shape), min_size=1))
    keepdim = data.draw(st.booleans())
    assume(name != "var" or math.prod(shape[axis] for axis in axes) > 1)
    x = distinct("x", shape)
    options = {"correction": 1} if name == "var" else {}
    y, gx = run(lambda x: getattr(x, name)(axes, keepdim, **options) * 1, [x])
    expected = getattr(np, name)(x, axis=axes, keepdims=keepdim, **({"ddof": 1} if name == "var" else {}))
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    gy = np.broadcast_to(normal("upstream", y.shape).reshape(np.sum(x, axes, keepdims=True).shape), shape)
    M = math.prod(shape[axis] for axis in axes)
    slopes = {
        "sum": np.ones(shape),
        "mean": np.full(shape, 1 / M),
        "var": 2 * (x - x.mean(axes, keepdims=True)) / max(M - 1, 1),
        "amax": x == x.max(axes, keepdims=True),
        "amin": x == x.min(axes, keepdims=True),
    }
    assert_close([gx], [gy * slopes[name]], 1e-12)
