"""Augmentations that change pixels where they are: their colours, or covering them."""

from collections.abc import Sequence

import numpy as np

from minicnn.data.transforms import Transform, between, within

LUMA = np.array([0.299, 0.587, 0.114], np.float32).reshape(3, 1, 1)
"""What red, green and blue contribute to brightness (ITU-R BT.601)."""


class ColorJitter(Transform):
    """Brightness, contrast and saturation, in this order, each times a factor from 1 - amount to 1 + amount.

        brightness   x ← f x
        contrast     x ← f x + (1 - f) m, m the mean of the image's grey values
        saturation   x ← f x + (1 - f) g, g the pixel's own grey value

    and clipped to 0..1 after each.  (torchvision's draws the order, and has hue.)  Grey images have no
    saturation to change.

    >>> x = np.full((1, 3, 1, 1), 0.5, np.float32)
    >>> ColorJitter(brightness=0.4)(x, np.array([[0.75, 0, 0]])).ravel()  # × 1.2
    array([0.6, 0.6, 0.6], dtype=float32)
    """

    draws = 3

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0) -> None:
        self.brightness = within(self, "brightness", brightness, 0)
        self.contrast = within(self, "contrast", contrast, 0)
        self.saturation = within(self, "saturation", saturation, 0)

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        amounts = self.brightness, self.contrast, self.saturation
        for k, (amount, other) in enumerate(zip(amounts, (_black, _mean_grey, grey), strict=True)):
            if amount:
                f = np.float32(max(0, 1 - amount)) + u[:, k] * np.float32(min(amount, 1) + amount)
                x = _blend(x, other(x), f.astype(np.float32))
        return x


class PCANoise(Transform):
    """AlexNet's colour noise: along each principal component of colour, a random step of its own.

    x ← x + Σ_k α_k λ_k v_k, α_k normal with deviation `std`, one each for a whole image; clipped to 0..1.

    λ and v (columns) are those of ImageNet's pixels unless others are given, as computed for Facebook's
    fb.resnet.torch.  Source: Krizhevsky et al. 2012, section 4.1, with `std` 0.1.

    >>> x = np.full((1, 3, 1, 1), 0.5, np.float32)
    >>> PCANoise(0.1)(x, np.array([[0.5, 0.5, 0.5, 0.5]])).ravel().round(3)  # mostly brightness
    array([0.514, 0.515, 0.515], dtype=float32)
    """

    draws = 4

    def __init__(
        self,
        std: float = 0.1,
        values: Sequence[float] = (0.2175, 0.0188, 0.0045),
        vectors: Sequence[Sequence[float]] = (
            (-0.5675, 0.7192, 0.4009),
            (-0.5808, -0.0045, -0.8140),
            (-0.5836, -0.6948, 0.4203),
        ),
    ) -> None:
        self.std = within(self, "std", std, 0)
        self.values, self.vectors = tuple(values), tuple(map(tuple, vectors))
        if np.shape(self.values) != (3,) or np.shape(self.vectors) != (3, 3):
            raise ValueError(
                f"PCANoise: values and vectors have shapes {np.shape(values)} and {np.shape(vectors)}, but "
                "(3,) and (3, 3) are expected"
            )

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        if x.shape[1] != 3:
            raise ValueError(f"PCANoise: the images have {x.shape[1]} channels, but 3 colours are expected")
        radius = np.sqrt(-2 * np.log(1 - u[:, :2].astype(np.float64)))  # Box and Muller: two pairs, of four
        angle = 2 * np.pi * u[:, 2:]
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 4)[:, :3]
        step = (self.std * normal * self.values) @ np.transpose(self.vectors)
        return np.clip(x + step.astype(np.float32)[:, :, None, None], 0, 1)


class RandomErasing(Transform):
    """With probability p, a rectangle anywhere in the image is covered with `value`.

    Its area is a share of the image's, uniform in `scale`, its height : width is uniform in logarithm in
    `ratio`, and it is cut where it would be larger than the image.  `value` None is the image's mean colour.

    Source: Zhong et al. 2020.

    >>> erase = RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1), value=0.0)
    >>> erase(np.ones((1, 1, 4, 4), np.float32), np.zeros((1, 5)))[0, 0]
    array([[0., 0., 1., 1.],
           [0., 0., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.]], dtype=float32)
    """

    draws = 5

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | None = None,
    ) -> None:
        self.p = within(self, "p", p, 0, 1)
        self.scale = between(self, "scale", scale, above=0, most=1)
        self.ratio = between(self, "ratio", ratio, above=0)
        self.value = value

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        H, W = x.shape[2:]
        chosen, area, ratio, top, left = u.astype(np.float64).T
        area = H * W * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
        ratio = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratio
        h = np.clip(np.rint(np.sqrt(area * ratio)), 1, H) * (chosen < self.p)
        w = np.clip(np.rint(np.sqrt(area / ratio)), 1, W)
        return _covered(x, np.floor(top * (H - h + 1)), np.floor(left * (W - w + 1)), h, w, self.value)


class Cutout(Transform):
    """A square of `size` pixels is covered, whose centre is anywhere in the image.

    `value` None is the image's mean colour.  Source: DeVries and Taylor 2017, with 16 pixels on CIFAR-10.

    >>> Cutout(2, value=0.0)(np.ones((1, 1, 4, 4), np.float32), np.array([[0.5, 0.5]]))[0, 0]
    array([[1., 1., 1., 1.],
           [1., 0., 0., 1.],
           [1., 0., 0., 1.],
           [1., 1., 1., 1.]], dtype=float32)
    """

    draws = 2

    def __init__(self, size: int = 16, value: float | None = None) -> None:
        self.size, self.value = int(within(self, "size", size, 1)), value

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        top, left = (np.floor(u[:, axis] * x.shape[2 + axis]) - self.size // 2 for axis in (0, 1))
        side = np.full(len(x), self.size)
        return _covered(x, top, left, side, side, self.value)


def grey(x: np.ndarray) -> np.ndarray:
    """The brightness of each pixel.  Shapes: (N, C, H, W) to (N, 1, H, W)."""
    return (x * LUMA).sum(axis=1, keepdims=True) if x.shape[1] == 3 else x


def _mean_grey(x: np.ndarray) -> np.ndarray:
    return grey(x).mean(axis=(1, 2, 3), keepdims=True)


def _black(x: np.ndarray) -> np.ndarray:
    return np.zeros(1, x.dtype)


def _blend(x: np.ndarray, other: np.ndarray, f: np.ndarray) -> np.ndarray:
    f = f[:, None, None, None]
    y = x * f
    y += (1 - f) * other
    return np.clip(y, 0, 1, out=y)


def _covered(
    x: np.ndarray, top: np.ndarray, left: np.ndarray, h: np.ndarray, w: np.ndarray, value: float | None
) -> np.ndarray:
    """Images with a rectangle of each covered.  Shapes: x (N, C, H, W), the others (N,)."""
    rows, columns = np.arange(x.shape[2]), np.arange(x.shape[3])
    down = (rows >= top[:, None]) & (rows < (top + h)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + w)[:, None])
    colour = x.mean(axis=(2, 3), keepdims=True) if value is None else x.dtype.type(value)
    return np.where(down[:, None, :, None] & across[:, None, None, :], colour, x)
