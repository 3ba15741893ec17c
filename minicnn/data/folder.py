"""Images in folders, one for each class, on the disk or in a zip: see :mod:`minicnn.data.layout`."""

import hashlib
import os
from pathlib import Path

import numpy as np

from minicnn.data.ahead import ahead
from minicnn.data.assemble import HELD_OUT, assemble, warn
from minicnn.data.dataset import Dataset
from minicnn.data.idx import DataError
from minicnn.data.images import open_image
from minicnn.data.layout import Entry, Layout, find_layout
from minicnn.data.pixels import Constant, FileSource
from minicnn.data.storage import Archive, Folder, Storage
from minicnn.kernels.threads import cores

LARGEST = 224
"""The size of images that are larger, where none is given."""

LOOKED_AT = 16
"""Training images that tell whether a data set is grey."""

COMPARED = 10_000
"""Files that are read, at most, to find out whether one is both in training and held out."""


def load_images(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    channels: int | None = None,
    crop: float = 1.0,
    validation: int | float | None = None,
    test: int | float | None = None,
    seed: int = 0,
    mean: Constant | None = None,
    std: Constant | None = None,
    on_error: str = "raise",
) -> Dataset:
    """A data set of the images in a folder, or a zip of one.

    Each image becomes `size` × `size` pixels, of the square in its middle whose side is `crop` times the
    shorter one; unless told, `size` is the shorter side of the first image, but at most 224.  `channels` is
    1 for grey, 3 for colour, and unless told 1 if the first training images are grey.  Files are read when
    their batch is; data that need little memory (:data:`minicnn.data.pixels.CACHE_BYTES`) are then kept.

    `test` and `validation` say how many of the training images are drawn, stratified, a count or a share;
    15 % unless told, and only where there is no folder for them.  `mean` and `std` are those of up to 2,000
    training images unless given.

    With `on_error` "raise" a broken file ends the work at its batch, and an empty one the loading, with its
    name. With "skip" all files are read at first, the broken ones told by name, and left out.

    Raises :class:`DataError` for folders that cannot be understood, :func:`find_layout` says which, for a
    single class and for one with too few images; ValueError for arguments that cannot be.  Warns
    (:class:`DataWarning`) of files that are left out, and of images that are both in training and held out.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("day", "night"):
    ...         (Path(folder) / name).mkdir()
    ...         for number in range(10):
    ...             grey = 10 * number + (100 if name == "day" else 0)
    ...             Image.new("L", (9, 8), grey).save(f"{folder}/{name}/{number}.png")
    ...     data = load_images(folder)
    >>> data.class_names, data.image_shape, [len(split) for split in data.splits().values()]
    (('day', 'night'), (1, 8, 8), [14, 3, 3])
    """
    _check_arguments(size, channels, crop, on_error)
    storage: Storage = Archive(path) if Path(path).is_file() else Folder(path)
    layout = find_layout(storage)
    shares = _shares(storage, layout, {"validation": validation, "test": test})
    if on_error == "skip":
        layout = _without_broken(storage, layout)
    else:
        _check_sizes(storage, layout)
    training = [entry.file for entry in layout.parts["train"]]
    some = training[:: -(-len(training) // LOOKED_AT)]
    size = size or _size_of(storage, some[0])
    channels = channels or (1 if all(_is_grey(storage, file) for file in some) else 3)

    numbers = {name: number for number, name in enumerate(layout.class_names)}
    parts = {}
    for split, entries in layout.parts.items():
        labels = np.array([numbers[entry.label] for entry in entries], np.int64)
        parts[split] = FileSource(storage, [entry.file for entry in entries], size, channels, crop), labels
    data = assemble(str(path), parts, layout.class_names, shares, seed=seed, mean=mean, std=std)
    _warn_of_leaks(storage, data)
    return data


def _check_arguments(size: int | None, channels: int | None, crop: float, on_error: str) -> None:
    if size is not None and size < 1:
        raise ValueError(f"load: size is {size}, but at least 1 is expected")
    if channels not in (None, 1, 3):
        raise ValueError(f"load: channels is {channels!r}, but 1 (grey) or 3 (colour) is expected")
    if not 0 < crop <= 1:
        raise ValueError(f"load: crop is {crop}, but a share above 0 and up to 1 is expected")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"load: on_error is {on_error!r}, but 'raise' or 'skip' is expected")


def _shares(
    storage: Storage, layout: Layout, wanted: dict[str, int | float | None]
) -> dict[str, int | float]:
    """How much to draw for the splits that have no folder."""
    for split, share in wanted.items():
        if split in layout.parts and share is not None:
            raise ValueError(f"load: {split}={share}, but {storage.path} has a folder of {split} images")
    return {
        split: HELD_OUT if share is None else share
        for split, share in wanted.items()
        if split not in layout.parts
    }


def _check_sizes(storage: Storage, layout: Layout) -> None:
    """No file is empty, which is cheap to know and the commonest way to be broken."""
    for entries in layout.parts.values():
        for entry in entries:
            if storage.alike(entry.file)[0] == 0:
                raise DataError(f"{storage.full(entry.file)}: the file is empty")


def _without_broken(storage: Storage, layout: Layout) -> Layout:
    """The layout without the files that cannot be read, each of which is told."""

    def complaint(entry: Entry) -> str | None:
        try:
            with storage.open(entry.file) as file:
                open_image(file, name=storage.full(entry.file))
        except DataError as error:
            return str(error)
        return None

    parts = {}
    for split, entries in layout.parts.items():
        complaints = list(ahead(complaint, entries, workers=cores(), prefetch=cores()))
        for line in filter(None, complaints):
            warn(f"{line}; left out")
        parts[split] = [entry for entry, line in zip(entries, complaints, strict=True) if line is None]
    left = {entry.label for entry in parts["train"]}
    for name in layout.class_names:
        if name not in left:
            raise DataError(f"{storage.path}: of class {name!r} no image for training can be read")
    return Layout(parts, layout.class_names)


def _size_of(storage: Storage, file: str) -> int:
    with storage.open(file) as content:
        return min(LARGEST, *open_image(content, name=storage.full(file)).size)


def _is_grey(storage: Storage, file: str) -> bool:
    with storage.open(file) as content:
        pixels = np.asarray(open_image(content, name=storage.full(file)))
    return bool((pixels == pixels[..., :1]).all())


def _warn_of_leaks(storage: Storage, data: Dataset) -> None:
    """Tell of held-out images whose file is also in training, byte for byte.

    Only files of the same size are read, and of each split at most :data:`COMPARED`.
    """
    files = {split: _files(data, split) for split in data.splits()}
    key = {file: storage.alike(file) for its in files.values() for file in its}
    training = files.pop("train")
    held_out = {key[file] for its in files.values() for file in its}
    candidates = [file for file in training if key[file] in held_out][:COMPARED]
    same = {key[file] for file in candidates}
    digests = {_digest(storage, file): file for file in candidates}
    for split, its in files.items():
        looked_at = [file for file in its if key[file] in same][:COMPARED]
        found = [(file, digests[d]) for file in looked_at if (d := _digest(storage, file)) in digests]
        if found:
            file, twin = found[0]
            warn(
                f"{storage.path}: {len(found):,} of {len(its):,} {split} images are in training too, which "
                f"makes figures look better than they are; the first is {file}, the same as {twin}"
            )


def _files(data: Dataset, split: str) -> list[str]:
    images = data.splits()[split].images
    assert not isinstance(images, np.ndarray)
    assert isinstance(images.source, FileSource)
    return [images.source.files[index] for index in images.indices]


def _digest(storage: Storage, file: str) -> bytes:
    with storage.open(file) as content:
        return hashlib.blake2b(content.read()).digest()
