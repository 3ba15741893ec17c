"""Winograd's algorithm: exact in fractions, as accurate as documented in float32; and what auto takes."""

from fractions import Fraction

import numpy as np
import pytest
from cases import normal, run

import minicnn as mc
from minicnn import backend, kernels
from minicnn import functional as F
from minicnn.kernels import Window
from minicnn.kernels.numba.conv import choose
from minicnn.kernels.winograd import cook_toom

pytestmark = pytest.mark.skipif(
    backend.current_backend() != "numba", reason="compiled kernels are not in use"
)


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (3, 2), (3, 4)])
def test_exact_in_fractions(m, r):
    A, G, B = (np.array(matrix, dtype=object) for matrix in cook_toom(m, r))
    random = np.random.default_rng(m)
    x = np.array([[Fraction(int(v)) for v in row] for row in random.integers(-9, 9, (m + r - 1,) * 2)])
    w = np.array([[Fraction(int(v)) for v in row] for row in random.integers(-9, 9, (r, r))])
    y = A @ ((G @ w @ G.T) * (B @ x @ B.T)) @ A.T
    windows = np.lib.stride_tricks.sliding_window_view(x, (r, r))
    assert y.tolist() == [[(window * w).sum() for window in row] for row in windows]


# Bounds of the root mean square error relative to the results' own, for sums over 256 channels of 3 × 3.
DOCUMENTED = {"direct": 1e-6, "winograd2": 1e-6, "winograd": 5e-6}


@pytest.mark.parametrize("algorithm", DOCUMENTED)
def test_accuracy_is_as_documented(algorithm):
    x, w = normal("x", (1, 256, 16, 16), np.float32), normal("w", (16, 256, 3, 3), np.float32)
    gy, g = normal("gy", (1, 16, 16, 16), np.float32), Window((3, 3), padding=((1, 1), (1, 1)))

    def passes(x, w, gy):
        yield kernels.run("conv2d.forward", x, w, None, g)
        yield kernels.run("conv2d.grad_input", gy, w, x.shape, g)
        yield kernels.run("conv2d.grad_weight", gy, x, w.shape, g)

    with mc.use("numpy", conv2d="im2col"):
        exact = list(passes(*(array.astype(np.float64) for array in (x, w, gy))))
    with mc.use("numba", conv2d=algorithm), mc.trace() as ran:
        found = list(passes(x, w, gy))
    assert [one.algorithm for one in ran] == [algorithm] * 3
    for result, wanted in zip(found, exact, strict=True):
        error = np.sqrt(np.mean((result - wanted) ** 2) / np.mean(wanted**2))
        assert 1e-9 < error < DOCUMENTED[algorithm]


SAME, ONE = Window((3, 3), padding=((1, 1), (1, 1))), Window((1, 1))


@pytest.mark.parametrize(
    ("w_shape", "window", "size", "best"),
    [
        ((64, 64, 3, 3), SAME, (56, 56), "winograd"),
        ((512, 512, 3, 3), SAME, (7, 7), "winograd"),
        ((512, 512, 3, 3), SAME, (2, 2), "winograd2"),
        ((512, 512, 3, 3), SAME, (1, 1), "direct"),
        ((64, 3, 3, 3), SAME, (224, 224), "direct"),
        ((64, 64, 3, 3), SAME._replace(stride=(2, 2)), (28, 28), "direct"),
        ((64, 64, 3, 3), SAME._replace(dilation=(2, 2)), (52, 52), "direct"),
        ((64, 32, 3, 3), SAME._replace(groups=2), (56, 56), "direct"),
        ((64, 64, 3, 3), SAME._replace(padding=((3, 3), (3, 3))), (58, 58), "direct"),
        ((64, 1, 3, 3), SAME._replace(groups=64), (56, 56), "depthwise"),
        ((256, 64, 1, 1), ONE, (56, 56), "pointwise"),
        ((256, 64, 1, 1), ONE._replace(stride=(2, 2)), (28, 28), "direct"),
    ],
)
def test_what_auto_takes(w_shape, window, size, best):
    assert choose(w_shape, window, size, few=False)[0] == best


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "stride", "expected"),
    [
        (1, 6, 28, 1, ["narrow", "narrow", "narrow"]),  # LeNet-5's first layer
        (6, 16, 14, 1, ["direct", "narrow", "direct"]),  # and its second
        (3, 64, 63, 4, ["direct", "narrow", "direct"]),  # as AlexNet's first: each phase of the gradient
        (16, 32, 14, 1, ["direct", "direct", "direct"]),  # as many channels as a vector has lanes
    ],
)
def test_few_channels_are_computed_a_pixel_at_a_time(channels, outputs, size, stride, expected):
    x, w = normal("x", (1, channels, size, size)), normal("w", (outputs, channels, 5, 5))
    with mc.use("numba"), mc.trace() as ran:
        run(lambda x, w: F.conv2d(x, w, stride=stride), [x, w])
    assert [one.algorithm for one in ran] == expected


def test_winograd_may_be_forbidden():
    x, w = mc.randn(1, 8, 8, 8), mc.randn(8, 8, 3, 3)
    with mc.trace() as ran:
        F.conv2d(x, w, padding=1)
        with mc.use(forbid=["winograd", "winograd2"]):
            F.conv2d(x, w, padding=1)
    assert [one.algorithm for one in ran] == ["winograd", "direct"]
