"""What a data set is: three splits of images with their labels, and how pixels became numbers."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from minicnn.data.augment import Compose
from minicnn.data.pixels import Constant, Pixels, normalised, per_channel, reframed, unit
from minicnn.data.sampling import split_generator, stratified_split

Batch = tuple[np.ndarray, np.ndarray]
Which = slice | list[int] | np.ndarray

_BLOCK = 1024
"""Images that are turned into numbers at a time, which bounds the memory this takes."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, ready for a network.

    Shapes: `images` (N, C, H, W), `labels` (N,); N may be 0.  Dtypes: float32 and int64.

    `images` is an array, or :class:`Pixels`, which is indexed like one and makes what it is asked for: from
    files, if need be.  `mean` and `std` say how pixels became the numbers in an array, and `held_out` whether
    images are for measuring only: those are never augmented.  A :class:`Dataset` sets all three.

    Raises TypeError for other dtypes or anything but arrays, ValueError for other shapes, for counts
    that differ, images that are not finite and labels below zero.

    >>> split = Split(np.zeros((3, 1, 8, 8), np.float32), np.array([2, 0, 1]))
    >>> len(split), split.take([2, 0]).labels.tolist()
    (3, [1, 2])
    """

    images: np.ndarray | Pixels
    labels: np.ndarray
    mean: Constant = 0.0
    std: Constant = 1.0
    held_out: bool = False

    def __post_init__(self) -> None:
        for name, array, dtype in (("images", self.images, np.float32), ("labels", self.labels, np.int64)):
            if name == "images" and isinstance(array, Pixels):
                continue
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"Split: {name} has {found}, but an array of {np.dtype(dtype)} is expected")
        if self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise ValueError(f"Split: images has shape {self.images.shape}, but (N, C, H, W) is expected")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"Split: labels has shape {self.labels.shape}, but images has shape {self.images.shape}, "
                f"so ({len(self.images)},) is expected"
            )
        if len(self.labels) and self.labels.min() < 0:
            raise ValueError(f"Split: labels has the value {self.labels.min()}, but labels start at 0")
        if isinstance(self.images, np.ndarray):
            finite = np.isfinite(self.images).all(axis=(1, 2, 3))
            if not finite.all():
                raise ValueError(f"Split: images[{int(np.argmin(finite))}] holds a value that is not finite")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Which) -> Split:
        """The split of the images at `indices`, in that order.

        >>> Split(np.zeros((3, 1, 8, 8), np.float32), np.array([2, 0, 1])).take(slice(2)).labels
        array([2, 0])
        """
        images = self.images.take(indices) if isinstance(self.images, Pixels) else self.images[indices]
        return Split(images, self.labels[indices], self.mean, self.std, self.held_out)

    def read(self, which: Which) -> Batch:
        """The images and labels at `which`.

        Raises :class:`DataError` for a broken file.
        """
        return self.images[which], self.labels[which]

    def augmented(self, which: Which, augment: Compose, u: np.ndarray) -> Batch:
        """The images at `which`, augmented by random numbers u (n, augment.draws), and their labels.

        Raises ValueError for held-out images; :class:`DataError` for a broken file.
        """
        if self.held_out:
            raise ValueError("Split: images for validation and testing are never augmented")
        x = augment(self._pixels(which, augment, u), u)
        return normalised(x, self.mean, self.std), self.labels[which]

    def _pixels(self, which: Which, augment: Compose, u: np.ndarray) -> np.ndarray:
        """Images before normalisation, in 0..1, framed as the augmentation wants them."""
        frame = augment.frame(u)
        if isinstance(self.images, Pixels):
            return self.images.pixels(which, frame)
        x = self.images[which] * per_channel(self.std, self.images.dtype)
        x += per_channel(self.mean, self.images.dtype)
        if frame is None:
            return x
        frames = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
        return unit(reframed(frames, x.shape[2], frame))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test data of one kind, and the two constants of their normalisation.

    x = (p - mean) / std, where p is a pixel in 0..1 and `mean` and `std`, numbers or one for each channel,
    are taken over the *training* split: what validation and test data look like must not flow into the
    training.

    Shapes: those of :class:`Split`, with the same C, H, W in all three.  The validation split may be
    empty, `train` and `test` may not.  In a data set, validation and test images cannot be augmented.

    Raises ValueError when the splits do not fit together, a label has no class name, or `mean` and
    `std` are not finite or `std` is not above zero.

    >>> split = Split(np.full((2, 1, 1, 1), 1.5, np.float32), np.array([0, 1]))
    >>> data = Dataset("dots", split, split.take([]), split, ("dark", "bright"), mean=0.25, std=0.5)
    >>> data.image_shape, len(data.validation)
    ((1, 1, 1), 0)
    >>> data.to_pixels(data.test.images).ravel()
    array([1., 1.], dtype=float32)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: Constant = 0.0
    std: Constant = 1.0

    def __post_init__(self) -> None:
        mean, std, channels = np.asarray(self.mean), np.asarray(self.std), self.image_shape[0]
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(
                f"Dataset: mean={self.mean}, std={self.std}, but finite numbers and std > 0 are expected"
            )
        if not {mean.shape, std.shape} <= {(), (channels,)}:
            raise ValueError(
                f"Dataset: mean={self.mean}, std={self.std}, but the images have {channels} channels"
            )
        for name, split in self.splits().items():
            if not len(split) and name != "validation":
                raise ValueError(f"Dataset: the {name} split of {self.name} is empty")
            if split.images.shape[1:] != self.image_shape:
                raise ValueError(
                    f"Dataset: the {name} split's images have shape {split.images.shape[1:]}, but those of "
                    f"the train split {self.image_shape}"
                )
            if len(split) and split.labels.max() >= len(self.class_names):
                raise ValueError(
                    f"Dataset: the {name} split has the label {split.labels.max()}, but there are "
                    f"{len(self.class_names)} class names"
                )
            object.__setattr__(self, name, self._owned(split, held_out=name != "train"))

    def _owned(self, split: Split, held_out: bool) -> Split:
        """The same split, which knows its constants and whether it is for measuring only."""
        owned = copy.copy(split)  # its arrays were checked when it was made
        for name, value in (("mean", self.mean), ("std", self.std), ("held_out", held_out)):
            object.__setattr__(owned, name, value)
        return owned

    def splits(self) -> dict[str, Split]:
        """The three splits by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to_pixels(self, images: np.ndarray) -> np.ndarray:
        """Undo the normalisation, so that images can be shown: p = clip(x * std + mean, 0, 1).

        Shapes: any, kept, or (N, C, H, W) or (C, H, W) where each channel has its own constants.  Dtype:
        float32 or float64, kept.  Raises TypeError for any other.

        >>> split = Split(np.zeros((1, 1, 1, 1), np.float32), np.array([0]))
        >>> data = Dataset("grey", split, split, split, ("grey",), mean=0.5, std=0.25)
        >>> data.to_pixels(np.array([-9.0, 0.0, 1.0], np.float32))
        array([0.  , 0.5 , 0.75], dtype=float32)
        """
        if not isinstance(images, np.ndarray) or images.dtype not in (np.float32, np.float64):
            found = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(f"to_pixels: images has {found}, but an array of float32 or float64 is expected")
        pixels = images * per_channel(self.std, images.dtype)
        pixels += per_channel(self.mean, images.dtype)
        return np.clip(pixels, 0, 1, out=pixels)


