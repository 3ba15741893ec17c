"""Tensor: operators, methods, creation and what they refuse."""

import numpy as np
import pytest
from cases import cpu_only, on_host, there

import minicnn as mc
from minicnn import functional as F
from minicnn.backend import default_device


def test_operators_with_numbers_and_arrays_on_either_side():
    x = mc.tensor([1.0, 2.0, 4.0])
    a = there(np.array([2.0, 2.0, 2.0], np.float32))
    for result, expected in [
        (x + 1, [2, 3, 5]),
        (1 + x, [2, 3, 5]),
        (x + a, [3, 4, 6]),
        (a + x, [3, 4, 6]),
        (x - 1, [0, 1, 3]),
        (1 - x, [0, -1, -3]),
        (a - x, [1, 0, -2]),
        (x * a, [2, 4, 8]),
        (a * x, [2, 4, 8]),
        (x / a, [0.5, 1, 2]),
        (a / x, [2, 1, 0.5]),
        (8 / x, [8, 4, 2]),
        (x**2, [1, 4, 16]),
        (2**x, [2, 4, 16]),
        (a**x, [2, 4, 16]),
        (-x, [-1, -2, -4]),
        (abs(-x), [1, 2, 4]),
        (x + [1, 1, 1], [2, 3, 5]),
        (np.float64(2) * x, [2, 4, 8]),
    ]:
        assert isinstance(result, mc.Tensor)
        assert result.dtype == np.float32
        assert result.tolist() == expected


def test_matmul_with_arrays():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    assert np.array_equal(on_host(mc.tensor(a) @ there(b)), a @ b)
    assert np.array_equal(on_host(there(a) @ mc.tensor(b)), a @ b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_never_change_the_dtype(dtype):
    x = mc.ones(3, dtype=dtype)
    for y in [x + 1, x * 2.5, 1 / x, x**2, 2.0**x, x - True, F.maximum(x, 0.5), mc.where(x > 0, x, 0.0)]:
        assert y.dtype == dtype


def test_integers_and_booleans_take_the_floating_dtype():
    x = mc.ones(2)
    assert (x * there(np.array([1, 2]))).dtype == np.float32
    assert (x * (x > 0)).dtype == np.float32
    assert (there(np.array([True, False])) * x).tolist() == [1, 0]


def test_floating_dtypes_do_not_mix():
    with pytest.raises(TypeError, match="mul: float32 and float64 do not mix"):
        mc.ones(2) * mc.ones(2, dtype="float64")
    with pytest.raises(TypeError, match="matmul: float32 and float64"):
        mc.ones(2, 2) @ there(np.ones((2, 2)))


def test_what_is_no_number_is_refused():
    with pytest.raises(TypeError, match="add: expected a tensor, an array or a number, got str"):
        mc.ones(2) + "one"
    with pytest.raises(TypeError):
        mc.tensor(["a"])
    with pytest.raises(TypeError, match="see minicnn.tensor"):
        mc.Tensor([1.0])


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"add: shapes \(2,\) and \(3,\)"):
        mc.ones(2) + mc.ones(3)


def test_integer_division_is_refused():
    with pytest.raises(TypeError, match="div: expected floating-point data, got int64"):
        mc.arange(3) / 2


def test_comparisons_are_booleans_outside_the_graph():
    x = mc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for result, expected in [
        (x > 2, [False, False, True]),
        (x >= 2, [False, True, True]),
        (x < mc.tensor([2.0, 2.0, 2.0]), [True, False, False]),
        (x <= there(np.array([1, 1, 3])), [True, False, True]),
        (x == 2, [False, True, False]),
        (x != 2, [True, False, True]),
    ]:
        assert result.dtype == bool
        assert not result.requires_grad
        assert result.tolist() == expected
    assert len({x, x.detach()}) == 2, "hashed by identity"


