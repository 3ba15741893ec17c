"""Convolution three times: by loops, as im2col, as a matrix.

A filter slides over an image; at each place it multiplies what it covers and
adds up:

    y[oh, ow] = Σᵢ Σⱼ x[oh + i, ow + j] · w[i, j]

1. By loops: as the equation says.
2. im2col: write the pixels under each window as a column. All windows are then
   one matrix, and all products one matrix product, the operation that
   computers do best. The price is memory: pixels are copied many times.
3. As a matrix: convolution is linear, so *some* matrix T turns the flattened
   image into the flattened output. Its rows hold the filter, shifted; it is
   nearly all zeros, and constant along diagonals (a Toeplitz matrix).

All three give the same numbers. The second is why convolution became fast; the
third is why its backward is another convolution: the gradient to the image is
Tᵀ times gy.
"""

import time

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.kernels.geometry import Window
from minicnn.kernels.numpy.conv_im2col import im2col
from minicnn.kernels.numpy.conv_toeplitz import toeplitz
from minicnn.lessons.drawing import Sketchbook, grid

SOBEL = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])  # answers to vertical edges


def by_loops(x, w):
    """The equation, word for word."""
    KH, KW = w.shape
    y = np.zeros((x.shape[0] - KH + 1, x.shape[1] - KW + 1))
    for oh in range(y.shape[0]):
        for ow in range(y.shape[1]):
            for i in range(KH):
                for j in range(KW):
                    y[oh, ow] += x[oh + i, ow + j] * w[i, j]
    return y


def main(draw: Sketchbook) -> None:
    """The same small convolution in three ways, then their times on a larger one."""
    x = np.zeros((5, 6))
    x[:, 3:] = 1  # dark on the left, light on the right
    window = Window(kernel=(3, 3))
    columns = im2col(x[None, None], window)[0, 0]
    T = toeplitz(SOBEL[None, None], *x.shape, window)
    ways = {
        "loops": by_loops(x, SOBEL),
        "im2col": (SOBEL.reshape(1, 9) @ columns).reshape(3, 4),
        "matrix": (T @ x.ravel()).reshape(3, 4),
    }
    print("an edge under a Sobel filter:")
    for name, y in ways.items():
        print(f"  {name:<7}{np.array2string(y[0], precision=3)} in each row")
        assert (y == ways["loops"]).all()
    print(f"the columns have {columns.size} numbers for {x.size} pixels; T has {T.size}, of which ", end="")
    print(f"{np.count_nonzero(T)} are not zero")
    with draw.picture("three-ways", columns=3, rows=2) as axes:
        matrices = {
            "x": x,
            "w": SOBEL,
            "y": ways["loops"],
            "im2col: a window is a column": columns,
            "T: a window is a row": T,
            "Tᵀ, which backward needs": T.T,
        }
        for place, (name, matrix) in zip(axes.ravel(), matrices.items(), strict=True):
            grid(place, matrix, name)

    print("\na layer of 8 to 16 maps of 16×16, 3×3 filters, by the engine's kernels:")
    images, filters = mc.randn(1, 8, 16, 16), mc.randn(16, 8, 3, 3)
    for algorithm in ("toeplitz", "im2col", "taps"):
        with mc.use("numpy", conv2d=algorithm):
            times = []
            for _ in range(3):
                start = time.perf_counter()
                F.conv2d(images, filters)
                times.append(time.perf_counter() - start)
            print(f"  {algorithm:<9}{1e3 * min(times):8.2f} ms")
    print("(taps: for each filter tap one product over the whole shifted image.)")
    print("\nTry: `minicnn explain conv2d` shows the same step by step; lesson 16 goes on with speed.")
