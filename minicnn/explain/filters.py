"""Image kernels: filters whose weights were thought out rather than learned, on any photograph.

Each is a small matrix that slides over the image; the engine's own convolution does it. A network's first
layer, once trained, holds filters much like these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.autograd import Array, as_variable, no_grad
from minicnn.backend import unknown
from minicnn.functional.conv import conv2d

Matrix = tuple[tuple[int, ...], ...]


class Filter(NamedTuple):
    """An image kernel.

    Attributes:
        words: what it does.
        kernels: its matrices, of whole numbers; of two, the results are the legs of a right triangle and the
            filter's is the hypotenuse.
        divisor: what the matrices are divided by.
        shown: how results become colours: "as it is", cut off below 0 and above 1; "around grey", with 0 in
            the middle; "from black", with 0 black and the largest white.
    """

    words: str
    kernels: tuple[Matrix, ...]
    divisor: int = 1
    shown: str = "as it is"

    def arrays(self) -> list[Array]:
        """The matrices with their divisor, (K, K) each, float64.

        >>> FILTERS["box_blur"].arrays()[0][0]
        array([0.04, 0.04, 0.04, 0.04, 0.04])
        """
        return [np.array(kernel, np.float64) / self.divisor for kernel in self.kernels]


SOBEL_X: Matrix = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
SOBEL_Y: Matrix = ((-1, -2, -1), (0, 0, 0), (1, 2, 1))

FILTERS = {
    "sobel_x": Filter("brighter to the right: upright edges", (SOBEL_X,), shown="around grey"),
    "sobel_y": Filter("brighter below: level edges", (SOBEL_Y,), shown="around grey"),
    "sobel": Filter("edges of any direction: √(sobel_x² + sobel_y²)", (SOBEL_X, SOBEL_Y), shown="from black"),
    "outline": Filter("a pixel less those around it", (((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),)),
    "sharpen": Filter(
        "a pixel and its difference from its neighbours", (((0, -1, 0), (-1, 5, -1), (0, -1, 0)),)
    ),
    "emboss": Filter("as if lit from above on the left", (((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),)),
    "box_blur": Filter("the mean of 5×5 pixels", (((1,) * 5,) * 5,), 25),
    "gaussian_blur": Filter(
        "a mean in which near pixels count more",
        (((1, 4, 6, 4, 1), (4, 16, 24, 16, 4), (6, 24, 36, 24, 6), (4, 16, 24, 16, 4), (1, 4, 6, 4, 1)),),
        256,
    ),
    "unsharp_mask": Filter(
        "twice the image less its gaussian_blur",
        (
            (
                (-1, -4, -6, -4, -1),
                (-4, -16, -24, -16, -4),
                (-6, -24, 476, -24, -6),
                (-4, -16, -24, -16, -4),
                (-1, -4, -6, -4, -1),
            ),
        ),
        256,
    ),
}
"""By name. The Gaussian is the binomial one, 1 4 6 4 1 both ways.

Sources: I. Sobel and G. Feldman, "A 3×3 isotropic gradient operator for image processing", 1968; the others
are common stock.
"""


def apply(x: Any, name: str) -> Array:
    """One of :data:`FILTERS` on images, each colour by itself.

        y[n, c] = x[n, c] ∗ k                       a depthwise convolution, in the same size
        y[n, c] = √((x[n, c] ∗ k₁)² + (x[n, c] ∗ k₂)²)   for a filter of two kernels

    Beyond its edge the image is continued by its mirror image. As everywhere in this field, ∗ does not turn
    the kernel round.

    Shapes: x (N, C, H, W) to (N, C, H, W). Dtype: that of x, float32 or float64.

    Raises ValueError for an unknown name or what is no batch of images, TypeError for whole numbers.

    >>> x = np.zeros((1, 1, 3, 4))
    >>> x[..., 2:] = 1  # dark on the left, light on the right
    >>> apply(x, "sobel_x")[0, 0, 1]
    array([0., 4., 4., 0.])
    """
    if name not in FILTERS:
        raise ValueError(f"filter {unknown(name, FILTERS)}")
    x = backend.move(as_variable(x).data, "cpu")
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"filters: x must be images (N, C, H, W), got shape {x.shape}")
    if x.dtype.kind != "f":
        raise TypeError(f"filters: x must be of a floating dtype, got {x.dtype}")
    ys = [_convolve(x, kernel) for kernel in FILTERS[name].arrays()]
    return ys[0] if len(ys) == 1 else np.sqrt(sum(y * y for y in ys))


def _convolve(x: Array, kernel: Array) -> Array:
    """Each channel with the same kernel, which is a convolution in as many groups as there are channels."""
    C, around = x.shape[1], len(kernel) // 2
    padded = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)), mode="reflect")
    weight = np.broadcast_to(kernel.astype(x.dtype), (C, 1, *kernel.shape))
    with no_grad():
        return conv2d(padded, np.ascontiguousarray(weight), groups=C).data


def as_colours(y: Array, name: str) -> Array:
    """What a filter gave, between 0 and 1 as its :attr:`Filter.shown` says, so that it can be looked at.

    >>> as_colours(np.array([-2.0, 0.0, 1.0]), "sobel_x")
    array([0.  , 0.5 , 0.75])
    """
    how = FILTERS[name].shown
    largest = np.abs(y).max() or 1
    if how == "around grey":
        return 0.5 + y / (2 * largest)
    return y / largest if how == "from black" else np.clip(y, 0, 1)