def test_reductions_take_either_spelling():
    x = mc.tensor(np.arange(24.0).reshape(2, 3, 4))
    a = on_host(x)
    for name, reduce in [("sum", np.sum), ("mean", np.mean), ("amax", np.max), ("amin", np.min)]:
        method = getattr(x, name)
        assert method().item() == reduce(a)
        assert np.array_equal(on_host(method(dim=(0, 2))), reduce(a, axis=(0, 2)))
        assert np.array_equal(on_host(method(1, True)), reduce(a, axis=1, keepdims=True))
        assert np.array_equal(on_host(method(axis=-1, keepdims=True)), reduce(a, axis=-1, keepdims=True))
        assert np.array_equal(on_host(getattr(F, name)(there(a), dim=0)), reduce(a, axis=0))
    assert np.allclose(on_host(x.var(dim=1)), a.var(axis=1, ddof=1))
    assert np.allclose(on_host(x.var(dim=1, correction=0)), a.var(axis=1))


def test_max_and_min_along_an_axis_give_values_and_indices():
    x = mc.tensor([[1.0, 9.0, 9.0], [7.0, 2.0, 2.0]])
    assert x.max().item() == 9
    values, indices = x.max(dim=1)
    assert values.tolist() == [9, 7]
    assert indices.tolist() == [1, 0], "the first of equal entries"
    assert x.min(dim=1, keepdim=True).values.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match="max: expected one axis"):
        x.max(dim=(0, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.sum(dim=3), "sum: dim 3 is out of range for 2 axes"),
        (lambda x: x.sum(dim=(0, -2)), "names an axis twice"),
        (lambda x: x.sum(dim=0, axis=0), "two names for one thing"),
        (lambda x: x.reshape(4, 2), r"reshape: \(2, 3\) \(6 entries\) cannot become \(4, 2\)"),
        (lambda x: x.reshape(-1, -1), "reshape"),
        (lambda x: x.permute(0, 0), "permute"),
        (lambda x: x.transpose(0, 2), "transpose: dim 2"),
        (lambda x: x.expand(3, 3), "expand"),
        (lambda x: x.unsqueeze(4), "unsqueeze: dim 4"),
        (lambda x: mc.pad(x, (1, 2, 3)), "pad: expected an even number"),
        (lambda x: mc.cat([x, mc.ones(3, 3)], dim=1), r"tensor 1 has shape \(3, 3\)"),
        (lambda x: mc.cat([]), "cat: expected at least one tensor"),
        (lambda x: mc.stack([x, mc.ones(2)]), "stack: tensor 1"),
        (lambda x: mc.split(x, [1, 2], dim=0), "do not add up to 2"),
        (lambda x: x @ x, r"matmul: inner sizes differ in \(2, 3\) @ \(2, 3\)"),
        (lambda x: x.item(), "item: the tensor has 6 entries"),
        (lambda x: bool(x), "neither true nor false"),
        (lambda x: x.to("cuda:7"), "device: 'cuda:7', but one GPU is used"),
        (lambda x: mc.clip(x), "at least one of min and max"),
        (lambda x: x.var(dim=0, correction=2), "too few"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(mc.ones(2, 3))


def test_shape_operations_equal_numpy():
    a = np.arange(24.0).reshape(2, 3, 4)
    x = mc.tensor(a)
    assert np.array_equal(on_host(x.reshape(4, -1)), a.reshape(4, -1))
    assert np.array_equal(on_host(x.view((6, 4))), a.reshape(6, 4))
    assert np.array_equal(on_host(x.permute(2, 0, 1)), a.transpose(2, 0, 1))
    assert np.array_equal(on_host(x.transpose(0, -1)), a.swapaxes(0, 2))
    assert np.array_equal(on_host(x[0].T), a[0].T)
    assert x.flatten(1).shape == (2, 12)
    assert x.unsqueeze(1).squeeze(1).shape == x.shape
    assert x.unsqueeze(0).squeeze().shape == x.shape
    assert np.array_equal(
        on_host(mc.pad(x, (1, 2, 0, 3), value=9)), np.pad(a, ((0, 0), (0, 3), (1, 2)), constant_values=9)
    )
    assert np.array_equal(on_host(mc.cat([x, x], dim=-1)), np.concatenate([a, a], axis=-1))
    assert np.array_equal(on_host(mc.stack([x, x], dim=1)), np.stack([a, a], axis=1))
    assert [part.shape for part in x.split([1, 2], dim=1)] == [(2, 1, 4), (2, 2, 4)]
    assert x.unsqueeze(0).expand(5, -1, 3, 4).shape == (5, 2, 3, 4)


def test_indexing_equals_numpy():
    a = np.arange(24.0).reshape(4, 6)
    x = mc.tensor(a)
    for index in [
        0,
        -1,
        slice(1, 3),
        (slice(None), 2),
        (..., None),
        [0, 0, 2],
        (np.array([1, 2]), slice(1, 4)),
        a > 5,
    ]:
        assert np.array_equal(on_host(x[index]), a[index])
    assert np.array_equal(on_host(x[mc.arange(2)]), a[:2])
    assert np.array_equal(on_host(x[x > 5]), a[a > 5])
    assert [row.tolist() for row in x] == a.tolist()
    assert len(x) == 4


def test_assigning_entries():
    x = mc.zeros(2, 3)
    x[0, 1] = 5.0
    x[1] = mc.ones(3)
    x[x == 1] = 7.0
    assert x.tolist() == [[0, 5, 0], [7, 7, 7]]


def test_in_place_operators_keep_the_object_the_memory_and_the_dtype():
    x = mc.ones(3)
    same, memory = x, x.data
    x += there(np.ones(3))
    x *= 3
    x -= 1
    x /= 5
    assert x is same
    assert x.data is memory
    assert x.dtype == np.float32
    assert x.tolist() == [1, 1, 1]


def test_dtypes_and_conversions():
    x = mc.tensor([1.5], requires_grad=True)
    y = x.double()
    assert y.dtype == np.float64
    (y * 2).backward([1.0])
    assert x.grad.dtype == np.float32
    assert x.grad.tolist() == [2]
    assert x.to(default_device()) is x
    assert x.float() is x
    assert x.to("int64").tolist() == [1]
    assert float(x) == 1.5
    assert int(x) == 1
    assert x.size() == (1,)
    assert x.size(0) == x.numel() == x.dim() == 1
    assert x.device == default_device()


def test_creation():
    assert mc.tensor([1, 2]).dtype == np.int64
    assert mc.tensor([1.0]).dtype == np.float32
    assert mc.tensor(np.ones(1)).dtype == np.float64
    assert mc.tensor(True).dtype == bool
    a = there(np.zeros(3))
    assert not np.shares_memory(mc.tensor(a).data, a)
    b = np.zeros(3)
    assert mc.from_numpy(b).data is b
    assert mc.zeros((2, 3)).shape == mc.ones(2, 3).shape == mc.rand(2, 3).shape == (2, 3)
    mc.manual_seed(7)
    first = mc.randn(5)
    mc.manual_seed(7)
    assert np.array_equal(on_host(first), on_host(mc.randn(5)))


@cpu_only("NumPy reads no other memory")
def test_numpy_understands_a_tensor():
    x = mc.tensor([1.0, 2.0], requires_grad=True)
    assert np.asarray(x).tolist() == [1, 2]
    assert x.numpy() is x.data
    copy = np.array(x)
    copy[0] = 9
    assert x.tolist() == [1, 2]


@cpu_only("tensors elsewhere say where; see test_devices.py")
def test_repr():
    assert repr(mc.tensor([1.0])) == "tensor([1.])"
    assert repr(mc.tensor([1.0], dtype="float64")) == "tensor([1.], dtype=float64)"
    x = mc.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], grad_fn=Mul)"


def test_requires_grad_of_a_result_cannot_be_told():
    x = mc.ones(2).requires_grad_()
    assert x.requires_grad
    with pytest.raises(RuntimeError, match="only a leaf"):
        (x * 2).requires_grad_(False)


def test_clone_is_in_the_graph():
    x = mc.ones(2, requires_grad=True)
    y = x.clone()
    assert not np.shares_memory(x.data, y.data)
    y.backward([1.0, 2.0])
    assert x.grad.tolist() == [1, 2]
