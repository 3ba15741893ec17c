"""Figures of a classification: top-k accuracy, the confusion matrix, and each class's precision and recall.

Everything but top-k follows from the confusion matrix:

>>> matrix = confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
>>> matrix
array([[2, 1],
       [0, 1]])
>>> for row in class_figures(matrix):
...     print(f"{row.precision:.2f} {row.recall:.2f} {row.f1:.2f} {row.images}")
1.00 0.67 0.80 3
0.50 1.00 0.67 1
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often images of class t were taken for class p.

    Shapes: labels and predictions (N,), the matrix (classes, classes) with t down and p across. Dtype: int64.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of images whose class is among the k likeliest; classes as likely as it count before it.

    Shapes: probabilities (N, classes), labels (N,). Raises ValueError for k below 1.

    >>> p = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    >>> [top_k(p, np.array([1, 2]), k) for k in (1, 2, 3)]
    [0.0, 0.5, 1.0]
    """
    if k < 1:
        raise ValueError(f"top_k: k is {k}, but at least 1 is expected")
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    before = (probabilities >= own).sum(axis=1) - 1
    return float((before < k).mean())


class ClassFigures(NamedTuple):
    """What is said of one class: with tp images rightly taken for it,

        precision = tp / (all taken for it)    recall = tp / (all of it)    f1 = 2 tp / (the sum of both)

    each 0 where nothing is divided by nothing; ``images`` is how many there are of it.
    """

    precision: float
    recall: float
    f1: float
    images: int


def class_figures(matrix: np.ndarray) -> list[ClassFigures]:
    """Precision, recall and F1 of each class, from a confusion matrix."""
    right, of_it, taken = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    columns = (
        right / np.maximum(taken, 1),
        right / np.maximum(of_it, 1),
        2 * right / np.maximum(of_it + taken, 1),
    )
    return [
        ClassFigures(float(precision), float(recall), float(f1), int(images))
        for precision, recall, f1, images in zip(*columns, of_it, strict=True)
    ]
