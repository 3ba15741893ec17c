"""Which class an image is of, and which split it belongs to, by the names of its folders.

    flowers/daisy/1.jpg              or     flowers/train/daisy/1.jpg
    flowers/daisy/2.jpg                     flowers/train/rose/2.jpg
    flowers/rose/3.jpg                      flowers/val/daisy/3.jpg
                                            flowers/test/rose/4.jpg

A class is a folder with images, at whatever depth below it; classes are numbered in the order of their
names. Where there is a folder train (or training), all beside it are splits: test (testing), val (valid,
validation). Folders around all of that, of which there is only one at each level, do not count.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from minicnn.data.idx import DataError
from minicnn.data.images import EXTENSIONS
from minicnn.data.storage import Storage

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

PUBLISHED = {
    "-ubyte": "; if these are the files of MNIST, the data are mnist, and this folder is its data-dir",
    "_batch": "; if these are the files of CIFAR-10, the data are cifar10, and this folder is its data-dir",
}
"""What is said where there are no images, but files with such a part in their names."""

Parts = tuple[str, ...]
"""A file's name, and the folders above it."""


class Entry(NamedTuple):
    """An image: its file's name, and its class's."""

    file: str
    label: str


@dataclass(frozen=True)
class Layout:
    """The images of each split that has folders, "train" among them, and the names of the classes."""

    parts: dict[str, list[Entry]]
    class_names: tuple[str, ...]


def find_layout(storage: Storage) -> Layout:
    """The splits and classes of the images in a folder or zip.

    Raises :class:`DataError` where there are no images, or none in class folders, for an image beside the
    class folders, a folder beside train that is no split, a class or split without images, one that is held
    out but not in training, and classes whose names differ in case only.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from minicnn.data.storage import Folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("test/cat/9.png", "train/dog/old/1.png", "train/cat/2.png", "train/about.txt"):
    ...         path = Path(folder) / name
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         path.touch()
    ...     layout = find_layout(Folder(folder))
    >>> layout.class_names, layout.parts["test"]
    (('cat', 'dog'), [Entry(file='test/cat/9.png', label='cat')])
    """
    images = [tuple(name.split("/")) for name in storage.names if name.lower().endswith(EXTENSIONS)]
    if not images:
        hint = next((words for part, words in PUBLISHED.items() if part in " ".join(storage.names)), "")
        raise DataError(f"{storage.path}: there are no images in it ({', '.join(EXTENSIONS)}){hint}")
    depth = _depth(images)
    tops = sorted({path[depth] for path in images if len(path) > depth + 1})
    if not tops:
        raise DataError(f"{storage.path}: has images, but no folders that would say of which class they are")
    has_splits = any(SPLITS.get(top.lower()) == "train" for top in tops)
    strange = [top for top in tops if top.lower() not in SPLITS]
    if has_splits and strange:
        raise DataError(
            f"{storage.path}: has {strange[0]!r} beside a folder for training, but only test and val go there"
        )

    class_depth = depth + has_splits
    parts: dict[str, list[Entry]] = defaultdict(list)
    for path in images:
        if len(path) < class_depth + 2:
            raise DataError(f"{storage.full('/'.join(path))}: lies beside the class folders, in none of them")
        split = SPLITS[path[depth].lower()] if has_splits else "train"
        parts[split].append(Entry("/".join(path), path[class_depth]))
    _check_folders(storage, images, range(depth, class_depth + 1))
    return Layout(dict(parts), _class_names(storage, parts))


def _depth(images: list[Parts]) -> int:
    """How many folders there are around everything, one for training not counted."""
    depth = 0
    while all(len(path) > depth + 2 for path in images):
        names = {path[depth] for path in images}
        if len(names) > 1 or SPLITS.get(names.pop().lower()) == "train":
            break
        depth += 1
    return depth


def _check_folders(storage: Storage, images: list[Parts], levels: range) -> None:
    """Every folder where splits and classes are has images."""
    full = {path[: level + 1] for path in images for level in levels}
    outside = images[0][: levels.start]
    for folder in storage.folders:
        parts = tuple(folder.split("/"))
        if len(parts) - 1 in levels and parts[: levels.start] == outside and parts not in full:
            raise DataError(
                f"{storage.full(folder)}: there are no images in this folder, of a class or split"
            )


def _class_names(storage: Storage, parts: dict[str, list[Entry]]) -> tuple[str, ...]:
    names = {split: {entry.label for entry in entries} for split, entries in parts.items()}
    for split, found in names.items():
        if unknown := sorted(found - names["train"]):
            raise DataError(f"{storage.path}: class {unknown[0]!r} has {split} images, but none for training")
    known: dict[str, str] = {}
    for name in sorted(names["train"]):
        if (other := known.setdefault(name.casefold(), name)) != name:
            raise DataError(
                f"{storage.path}: classes {other!r} and {name!r} differ in upper and lower case only"
            )
    return tuple(sorted(names["train"]))
