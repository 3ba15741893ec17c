"""The CUDA kernels for pooling, beyond what the table of cases asks of every family."""

import numpy as np
import pytest
from cases import DTYPES, assert_close, by_numpy, distinct, kernel_on, normal
from emulator.use import cupy

from minicnn.functional.pool import bins
from minicnn.kernels import Window
from minicnn.kernels.cuda import grid, pool
from minicnn.kernels.cuda.sources import source

__all__ = ["cupy"]  # a fixture

CLOSE = {np.float32: 1e-6, np.float64: 1e-14}
NONE = ((0, 0), (0, 0))


def lanes_of(monkeypatch):
    """The list of LANES that kernels are launched with from now on."""
    seen, function = [], pool.function

    def watched(file, name, dtype, **constants):
        seen.append(constants.get("LANES"))
        return function(file, name, dtype, **constants)

    monkeypatch.setattr(pool, "function", watched)
    return seen


def every_kernel(cupy, dtype):
    """The results of all kernels for pooling, on more numbers than a block has threads."""
    x, g = distinct("x", (3, 5, 13, 11), dtype), Window((3, 3), (2, 2), ((1, 1), (1, 1)))
    size = g.output_size(13, 11)
    gy, divisor = normal("gy", (3, 5, *size), dtype), np.full(size, 9, dtype)
    y, winner = kernel_on(cupy, "max_pool2d.forward", x, *size, g)
    found = [y, winner, *kernel_on(cupy, "max_pool2d.backward", gy, winner, x.shape, g)]
    found += kernel_on(cupy, "avg_pool2d.forward", x, divisor, g)
    found += kernel_on(cupy, "avg_pool2d.backward", gy, divisor, x.shape, g)
    even = np.array(bins(13, size[0])), np.array(bins(11, size[1]))
    y, winner = kernel_on(cupy, "adaptive_max_pool2d.forward", x, *even)
    found += [y, winner, *kernel_on(cupy, "adaptive_max_pool2d.backward", gy, winner, x.shape)]
    found += kernel_on(cupy, "adaptive_avg_pool2d.forward", x, *even)
    return found + kernel_on(cupy, "adaptive_avg_pool2d.backward", gy, *even, x.shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_that_go_on_after_their_first_number(cupy, dtype, monkeypatch):
    """The grid's size changes nothing, to the last bit."""
    expected = every_kernel(cupy, dtype)
    monkeypatch.setattr(grid, "MOST_BLOCKS", 2)
    for one, other in zip(every_kernel(cupy, dtype), expected, strict=True):
        assert one.tobytes() == other.tobytes()


def test_the_same_bits_in_each_run(cupy):
    for one, other in zip(every_kernel(cupy, np.float32), every_kernel(cupy, np.float32), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("file", [pool.MAX, pool.AVG])
def test_no_sum_is_in_the_order_in_which_threads_happen_to_come(file):
    assert "atomic" not in source(file)


WINDOWS = {
    "2x2": Window((2, 2), (2, 2)),
    "3x3 stride 2 padded": Window((3, 3), (2, 2), ((1, 1), (1, 1))),
    "3x3 stride 3": Window((3, 3), (3, 3)),
    "2x2 stride 2x1": Window((2, 2), (2, 1)),
    "2x2 dilated, stride 2": Window((2, 2), (2, 2), NONE, (3, 2)),
    "17x17: more taps than a byte counts": Window((17, 17), (1, 1), ((3, 3), (2, 2))),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("g", WINDOWS.values(), ids=WINDOWS)
def test_winners_are_numpys(cupy, g, dtype):
    """Also of the same dtype: a family's winners mean the same to another's backward."""
    x = np.round(3 * normal("x", (2, 3, 18, 19), dtype))  # with many ties
    x[0, 0, 4, 4] = np.nan
    y, winner = kernel_on(cupy, "max_pool2d.forward", x, *g.output_size(18, 19), g)
    expected, wanted = by_numpy("max_pool2d.forward", x, *g.output_size(18, 19), g)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winner, wanted)
    assert winner.dtype == wanted.dtype


# Large windows, each by a warp


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "g", "lanes"),
    [
        pytest.param((3, 5, 7, 7), Window((7, 7), (7, 7)), 32, id="the whole image"),
        pytest.param((2, 3, 17, 24), Window((8, 8), (8, 8)), 32, id="8x8"),
        pytest.param((2, 3, 17, 24), Window((3, 11), (2, 12), ((1, 1), (5, 5))), 32, id="3x11 padded"),
        pytest.param((1, 2, 22, 23), Window((6, 6), (3, 6), NONE, (3, 2)), 32, id="dilated"),
        pytest.param((2, 3, 17, 24), Window((8, 8), (8, 4)), 1, id="overlapping"),
        pytest.param((2, 3, 15, 15), Window((5, 5), (5, 5)), 1, id="5x5"),
    ],
)
def test_average_of_large_windows(cupy, shape, g, lanes, dtype, monkeypatch):
    seen = lanes_of(monkeypatch)
    size = g.output_size(*shape[2:])
    x, gy = normal("x", shape, dtype), normal("gy", (*shape[:2], *size), dtype)
    divisor = np.arange(1, 1 + size[0] * size[1]).reshape(size).astype(dtype)
    results = kernel_on(cupy, "avg_pool2d.forward", x, divisor, g)
    assert seen == [lanes]
    results += kernel_on(cupy, "avg_pool2d.backward", gy, divisor, shape, g)
    expected = by_numpy("avg_pool2d.forward", x, divisor, g)
    expected += by_numpy("avg_pool2d.backward", gy, divisor, shape, g)
    assert_close(results, expected, 3 * CLOSE[dtype])


