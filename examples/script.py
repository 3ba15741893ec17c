"""What the examples have in common: a training that shows how far it is, and errors that are one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from minicnn import nn
from minicnn.data import Dataset, Split
from minicnn.optim import Optimizer
from minicnn.train import Trainer, evaluate, features
from minicnn.train.display import Display, counted


def trained(model: nn.Module, data: Dataset, optimizer: Optimizer, epochs: int, **settings: Any) -> float:
    """Train what is not frozen; the share of the test images that are right then."""
    with Display(Console()) as display:
        Trainer(model, optimizer, **settings).fit(data.train, epochs=epochs, callbacks=[display])
    with counted("test", len(data.test)) as on_batch:
        return evaluate(model, data.test, on_batch=on_batch).accuracy


def seen(model: nn.Module, data: Dataset, layer: str | None = None) -> Dataset:
    """What a layer makes of every image, or what goes into the head; a bar shows how far it is."""
    with counted("looking at images", sum(map(len, data.splits().values()))) as on_batch:
        return features.extract_all(model, data, layer, batch_size=16, on_batch=on_batch)


def relabelled(data: Dataset, change: Callable[[Split], Split], class_names: tuple[str, ...]) -> Dataset:
    """Another question about the same images: every split, changed."""
    splits = {name: change(split) for name, split in data.splits().items()}
    return Dataset(data.name, **splits, class_names=class_names, mean=data.mean, std=data.std)


def ended(main: Callable[[list[str]], None]) -> None:
    """Run a script; what the user can do something about ends it in one line."""
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
