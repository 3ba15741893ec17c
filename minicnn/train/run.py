"""A whole training as ``minicnn train`` does it: options in, a folder with everything it made out.

:func:`prepare` finds everything that can be wrong with what a user asked for, before any work is done;
:meth:`Run.execute` trains, measures and writes.
"""

from __future__ import annotations

import json
import shlex
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import backend, data, files, models, nn, random, weights
from minicnn.autograd import no_grad
from minicnn.data import Dataset
from minicnn.data.preprocess import of_dataset
from minicnn.nn.module import inference
from minicnn.tensor import from_numpy
from minicnn.train import checkpoint, folders
from minicnn.train.checkpoint import Checkpoint, CheckpointError
from minicnn.train.display import Display, percent
from minicnn.train.folders import CHECKPOINT, PICTURES, RESULTS, WEIGHTS
from minicnn.train.interrupt import Interrupted, Interruptible
from minicnn.train.loop import DivergedError, Evaluation, evaluate, home
from minicnn.train.options import Options, complete, resumed
from minicnn.train.recipes import make_optimizer, make_schedule
from minicnn.train.trainer import Callback, Trainer

if TYPE_CHECKING:
    from rich.console import Console

SAVE_EVERY = 60.0
"""Seconds after which a long epoch is saved in its middle too."""


class RunError(Exception):
    """Why a training did not come to its end, in one line."""


def prepare(
    given: dict[str, Any],
    *,
    data_dir: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    version: str = "",
) -> Run:
    """Get everything ready for a training; ``given`` are the options that are not to be the recipe's.

    Nothing is written. ``device`` may be another one than that of the training that is resumed. ``version``
    is minicnn's, to be noted in what the training writes.

    Raises ValueError for options that cannot be, a folder that is taken, and a checkpoint that does not fit;
    OSError for files that cannot be read or downloaded.
    """
    models.info(given["model"])  # an unknown name is to be the first thing that is said
    device = backend.resolve(device)
    options = complete(given)
    name = f"{options.model}-{options.data}"
    folder = folders.for_resuming(name, out) if resume else folders.for_new(name, out)
    saved, about = None, dict[str, Any]()
    if resume and (folder / CHECKPOINT).exists():
        saved = checkpoint.read(folder / CHECKPOINT)
        options, about = _resumed(saved, given)

    _, *size = models.info(options.model).input_shape
    if size[0] != size[1]:
        raise ValueError(f"train: {options.model} takes images of {size[0]}×{size[1]}, but data are square")
    dataset = data.load(
        options.data, size=size[0], data_dir=data_dir, validation=options.validation, seed=options.seed
    )
    random.manual_seed(options.seed)
    model = _create_model(options.model, dataset)
    optimizer = make_optimizer(
        options.optimizer,
        model.parameters(),
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )
    scheduler = make_schedule(options.schedule, optimizer, options.epochs)
    if options.schedule == "plateau" and not len(dataset.validation):
        raise ValueError("schedule: 'plateau' watches the validation loss, but there is no validation split")
    trainer = Trainer(
        model,
        optimizer,
        scheduler,
        loss_fn=nn.CrossEntropyLoss(label_smoothing=options.label_smoothing),
        batch_size=options.batch_size,
        seed=options.seed,
        device=device,
        precision=options.precision,
    )
    if saved is not None:
        if about.get("data") != _fingerprint(dataset):
            raise CheckpointError(f"{saved.path}: was trained on other data than {options.data!r} is here")
        trainer.restore(saved)
    return Run(options, folder, dataset, trainer, resume, saved is not None, data_dir, version)


