"""A network together with what it takes to ask it about an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicnn import functional as F
from minicnn import nn
from minicnn.autograd import no_grad
from minicnn.models import Preprocessing
from minicnn.nn.module import inference
from minicnn.tensor import from_numpy


class Guess(NamedTuple):
    """A class: its label, which is a number, its name, and the probability that the network gives it."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network, how its images are prepared, and what its classes are called.

    ``network`` is its name and ``weights`` says where they are from. ``class_names`` may be empty: then class
    7 is called "class 7".

    >>> import minicnn as mc
    >>> how = Preprocessing(28, None, (0.5,), (0.5,), channels="L")
    >>> ask = Classifier("lenet5", "as drawn", mc.models.create("lenet5"), how, tuple("0123456789"))
    >>> len(ask.guesses(np.zeros((1, 1, 28, 28), np.float32), top=3)[0])
    3
    """

    network: str
    weights: str
    model: nn.Module
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.network}, {self.weights}"

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """p = softmax(logits), in inference mode and without a graph.

        Shapes: (N, C, H, W) to (N, classes). Dtypes: float32 to float64.

        Raises ValueError where there are names for another number of classes.
        """
        home = next(self.model.parameters()).device
        with inference(self.model), no_grad():
            p = F.softmax(self.model(from_numpy(x).to(home)).cpu().double()).numpy()
        if self.class_names and p.shape[1] != len(self.class_names):
            raise ValueError(
                f"the network has {p.shape[1]:,} classes, but {len(self.class_names):,} names were given"
            )
        return p

    def guesses(self, x: np.ndarray, top: int = 5) -> list[list[Guess]]:
        """The ``top`` most probable classes of each image, the most probable first, or all of fewer.

        Shape: x (N, C, H, W), prepared as :attr:`preprocessing` says (:func:`minicnn.data.read_image` does).
        """
        found = []
        for p in self.probabilities(x):
            order = np.argsort(-p, kind="stable")[:top]
            found.append([Guess(int(i), self.class_name(int(i)), float(p[i])) for i in order])
        return found

    def class_name(self, index: int) -> str:
        """What a class is called."""
        return self.class_names[index] if self.class_names else f"class {index}"
