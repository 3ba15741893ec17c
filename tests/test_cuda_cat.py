"""Concatenation on the GPU: every count and length of arrays, whole packs or not, aligned or not."""

import numpy as np
import pytest
from cases import DTYPES, by_numpy, kernel_on, normal
from emulator.use import cupy

import minicnn as mc
from minicnn import kernels
from minicnn.kernels.cuda import cat, grid

__all__ = ["cupy"]  # a fixture


def arrays(sizes, axis, dtype, rest=(3, 4, 4)):
    """One array for each size along the axis."""
    shapes = [(*rest[:axis], size, *rest[axis + 1 :]) for size in sizes]
    return [normal(f"array {i}", shape, dtype) for i, shape in enumerate(shapes)]


def both_ways(cupy, parts, axis):
    """The arrays joined, and a gradient cut up, by the GPU's kernels."""
    joined = kernels.run("cat.forward", [cupy.asarray(part) for part in parts], axis)
    gy = normal("gy", joined.shape, parts[0].dtype)
    return joined.get(), gy, kernel_on(cupy, "cat.backward", gy, [part.shape[axis] for part in parts], axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(5,), (1, 2), (0, 3), (3, 0, 1, 2), (1, 2, 3, 4, 5), 9 * (2,)], ids=str)
def test_every_count_of_arrays(cupy, sizes, axis, dtype):
    parts = arrays(sizes, axis, dtype)
    joined, gy, cut = both_ways(cupy, parts, axis)
    assert joined.tobytes() == np.concatenate(parts, axis).tobytes()
    expected = by_numpy("cat.backward", gy, list(sizes), axis)
    for one, other in zip(cut, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)


def test_threads_that_go_on_after_their_first_pack(cupy, monkeypatch):
    parts = arrays((7, 2, 9), 1, np.float32, (5, 3, 11))
    expected = both_ways(cupy, parts, 1)
    monkeypatch.setattr(grid, "MOST_BLOCKS", 1)
    joined, _, cut = both_ways(cupy, parts, 1)
    np.testing.assert_array_equal(joined, expected[0])
    for one, other in zip(cut, expected[2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_packs_where_they_may_be(cupy, monkeypatch, dtype):
    """Four numbers, or two of float64, where all rows are whole packs and every array begins at one."""
    seen, function = [], cat.function

    def watched(file, name, given, **constants):
        seen.append(constants["V"])
        return function(file, name, given, **constants)

    monkeypatch.setattr(cat, "function", watched)
    for sizes, shifted in (((4, 8), False), ((4, 8), True), ((4, 3), False)):
        given = []
        for part in arrays(sizes, 1, dtype, (2, 1)):
            memory = cupy.zeros(part.size + 1, dtype)[int(shifted) :][: part.size]
            memory[...] = cupy.asarray(part.reshape(-1))
            given.append(memory.reshape(part.shape))
        joined = kernels.run("cat.forward", given, 1).get()
        np.testing.assert_array_equal(joined, np.concatenate(arrays(sizes, 1, dtype, (2, 1)), 1))
    assert seen == [cat.VECTOR[np.dtype(dtype).name], 1, 1]


def test_what_does_not_lie_in_order(cupy):
    """Turned arrays and gradients; each gradient then lies in memory of its own."""
    a, b = normal("a", (4, 6), np.float32), normal("b", (4, 3), np.float32)
    turned = [cupy.asarray(np.ascontiguousarray(one.T)).T for one in (a, b)]
    np.testing.assert_array_equal(kernels.run("cat.forward", turned, 1).get(), np.concatenate([a, b], 1))
    gy = cupy.asarray(normal("gy", (9, 4), np.float32)).T
    for one, other in zip(
        kernels.run("cat.backward", gy, [6, 3], 1), np.split(gy.get(), [6], 1), strict=True
    ):
        assert one.flags.c_contiguous
        np.testing.assert_array_equal(one.get(), other)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_labels_and_masks(cupy, dtype):
    parts = [np.arange(3).astype(dtype), np.arange(4).astype(dtype)]
    joined = mc.cat([mc.tensor(part, device="cuda") for part in parts])
    assert joined.dtype == dtype
    np.testing.assert_array_equal(joined.cpu().numpy(), np.concatenate(parts))
