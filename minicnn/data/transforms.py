"""Augmentations: the same label, another image.

Each is a function of a batch of images and of random numbers that belong to each image, so that the same
numbers give the same image in whatever batch and by whichever worker it is made.  Names and meanings are
torchvision's where it has the like.  All take pixels in 0..1, before normalisation.  Here are those that move
pixels; :mod:`minicnn.data.colours` has those that change them.
"""

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.data.pixels import Box
from minicnn.data.warp import Fill, movement, warp


class Transform:
    """A change of a batch.  `draws` is how many numbers it needs for each image.

    ``transform(x, u)`` has shapes x (N, C, H, W) float32 in 0..1, u (N, draws) uniform in [0, 1); it returns
    images of the shape of x, and leaves x as it is.
    """

    draws = 0

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class RandomHorizontalFlip(Transform):
    """Mirrored left to right with probability p.

    >>> x = np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3) / 2
    >>> RandomHorizontalFlip()(x, np.array([[0.1]])).ravel()
    array([1. , 0.5, 0. ], dtype=float32)
    """

    draws = 1
    axis = 3

    def __init__(self, p: float = 0.5) -> None:
        self.p = within(self, "p", p, 0, 1)

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.where((u[:, 0] < self.p)[:, None, None, None], np.flip(x, self.axis), x)


