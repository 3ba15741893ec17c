"""Trainer: epochs, validation, history, the best weights; and all of it as a state that can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import nn, random
from minicnn.data import DataLoader, Split
from minicnn.optim import Optimizer
from minicnn.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from minicnn.train import checkpoint
from minicnn.train.checkpoint import Arrays, Checkpoint, CheckpointError
from minicnn.train.loop import DivergedError, Loss, evaluate, train

HINT = "try a smaller learning rate"


@dataclass(frozen=True)
class Epoch:
    """What is kept of an epoch; ``number`` counts from 1, and validation is None where there was none."""

    number: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float


@dataclass(frozen=True)
class Sums:
    """The unfinished epoch so far: steps, images, the sum of their losses, how many were right, time."""

    steps: int = 0
    images: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0


class Callback:
    """What can be told of a training while it runs. Each method may raise to break it off.

    The trainer's state is consistent whenever one is called: it can be saved, and resumed from there.
    """

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        """Before the first step; an epoch has ``steps`` of them."""

    def on_step(self, trainer: Trainer) -> None:
        """After a step; ``trainer.sums`` holds what the epoch has seen so far."""

    def on_validation_batch(self, trainer: Trainer) -> None:
        """After a batch of the validation split."""

    def on_epoch(self, trainer: Trainer) -> None:
        """After an epoch and its validation; ``trainer.history[-1]`` is what is kept of it."""


class Trainer:
    """Trains a model, epoch after epoch.

    A training that was saved and loaded into a new trainer goes on bit for bit as if it had never stopped:
    the order of an epoch's images is a function of ``seed`` and the epoch, and the state holds the rest
    (the random generators' too, which dropout draws from).

    Args:
        optimizer: holds the model's parameters.
        scheduler: steps once after each epoch; ReduceLROnPlateau is given the validation loss.
        loss_fn: of logits and labels; the cross-entropy if None.
        seed: for the order of the images.

    Attributes:
        epoch: the number of finished epochs.
        sums: what the unfinished epoch has seen.
        history: one :class:`Epoch` for each finished one.
        best: the Epoch with the highest validation accuracy, of several the one with the lowest validation
            loss; None without validation. ``best_weights`` is the model's state_dict then.

    >>> from minicnn import data, models, optim
    >>> digits = data.load("digits")
    >>> model = models.create("mlp_300_100")
    >>> trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), batch_size=32)
    >>> trainer.fit(digits.train, digits.validation, epochs=3)
    >>> [epoch.number for epoch in trainer.history], trainer.best.validation_accuracy > 0.8
    ([1, 2, 3], True)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        *,
        loss_fn: Loss | None = None,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.loss_fn = nn.CrossEntropyLoss() if loss_fn is None else loss_fn
        self.batch_size, self.seed = batch_size, seed
        self.epoch = 0
        self.sums = Sums()
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self.best_weights: Arrays = {}

    def fit(
        self,
        training: Split,
        validation: Split | None = None,
        *,
        epochs: int,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        """Train until ``epochs`` epochs are finished, those before a resumption included.

        Raises :class:`DivergedError`, with epoch and step, when the loss or a parameter is not finite.
        """
        validation = validation if validation is not None and len(validation) else None
        if isinstance(self.scheduler, ReduceLROnPlateau) and validation is None:
            raise ValueError("Trainer: ReduceLROnPlateau needs a validation split to see its loss")
        loader = DataLoader(training, self.batch_size, shuffle=True, seed=self.seed)
        callbacks = tuple(callbacks)
        for callback in callbacks:
            callback.on_start(self, epochs, len(loader))
        self.model.train()
        while self.epoch < epochs:
            self._train_epoch(loader, callbacks)
            self._finish_epoch(validation, callbacks)
            for callback in callbacks:
                callback.on_epoch(self)

    def _train_epoch(self, loader: DataLoader, callbacks: tuple[Callback, ...]) -> None:
        steps = train(
            self.model, loader.epoch(self.epoch, start=self.sums.steps), self.loss_fn, self.optimizer
        )
        # An overflow shows in the loss, which is looked at; NumPy need not warn of it as well.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            while True:
                start = time.perf_counter()
                try:
                    step = next(steps, None)
                except DivergedError as error:
                    raise DivergedError(self._where(f"step {self.sums.steps + 1}, {error}; {HINT}")) from None
                if step is None:
                    return
                s = self.sums
                self.sums = Sums(
                    steps=s.steps + 1,
                    images=s.images + step.images,
                    loss=s.loss + step.loss * step.images,
                    correct=s.correct + step.correct,
                    seconds=s.seconds + time.perf_counter() - start,
                )
                for callback in callbacks:
                    callback.on_step(self)

    def _finish_epoch(self, validation: Split | None, callbacks: tuple[Callback, ...]) -> None:
        start = time.perf_counter()
        for name, array in self.model.state_dict().items():
            if not np.isfinite(array).all():
                raise DivergedError(self._where(f"{name} holds NaN or infinity after its last step; {HINT}"))
        loss = accuracy = None
        if validation is not None:

            def after_batch() -> None:
                for callback in callbacks:
                    callback.on_validation_batch(self)

            found = evaluate(self.model, validation, loss_fn=self.loss_fn, after_batch=after_batch)
            loss, accuracy = found.loss, found.accuracy
            if not np.isfinite(loss):
                raise DivergedError(self._where(f"the validation loss is {loss}; {HINT}"))
        s = self.sums
        epoch = Epoch(
            number=self.epoch + 1,
            loss=s.loss / s.images,
            accuracy=s.correct / s.images,
            validation_loss=loss,
            validation_accuracy=accuracy,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=s.seconds + time.perf_counter() - start,
        )
        if isinstance(self.scheduler, ReduceLROnPlateau):
            assert loss is not None
            self.scheduler.step(loss)
        elif self.scheduler is not None:
            self.scheduler.step()
        if validation is not None and (self.best is None or _merit(epoch) > _merit(self.best)):
            self.best = epoch
            self.best_weights = {name: array.copy() for name, array in self.model.state_dict().items()}
        self.history.append(epoch)
        self.epoch += 1
        self.sums = Sums()

    def _where(self, what: str) -> str:
        return f"training diverged in epoch {self.epoch + 1}: {what}"

    def restore_best(self) -> None:
        """Put the best weights back into the model, where there are any."""
        if self.best is not None:
            self.model.load_state_dict(self.best_weights)

    def save(self, path: str | os.PathLike[str], about: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, with anything else that JSON can hold as ``about``.

        Raises OSError, and then a checkpoint that was there is as it was.
        """
        state = self.optimizer.state_dict()
        arrays = {f"model.{name}": array for name, array in self.model.state_dict().items()}
        arrays |= {f"best.{name}": array for name, array in self.best_weights.items()}
        numbers: dict[str, dict[str, Any]] = {}
        for index, entry in state["state"].items():
            for name, value in entry.items():
                if isinstance(value, np.ndarray):
                    arrays[f"optimizer.{index}.{name}"] = value
                else:
                    numbers.setdefault(str(index), {})[name] = value
        document = {
            "about": about or {},
            "trainer": self._kind(),
            "epoch": self.epoch,
            "sums": asdict(self.sums),
            "history": [asdict(epoch) for epoch in self.history],
            "best": None if self.best is None else self.best.number,
            "optimizer": {"state": numbers, "param_groups": state["param_groups"]},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "random": {name: generator.get_state() for name, generator in self._generators().items()},
        }
        checkpoint.write(path, arrays, document)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from the checkpoint in a file; see :meth:`restore`."""
        self.restore(checkpoint.read(path))

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint that a trainer like this one wrote.

        Raises :class:`CheckpointError` if it is not of a training like this one: the same model, kinds of
        optimiser and schedule, batch size and seed. The trainer must not be used then.
        """
        try:
            self._restore(*saved)
        except CheckpointError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            text = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(f"{saved.path}: does not fit this training: {text}") from None

    def _restore(self, path: Path, arrays: Arrays, document: dict[str, Any]) -> None:
        for name, own in self._kind().items():
            if (found := document["trainer"][name]) != own:
                raise CheckpointError(f"{path}: its {name} is {found!r}, but this training's {own!r}")
        parts: dict[str, Arrays] = {"model": {}, "best": {}, "optimizer": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            if part not in parts:
                raise CheckpointError(f"{path}: holds the unexpected array {name!r}")
            parts[part][rest] = array
        checkpoint.check_fit(path, self.model, parts["model"])

        history = [_epoch(entry) for entry in document["history"]]
        epoch, best, sums = document["epoch"], document["best"], Sums(**document["sums"])
        if epoch != len(history) or [entry.number for entry in history] != list(range(1, epoch + 1)):
            raise ValueError(f"epoch is {epoch!r}, but its history has {len(history)} epochs")
        if best is not None:
            if not 1 <= best <= epoch:
                raise ValueError(f"best is epoch {best!r} of {epoch}")
            checkpoint.check_fit(path, self.model, parts["best"])
        if type(sums.steps) is not int or type(sums.images) is not int or type(sums.correct) is not int:
            raise ValueError(f"sums are {sums}, but whole numbers of steps and images are expected")
        generators = self._generators()
        if set(document["random"]) != set(generators):
            raise ValueError("its random generators are not those of this model")

        state: dict[int, dict[str, Any]] = {
            int(index): dict(entry) for index, entry in document["optimizer"]["state"].items()
        }
        for name, array in parts["optimizer"].items():
            index, _, rest = name.partition(".")
            state.setdefault(int(index), {})[rest] = array
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": document["optimizer"]["param_groups"]}
        )
        if self.scheduler is not None:
            self.scheduler.load_state_dict(document["scheduler"])
        for name, generator in generators.items():
            generator.set_state(document["random"][name])
        self.model.load_state_dict(parts["model"])
        self.epoch, self.sums, self.history = epoch, sums, history
        self.best, self.best_weights = (history[best - 1], parts["best"]) if best is not None else (None, {})

    def _kind(self) -> dict[str, Any]:
        """What must be the same in the training that resumes."""
        return {
            "batch size": self.batch_size,
            "seed": self.seed,
            "optimizer": type(self.optimizer).__name__,
            "schedule": None if self.scheduler is None else type(self.scheduler).__name__,
        }

    def _generators(self) -> dict[str, random.Generator]:
        """The generators that training draws from: the default one, and those that layers were given."""
        own = {
            name: module.generator
            for name, module in self.model.named_modules()
            if isinstance(getattr(module, "generator", None), random.Generator)
        }
        return {"": random.default_generator, **own}


def _merit(epoch: Epoch) -> tuple[float, float]:
    assert epoch.validation_accuracy is not None
    assert epoch.validation_loss is not None
    return epoch.validation_accuracy, -epoch.validation_loss


def _epoch(entry: dict[str, Any]) -> Epoch:
    epoch = Epoch(**entry)
    optional = {"validation_loss", "validation_accuracy"}
    for name, value in asdict(epoch).items():
        expected = int if name == "number" else float
        if type(value) is not expected and not (value is None and name in optional):
            raise ValueError(f"history has {name}={value!r}, but a number is expected")
    return epoch