def _resumed(saved: Checkpoint, given: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The options to go on with, and what else the checkpoint says of its training."""
    try:
        about = saved.document["about"]
        return resumed(about["options"], given, saved.document["epoch"]), about
    except KeyError as error:
        raise CheckpointError(f"{saved.path}: does not say what was trained, it has no {error}") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{saved.path}: {error}") from None


@dataclass
class Run:
    """A training that is ready to begin, or to go on."""

    options: Options
    folder: Path
    dataset: Dataset
    trainer: Trainer
    asked_to_resume: bool
    resumes: bool
    data_dir: str | None
    version: str

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
                found = evaluate(self.trainer.model, self.dataset.test, batch_size=self.options.batch_size)
                written = self._write(found, plots)
            except KeyboardInterrupt:
                raise RunError(
                    f"interrupted; continue from the last checkpoint with: {self._command()}"
                ) from None
        self._conclude(console, found, written)
        return found

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
                trainer.fit(
                    self.dataset.train,
                    self.dataset.validation,
                    epochs=options.epochs,
                    callbacks=(_Saver(self), display, interruptible),
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
        about = {
            "minicnn": self.version,
            "options": asdict(self.options),
            "data": _fingerprint(self.dataset),
        }
        self.trainer.save(self.folder / CHECKPOINT, about)

    def _introduce(self, console: Console) -> None:
        o, parameters = self.options, sum(p.data.size for p in self.trainer.model.parameters())
        sizes = {name: len(split) for name, split in self.dataset.splits().items() if len(split)}
        images = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
        lines = [f"{o.model} ({parameters:,} parameters) on {o.data}: {images} images", str(o)]
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
        from minicnn.train import plots as draw

        o, test, best = self.options, self.dataset.test, self.trainer.best
        names = self.dataset.class_names
        matrix = draw.confusion_matrix(test.labels, found.predictions, len(names))
        weights.save(self.trainer.model, self.folder / WEIGHTS)
        if plots:
            what, wrong = f"{o.model} on {o.data}", int((found.predictions != test.labels).sum())
            score = f"{percent(found.accuracy)} of {len(test):,} test images right"
            pictures = (
                draw.curves(self.trainer.history, f"{what}: learning curves", best),
                draw.confusion(matrix, names, f"{what}: {score}"),
                draw.predictions(
                    self.dataset,
                    test,
                    found,
                    f"{what}: prediction and its probability, mistakes framed "
                    f"({wrong:,} of {len(test):,} test images)",
                ),
            )
            for name, content in zip(PICTURES, pictures, strict=True):
                files.write(self.folder / name, content)
        results = {
            "minicnn": self.version,
            "options": asdict(o),
            "preprocessing": asdict(of_dataset(self.dataset)),
            "classes": list(names),
            "best_epoch": None if best is None else best.number,
            "test": {
                "images": len(test),
                "accuracy": found.accuracy,
                "loss": found.loss,
                "confusion": matrix.tolist(),
            },
            "history": [asdict(epoch) for epoch in self.trainer.history],
        }
        files.write(self.folder / RESULTS, (json.dumps(results, indent=1) + "\n").encode())
        return [CHECKPOINT, WEIGHTS, *(PICTURES if plots else ()), RESULTS]

    def _conclude(self, console: Console, found: Evaluation, written: list[str]) -> None:
        test, best = self.dataset.test, self.trainer.best
        right = int((found.predictions == test.labels).sum())
        line = f"[bold]test accuracy {percent(found.accuracy)}[/bold] ({right:,} of {len(test):,} images)"
        if best is not None:
            line += f", with the weights of epoch {best.number}, the best on validation"
        console.print(line, highlight=False, soft_wrap=True)
        saved = f"saved in {self.folder}: {', '.join(written)}"
        console.print(saved, highlight=False, markup=False, soft_wrap=True)


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


def _create_model(name: str, dataset: Dataset) -> nn.Module:
    """A network with the data's number of classes and channels, tried on one image."""
    known = models.info(name).options
    wanted = {"num_classes": len(dataset.class_names), "in_channels": dataset.image_shape[0]}
    options: dict[str, Any] = {key: value for key, value in wanted.items() if key in known}
    model = models.create(name, **options)
    with inference(model), no_grad():
        logits = model(from_numpy(dataset.test.images[:1]).to(home(model)))
    classes = len(dataset.class_names)
    if logits.ndim != 2 or logits.shape[1] < classes:
        raise ValueError(
            f"train: {name} gives {logits.shape} for an image, but scores of {classes} classes are needed"
        )
    return model


def _fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What tells data apart that a name does not: sizes, normalisation and labels."""
    labels = b"".join(split.labels.tobytes() for split in dataset.splits().values())
    return {
        "sizes": [len(split) for split in dataset.splits().values()],
        "mean": np.asarray(dataset.mean).tolist(),
        "std": np.asarray(dataset.std).tolist(),
        "labels": zlib.crc32(labels),
    }
