"""Augmentations composed, and by name.

>>> from minicnn.data import augment
>>> cifar = augment.by_name("flip,crop4")
>>> cifar
Compose([RandomHorizontalFlip(p=0.5), RandomCrop(padding=4, fill=0.0)])
>>> cifar(np.zeros((8, 3, 32, 32), np.float32), np.random.default_rng(0).random((8, cifar.draws))).shape
(8, 3, 32, 32)

A training takes them in its loader, ``DataLoader(split, 64, augment=cifar)``; validation and test images
have no such way in.
"""

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from minicnn.backend import unknown
from minicnn.data.colours import ColorJitter, Cutout, PCANoise, RandomErasing
from minicnn.data.pixels import Frame
from minicnn.data.transforms import (
    Framing,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSquare,
    RandomVerticalFlip,
    Transform,
)
from minicnn.data.warp import warp

__all__ = [
    "NAMES",
    "SETS",
    "ColorJitter",
    "Compose",
    "Cutout",
    "PCANoise",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomSquare",
    "RandomVerticalFlip",
    "Transform",
    "by_name",
]


class Compose:
    """Augmentations one after the other.

    ``compose(x, u)`` is as for each :class:`Transform`; `draws` is the sum of theirs.  One that frames
    (RandomResizedCrop, RandomSquare), `framing`, is done where images are read, so it must be the first.

    Raises TypeError for what is no Transform, ValueError for a framing one in another place.

    >>> Compose([RandomHorizontalFlip(), RandomCrop(4), RandomAffine(degrees=15)]).draws
    8
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        for place, transform in enumerate(self.transforms):
            if not isinstance(transform, Transform):
                raise TypeError(f"Compose: {transform!r} at place {place} is no Transform")
            if isinstance(transform, Framing) and place:
                raise ValueError(
                    f"Compose: {transform!r} chooses a part of the image, so it must be the first"
                )
        self.draws = sum(transform.draws for transform in self.transforms)
        first = self.transforms[:1]
        self.framing = first[0] if first and isinstance(first[0], Framing) else None

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"

    def frame(self, u: np.ndarray) -> Frame | None:
        """The part of each image that is looked at, where there is such a choice.  Shape: u (N, draws)."""
        if self.framing is None:
            return None
        framing, own = self.framing, u[:, : self.framing.draws]
        return lambda k, width, height: framing.box(own[k], width, height)

    def __call__(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        start = 0
        for together, group in groupby(self.transforms, key=_together):
            movements = np.eye(3)
            for transform in group:
                own = u[:, start : start + transform.draws]
                start += transform.draws
                if isinstance(transform, RandomAffine):
                    movements = transform.matrices(own, *x.shape[2:]) @ movements
                elif not isinstance(transform, Framing):
                    x = transform(x, own)
            if isinstance(together, _Affine):
                x = warp(x, movements, together.fill)
        return x


class _Affine(NamedTuple):
    """What movements have in common that are made at once."""

    fill: float | str


def _together(transform: Transform) -> _Affine | int:
    return _Affine(transform.fill) if isinstance(transform, RandomAffine) else id(transform)


class Row(NamedTuple):
    """An augmentation by name: how a number makes it, the number where none is given, and what it does.

    ``default`` None is one that takes no number.
    """

    make: Callable[[float], Transform]
    default: float | None
    words: str


NAMES = {
    "flip": Row(lambda n: RandomHorizontalFlip(), None, "left and right exchanged, in every other image"),
    "flip-vertical": Row(
        lambda n: RandomVerticalFlip(), None, "top and bottom exchanged, in every other image"
    ),
    "crop": Row(
        lambda n: RandomCrop(_whole("crop", n)), 4, "moved by up to N pixels, black where nothing is"
    ),
    "shift": Row(
        lambda n: RandomAffine(translate=(n / 100, n / 100)), 10, "shifted by up to N % of the sides"
    ),
    "rotate": Row(lambda n: RandomAffine(degrees=n), 15, "rotated by up to N degrees"),
    "zoom": Row(lambda n: RandomAffine(scale=(1 - n / 100, 1 + n / 100)), 10, "scaled by up to N %"),
    "shear": Row(lambda n: RandomAffine(shear=n), 10, "sheared by up to N degrees"),
    "resized-crop": Row(
        lambda n: RandomResizedCrop(scale=(n / 100, 1.0)), 8, "a part of N to 100 % of the area, of any shape"
    ),
    "square": Row(
        lambda n: RandomSquare((n / 100, n / 100)), 87.5, "a square anywhere, its side N % of the shorter one"
    ),
    "scale": Row(
        lambda n: RandomSquare((n / 100, 0.875)),
        43.75,
        "a square anywhere, its side N to 87.5 % of the shorter",
    ),
    "brightness": Row(lambda n: ColorJitter(brightness=n / 100), 40, "brighter or darker by up to N %"),
    "contrast": Row(lambda n: ColorJitter(contrast=n / 100), 40, "more or less contrast by up to N %"),
    "saturation": Row(lambda n: ColorJitter(saturation=n / 100), 40, "more or less colour by up to N %"),
    "pca": Row(lambda n: PCANoise(n / 100), 10, "AlexNet's colour noise, N % of the colours' spread"),
    "erase": Row(lambda n: RandomErasing(n / 100), 50, "a rectangle covered, in N % of the images"),
    "cutout": Row(lambda n: Cutout(_whole("cutout", n)), 16, "a square of N pixels covered"),
}

SETS = {
    "none": "",
    "mnist": "rotate10,shift10,zoom10",
    "cifar": "flip,crop4",
    "alexnet": "square87.5,flip,pca10",
    "vgg": "scale43.75,flip,pca10",
    "imagenet": "resized-crop8,flip",
    "photos": "rotate40,shift20,shear20,zoom20,flip",
}
"""What is usual for data, or was in a paper: CIFAR's is He et al. 2016, 4.2, ImageNet's torchvision's."""


def by_name(names: str) -> Compose:
    """Augmentations from names with commas between, of :data:`NAMES` (with a number) and :data:`SETS`.

    Raises ValueError for an unknown name, with the nearest, and for a number that cannot be.

    >>> by_name("cifar,cutout8")
    Compose([RandomHorizontalFlip(p=0.5), RandomCrop(padding=4, fill=0.0), Cutout(size=8, value=None)])
    >>> by_name("flop")
    Traceback (most recent call last):
    ValueError: augment: 'flop' is unknown; did you mean 'flip'?
    """
    words = [word.strip() for word in names.split(",")]
    expanded = ",".join(SETS.get(word, word) for word in words if word)
    return Compose([_transform(word) for word in expanded.split(",") if word])


def _transform(word: str) -> Transform:
    name = re.sub(r"\d+(\.\d+)?$", "", word, flags=re.ASCII)
    number = word.removeprefix(name)
    if name not in NAMES:
        raise ValueError(f"augment: {unknown(word, (*NAMES, *SETS))}")
    make, default, _ = NAMES[name]
    if default is None and number:
        raise ValueError(f"augment: {word!r}, but {name!r} takes no number")
    try:
        return make(float(number) if number else default or 0.0)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"augment: {word[:40]!r} cannot be: {error}") from None


def _whole(name: str, number: float) -> int:
    if number != int(number):
        raise ValueError(f"{name} takes a whole number of pixels")
    return int(number)
