"""The folders that trainings leave: where a new one goes, which one is resumed, and one training for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minicnn import files

CHECKPOINT, WEIGHTS, RESULTS = "checkpoint.safetensors", "weights.safetensors", "results.json"
HISTORY = "history.csv"
CURVES, CONFUSION, PREDICTIONS = "curves.png", "confusion.png", "predictions.png"
PICTURES = (CURVES, CONFUSION, PREDICTIONS)
OUTPUTS = {
    CHECKPOINT: "all that --resume, --repeat, eval and predict need",
    WEIGHTS: "the best weights alone",
    HISTORY: "loss and accuracy of each epoch",
    CURVES: "the same as curves",
    CONFUSION: "which class was taken for which, on the test images",
    PREDICTIONS: "test images, and what the network says of them",
    RESULTS: "all options, the history and the test's figures",
}
"""What a training writes. The results come last: a folder that has them is finished."""

RUNS = Path("runs")


def for_new(name: str, out: Path | None) -> Path:
    """The folder for a new training: ``out``, or where that is None ``runs/NAME``, ``runs/NAME-2`` and so on.

    Raises ValueError where something would be overwritten, or an unfinished training forgotten.
    """
    if out is not None:
        check_free(out)
        return out
    number, folder = _latest(name)
    if folder is None or not any((folder / output).exists() for output in OUTPUTS):
        return folder or RUNS / name
    if not (folder / RESULTS).exists():
        raise ValueError(
            f"{folder} holds an unfinished training: continue it with --resume, "
            "or begin another with --out FOLDER"
        )
    return RUNS / f"{name}-{number + 1}"


def for_resuming(name: str, out: Path | None) -> Path:
    """The folder of the training to resume: ``out``, or where that is None the latest under ``runs``.

    Raises ValueError where there is none.
    """
    folder = _latest(name)[1] if out is None else out
    if folder is None or not folder.is_dir():
        raise ValueError(f"{folder or RUNS / name}: there is no such folder with a training to resume")
    if not (folder / CHECKPOINT).exists() and not all(map(files.is_leftover, folder.iterdir())):
        raise ValueError(f"{folder}: holds no {CHECKPOINT} to resume from")
    return folder


def check_free(folder: Path) -> None:
    """Raise ValueError where a training in this folder would overwrite something."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file, but a folder to write to is expected")
    for output in OUTPUTS:
        if (folder / output).exists():
            begun = (folder / CHECKPOINT).exists()
            hint = "continue that training with --resume, or " if begun else ""
            raise ValueError(f"{folder} already holds {output}: {hint}name another folder with --out")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder. The lock ends with the block or, however it ends, the process.

    What a killed process left half written is removed. Raises BlockingIOError when another process has the
    lock. Where the system has no such locks, there is none.
    """
    descriptor = os.open(folder, os.O_RDONLY) if os.name == "posix" else None
    try:
        if descriptor is not None:
            _lock(descriptor, folder)
        for path in filter(files.is_leftover, list(folder.iterdir())):
            path.unlink(missing_ok=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another training is writing there", str(folder)) from None
    except OSError:  # a file system without locks
        pass


def _latest(name: str) -> tuple[int, Path | None]:
    """The highest number of a folder ``runs/NAME-number``, and that folder; ``runs/NAME`` is number 1."""
    found = {1: RUNS / name} if (RUNS / name).is_dir() else {}
    for folder in RUNS.glob(f"{name}-*"):
        number = folder.name.removeprefix(f"{name}-")
        if number.isascii() and number.isdigit() and int(number) > 1 and folder.is_dir():
            found[int(number)] = folder
    return max(found.items(), default=(0, None))
