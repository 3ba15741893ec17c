"""The CUDA kernels for local response norm, beyond what the table of cases asks of every family."""

import numpy as np
import pytest
from cases import DTYPES, assert_close, by_numpy, kernel_on, normal
from emulator.use import cupy

from minicnn.kernels.cuda import lrn

__all__ = ["cupy"]  # a fixture

CLOSE = {np.float32: 2e-6, np.float64: 1e-13}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [1, 2, 15, 33, 40, 51])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 40, 200])
def test_windows_and_segments(cupy, size, C, dtype):
    gy, x = normal("gy", (2, C, 7), dtype), normal("x", (2, C, 7), dtype)
    y, d = kernel_on(cupy, "local_response_norm.forward", x, size, 2.0, 0.75, 1.5)
    assert_close([y, d], by_numpy("local_response_norm.forward", x, size, 2.0, 0.75, 1.5), CLOSE[dtype])
    results = kernel_on(cupy, "local_response_norm.backward", gy, x, d, size, 2.0, 0.75)
    expected = by_numpy("local_response_norm.backward", gy, x, d, size, 2.0, 0.75)
    assert_close(results, expected, CLOSE[dtype])


def test_few_pixels_have_segments_of_channels():
    assert lrn.segment(128 * 27 * 27, 256) == 128
    assert lrn.segment(14, 51) == 17
    assert lrn.segment(14, 15) == 15


def test_a_large_number_leaves_nothing_behind(cupy):
    """Channels beyond the window of 1e4 have sums of their own, not what rounding left of 1e8."""
    x = np.full((1, 16, 1), 1e-2, np.float32)
    x[0, 3] = 1e4
    _, d = kernel_on(cupy, "local_response_norm.forward", x, 5, 5.0, 0.75, 0.0)
    _, expected = by_numpy("local_response_norm.forward", x, 5, 5.0, 0.75, 0.0)
    assert_close([d[:, 6:]], [expected[:, 6:]], 1e-6)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 0, 4, 4)], ids=str)
@pytest.mark.parametrize("size", [4, 5])
def test_no_numbers(cupy, size, shape):
    x = np.ones(shape, np.float32)
    y, d = kernel_on(cupy, "local_response_norm.forward", x, size, 1.0, 0.75, 2.0)
    (gx,) = kernel_on(cupy, "local_response_norm.backward", x, x, d, size, 1.0, 0.75)
    assert y.shape == d.shape == gx.shape == shape
