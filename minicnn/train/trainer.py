"""Trainer: epochs, validation, history and the best weights, around the training loop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn import backend, kernels, nn
from minicnn.data import DataLoader, Split
from minicnn.optim import Optimizer
from minicnn.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from minicnn.train import checkpoint, state
from minicnn.train.capture import CapturedSteps
from minicnn.train.checkpoint import Arrays, Checkpoint
from minicnn.train.history import Epoch, Sums
from minicnn.train.loop import DivergedError, Loss, evaluate, find_gradients, train

HINT = "try a smaller learning rate"


class Callback:
    """What can be told of a training while it runs. Each method may raise to break it off.

    Whenever one is called, the trainer's state is consistent: it can be saved, and resumed from there.
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
    the order of an epoch's images is a function of ``seed`` and the epoch, and :mod:`~minicnn.train.state`
    holds the rest.

    Args:
        optimizer: holds the model's parameters.
        scheduler: steps once after each epoch; ReduceLROnPlateau is given the validation loss.
        loss_fn: of logits and labels; the cross-entropy if None.
        seed: for the order of the images.
        device: "cpu", "cuda" or "auto" (the GPU if there is one): the model is moved there. Where it is, if
            None. Batches follow it.
        precision: "tf32" or "bf16" let a GPU's tensor cores round what they multiply, "fp32" does not; see
            :class:`minicnn.use`, whose setting holds if None.
        capture: whether steps on the GPU run as CUDA graphs where they can; the results are the same. A
            graph does not run the model's Python: switch it off for a model that does something else in each
            step, other than by its attributes (:class:`~minicnn.train.capture.CapturedSteps`).

    Attributes:
        epoch: the number of finished epochs.
        sums: what the epoch under way has seen.
        history: one :class:`Epoch` for each finished one.
        steps: how the steps are captured, which also says why they were not; None if they are not to be.
        best: the one with the highest validation accuracy, of several the one with the lowest validation
            loss; None without validation. ``best_weights`` is the model's state_dict then, on the CPU.

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
        device: str | None = None,
        precision: str | None = None,
        capture: bool = True,
    ) -> None:
        for name, value, kind in (("model", model, nn.Module), ("optimizer", optimizer, Optimizer)):
            if not isinstance(value, kind):
                found = type(value).__name__
                raise TypeError(f"Trainer: {name} is {found}, but {kind.__name__} is expected")
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.loss_fn = nn.CrossEntropyLoss() if loss_fn is None else loss_fn
        self.batch_size, self.seed = batch_size, seed
        self.precision = precision
        if precision is not None:
            kernels.registry.check_precision("Trainer", precision)
        if device is not None:
            with backend.explained_memory("the model alone needs more"):
                model.to(backend.resolve(device))
        self.steps = CapturedSteps() if capture else None
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

        Raises :class:`DivergedError`, with epoch and step, when the loss or a parameter is not finite;
        TypeError or ValueError for ``epochs``, a batch size or a seed that cannot be.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int):
            raise TypeError(f"Trainer: epochs is {epochs!r}, but an int is expected")
        if epochs < 1:
            raise ValueError(f"Trainer: epochs is {epochs}, but at least 1 is expected")
        validation = validation if validation is not None and len(validation) else None
        if isinstance(self.scheduler, ReduceLROnPlateau) and validation is None:
            raise ValueError("Trainer: ReduceLROnPlateau needs a validation split to see its loss")
        loader = DataLoader(training, self.batch_size, shuffle=True, seed=self.seed)
        callbacks = tuple(callbacks)
        for callback in callbacks:
            callback.on_start(self, epochs, len(loader))
        self.model.train()
        with kernels.use(precision=self.precision):
            while self.epoch < epochs:
                self._train_epoch(loader, callbacks)
                start = time.perf_counter()
                self._check_parameters()
                found = None if validation is None else self._validate(validation, callbacks)
                self._finish_epoch(found, time.perf_counter() - start)
                for callback in callbacks:
                    callback.on_epoch(self)

    def _train_epoch(self, loader: DataLoader, callbacks: tuple[Callback, ...]) -> None:
        batches = loader.epoch(self.epoch, start=self.sums.steps)
        steps = train(self.model, batches, self.loss_fn, self.optimizer, self.steps or find_gradients)
        # An overflow shows in the loss, which is looked at; NumPy need not warn of it as well.
        quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
        with quiet, backend.explained_memory(f"a smaller batch size than {self.batch_size} needs less"):
            while True:
                start = time.perf_counter()
                try:
                    step = next(steps, None)
                except DivergedError as error:
                    raise self._diverged(f"step {self.sums.steps + 1}, {error}") from None
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

    def _check_parameters(self) -> None:
        """The last step of an epoch has no next loss to show what it did."""
        arrays = self.model.state_dict()
        finite = np.stack([np.isfinite(array).all() for array in arrays.values()])
        for name, sound in zip(arrays, backend.move(finite, "cpu"), strict=True):
            if not sound:
                raise self._diverged(f"{name} holds NaN or infinity after its last step")

    def _validate(self, validation: Split, callbacks: tuple[Callback, ...]) -> tuple[float, float]:
        def after_batch() -> None:
            for callback in callbacks:
                callback.on_validation_batch(self)

        found = evaluate(
            self.model,
            validation,
            batch_size=self.batch_size,  # what training has memory for, inference has too
            loss_fn=self.loss_fn,
            after_batch=after_batch,
        )
        if not np.isfinite(found.loss):
            raise self._diverged(f"the validation loss is {found.loss}")
        return found.loss, found.accuracy

    def _finish_epoch(self, found: tuple[float, float] | None, seconds: float) -> None:
        s = self.sums
        loss, accuracy = found if found is not None else (None, None)
        epoch = Epoch(
            number=self.epoch + 1,
            loss=s.loss / s.images,
            accuracy=s.correct / s.images,
            validation_loss=loss,
            validation_accuracy=accuracy,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=s.seconds + seconds,
        )
        if isinstance(self.scheduler, ReduceLROnPlateau):
            assert loss is not None
            self.scheduler.step(loss)
        elif self.scheduler is not None:
            self.scheduler.step()
        if epoch.is_better_than(self.best):
            self.best = epoch
            arrays = self.model.state_dict()
            self.best_weights = {name: np.array(backend.move(a, "cpu")) for name, a in arrays.items()}
        self.history.append(epoch)
        self.epoch += 1
        self.sums = Sums()

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(f"training diverged in epoch {self.epoch + 1}: {what}; {HINT}")

    def restore_best(self) -> None:
        """Put the best weights back into the model, where there are any."""
        if self.best is not None:
            self.model.load_state_dict(self.best_weights)

    def save(self, path: str | os.PathLike[str], about: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, with anything else that JSON can hold as ``about``.

        Raises OSError, and then a checkpoint that was there is as it was.
        """
        arrays, document = state.capture(self)
        checkpoint.write(path, arrays, {"about": about or {}, **document})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from the checkpoint in a file; see :meth:`restore`."""
        self.restore(checkpoint.read(path))

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint that a trainer like this one wrote.

        Raises :class:`CheckpointError` if it is not of a training like this one: the same model, kinds of
        optimiser and schedule, batch size and seed. The trainer must not be used then.
        """
        state.restore(self, saved)