class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirrored top to bottom with probability p.

    >>> x = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1) / 2
    >>> RandomVerticalFlip()(x, np.array([[0.1]])).ravel()
    array([1. , 0.5, 0. ], dtype=float32)
    """

    axis = 2


class RandomCrop(Transform):
    """The image with a border of `padding` pixels around it, and of that a part of the image's own size.

    Which is moving it by up to `padding` pixels either way, fewer than its sides have.  The border has the
    value `fill`.  (torchvision's has the size as its first argument.)  Source: He et al. 2016, section 4.2,
    with padding 4 on CIFAR-10.

    >>> x = np.full((1, 1, 2, 2), 0.5, np.float32)
    >>> RandomCrop(1)(x, np.array([[0.0, 0.99]]))[0, 0]
    array([[0. , 0. ],
           [0.5, 0. ]], dtype=float32)
    """

    draws = 2

    def __init__(self, padding: int, fill: float = 0.0) -> None:
        self.padding, self.fill = int(within(self, "padding", padding, 1)), fill

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        p = self.padding
        if p >= min(x.shape[2:]):
            raise ValueError(
                f"RandomCrop: padding is {p}, but less than the sides of the images {x.shape[1:]} is expected"
            )
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        windows = sliding_window_view(padded, x.shape[2:], axis=(2, 3))  # (N, C, 2p + 1, 2p + 1, H, W)
        top, left = (u * (2 * p + 1)).astype(np.intp).T
        return windows[np.arange(len(x)), :, top, left]


class RandomAffine(Transform):
    """Rotated, shifted, scaled and sheared about the centre, each by a random amount.

    Args:
        degrees: rotated by up to so many degrees either way.
        translate: shifted by up to these shares of width and height, in whole pixels.
        scale: from how much to how much larger.
        shear: sheared along x by up to so many degrees either way.
        fill: what is seen beyond the border, a value or "nearest": the nearest pixel's (torchvision's: 0).

    Several in a row are one movement, for which each image is sampled once: see :mod:`minicnn.data.warp`.

    >>> x = np.array([[0, 1], [2, 3]], np.float32).reshape(1, 1, 2, 2) / 4
    >>> RandomAffine(translate=(0.5, 0))(x, np.array([[0.5, 0.99, 0.5, 0.5, 0.5]]))[0, 0]  # to the right
    array([[0. , 0. ],
           [0.5, 0.5]], dtype=float32)
    """

    draws = 5

    def __init__(
        self,
        degrees: float = 0.0,
        translate: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: Fill = "nearest",
    ) -> None:
        self.degrees = within(self, "degrees", degrees, 0, 180)
        self.translate = tuple(
            within(self, "translate", share, 0, 1) for share in pair(self, "translate", translate)
        )
        self.scale = between(self, "scale", scale, above=0)
        self.shear = within(self, "shear", shear, 0, 89)
        if isinstance(fill, str) and fill != "nearest":
            raise ValueError(f"RandomAffine: fill is {fill!r}, but 'nearest' or a number is expected")
        self.fill = fill

    def matrices(self, u: np.ndarray, height: int, width: int) -> np.ndarray:
        """The movement of each image.  Shapes: u (N, 5), the result (N, 3, 3)."""
        angle, dx, dy, scale, shear = np.asarray(u, np.float64).T
        return movement(
            self.degrees * (2 * angle - 1),
            (
                np.rint(self.translate[0] * width * (2 * dx - 1)),
                np.rint(self.translate[1] * height * (2 * dy - 1)),
            ),
            self.scale[0] + (self.scale[1] - self.scale[0]) * scale,
            self.shear * (2 * shear - 1),
        )

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return warp(x, self.matrices(u, *x.shape[2:]), self.fill)


class Framing(Transform):
    """A choice of the part of an image that is looked at, which becomes the frame; made where it is read."""

    def box(self, u: np.ndarray, width: int, height: int) -> Box:
        """The part of an image of this size.  Shape: u (draws,)."""
        raise NotImplementedError


class RandomResizedCrop(Framing):
    """A part of random area and shape, anywhere in the image.

    Its area is a share of the image's, uniform in `scale`, its width : height is uniform in logarithm in
    `ratio`; ten are tried, until one lies within the image, and else the largest is taken from the middle.

    Source: Szegedy et al. 2015, section 6; the details are torchvision's.

    >>> crop = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))
    >>> [int(side) for side in crop.box(np.full(22, 0.5), 8, 8)]
    [2, 2, 6, 6]
    """

    tries = 10
    draws = 2 * tries + 2

    def __init__(
        self, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
    ) -> None:
        self.scale = between(self, "scale", scale, above=0, most=1)
        self.ratio = between(self, "ratio", ratio, above=0)

    def box(self, u: np.ndarray, width: int, height: int) -> Box:
        """The part of an image of this size.  Shape: u (22,)."""
        area = width * height * (self.scale[0] + (self.scale[1] - self.scale[0]) * u[:10].astype(float))
        low, high = map(math.log, self.ratio)
        ratio = np.exp(low + (high - low) * u[10:20].astype(float))
        for w, h in zip(np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio)), strict=True):
            if 0 < w <= width and 0 < h <= height:
                left, top = int(u[20] * (width - w + 1)), int(u[21] * (height - h + 1))
                return left, top, left + w, top + h
        w, h = min(width, round(height * self.ratio[1])), min(height, round(width / self.ratio[0]))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


class RandomSquare(Framing):
    """A square anywhere in the image, whose side is a share of the shorter side, uniform in 1 / `sides`.

    (0.875, 0.875) is 224 of 256 pixels, as AlexNet was trained; (0.4375, 0.875) is 224 of 256 to 512 pixels,
    as VGG was.  Sources: Krizhevsky et al. 2012, section 4.1; Simonyan and Zisserman 2015, section 3.1.

    >>> RandomSquare((0.5, 0.5)).box(np.array([0, 0.99, 0]), 8, 6)
    (4.95, 0.0, 7.95, 3.0)
    """

    draws = 3

    def __init__(self, sides: tuple[float, float] = (0.875, 0.875)) -> None:
        self.sides = between(self, "sides", sides, above=0, most=1)

    def box(self, u: np.ndarray, width: int, height: int) -> Box:
        """The part of an image of this size.  Shape: u (3,)."""
        largest, smallest = 1 / self.sides[0], 1 / self.sides[1]
        side = min(width, height) / (smallest + (largest - smallest) * float(u[0]))
        left, top = float(u[1]) * (width - side), float(u[2]) * (height - side)
        return left, top, left + side, top + side


def within(owner: Any, name: str, value: float, least: float, most: float = math.inf) -> float:
    """A setting that is a number in a range; or an error that names it."""
    kind = type(owner).__name__
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{kind}: {name} is {value!r}, but a number is expected")
    if not least <= value <= most or value == math.inf:
        bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
        raise ValueError(f"{kind}: {name} is {value}, but {bounds} is expected")
    return value


def pair(owner: Any, name: str, value: Any) -> tuple[float, float]:
    """A setting of two numbers; or an error that names it."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{type(owner).__name__}: {name} is {value!r}, but two numbers are expected")
    return value[0], value[1]


def between(
    owner: Any, name: str, value: tuple[float, float], above: float, most: float = math.inf
) -> tuple[float, float]:
    """A setting that is a range of numbers, from one to one that is no smaller."""
    low, high = (within(owner, name, v, above, most) for v in pair(owner, name, value))
    if not above < low <= high:
        kind = type(owner).__name__
        raise ValueError(f"{kind}: {name} is ({low}, {high}), but {above} < low ≤ high is expected")
    return low, high
