"""Getting a training ready: everything that can be wrong with what a user asked for is found here."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minicnn import backend, data, models, nn, optim, random
from minicnn.autograd import no_grad
from minicnn.data import Dataset, augment
from minicnn.data.catalogue import is_path
from minicnn.data.preprocess import of_dataset
from minicnn.models import pretrained, transfer
from minicnn.nn.module import inference
from minicnn.optim import Optimizer
from minicnn.tensor import from_numpy
from minicnn.train import again, checkpoint, features, folders, mixing, saved
from minicnn.train.checkpoint import CheckpointError
from minicnn.train.folders import CHECKPOINT
from minicnn.train.loop import home
from minicnn.train.options import Options, complete
from minicnn.train.recipes import FEATURES_SUFFIX, make_optimizer, make_schedule
from minicnn.train.run import Run
from minicnn.train.trainer import Trainer

BASE = "base"
"""The pattern that stands for everything but the head."""


GREY = ("digits", "mnist", "fashion_mnist")
"""Data sets that no network with published weights was made for."""


def prepare(
    given: dict[str, Any],
    *,
    data_dir: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    repeat: Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    offline: bool = False,
    version: str = "",
) -> Run:
    """Get everything ready for a training; ``given`` are the options that are not to be the recipe's.

    Nothing is written. With ``repeat``, a training's folder or checkpoint, those that are not given are that
    training's, the model included. ``device`` may be another one than that of the training that is resumed
    or repeated. ``offline`` downloads nothing. ``version`` is minicnn's, to be noted in what the training
    writes.

    Raises ValueError for options that cannot be, a folder that is taken, and a checkpoint that does not fit;
    OSError for files that cannot be read or downloaded.
    """
    if "model" in given:
        models.info(given["model"])  # an unknown name is to be the first thing that is said
    device = backend.resolve(device)
    options, same = (complete(given), None) if repeat is None else again.repeated(repeat, given)
    name = f"{options.model}-{Path(options.data).stem}"
    folder = folders.for_resuming(name, out) if resume else folders.for_new(name, out)
    before, about = None, dict[str, Any]()
    if resume and (folder / CHECKPOINT).exists():
        before = checkpoint.read(folder / CHECKPOINT)
        options, about = again.resumed(before, given)

    dataset = as_learnt(
        load_data(options, options.data, data_dir, offline=offline), options, about.get("data")
    )
    random.manual_seed(options.seed)
    model, notes = _build(options, dataset, fresh=before is None, offline=offline)
    trainer = _trainer(options, model, dataset, device, workers)
    now: dict[str, Any] = {
        "minicnn": version,
        "options": asdict(options),
        "data": again.fingerprint(dataset),
        "network": network_options(options, dataset),
        "classes": list(dataset.class_names),
        "preprocessing": None if is_features(options.data) else asdict(of_dataset(dataset)),
    }
    if before is not None:
        if other := again.difference(about.get("data"), now["data"]):
            raise CheckpointError(
                f"{before.path}: was trained on other data than {options.data!r} is here: {other}"
            )
        trainer.restore(before)
    if (N := len(dataset.train)) < options.batch_size:
        notes.append(
            f"a batch would be {options.batch_size} images, but there are only {N} for training: an epoch is "
            "one step, and more with a smaller --batch-size"
        )
    if same is not None and (other := again.difference(same, now["data"])):
        notes.append(f"{repeat} was trained on other data than {options.data!r} is here: {other}")
    return Run(options, folder, dataset, trainer, now, notes, resume, before is not None, data_dir)


def load_data(
    options: Options,
    name: str,
    data_dir: str | None,
    *,
    channels: int | None = None,
    offline: bool = False,
) -> Dataset:
    """A data set by name or path, in the size that the network takes, or a file of features.

    Photographs for a network with published weights are normalised as those that it has seen. The splits are
    drawn as the options say. Images in files are read with so many ``channels``, where that is given. Raises
    ValueError for a network whose images are not square, and whatever :func:`minicnn.data.load` does.
    """
    if is_features(name):
        return features.load(name)
    _, *size = models.info(options.model).input_shape
    if size[0] != size[1]:
        raise ValueError(f"train: {options.model} takes images of {size[0]}×{size[1]}, but data are square")
    common: dict[str, Any] = {"size": size[0], "validation": options.validation, "seed": options.seed}
    if is_path(name):
        common |= {"on_error": options.on_error, "channels": channels}
    if (published := _published(options)) and name not in GREY:
        common |= {"mean": published.preprocessing.mean, "std": published.preprocessing.std}
        common |= {"channels": 3} if is_path(name) else {}
    return data.load(name, data_dir=data_dir, download=not offline, **common)


def as_learnt(dataset: Dataset, options: Options, then: dict[str, Any] | None = None) -> Dataset:
    """The images as those were on which a network has learnt that lends its weights.

    ``then`` are the data of the training that is resumed, which knows it even if the lender is gone.
    """
    if options.weights is None or _published(options) or is_features(options.data):
        return dataset
    if then:
        lent = saved.constant(then["mean"]), saved.constant(then["std"])
    elif (found := saved.constants(Path(options.weights))) is not None:
        lent = found
    else:
        return dataset
    return saved.renormalised(dataset, *lent)


def is_features(name: str) -> bool:
    """Whether the name of data is that of a file of features."""
    return name.endswith(FEATURES_SUFFIX)


def network_options(options: Options, dataset: Dataset) -> dict[str, Any]:
    """What the network must be created with: the data's numbers of classes and of channels, and what
    published weights were made for."""
    known, published = models.info(options.model).options, _published(options)
    wanted = {"num_classes": len(dataset.class_names), "in_channels": dataset.image_shape[0]}
    fitting = {key: value for key, value in wanted.items() if key in known}
    return {**(published.options if published else {}), **fitting}


def _published(options: Options) -> models.Published | None:
    """The published weights with which the training begins, whether their file is still there or not."""
    rows = models.get_model_weights(options.model) if options.weights is not None else ()
    if rows and options.weights == pretrained.DEFAULT:
        return rows[-1]
    name = Path(options.weights or "").name
    return next((row for row in rows if name in (row.name, row.file)), None)


def _build(options: Options, dataset: Dataset, *, fresh: bool, offline: bool) -> tuple[nn.Module, list[str]]:
    """The network, tried on one image, with the weights to begin with if it is ``fresh``, partly frozen."""
    model, notes = models.create(options.model, **network_options(options, dataset)), []
    with inference(model), no_grad():
        logits = model(from_numpy(dataset.test.images[:1]).to(home(model)))
    classes = len(dataset.class_names)
    if logits.ndim != 2 or logits.shape[1] < classes:
        raise ValueError(
            f"train: {options.model} gives {logits.shape} for an image, but scores of {classes} classes are "
            "needed"
        )
    if options.weights is not None and fresh:
        drawn = begin_with(model, options, dataset.class_names, offline=offline)
        new = f"; {', '.join(drawn)} freshly drawn" if drawn else ""
        notes.append(f"beginning with the weights {options.weights}{new}")
    _freeze(model, options)
    return model, notes


def begin_with(
    model: nn.Module, options: Options, classes: Sequence[str], *, offline: bool = False
) -> list[str]:
    """Give the network the weights that the options name: published ones, a file's, or a training's.

    Returns the names of the head's parameters that do not fit and stay as they are. Raises ValueError for
    what is none of these and for what does not fit, OSError for what cannot be downloaded, or is not to be.
    """
    assert options.weights is not None
    found = pretrained.find(options.model, options.weights)
    if found.path is None:
        assert found.published is not None  # one of the two there always is
        return saved.start_from(model, pretrained.download(found.published, offline=offline), classes)
    return saved.start_from(model, found.path, classes)


def _freeze(model: nn.Module, options: Options) -> None:
    for pattern in _words(options.freeze):
        if pattern == BASE:
            models.freeze(model)
            models.unfreeze(model, transfer.head_name(model))
        else:
            models.freeze(model, pattern)
    for pattern in _words(options.unfreeze):
        models.unfreeze(model, pattern)


def _words(text: str | None) -> list[str]:
    return [] if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _rates(text: str | None) -> dict[str, dict[str, float]]:
    """What ``--lr-of features=1e-4,classifier=0.01`` says, as options of parameter groups.

    >>> _rates("features=1e-4, classifier=0.01")
    {'features': {'lr': 0.0001}, 'classifier': {'lr': 0.01}}
    """
    rates: dict[str, dict[str, float]] = {}
    for word in _words(text):
        pattern, _, rate = word.rpartition("=")
        if pattern in rates:
            raise ValueError(f"lr_of: {pattern!r} is given two rates, but one is expected")
        try:
            rates[pattern] = {"lr": float(rate)}
        except ValueError:
            pattern = ""
        if not pattern:
            raise ValueError(f"lr_of: {word!r}, but PATTERN=RATE is expected")
    return rates


def _trainer(
    options: Options, model: nn.Module, dataset: Dataset, device: str, workers: int | None
) -> Trainer:
    if not len(dataset.validation):
        if options.schedule == "plateau":
            raise ValueError(
                "schedule: 'plateau' watches the validation loss, but there is no validation split"
            )
        if options.early_stopping is not None:
            raise ValueError("early_stopping: watches the validation, but there is no validation split")
    optimizer = _optimizer(options, model)
    _check_last_batch(options, model, dataset)
    return Trainer(
        model,
        optimizer,
        make_schedule(options.schedule, optimizer, options.epochs),
        loss_fn=nn.CrossEntropyLoss(label_smoothing=options.label_smoothing),
        batch_size=options.batch_size,
        seed=options.seed,
        device=device,
        precision=options.precision,
        accumulate=options.accumulate,
        clip_norm=options.clip,
        clip_value=options.clip_value,
        ema=options.ema,
        augment=_augment(options, dataset),
        workers=workers,
        mix=_mix(options, len(dataset.class_names)),
    )


def _optimizer(options: Options, model: nn.Module) -> Optimizer:
    groups = optim.param_groups(model, _rates(options.lr_of), decay_all=options.decay == "all")
    return make_optimizer(
        options.optimizer,
        groups,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
    )


def _augment(options: Options, dataset: Dataset) -> augment.Compose | None:
    """The augmentation, tried on one image."""
    if options.augment is None:
        return None
    made = augment.by_name(options.augment)
    next(data.DataLoader(dataset.train.take(slice(1)), 1, augment=made, workers=0).epoch(0))
    return made


def _mix(options: Options, classes: int) -> mixing.Mix | None:
    mixes = [
        kind(classes, alpha)
        for kind, alpha in ((mixing.MixUp, options.mixup), (mixing.CutMix, options.cutmix))
        if alpha is not None
    ]
    return mixing.Either(*mixes) if len(mixes) == 2 else mixes[0] if mixes else None


def _check_last_batch(options: Options, model: nn.Module, dataset: Dataset) -> None:
    """Batch norm has no variance of a single image whose maps are single pixels: find out before training."""
    N, size = len(dataset.train), options.batch_size
    if 1 not in _sizes_of_pieces(N, size, options.accumulate):
        return
    state = random.default_generator.get_state()
    try:
        with no_grad():
            copy.deepcopy(model).train()(from_numpy(dataset.train.images[:1]))
    except ValueError as error:
        raise ValueError(
            f"batch_size: with {size} of {N} images at a time, one comes alone ({error})"
        ) from None
    finally:
        random.default_generator.set_state(state)


def _sizes_of_pieces(N: int, size: int, pieces: int) -> set[int]:
    """How many images go through the network together: of whole batches, and of an epoch's last one.

    >>> sorted(_sizes_of_pieces(101, 10, 1)), sorted(_sizes_of_pieces(100, 10, 3))
    ([1, 10], [2, 4])
    """
    found = set()
    for n in (min(size, N), N % size or size):
        piece = -(-n // pieces)
        found |= {piece, n % piece or piece}
    return found
