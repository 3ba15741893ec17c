"""A whole training as ``minicnn train`` does it: options in, a folder with everything it made out.

:func:`~minicnn.train.prepare.prepare` finds everything that can be wrong with what a user asked for, before
any work is done; :meth:`Run.execute` trains, measures and writes.
"""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn import backend, files, kernels, models, weights
from minicnn.data import DataError, Dataset
from minicnn.train import folders, results
from minicnn.train.callbacks import Callback, EarlyStopping, HistoryFile
from minicnn.train.display import Display, counted, percent
from minicnn.train.folders import CHECKPOINT, CURVES, HISTORY, RESULTS, WEIGHTS
from minicnn.train.interrupt import Interrupted, Interruptible
from minicnn.train.loop import DivergedError, Evaluation, evaluate, home
from minicnn.train.options import Options
from minicnn.train.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

SAVE_EVERY = 60.0
"""Seconds after which a long epoch is saved in its middle too."""


class RunError(Exception):
    """Why a training did not come to its end, in one line."""


@dataclass
class Run:
    """A training that is ready to begin, or to go on."""

    options: Options
    folder: Path
    dataset: Dataset
    trainer: Trainer
    about: dict[str, Any]  # what the checkpoint says besides: which network on which data
    notes: list[str]  # what a user should know before it begins
    asked_to_resume: bool
    resumes: bool
    data_dir: str | None

    def execute(self, console: Console, plots: bool = True) -> Evaluation:
        """Train, measure on the test split, write everything, and say so on the console.

        Raises :class:`RunError` when the training diverged or was interrupted, or when another one began in
        the same folder meanwhile; OSError when something cannot be written. The last checkpoint remains.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with folders.locked(self.folder):
            self._introduce(console)
            if not self.resumes:
                self._begin()
            try:
                self._fit(console)
                self.trainer.restore_best()
                found = self._measure()
                written = self._write(found, plots)
            except KeyboardInterrupt:
                raise RunError(
                    f"interrupted; continue from the last checkpoint with: {self._command()}"
                ) from None
            except DataError as error:  # a file that broke, or was broken, since nobody had looked into it
                raise RunError(
                    f"{error}; what was learnt before is kept: mend the file and continue with: "
                    f"{self._command()}; or leave such images out, in a new training, with --on-error skip"
                ) from None
            except BrokenPipeError:  # the console's, not a file's
                raise
            except OSError as error:  # a full disk, mostly
                raise RunError(
                    f"{error.filename or self.folder}: {error.strerror or error}; what was saved before is "
                    f"kept, continue from there with: {self._command()}"
                ) from None
        self._conclude(console, found, written)
        return found

    def _measure(self) -> Evaluation:
        """How the network does on the test split, computed as it was trained."""
        with kernels.use(precision=self.options.precision):
            size = -(-self.options.batch_size // self.options.accumulate)
            with counted("test", len(self.dataset.test)) as on_batch:
                return evaluate(self.trainer.model, self.dataset.test, batch_size=size, on_batch=on_batch)

    def _begin(self) -> None:
        try:
            folders.check_free(self.folder)  # once more: loading the data may have taken minutes
        except ValueError as error:
            raise RunError(str(error)) from None
        self._save()

    def _fit(self, console: Console) -> None:
        trainer, options = self.trainer, self.options
        try:
            with Interruptible() as interruptible, Display(console) as display:
                callbacks = [_Saver(self), HistoryFile(self.folder / HISTORY), display, interruptible]
                if options.early_stopping is not None:
                    callbacks.insert(0, EarlyStopping(options.early_stopping, restore=False))
                trainer.fit(
                    self.dataset.train,
                    self.dataset.validation,
                    epochs=options.epochs,
                    callbacks=callbacks,
                )
        except Interrupted:
            self._save()
            begun = f" and {trainer.sums.steps} steps" if trainer.sums.steps else ""
            raise RunError(
                f"interrupted after {trainer.epoch} of {options.epochs} epochs{begun}, all of it saved; "
                f"continue with: {self._command()}"
            ) from None
        except DivergedError as error:
            raise RunError(
                f"{error} than {trainer.optimizer.param_groups[0]['lr']:g} (--lr); the last good checkpoint "
                f"is kept in {self.folder}"
            ) from None

    def _command(self) -> str:
        """The command that resumes."""
        words = ["minicnn", "train", self.options.model, "--data", self.options.data]
        words += [] if self.data_dir is None else ["--data-dir", self.data_dir]
        return shlex.join([*words, "--out", str(self.folder), "--resume"])

    def _save(self) -> None:
        self.trainer.save(self.folder / CHECKPOINT, self.about)

    def _introduce(self, console: Console) -> None:
        o, (parameters, trained) = self.options, models.transfer.count(self.trainer.model)
        sizes = {name: len(split) for name, split in self.dataset.splits().items() if len(split)}
        images = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        some = f", {trained:,} of them trained" if trained < parameters else ""
        lines = [f"{o.model} ({parameters:,} parameters{some}) on {o.data}: {images} images", str(o)]
        lines += self.notes
        if home(self.trainer.model) == "cuda":
            lines.append(f"on the GPU: {backend.gpu_name()}")
        if self.resumes:
            t = self.trainer
            begun = f" and {t.sums.steps} steps" if t.sums.steps else ""
            lines.append(f"resuming {self.folder} after {t.epoch} of {o.epochs} epochs{begun}")
        elif self.asked_to_resume:
            lines.append(f"{self.folder} was left before its first checkpoint: starting from the beginning")
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write(self, found: Evaluation, plots: bool) -> list[str]:
        """Write weights, pictures and, last, the results; return the names of everything in the folder."""
        o, history, best = self.options, self.trainer.history, self.trainer.best
        what = f"{o.model} on {o.data}"
        weights.save(self.trainer.model, self.folder / WEIGHTS)
        pictures = {}
        if plots:
            from minicnn.train import plots as draw

            pictures[CURVES] = draw.curves(history, f"{what}: learning curves", best)
            pictures |= results.pictures(self.dataset, self.dataset.test, "test", found, what)
        for name, content in pictures.items():
            files.write(self.folder / name, content)
        document = {
            **self.about,
            "best_epoch": None if best is None else best.number,
            "stopped": self.trainer.stopped or None,
            "test": results.figures(found, self.dataset.test.labels, self.dataset.class_names),
            "history": [asdict(epoch) for epoch in history],
        }
        files.write(self.folder / RESULTS, (json.dumps(document, indent=1) + "\n").encode())
        return [CHECKPOINT, HISTORY, WEIGHTS, *pictures, RESULTS]

    def _conclude(self, console: Console, found: Evaluation, written: list[str]) -> None:
        test, best = self.dataset.test, self.trainer.best
        right = int((found.predictions == test.labels).sum())
        line = f"[bold]test accuracy {percent(found.accuracy)}[/bold] ({right:,} of {len(test):,} images)"
        if best is not None:
            line += f", with the weights of epoch {best.number}, the best on validation"
        console.print(line, highlight=False, soft_wrap=True)
        saved = f"saved in {self.folder}: {', '.join(written)}"
        console.print(saved, highlight=False, markup=False, soft_wrap=True)
        folder = shlex.quote(str(self.folder))
        shows = self.about["preprocessing"] is not None  # else it knows features, and no images
        ask = f", minicnn predict IMAGE --weights {folder}" if shows else ""
        line = f"go on with: minicnn eval {folder}{ask}, minicnn train --repeat {folder} --seed 1"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Saver(Callback):
    """A checkpoint after each epoch, and now and then within a long one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saved = time.monotonic()

    def on_step(self, trainer: Trainer) -> None:
        if time.monotonic() - self._saved > SAVE_EVERY:
            self._save()

    def on_epoch(self, trainer: Trainer) -> None:
        self._save()

    def _save(self) -> None:
        self._run._save()
        self._saved = time.monotonic()
