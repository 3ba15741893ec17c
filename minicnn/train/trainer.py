"""Trainer: epochs, validation, history and the best weights, around the training loop.

    for each epoch:
        for each batch:  gradients (in pieces)  ->  clipping  ->  optimiser  ->  average     loop.train
                         callbacks.on_step
        validation, with the averaged weights where there are any                            loop.evaluate
        schedule, history, best weights
        callbacks.on_epoch

What changes a training's result is an argument of the trainer, and part of its checkpoint; whoever only looks
on, or ends it, is a callback (:mod:`~minicnn.train.callbacks`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minicnn import backend, kernels, nn
from minicnn.data import DataLoader, Split
from minicnn.data.augment import Compose
from minicnn.nn.utils import clip_grad_norm_, clip_grad_value_
from minicnn.optim import Optimizer
from minicnn.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from minicnn.random import Generator
from minicnn.train import checkpoint, state
from minicnn.train.averaging import WeightAverage
from minicnn.train.callbacks import Callback
from minicnn.train.capture import CapturedSteps
from minicnn.train.checkpoint import Arrays, Checkpoint
from minicnn.train.history import Epoch, Sums
from minicnn.train.loop import DivergedError, Gradients, Loss, evaluate, find_gradients, in_pieces, train
from minicnn.train.mixing import Batch, Mix

HINT = "try a smaller learning rate"


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
        precision: "tf32", "bf16" or "fp16" let a GPU's tensor cores round what they multiply, "fp32" does
            not; see :class:`minicnn.use`, whose setting holds if None.
        capture: whether steps on the GPU run as CUDA graphs where they can; the results are the same. A
            graph does not run the model's Python: switch it off for a model that does something else in each
            step, other than by its attributes (:class:`~minicnn.train.capture.CapturedSteps`).
        accumulate: in how many pieces a batch goes through the network, which then needs as much memory as
            a piece does (:func:`~minicnn.train.loop.in_pieces`).
        clip_norm, clip_value: bounds of the gradients' common norm, and of their entries
            (:mod:`minicnn.nn.utils`).
        ema: the decay of an exponential moving average of the weights; it is what validation sees, and what
            is kept as best (:class:`~minicnn.train.averaging.WeightAverage`).
        augment: what is done to each training image (:mod:`minicnn.data.augment`).
        workers: threads that make the batches ahead; as :class:`~minicnn.data.DataLoader` chooses if None.
            They change nothing but the speed.
        mix: what mixes the images of a batch (:mod:`~minicnn.train.mixing`).

    Attributes:
        epoch: the number of finished epochs.
        sums: what the epoch under way has seen.
        history: one :class:`Epoch` for each finished one.
        steps: how the steps are captured, which also says why they were not; None if they are not to be.
        best: the one with the highest validation accuracy, of several the one with the lowest validation
            loss; None without validation. ``best_weights`` is the model's state_dict then, on the CPU.
        average: the averaged weights, None without ``ema``. ``judged`` is the model that validation sees.
        stopped: why the training ended before its last epoch; empty if it did not.

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
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
        augment: Compose | None = None,
        workers: int | None = None,
        mix: Mix | None = None,
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
        if isinstance(accumulate, bool) or not isinstance(accumulate, int):
            raise TypeError(f"Trainer: accumulate is {accumulate!r}, but an int is expected")
        if accumulate < 1:
            raise ValueError(f"Trainer: accumulate is {accumulate}, but at least 1 is expected")
        self.accumulate, self.clip_norm, self.clip_value = accumulate, clip_norm, clip_value
        self._clip()  # which complains of bounds that cannot be; there are no gradients yet
        self.average = None if ema is None else WeightAverage(model, ema)
        self.augment, self.workers, self.mix = augment, workers, mix
        self.steps = CapturedSteps() if capture else None
        self.stopped = ""
        self.validates = False
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
        self.stopped, self.validates = "", validation is not None
        loader = self.loader(training)
        callbacks = tuple(callbacks)
        for callback in callbacks:
            callback.on_start(self, epochs, len(loader))
        self.model.train()
        with kernels.use(precision=self.precision):
            while self.epoch < epochs and not self.stopped:
                self._train_epoch(loader, callbacks)
                start = time.perf_counter()
                self._check_parameters()
                found = None if validation is None else self._validate(validation, callbacks)
                self._finish_epoch(found, time.perf_counter() - start)
                for callback in callbacks:
                    callback.on_epoch(self)
        for callback in callbacks:
            callback.on_end(self)

    def stop(self, why: str) -> None:
        """End the training after the epoch under way; for callbacks."""
        self.stopped = why

    @property
    def judged(self) -> nn.Module:
        """The model whose weights are measured: the average where there is one."""
        return self.model if self.average is None else self.average.model

    def loader(self, training: Split) -> DataLoader:
        """The batches of each epoch, before they are mixed."""
        return DataLoader(
            training,
            self.batch_size,
            shuffle=True,
            seed=self.seed,
            augment=self.augment,
            workers=self.workers,
        )

    def _train_epoch(self, loader: DataLoader, callbacks: tuple[Callback, ...]) -> None:
        gradients: Gradients = self.steps or find_gradients
        if self.accumulate > 1:
            gradients = in_pieces(gradients, self.accumulate)
        batches = self._mixed(loader.epoch(self.epoch, start=self.sums.steps))
        steps = train(self.model, batches, self.loss_fn, self.optimizer, gradients, self._clip)
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
                if self.average is not None:
                    self.average.update(self.model)
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

    def _clip(self) -> None:
        """Bound the gradients, where that was asked for."""
        if self.clip_value is not None:
            clip_grad_value_(self.model.parameters(), self.clip_value)
        if self.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_norm)

    def _mixed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, mixed as a function of the seed, the epoch and the step."""
        chance = Generator(self.seed).fork(*b"mix", self.epoch)
        for number, (images, labels) in enumerate(batches, self.sums.steps):
            if self.mix is not None:
                images, labels = self.mix(images, labels, chance.fork(number))
            yield images, labels

    def _check_parameters(self) -> None:
        """The last step of an epoch has no next loss to show what it did."""
        arrays = self.model.state_dict()
        finite = np.stack([np.isfinite(array).all() for array in arrays.values()])
        for name, sound in zip(arrays, backend.move(finite, "cpu"), strict=True):
            if not sound:
                raise self._diverged(f"{name} holds NaN or infinity after its last step")

    def _validate(self, validation: Split, callbacks: tuple[Callback, ...]) -> tuple[float, float]:
        def on_batch(seen: int) -> None:
            for callback in callbacks:
                callback.on_validation_batch(self)

        found = evaluate(
            self.judged,
            validation,
            batch_size=-(-self.batch_size // self.accumulate),  # what training has memory for, inference has
            loss_fn=self.loss_fn,
            on_batch=on_batch,
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
            arrays = self.judged.state_dict()
            self.best_weights = {name: np.array(backend.move(a, "cpu")) for name, a in arrays.items()}
        self.history.append(epoch)
        self.epoch += 1
        self.sums = Sums()

    def _diverged(self, what: str) -> DivergedError:
        return DivergedError(f"training diverged in epoch {self.epoch + 1}: {what}; {HINT}")

    def restore_best(self) -> None:
        """Put the best weights back into the model; without validation the averaged ones, if there are."""
        if self.best is not None:
            self.model.load_state_dict(self.best_weights)
        elif self.average is not None:
            self.model.load_state_dict(self.average.model.state_dict())

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
