"""Several trainings beside each other: what each reached, and in which options they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.train import checkpoint
from minicnn.train.checkpoint import CheckpointError
from minicnn.train.folders import CHECKPOINT, RESULTS
from minicnn.train.history import Epoch
from minicnn.train.options import Options
from minicnn.train.options import read as read_options


class Finished(NamedTuple):
    """A training's options and history; ``test`` is its accuracy there, None where it is not finished."""

    name: str
    options: Options
    history: list[Epoch]
    test: float | None
    finished: bool

    @property
    def best(self) -> Epoch | None:
        """The epoch that validation found best; None without validation."""
        best: Epoch | None = None
        for epoch in self.history:
            best = epoch if epoch.is_better_than(best) else best
        return best


def read(folder: Path) -> Finished:
    """The training in a folder, finished or not.

    Raises :class:`CheckpointError`, in a line that begins with the file's name, for anything else.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder with a training")
    path = folder / RESULTS
    test: float | None = None
    try:
        if path.exists():
            document: Any = json.loads(path.read_text(encoding="utf-8"))
            options, test = document["options"], float(document["test"]["accuracy"])
        else:
            path = folder / CHECKPOINT
            document = checkpoint.read(path).document
            options = document["about"]["options"]
        history = [Epoch.read(entry) for entry in document["history"]]
        return Finished(folder.name, read_options(options), history, test, test is not None)
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not what a training writes ({error})") from None


def differences(runs: Sequence[Finished]) -> list[str]:
    """For each training, in words, the options in which it differs from some other.

    >>> from minicnn.train.options import complete
    >>> def training(**given):
    ...     return Finished("x", complete({"model": "lenet5", **given}), [], None, False)
    >>> differences([training(lr=0.1, seed=1), training(lr=0.2, seed=1)])
    ['lr 0.1', 'lr 0.2']
    """
    options = [asdict(found.options) for found in runs]
    different = [name for name in options[0] if len({repr(each[name]) for each in options}) > 1]
    return [
        ", ".join(
            f"{name.replace('_', ' ')} {'none' if each[name] is None else each[name]}" for name in different
        )
        for each in options
    ]
