"""A trainer's whole state as named arrays and a document, and back.

    model.NAME             parameters and buffers
    best.NAME              the same at the best epoch's end
    average.NAME           the same as a moving average, where the trainer has one
    optimizer.INDEX.NAME   what the optimiser keeps for the parameter of that number

The document has all the rest: how far the training is, to the step; the history; the optimiser's options and
counts; the schedule; and the random generators that dropout draws from.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import random
from minicnn.backend import move
from minicnn.train.checkpoint import Arrays, Checkpoint, CheckpointError, check_fit
from minicnn.train.history import Epoch, Sums

if TYPE_CHECKING:
    from minicnn.train.trainer import Trainer


WITHOUT = {
    "pieces of a batch": 1,
    "bound of the gradients' norm": None,
    "bound of the gradients": None,
    "average's decay": None,
    "augmentation": None,
    "mix": None,
}
"""What holds for checkpoints that were written before trainers had these arguments."""


def capture(trainer: Trainer) -> tuple[Arrays, dict[str, Any]]:
    """The state as arrays, on the CPU (the live ones where they are there), and a document for JSON."""
    arrays = {f"model.{name}": move(array, "cpu") for name, array in trainer.model.state_dict().items()}
    arrays |= {f"best.{name}": array for name, array in trainer.best_weights.items()}
    if trainer.average is not None:
        arrays |= {f"average.{name}": array for name, array in trainer.average.state().items()}
    optimizer = trainer.optimizer.state_dict()
    numbers: dict[str, dict[str, Any]] = {}
    for index, entry in optimizer["state"].items():
        for name, value in entry.items():
            if isinstance(value, np.ndarray):
                arrays[f"optimizer.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    document = {
        "trainer": _kind(trainer),
        "epoch": trainer.epoch,
        "sums": asdict(trainer.sums),
        "history": [asdict(epoch) for epoch in trainer.history],
        "best": None if trainer.best is None else trainer.best.number,
        "average": None if trainer.average is None else trainer.average.steps,
        "optimizer": {"state": numbers, "param_groups": optimizer["param_groups"]},
        "scheduler": None if trainer.scheduler is None else trainer.scheduler.state_dict(),
        "random": {name: generator.get_state() for name, generator in _generators(trainer).items()},
    }
    return arrays, document


def restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Put a trainer into the state that was captured from one like it.

    Raises :class:`CheckpointError` where it does not fit; the trainer must not be used then.
    """
    try:
        _restore(trainer, *saved)
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        text = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{saved.path}: does not fit this training: {text}") from None


def _restore(trainer: Trainer, path: Path, arrays: Arrays, document: dict[str, Any]) -> None:
    saved = {**WITHOUT, **document["trainer"]}
    for name, own in _kind(trainer).items():
        if (found := saved[name]) != own:
            raise CheckpointError(f"{path}: its {name} is {found!r}, but this training's is {own!r}")
    parts: dict[str, Arrays] = {"model": {}, "best": {}, "average": {}, "optimizer": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    check_fit(path, trainer.model, parts["model"])

    history = [Epoch.read(entry) for entry in document["history"]]
    if [epoch.number for epoch in history] != list(range(1, document["epoch"] + 1)):
        raise ValueError(f"{document['epoch']} epochs are finished, but its history is of {len(history)}")
    best = next((epoch for epoch in history if epoch.number == document["best"]), None)
    if (best is None) != (document["best"] is None) or (best is None) != (not parts["best"]):
        raise ValueError(f"its best epoch, {document['best']!r}, is not among its {len(history)}")
    if best is not None:
        check_fit(path, trainer.model, parts["best"])
    if trainer.average is not None:
        check_fit(path, trainer.model, parts["average"])
    elif parts["average"]:
        raise ValueError("it has averaged weights, but this training has none")
    sums = Sums.read(document["sums"])
    generators = _generators(trainer)
    if set(document["random"]) != set(generators):
        raise ValueError("its random generators are not those of this model")

    trainer.optimizer.load_state_dict(_optimizer_state(document["optimizer"], parts["optimizer"]))
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(document["scheduler"])
    for name, generator in generators.items():
        generator.set_state(document["random"][name])
    trainer.model.load_state_dict(parts["model"])
    if trainer.average is not None:
        trainer.average.load(parts["average"], document["average"])
    trainer.epoch, trainer.sums, trainer.history = len(history), sums, history
    trainer.best, trainer.best_weights = best, parts["best"]


def _optimizer_state(saved: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """What ``Optimizer.state_dict`` gave: numbers and arrays together again, under whole numbers."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entry) for index, entry in saved["state"].items()}
    for path, array in arrays.items():
        index, _, name = path.partition(".")
        state.setdefault(int(index), {})[name] = array
    return {"state": state, "param_groups": saved["param_groups"]}


def _kind(trainer: Trainer) -> dict[str, Any]:
    """What must be the same in a trainer that goes on."""
    return {
        "batch size": trainer.batch_size,
        "seed": trainer.seed,
        "optimizer": type(trainer.optimizer).__name__,
        "schedule": None if trainer.scheduler is None else type(trainer.scheduler).__name__,
        "pieces of a batch": trainer.accumulate,
        "bound of the gradients' norm": trainer.clip_norm,
        "bound of the gradients": trainer.clip_value,
        "average's decay": None if trainer.average is None else trainer.average.decay,
        "augmentation": None if trainer.augment is None else repr(trainer.augment),
        "mix": None if trainer.mix is None else repr(trainer.mix),
    }


def _generators(trainer: Trainer) -> dict[str, random.Generator]:
    """The generators that training draws from: the default one, and those that layers were given."""
    own = {
        name: module.generator
        for name, module in trainer.model.named_modules()
        if isinstance(getattr(module, "generator", None), random.Generator)
    }
    return {"": random.default_generator, **own}
