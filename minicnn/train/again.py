"""Trainings taken up again: which options an earlier one had, and whether the data are still the same.

*Resuming* goes on where a training was; *repeating* begins it anew, with its options but for those that are
given, so that the same bits come out where none is.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data import Dataset, Split
from minicnn.data.pixels import FileSource
from minicnn.train import options, saved
from minicnn.train.checkpoint import Checkpoint, CheckpointError
from minicnn.train.folders import CHECKPOINT, RESULTS
from minicnn.train.options import Options

DECIDE_THE_DATA = ("data", "validation", "seed", "on_error", "weights")
"""Options with which other images may be trained on, or in another normalisation."""


def resumed(before: Checkpoint, given: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The options to go on with, and what else the checkpoint says of its training.

    Raises :class:`CheckpointError` where what was given contradicts it.
    """
    try:
        about = before.document["about"]
        return options.resumed(about["options"], given, before.document["epoch"]), about
    except KeyError as error:
        raise CheckpointError(f"{before.path}: does not say what was trained, it has no {error}") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{before.path}: {error}") from None


def repeated(run: Path, given: dict[str, Any]) -> tuple[Options, dict[str, Any] | None]:
    """The options for doing a training again, and the fingerprint of its data where they must be the same.

    ``run`` is a training's folder, finished or not, or a checkpoint. Raises :class:`CheckpointError` for
    anything else, and where what is given cannot go with its options.
    """
    path, about = _read(run)
    try:
        again = options.repeated(about["options"], given)
        same = not any(name in given for name in DECIDE_THE_DATA)
        return again, about["data"] if same else None
    except KeyError as error:
        raise CheckpointError(f"{path}: does not say what was trained, it has no {error}") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read(run: Path) -> tuple[Path, dict[str, Any]]:
    """The file that tells of a training, and what it says; the results are enough."""
    path = run / RESULTS
    if run.is_dir() and not (run / CHECKPOINT).exists() and path.is_file():
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise CheckpointError(f"{path}: is not what a training writes") from None
    else:
        found = saved.read_checkpoint(run)
        path, about = found.path, found.document.get("about")
    if not isinstance(about, dict):
        raise CheckpointError(f"{path}: is not what a training writes")
    return path, about


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What tells data apart that a name does not.

    Images in files count by their names, which a broken one keeps when it is mended, and all of them by
    what they are together: mean and deviation.
    """
    labels, images = 0, 0
    for split in dataset.splits().values():
        labels = zlib.crc32(split.labels.tobytes(), labels)
        images = zlib.crc32(_identity(split), images)
    return {
        "sizes": [len(split) for split in dataset.splits().values()],
        "mean": np.asarray(dataset.mean).tolist(),
        "std": np.asarray(dataset.std).tolist(),
        "labels": labels,
        "images": images,
    }


def _identity(split: Split) -> bytes | memoryview:
    if isinstance(split.images, np.ndarray):
        return np.ascontiguousarray(split.images).data
    source = split.images.source
    if isinstance(source, FileSource):
        names = [source.files[index] for index in split.images.indices]
        return "\n".join(names).encode(errors="surrogateescape")
    return b""


def difference(then: Any, now: dict[str, Any]) -> str | None:
    """In which way data are not those of a fingerprint, in words; None if they are.

    One of an older minicnn is compared in what it has.

    >>> now = {"sizes": [9, 2, 2], "mean": 0.5, "std": 0.2, "labels": 7, "images": 5}
    >>> difference({"sizes": [9, 2, 2], "mean": 0.5, "std": 0.2, "labels": 7}, now) is None
    True
    >>> difference({**now, "sizes": [8, 2, 2]}, now)
    '8 + 2 + 2 images (train, validation, test) then, 9 + 2 + 2 now'
    >>> difference({**now, "labels": 6}, now)
    'as many images, but others, in other splits, or normalised otherwise'
    """
    if isinstance(then, dict) and {"sizes", "labels"} <= then.keys() <= now.keys():
        if all(now[name] == value for name, value in then.items()):
            return None
        if then["sizes"] == now["sizes"]:
            return "as many images, but others, in other splits, or normalised otherwise"
        if isinstance(then["sizes"], list):
            before, after = (" + ".join(map(str, sizes)) for sizes in (then["sizes"], now["sizes"]))
            return f"{before} images (train, validation, test) then, {after} now"
    return "what they were is not told"
