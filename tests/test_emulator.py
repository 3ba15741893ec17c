"""The emulated GPU's arrays: that they compute, and above all that they refuse what CuPy refuses.

Where CuPy is installed, which needs no GPU, tables and memory layouts are compared with it.
"""

import ctypes
import importlib.util
import inspect

import numpy as np
import pytest
from emulator import memory, module, signatures

cupy = module.build()

HOST = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def a():
    return cupy.asarray(HOST)


# What it computes


@pytest.mark.parametrize(
    "compute",
    [
        lambda a: a * 2 + 1 - a / 3,
        lambda a: 2**a + (-a) // 4,
        lambda a: np.maximum(a, 7) * (a > 5),
        lambda a: np.where(a > 5, a, 0.0),
        lambda a: a.sum(axis=(0, 2), keepdims=True) + a.mean(),
        lambda a: a.T @ a[:, :, 0],
        lambda a: np.concatenate([a, a[:1]])[::-1, 1:],
        lambda a: a.reshape(6, -1).argmax(axis=1),
        lambda a: a[[1, 0]][:, [0, 2], [1, 1]],
        lambda a: a[a > 11],
        lambda a: a[1, 2, 3],
        lambda a: np.take_along_axis(a, a.argmax(axis=1, keepdims=True), 1),
        lambda a: np.broadcast_to(a[:, :1], a.shape),
        lambda a: np.expand_dims(a, (0, 2)).squeeze(0),
        lambda a: a.astype(np.float64).var(axis=0, ddof=1),
        lambda a: np.stack(np.split(a, [1, 2], axis=1)[1:]),
        lambda a: np.clip(a, None, 6) + a.clip(2, 3),
    ],
)
def test_results_are_numpys_and_arrays_of_the_device(a, compute):
    result, expected = compute(a), compute(HOST)
    assert isinstance(result, cupy.ndarray)  # never a scalar
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result.get(), expected)
    memory.pool.check_guards()


def test_views_share_memory_and_copies_do_not(a):
    for view in (
        a[1],
        a[1, 2, 3],
        a.T,
        a.reshape(4, 6),
        a[:, ::2],
        np.expand_dims(a, 0),
        a.ravel(),
        a.view(),
    ):
        assert view.base is a
        assert np.may_share_memory(view, a)
        address = a.data.ptr
        assert address <= view.data.ptr < address + a.nbytes
    a[0].reshape(3, 4)[1:][...] = 100
    assert a.get()[0, 1:].tolist() == [[100] * 4] * 2
    for copy in (
        a.copy(),
        a + 0,
        a[[0]],
        a[a > 0],
        a.flatten(),
        a.T.ravel(),
        a.astype(a.dtype),
        cupy.array(a),
    ):
        assert copy.base is None
        assert not np.may_share_memory(copy, a)
    assert cupy.asarray(a) is a
    assert a.astype(a.dtype, copy=False) is a


def test_changes_in_place(a):
    b = a
    b += 1
    b[0] *= 2
    b[b > 20] = 0
    b[1, :, 2] = cupy.asarray([1.0, 2.0, 3.0])
    expected = HOST + 1
    expected[0] *= 2
    expected[expected > 20] = 0
    expected[1, :, 2] = [1, 2, 3]
    np.testing.assert_array_equal(a.get(), expected)
    np.add.at(a, ([0, 0],), 1.0)
    np.copyto(a, a * 0, where=a < 5)
    expected[0] += 2
    expected[expected < 5] = 0
    np.testing.assert_array_equal(a.get(), expected)


# What it refuses


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda a: np.asarray(a), TypeError),
        (lambda a: np.array([a, a]), TypeError),
        (lambda a: np.testing.assert_array_equal(a, HOST), TypeError),
        (lambda a: a + HOST, TypeError),
        (lambda a: HOST + a, TypeError),
        (lambda a: a == HOST, TypeError),
        (lambda a: a.__iadd__(HOST), TypeError),
        (lambda a: HOST @ a.T, TypeError),
        (lambda a: np.add(a, a, out=HOST.copy()), TypeError),
        (lambda a: np.where(HOST > 0, a, 0.0), TypeError),
        (lambda a: np.concatenate([a, HOST]), TypeError),
        (lambda a: np.copyto(a, HOST), ValueError),
        (lambda a: a.__setitem__(0, HOST[0]), ValueError),
        (lambda a: a.__setitem__(0, [1, 2, 3, 4]), ValueError),
        (lambda a: a.max(initial=0), TypeError),
        (lambda a: np.sum(a, where=a > 0), TypeError),
        (lambda a: np.add(a, a, where=a > 0), TypeError),
        (lambda a: np.linalg.norm(a), TypeError),
        (lambda a: np.add.reduce(a), TypeError),
        (lambda a: np.ascontiguousarray(a), TypeError),
        (lambda a: np.ones(3, like=a), TypeError),  # NumPy hands over an argument that CuPy's has not
        (lambda a: a.astype(np.longdouble), ValueError),
        (lambda a: a.item(), ValueError),
        (lambda a: a.item(0), TypeError),
        (lambda a: range(a[0, 0, 0]), TypeError),
        (lambda a: hash(a), TypeError),
        (lambda a: a.flags.writeable, AttributeError),
        (lambda a: a.ctypes, AttributeError),
        (lambda a: cupy.ascontiguousarray(HOST), TypeError),
    ],
)
def test_what_cupy_refuses_is_refused(a, call, error):
    with pytest.raises(error):
        call(a)


