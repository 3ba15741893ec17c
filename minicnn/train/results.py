"""What is written of a network's test: figures as a document for JSON, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.data import Dataset, Split
from minicnn.train.display import percent
from minicnn.train.folders import CONFUSION, PREDICTIONS
from minicnn.train.loop import Evaluation
from minicnn.train.metrics import class_figures, confusion_matrix, top_k

TOP = 5


def figures(found: Evaluation, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Accuracy, top-5 (where there are more classes than that), loss, confusion matrix, and each class."""
    matrix = confusion_matrix(labels, found.predictions, len(names))
    document: dict[str, Any] = {"images": len(labels), "accuracy": found.accuracy}
    if len(names) > TOP:
        document[f"top{TOP}"] = top_k(found.probabilities, labels, TOP)
    return {
        **document,
        "loss": found.loss,
        "confusion": matrix.tolist(),
        "classes": {name: row._asdict() for name, row in zip(names, class_figures(matrix), strict=True)},
    }


def pictures(dataset: Dataset, split: Split, name: str, found: Evaluation, what: str) -> dict[str, bytes]:
    """The confusion matrix, and a sheet of predictions where the images can be shown, under files' names."""
    from minicnn.train import plots

    names, wrong = dataset.class_names, int((found.predictions != split.labels).sum())
    matrix = confusion_matrix(split.labels, found.predictions, len(names))
    score = f"{percent(found.accuracy)} of {len(split):,} {name} images right"
    drawn = {CONFUSION: plots.confusion(matrix, names, f"{what}: {score}")}
    if dataset.image_shape[0] in (1, 3):  # else they are features
        title = (
            f"{what}: prediction and its probability, mistakes framed "
            f"({wrong:,} of {len(split):,} {name} images)"
        )
        drawn[PREDICTIONS] = plots.predictions(dataset, split, found, title)
    return drawn