# Bins, of which the kernels are told only how many there are


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("size", "output_size", "lanes"),
    [
        ((7, 7), (1, 1), 32),
        ((9, 31), (2, 4), 32),
        ((5, 7), (2, 5), 1),
        ((5, 7), (5, 7), 1),
        ((5, 7), (7, 9), 1),
        ((6, 1), (4, 3), 1),
        ((13, 8), (5, 3), 1),
    ],
    ids=str,
)
def test_bins(cupy, size, output_size, lanes, dtype, monkeypatch):
    seen = lanes_of(monkeypatch)
    x, gy = normal("x", (2, 3, *size), dtype), normal("gy", (2, 3, *output_size), dtype)
    even = [np.array(bins(*pair)) for pair in zip(size, output_size, strict=True)]
    results = kernel_on(cupy, "adaptive_avg_pool2d.forward", x, *even)
    assert seen == [lanes]
    results += kernel_on(cupy, "adaptive_avg_pool2d.backward", gy, *even, x.shape)
    expected = by_numpy("adaptive_avg_pool2d.forward", x, *even)
    expected += by_numpy("adaptive_avg_pool2d.backward", gy, *even, x.shape)
    assert_close(results, expected, CLOSE[dtype])

    x[0, 0, -1, -1], x[1, 1] = np.nan, x[1, 1, 0, 0]  # of equal ones the first wins
    y, winner = kernel_on(cupy, "adaptive_max_pool2d.forward", x, *even)
    for one, other in zip((y, winner), by_numpy("adaptive_max_pool2d.forward", x, *even), strict=True):
        np.testing.assert_array_equal(one, other)
    results = kernel_on(cupy, "adaptive_max_pool2d.backward", gy, winner, x.shape)
    expected = by_numpy("adaptive_max_pool2d.backward", gy, winner, x.shape)
    assert_close(results, expected, CLOSE[dtype])


def test_bins_of_no_images(cupy):
    even = np.array(bins(6, 2)), np.array(bins(7, 1))
    y, winner = kernel_on(cupy, "adaptive_max_pool2d.forward", np.ones((0, 3, 6, 7)), *even)
    (gx,) = kernel_on(cupy, "adaptive_max_pool2d.backward", y, winner, (0, 3, 6, 7))
    assert (y.shape, gx.shape) == ((0, 3, 2, 1), (0, 3, 6, 7))
    (y,) = kernel_on(cupy, "adaptive_avg_pool2d.forward", np.ones((0, 3, 6, 7)), *even)
    (gx,) = kernel_on(cupy, "adaptive_avg_pool2d.backward", y, *even, (0, 3, 6, 7))
    assert (y.shape, gx.shape) == ((0, 3, 2, 1), (0, 3, 6, 7))


def test_more_bins_than_kernels_can_count(cupy):
    x, rows, columns = np.zeros((1, 1, 1, 50_000)), np.zeros((1, 2), int), np.zeros((50_000, 2), int)
    for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        with pytest.raises(OverflowError, match=f"{name}: 1 by 50000 bins of images of 1 by 50000"):
            kernel_on(cupy, f"{name}.forward", x, rows, columns)
