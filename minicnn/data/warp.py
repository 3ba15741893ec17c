"""Geometry on whole batches: where each pixel of the result comes from, and the value that is there.

Coordinates are of pixel centres and are counted from the image's centre, x to the right and y downwards.  A
movement is a matrix, as in every book on computer graphics:

    | x' |   | a  b  tx |   | x |
    | y' | = | c  d  ty | · | y |
    | 1  |   | 0  0  1  |   | 1 |

Movements that follow each other are one movement, the product of their matrices, so that the image is sampled
only once however many there are.
"""

import numpy as np

Fill = float | str
"""What is seen beyond the image's border: a value, or "nearest" for that of the nearest pixel."""


def movement(
    angle: np.ndarray, translate: tuple[np.ndarray, np.ndarray], scale: np.ndarray, shear: np.ndarray
) -> np.ndarray:
    """The matrices that shear, scale, rotate and then shift.

    F = T(tx, ty) · R(angle) · scale · | 1  -tan(shear) |
                                       | 0       1      |

    Shapes: (N,) each, `translate` two of them, in pixels; the result (N, 3, 3).  `angle` (clockwise) and
    `shear` are in degrees.  As torchvision's ``functional.affine`` has it.

    >>> zero, one = np.zeros(1), np.ones(1)
    >>> quarter = movement(angle=90 * one, translate=(zero, zero), scale=one, shear=zero)
    >>> (quarter[0] @ [1, 0, 1]).round(6)  # the right goes down
    array([0., 1., 1.])
    """
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    tan = np.tan(np.deg2rad(shear))
    zero, one = np.zeros_like(angle), np.ones_like(angle)
    rows = [
        [scale * cos, scale * (-cos * tan - sin), translate[0]],
        [scale * sin, scale * (-sin * tan + cos), translate[1]],
        [zero, zero, one],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def warp(x: np.ndarray, forward: np.ndarray, fill: Fill = "nearest") -> np.ndarray:
    """Images moved by their matrices.

    Each pixel of the result is looked for where it was, F⁻¹ · (x, y, 1), and is the mean of the four pixels
    around that place, weighted by their nearness (bilinear).

    Shapes: x (N, C, H, W), forward (N, 3, 3); the result as x.  Dtype: float32, kept.

    >>> x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32).reshape(1, 1, 3, 3)
    >>> down = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 1]]])
    >>> warp(x, down, fill=0.0)[0, 0]
    array([[0., 0., 0.],
           [1., 2., 3.],
           [4., 5., 6.]], dtype=float32)
    """
    _, _, H, W = x.shape
    back = np.linalg.inv(forward).astype(np.float32)
    column, row = np.arange(W, dtype=np.float32) - (W - 1) / 2, np.arange(H, dtype=np.float32) - (H - 1) / 2
    if fill != "nearest":  # a frame of that value, and beyond the frame it goes on
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    y = np.empty((*x.shape[:2], H, W), x.dtype)
    for n, ((a, b, tx), (c, d, ty), _) in enumerate(back):
        across = (a * column + b * row[:, None]) + (tx + (x.shape[3] - 1) / 2)
        down = (c * column + d * row[:, None]) + (ty + (x.shape[2] - 1) / 2)
        y[n] = _bilinear(x[n], across.ravel(), down.ravel()).reshape(y.shape[1:])
    return y


def _bilinear(image: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The values of an image (C, H, W) at places between its pixels, (n,) each; beyond it, its border's."""
    C, H, W = image.shape
    across, down = across.clip(0, W - 1), down.clip(0, H - 1)
    left, top = across.astype(np.intp), down.astype(np.intp)
    wx, wy = across - left, down - top
    step = left < W - 1  # at the very border there is no next pixel, and its weight is zero
    upper = top * W + left
    lower = upper + W * (top < H - 1)
    flat = image.reshape(C, H * W)
    above, below = flat.take(upper, 1), flat.take(lower, 1)
    above += (flat.take(upper + step, 1) - above) * wx
    below += (flat.take(lower + step, 1) - below) * wx
    above += (below - above) * wy
    return above