# Memory


def test_memory_is_aligned_and_poisoned():
    x = cupy.empty((3, 5), "float32")
    assert x.data.ptr % memory.ALIGNMENT == 0
    assert np.isnan(x.get()).all()
    assert (cupy.empty(4, "int32").get() == -1).all()
    assert np.isnan(cupy.empty_like(x).get()).all()
    assert cupy.empty((2, 0)).data.ptr == 0


@pytest.mark.parametrize("offset", [-memory.ALIGNMENT, -1, 12, memory.ALIGNMENT - 1])
def test_writing_beside_an_array_is_noticed(offset):
    x = cupy.zeros(3, "float32")
    memory.pool.check_guards()
    ctypes.memset(x.data.ptr + offset, 0, 1)
    with pytest.raises(memory.GuardError, match="an allocation of 12"):
        memory.pool.check_guards()
    memory.pool.check_guards()  # once
    ctypes.memset(x.data.ptr + offset, 0, 1)
    del x
    with pytest.raises(memory.GuardError):  # after it is gone, too
        memory.pool.check_guards()


def test_memory_is_counted_limited_and_given_back():
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.zeros((10, 10))
    view = x[1:]
    assert pool.used_bytes() == before + 800
    del x
    assert pool.used_bytes() == before + 800
    del view
    assert pool.used_bytes() == before
    pool.set_limit(size=before + 1000)
    try:
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 1,001 bytes"):
            cupy.empty(1001, "uint8")
        cupy.empty(1000, "uint8")
    finally:
        pool.set_limit(size=0)


# Against CuPy itself

installed = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")


def real_cupy():
    import cupy

    return cupy


def parameters(function, text):
    """The names that a function of CuPy's takes; from its docstring where it is compiled."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        first = (function.__doc__ or "").split("\n")[0]
        inside = first[first.index("(") + 1 : first.rindex(")")]
        return [part.split("=")[0].split()[-1].lstrip("*") for part in inside.split(",") if part.strip(" /*")]


@installed
def test_what_is_offered_cupy_has():
    real = real_cupy()
    for name in (*signatures.UFUNCS, *signatures.FUNCTIONS, *module.FUNCTIONS):
        assert hasattr(real, name), name
    for name in signatures.METHODS:
        assert hasattr(real.ndarray, name), name


@installed
@pytest.mark.parametrize("name", signatures.FUNCTIONS)
def test_functions_take_no_more_than_cupys(name):
    own = inspect.signature(eval(f"lambda {signatures.FUNCTIONS[name]}: None")).parameters
    assert set(own) - {"args", "kwargs", "operands"} <= set(parameters(getattr(real_cupy(), name), name))


@installed
@pytest.mark.parametrize("name", signatures.METHODS)
def test_methods_take_no_more_than_cupys(name):
    own = inspect.signature(eval(f"lambda {signatures.METHODS[name]}: None")).parameters
    assert set(own) <= set(parameters(getattr(real_cupy().ndarray, name), name))


LAYOUTS = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[1],
    lambda a: a[:, ::2],
    lambda a: a[::-1, 1:, None],
    lambda a: a[0, 1, 2],
    lambda a: a.reshape(6, 4),
    lambda a: a.reshape(-1, 2, 2),
    lambda a: a.transpose([2, 0, 1]),
    lambda a: a.swapaxes(0, 2)[1],
    lambda a: a.ravel(),
    lambda a: np.expand_dims(a, (0, 2)),
    lambda a: np.broadcast_to(a[:, :1], (2, 3, 4)),
    lambda a: np.split(a, [1, 2], axis=1)[1],
    lambda a: a[None].squeeze(0),
    lambda a: a.view(np.int32),
    lambda a: a.astype(np.float32, copy=False),
]


@installed
@pytest.mark.parametrize("number", range(len(LAYOUTS)))
def test_memory_layouts_are_cupys(a, number):
    """CuPy lays out views without a GPU, of memory that is not there."""
    real = real_cupy()
    nowhere = real.cuda.MemoryPointer(real.cuda.UnownedMemory(1 << 40, HOST.nbytes, None, device_id=0), 0)
    expected = LAYOUTS[number](real.ndarray(HOST.shape, HOST.dtype, nowhere))
    found = LAYOUTS[number](a)
    assert (found.shape, found.dtype, found.size) == (expected.shape, expected.dtype, expected.size)
    assert found.data.ptr - a.data.ptr == expected.data.ptr - (1 << 40)
    assert (found.base is None) == (expected.base is None)
    for flag in ("c_contiguous", "f_contiguous", "owndata"):
        assert getattr(found.flags, flag) == getattr(expected.flags, flag)
    for stride, theirs, size in zip(found.strides, expected.strides, found.shape, strict=True):
        assert stride == theirs or size == 1  # where the stride is anyone's