def build(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    class_names: tuple[str, ...],
    size: int,
    validation: int | float,
    seed: int,
) -> Dataset:
    """Turn grey images of bytes into a :class:`Dataset`: split, scale, normalise.

    The validation split is drawn, stratified, from the images that are not test images; `mean` and
    `std` come from those that remain for training.

    Shapes: images (N, H, W), labels (N,).  Dtype: uint8.  Only one float32 copy is made of each image.

    >>> grey = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)
    >>> even = np.arange(10, dtype=np.uint8) % 2
    >>> data = build("ramp", grey, even, grey, even, class_names=("even", "odd"), size=2,
    ...              validation=0.2, seed=0)
    >>> [len(split) for split in data.splits().values()], data.train.images.dtype
    ([8, 2, 10], dtype('float32'))
    >>> bool(abs(data.train.images.mean()) < 1e-6)
    True
    """
    images, test_images = resize(images, size), resize(test_images, size)
    train, chosen = stratified_split(
        labels, validation, split_generator(seed, "validation"), name="validation"
    )
    mean, std = _moments(images, train)
    return Dataset(
        name,
        train=_normalised(images, labels, train, mean, std),
        validation=_normalised(images, labels, chosen, mean, std),
        test=_normalised(test_images, test_labels, np.arange(len(test_labels)), mean, std),
        class_names=class_names,
        mean=mean,
        std=std,
    )


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Scale grey images to size × size pixels, bicubic (Pillow's).

    Bicubic because it reads best: on 8×8 digits, nearest and box leave blocks, bilinear blurs the
    strokes, and Lanczos draws faint rings around them.

    Shapes: (N, H, W) to (N, size, size).  Dtype: uint8.

    >>> resize(np.full((2, 8, 8), 9, np.uint8), 3)[1]
    array([[9, 9, 9],
           [9, 9, 9],
           [9, 9, 9]], dtype=uint8)
    """
    if images.shape[1:] == (size, size):
        return images
    from PIL import Image

    y = np.empty((len(images), size, size), np.uint8)
    for i, image in enumerate(images):
        y[i] = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return y


def _moments(images: np.ndarray, indices: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the pixels in 0..1, from the exact counts of the 256 values."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(indices), _BLOCK):
        block = images[indices[start : start + _BLOCK]]
        counts += np.bincount(block.ravel(), minlength=256)
    pixels = np.arange(256) / 255
    mean = float(np.average(pixels, weights=counts))
    std = float(np.sqrt(np.average((pixels - mean) ** 2, weights=counts)))
    if std == 0:
        raise ValueError(
            "build: every pixel of the training images has the same value, nothing to learn from"
        )
    return mean, std


def _normalised(
    images: np.ndarray, labels: np.ndarray, indices: np.ndarray, mean: float, std: float
) -> Split:
    # There are only 256 pixel values, so normalising is looking up, exactly and without temporaries.
    table = ((np.arange(256) / 255 - mean) / std).astype(np.float32)
    x = np.empty((len(indices), 1, *images.shape[1:]), np.float32)
    for start in range(0, len(indices), _BLOCK):
        x[start : start + _BLOCK, 0] = table[images[indices[start : start + _BLOCK]]]
    return Split(x, labels[indices].astype(np.int64))
