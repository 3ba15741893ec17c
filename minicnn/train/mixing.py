"""Mixed batches: each image with some of another one in it, and its label mixed in the same proportion."""

from __future__ import annotations

import numpy as np

from minicnn.data import one_hot
from minicnn.random import Generator

Batch = tuple[np.ndarray, np.ndarray]


class Mix:
    """The base class: draws a share λ for the batch and who is mixed with whom; a subclass mixes the images.

        t = λ · onehot(label) + (1 − λ) · onehot(label of the other),    λ ~ Beta(alpha, alpha)

    Args:
        num_classes: of the one-hot labels.
        alpha: above 0, at most 4. Small ones leave most images nearly as they are; with 1 every share is
            equally likely.

    Called with images (N, C, H, W), labels (N,) and a generator, it returns images of the same shape and
    float32 targets (N, num_classes), which the cross-entropy takes in place of labels.
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        name = type(self).__name__
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
            raise ValueError(f"{name}: num_classes is {num_classes!r}, but at least 2 are expected")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha <= 4:
            raise ValueError(f"{name}: alpha is {alpha!r}, but 0 < alpha <= 4 is expected")
        self.num_classes, self.alpha = num_classes, float(alpha)

    def __call__(self, images: np.ndarray, labels: np.ndarray, generator: Generator) -> Batch:
        share, other = beta(self.alpha, generator), generator.permutation(len(labels))
        mixed, share = self.mix(images, images[other], share, generator)
        targets = one_hot(labels, self.num_classes)
        return mixed, np.float32(share) * targets + np.float32(1 - share) * targets[other]

    def mix(
        self, images: np.ndarray, others: np.ndarray, share: float, generator: Generator
    ) -> tuple[np.ndarray, float]:
        """Mixed images, and the share of the first ones that really came out."""
        raise NotImplementedError(f"{type(self).__name__} has no mix")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_classes={self.num_classes}, alpha={self.alpha:g})"


class MixUp(Mix):
    """One image shines through the other: x = λ · x + (1 − λ) · x of the other.

    Source: H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018, equation 1.

    >>> images = np.array([0.0, 8.0], np.float32).reshape(2, 1, 1, 1)
    >>> x, t = MixUp(num_classes=2, alpha=1.0)(images, np.array([0, 1]), Generator(0))
    >>> bool(np.allclose(x.ravel(), 8 * t[:, 1])), t.sum(axis=1).tolist()
    (True, [1.0, 1.0])
    """

    def mix(
        self, images: np.ndarray, others: np.ndarray, share: float, generator: Generator
    ) -> tuple[np.ndarray, float]:
        share = float(np.float32(share))
        return np.float32(share) * images + np.float32(1 - share) * others, share


class CutMix(Mix):
    """A rectangle of each image is taken from the other; λ is the share of the area that stays.

    The rectangle has the sides √(1 − λ) · H and √(1 − λ) · W around a pixel drawn anywhere; what lies
    outside of the image is cut off, and counts for the labels.

    Source: S. Yun et al., "CutMix: Regularization strategy to train strong classifiers", ICCV 2019, section
    3.1.

    >>> images = np.array([0.0, 1.0], np.float32).reshape(2, 1, 1, 1) * np.ones((2, 1, 8, 8), np.float32)
    >>> x, t = CutMix(num_classes=2)(images, np.array([0, 1]), Generator(3))
    >>> bool(np.allclose(x.mean(axis=(1, 2, 3)), t[:, 1]))
    True
    """

    def mix(
        self, images: np.ndarray, others: np.ndarray, share: float, generator: Generator
    ) -> tuple[np.ndarray, float]:
        rows, columns = (_span(size, share, generator) for size in images.shape[2:])
        mixed = images.copy()
        mixed[:, :, rows, columns] = others[:, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, 1 - area / (images.shape[2] * images.shape[3])


class Either(Mix):
    """One of two mixes for each batch, drawn evenly."""

    def __init__(self, first: Mix, second: Mix) -> None:
        self.first, self.second = first, second

    def __call__(self, images: np.ndarray, labels: np.ndarray, generator: Generator) -> Batch:
        mix = self.first if generator.uniform() < 0.5 else self.second
        return mix(images, labels, generator)

    def __repr__(self) -> str:
        return f"Either({self.first!r}, {self.second!r})"


def beta(alpha: float, generator: Generator) -> float:
    """A number from the distribution Beta(alpha, alpha).

    With u, v uniform, x = u^(1/α) and y = v^(1/α): x / (x + y), once x + y ≤ 1. In logarithms, since a
    small α makes both powers vanish.

    Source: M. Jöhnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", 1964.

    >>> 0 <= beta(0.2, Generator(0)) <= 1
    True
    """
    while True:
        u, v = np.log(1 - generator.uniform(2, dtype=np.float64)) / alpha
        total = np.logaddexp(u, v)
        if total <= 0:
            return float(np.exp(u - total))


def _span(size: int, share: float, generator: Generator) -> slice:
    """The pixels of one side of the rectangle."""
    length, centre = size * np.sqrt(1 - share), int(generator.integers(0, size))
    start, stop = round(centre - length / 2), round(centre + length / 2)
    return slice(max(start, 0), max(min(stop, size), max(start, 0)))
