"""From images with labels to a data set: splits drawn where there are none, and the constants."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from minicnn.data.dataset import Dataset, Split
from minicnn.data.idx import DataError
from minicnn.data.pixels import ArraySource, Constant, Pixels, Source, moments
from minicnn.data.sampling import split_generator, stratified_split

Part = tuple[Source, np.ndarray]
"""Images and their labels."""

HELD_OUT = 0.15
"""The share of the images that goes to testing, and of the rest to validation, where nothing else is said."""

SEEN_FOR_MOMENTS = 2000
"""Images over which mean and standard deviation are taken, where each has to be decoded for that."""


class DataWarning(UserWarning):
    """Something about the data that a user should know, though one can go on.

    >>> issubclass(DataWarning, UserWarning)
    True
    """


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    validation: int | float | tuple[np.ndarray, np.ndarray] = HELD_OUT,
    test: int | float | tuple[np.ndarray, np.ndarray] = HELD_OUT,
    size: int | None = None,
    seed: int = 0,
    mean: Constant | None = None,
    std: Constant | None = None,
    name: str = "arrays",
) -> Dataset:
    """A data set of images that are in memory.

    `validation` and `test` are images and labels of their own, or how many to draw, stratified, from the
    others: a count or a share (of what is not test images).  `class_names` are the labels themselves unless
    given.  The images are scaled to `size` × `size` pixels (their shorter side), what a square leaves over
    being cut off on both sides, and normalised by the training images' `mean` and `std` unless others are
    given.

    Shapes: images (N, H, W), (N, H, W, 3) or (N, 3, H, W), labels (N,).  Dtypes: uint8; any integers.

    Raises TypeError and ValueError that name the argument: for other dtypes and shapes, labels below zero or
    beyond the class names, a single class, and splits that leave one without images.

    >>> images, labels = np.arange(160, dtype=np.uint8).reshape(40, 2, 2), np.arange(40) % 2
    >>> data = from_arrays(images, labels, class_names=["even", "odd"])
    >>> [len(split) for split in data.splits().values()], data.image_shape
    ([29, 5, 6], (1, 2, 2))
    """
    parts = {"train": _checked("images", images, "labels", labels, size)}
    shares: dict[str, int | float] = {}
    for part, value in (("validation", validation), ("test", test)):
        if isinstance(value, tuple):
            if len(value) != 2:
                raise ValueError(
                    f"from_arrays: {part} is a tuple of {len(value)}, but images and labels are expected"
                )
            parts[part] = _checked(
                f"{part} images", value[0], f"{part} labels", value[1], parts["train"][0].size
            )
        else:
            shares[part] = value
    classes = 1 + max(int(part[1].max()) for part in parts.values())
    if class_names is None:
        count = len(parts["train"][1])
        if classes > count:  # each class needs one, and names for billions of classes would fill the memory
            raise ValueError(f"from_arrays: labels go up to {classes - 1}, but there are only {count} images")
        class_names = [str(label) for label in range(classes)]
    if classes > len(class_names):
        raise ValueError(
            f"from_arrays: labels go up to {classes - 1}, but there are {len(class_names)} class_names"
        )
    return assemble(name, parts, tuple(class_names), shares, seed=seed, mean=mean, std=std)


def assemble(
    name: str,
    parts: Mapping[str, Part],
    class_names: tuple[str, ...],
    shares: dict[str, int | float],
    *,
    seed: int,
    mean: Constant | None = None,
    std: Constant | None = None,
    exact: bool = False,
) -> Dataset:
    """A data set of the `parts` "train", and perhaps "validation" and "test".

    `shares` says how many of the training images to draw for those that are not there.

    `mean` and `std` are taken over at most :data:`SEEN_FOR_MOMENTS` training images, or all if `exact`.

    Raises ValueError where there are fewer than two classes, or a split would be without images, or training
    without those of a class.
    """
    if len(class_names) < 2:
        raise DataError(f"{name}: there is only one class, {class_names[0]!r}, but at least two are expected")
    source, labels = parts["train"]
    indices = np.arange(len(labels))
    drawn: dict[str, np.ndarray] = {}
    for split in ("test", "validation"):  # another validation split leaves the test images as they are
        if split not in parts and split in shares:
            stay, gone = stratified_split(
                labels[indices], shares[split], split_generator(seed, split), name=split
            )
            drawn[split], indices = indices[gone], indices[stay]
    _check_counts(name, labels[indices], drawn, class_names)

    training = Pixels(source, indices)
    if mean is None or std is None:
        found = moments(training, len(indices) if exact else SEEN_FOR_MOMENTS)
        mean, std = found[0] if mean is None else mean, found[1] if std is None else std
    splits = {"train": Split(Pixels(source, indices, mean, std), labels[indices])}
    for split in ("validation", "test"):
        of, its_labels = parts.get(split, (source, labels))
        which = drawn.get(split, np.arange(len(its_labels)) if split in parts else indices[:0])
        splits[split] = Split(Pixels(of, which, mean, std), its_labels[which])
    return Dataset(name, **splits, class_names=class_names, mean=mean, std=std)


def _check_counts(
    name: str, training: np.ndarray, drawn: dict[str, np.ndarray], class_names: tuple[str, ...]
) -> None:
    counts = np.bincount(training, minlength=len(class_names))
    if not counts.all():
        missing = class_names[int(np.argmin(counts))]
        raise DataError(f"{name}: class {missing!r} has no image left for training; it needs more images")
    if "test" in drawn and not len(drawn["test"]):
        raise DataError(f"{name}: {len(training)} images are too few to hold any out for testing")


def warn(line: str) -> None:
    """Tell something about the data to whoever loads it."""
    warnings.warn(DataWarning(line), stacklevel=2)


def _checked(
    images_name: str, images: np.ndarray, labels_name: str, labels: np.ndarray, size: int | None
) -> Part:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        hint = (
            "; for pixels in 0..1: (255 * images).round().astype('uint8')" if images.dtype.kind == "f" else ""
        )
        raise TypeError(f"from_arrays: {images_name} have dtype {images.dtype}, but uint8 is expected{hint}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim not in (3, 4) or 0 in images.shape or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            f"from_arrays: {images_name} have shape {images.shape}, but (N, H, W), (N, H, W, C) or "
            "(N, C, H, W) with one or three channels is expected"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"from_arrays: {labels_name} have dtype {labels.dtype}, but integers are expected")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"from_arrays: {labels_name} have shape {labels.shape}, but there are {len(images)} {images_name}"
        )
    if labels.min() < 0:
        raise ValueError(f"from_arrays: {labels_name} have the value {labels.min()}, but labels start at 0")
    return ArraySource(images, size), labels.astype(np.int64)
