"""Callbacks: what looks on while a trainer trains, and may end it.

A callback is any object with these five methods; :class:`Callback` has them all, doing nothing, so that a
subclass writes those it needs:

    on_start(trainer, epochs, steps)    before the first step
    on_step(trainer)                    after each step
    on_validation_batch(trainer)        after each batch of the validation split
    on_epoch(trainer)                   after each epoch and its validation
    on_end(trainer)                     after the last epoch

They are called in the order in which ``fit`` was given them. Whenever one is called, the trainer's state is
consistent: it can be saved, and resumed from there. ``trainer.stop("why")`` ends the training after the
epoch; an exception breaks it off at once. What a training's *result* depends on (schedule, clipping,
averages) is no callback but an argument of the trainer, and in its checkpoint.
"""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn import files, weights
from minicnn.train.history import Epoch

if TYPE_CHECKING:
    from minicnn.train.trainer import Trainer


class Callback:
    """What can be told of a training while it runs.

    >>> from minicnn import data, models, optim, train
    >>> class Report(train.Callback):
    ...     def on_epoch(self, trainer):
    ...         print(f"epoch {trainer.epoch} is done")
    >>> digits, model = data.load("digits"), models.create("mlp_300_100")
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    >>> trainer.fit(digits.train.take(slice(64)), epochs=2, callbacks=[Report()])
    epoch 1 is done
    epoch 2 is done
    """

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        """Before the first step; an epoch has ``steps`` of them."""

    def on_step(self, trainer: Trainer) -> None:
        """After a step; ``trainer.sums`` holds what the epoch has seen so far."""

    def on_validation_batch(self, trainer: Trainer) -> None:
        """After a batch of the validation split."""

    def on_epoch(self, trainer: Trainer) -> None:
        """After an epoch and its validation; ``trainer.history[-1]`` is what is kept of it."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last epoch, be it the last that was wanted or the one after which somebody stopped."""


class EarlyStopping(Callback):
    """Stops when validation has not found a better epoch for ``patience`` epochs, and restores the best one.

    Which epoch is better is the trainer's own rule (:meth:`Epoch.is_better_than`): the validation accuracy,
    and among equals the loss. It counts in the history, so a training that is resumed stops where an
    unbroken one would have.

    Raises ValueError for a patience below 1, and at the start of a training without validation.

    >>> from minicnn import data, models, optim, train
    >>> digits, model = data.load("digits"), models.create("mlp_300_100")
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.0))  # which learns nothing
    >>> few = digits.train.take(slice(64))
    >>> trainer.fit(few, digits.validation, epochs=9, callbacks=[train.EarlyStopping(2)])
    >>> trainer.epoch, trainer.stopped
    (3, 'no better validation in 2 epochs')
    """

    def __init__(self, patience: int, *, restore: bool = True) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int):
            raise TypeError(f"EarlyStopping: patience is {patience!r}, but an int is expected")
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience is {patience}, but at least 1 epoch is expected")
        self.patience, self.restore = patience, restore

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        if not trainer.validates:
            raise ValueError("EarlyStopping: there is no validation split to see when to stop")
        self._check(trainer)

    def on_epoch(self, trainer: Trainer) -> None:
        self._check(trainer)

    def on_end(self, trainer: Trainer) -> None:
        if self.restore:
            trainer.restore_best()

    def _check(self, trainer: Trainer) -> None:
        best = 0 if trainer.best is None else trainer.best.number
        if trainer.epoch - best >= self.patience:
            trainer.stop(f"no better validation in {self.patience} epoch{'s' * (self.patience > 1)}")


class HistoryFile(Callback):
    """Writes the history to a file after each epoch: a table if its name ends in ``.csv``, else JSON.

    The file is replaced as a whole, so that it is never half written.

    >>> import tempfile
    >>> from minicnn import data, models, optim, train
    >>> digits, model = data.load("digits"), models.create("mlp_300_100")
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     note = train.HistoryFile(f"{folder}/history.csv")
    ...     trainer.fit(digits.train.take(slice(64)), epochs=2, callbacks=[note])
    ...     lines = Path(f"{folder}/history.csv").read_text().splitlines()
    >>> lines[0], len(lines)
    ('number,loss,accuracy,validation_loss,validation_accuracy,lr,seconds', 3)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_epoch(self, trainer: Trainer) -> None:
        rows = [asdict(epoch) for epoch in trainer.history]
        if self.path.suffix != ".csv":
            files.write(self.path, (json.dumps(rows, indent=1) + "\n").encode())
            return
        text = io.StringIO()
        table = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        files.write(self.path, text.getvalue().encode())


class SaveBest(Callback):
    """Writes the weights to a file whenever validation finds an epoch better than all before.

    They are those of the average where the trainer has one. The file can be loaded with
    :func:`minicnn.weights.load`.

    >>> import tempfile
    >>> from minicnn import data, models, optim, train
    >>> digits, model = data.load("digits"), models.create("mlp_300_100")
    >>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     best = train.SaveBest(f"{folder}/best.safetensors")
    ...     trainer.fit(digits.train.take(slice(64)), digits.validation, epochs=2, callbacks=[best])
    ...     print(weights.load(model, best.path))
    best.safetensors: 6 arrays loaded into mlp_300_100
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_epoch(self, trainer: Trainer) -> None:
        if trainer.best is trainer.history[-1]:
            weights.save(trainer.judged, self.path)
