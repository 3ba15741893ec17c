"""The training loop, and measuring what was learnt. Everything else in this room is built around these.

The loop hides nothing; this is what an epoch is:

>>> from minicnn import data, functional as F, from_numpy, models, optim
>>> digits = data.load("digits", size=28)
>>> model = models.create("mlp_300_100")
>>> optimizer = optim.SGD(model.parameters(), lr=0.1)
>>> loader = data.DataLoader(digits.train, batch_size=64, shuffle=True)
>>> for images, labels in loader.epoch(0):
...     optimizer.zero_grad()
...     loss = F.cross_entropy(model(from_numpy(images)), labels)
...     loss.backward()
...     optimizer.step()

and :func:`train` is the same, told step by step:

>>> from minicnn import data, models, nn, optim
>>> digits = data.load("digits", size=28)
>>> model = models.create("mlp_300_100")
>>> optimizer = optim.SGD(model.parameters(), lr=0.1)
>>> batches = data.DataLoader(digits.train, batch_size=64, shuffle=True).epoch(0)
>>> steps = list(train(model, batches, nn.CrossEntropyLoss(), optimizer))
>>> steps[-1].loss < steps[0].loss
True
>>> evaluate(model, digits.validation).accuracy > 0.5
True
"""

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, nn
from minicnn import functional as F
from minicnn.autograd import Array, no_grad
from minicnn.data import Split, batches
from minicnn.nn.module import inference
from minicnn.optim import Optimizer
from minicnn.tensor import Tensor, from_numpy

Batch = tuple[np.ndarray, np.ndarray]
Loss = Callable[..., Any]
Gradients = Callable[[nn.Module, Loss, np.ndarray, np.ndarray], tuple[float, int]]


SMALLER = "a smaller batch size needs less"


class Step(NamedTuple):
    """What one training step saw: the batch's mean loss, how many images there were, and how many right."""

    loss: float
    images: int
    correct: int


class DivergedError(ArithmeticError):
    """The loss or a parameter is no longer a finite number."""


def find_gradients(
    model: nn.Module, loss_fn: Loss, images: np.ndarray, labels: np.ndarray
) -> tuple[float, int]:
    """Forward and backward: ∂L/∂w as each parameter's ``grad``; the loss, and how many images were right."""
    device = home(model)
    target = from_numpy(labels).to(device)
    logits = model(from_numpy(images).to(device))
    loss = loss_fn(logits, target)
    loss.backward()
    value, correct = _fetched(loss.data, hits(logits, target))
    return value, int(correct)


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    loss_fn: Loss,
    optimizer: Optimizer,
    find_gradients: Gradients = find_gradients,
    before_step: Callable[[], Any] | None = None,
) -> Iterator[Step]:
    """Train on one batch after the other: this is the training loop, the whole of it.

        w ← w − (what the optimiser makes of ∂L/∂w),   L = loss_fn(model(images), labels)

    It is a generator: each ``next`` takes one step and says what it saw.

    Shapes: images (N, C, H, W), labels (N,), logits (N, classes). Batches are brought to where the model is.

    ``find_gradients`` may be another way to the same gradients: see :mod:`~minicnn.train.capture` and
    :func:`in_pieces`. ``before_step`` is called when they are there, and may change them, as by clipping.
    In place of labels a batch may have probabilities (N, classes), as mixed batches do.

    Raises :class:`DivergedError` when the loss is not finite; the parameters are then as before that step.
    """
    for images, labels in batches:
        optimizer.zero_grad()
        loss, correct = find_gradients(model, loss_fn, images, labels)
        if not isfinite(loss):
            raise DivergedError(f"the loss is {loss}")
        if before_step:
            before_step()
        optimizer.step()
        yield Step(loss, len(labels), correct)


def in_pieces(find_gradients: Gradients, pieces: int) -> Gradients:
    """The same gradients by way of smaller batches, which need less memory: gradient accumulation.

        ∂L/∂w = Σ_k (n_k / N) · ∂L_k/∂w

    where L_k is the mean loss of the n_k images in piece k of a batch of N. The sum is that of the whole
    batch, but for rounding, where images do not influence each other: batch norm sees only its piece.

    >>> from minicnn import models, nn
    >>> model, images = models.create("mlp_300_100"), np.ones((6, 1, 28, 28), np.float32)
    >>> labels = np.arange(6)
    >>> loss, _ = find_gradients(model, nn.CrossEntropyLoss(), images, labels)
    >>> parts, _ = in_pieces(find_gradients, 4)(model, nn.CrossEntropyLoss(), images, labels)
    >>> abs(loss - parts) < 1e-6
    True
    """

    def gradients(
        model: nn.Module, loss_fn: Loss, images: np.ndarray, labels: np.ndarray
    ) -> tuple[float, int]:
        parameters = list(model.parameters())
        sums: list[Array | None] = [None] * len(parameters)
        total, correct, size = 0.0, 0, -(-len(labels) // pieces)
        for start in range(0, len(labels), size):
            piece = slice(start, start + size)
            for parameter in parameters:
                parameter.grad = None
            loss, right = find_gradients(model, loss_fn, images[piece], labels[piece])
            share = len(labels[piece]) / len(labels)
            total, correct = total + share * loss, correct + right
            for i, parameter in enumerate(parameters):
                if parameter.grad is not None:
                    part, before = parameter.grad * parameter.dtype.type(share), sums[i]
                    sums[i] = part if before is None else np.add(before, part, out=before)
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient
        return total, correct

    return gradients


def home(model: nn.Module) -> str:
    """The device of a model's parameters, to which its images must be brought."""
    return next((parameter.device for parameter in model.parameters()), backend.default_device())


def hits(logits: Tensor, target: Tensor) -> Array:
    """How many images were right; of a mixed image, the label that has the largest share of it."""
    labels = target.data if target.ndim == 1 else target.data.argmax(axis=1)
    return (logits.data.argmax(axis=1) == labels).sum()


def _fetched(*numbers: Array) -> list[float]:
    """Single numbers from where they are, at once: a GPU is waited for once a step."""
    together = np.stack([number.astype(np.float64) for number in numbers])
    return backend.move(together, "cpu").tolist()


class Evaluation(NamedTuple):
    """How a model does on a split: the mean loss and the share of images that are right, and for each image
    the likeliest class, (N,), and the probabilities of all classes, (N, classes)."""

    loss: float
    accuracy: float
    predictions: np.ndarray
    probabilities: np.ndarray


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    loss_fn: Loss | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a model over a split in inference mode, without recording a graph.

    Afterwards every module is in the mode it was in. ``on_batch`` is called after each batch with
    the number of images seen so far, and may raise to break off. Without ``loss_fn`` the loss is the
    cross-entropy.

    Raises ValueError for an empty split.
    """
    if not len(split):
        raise ValueError("evaluate: split has no images")
    loss_fn = F.cross_entropy if loss_fn is None else loss_fn
    total, probabilities, device = 0.0, [], home(model)
    quiet, explained = np.errstate(over="ignore", invalid="ignore"), backend.explained_memory(SMALLER)
    with inference(model), no_grad(), quiet, explained:
        for images, labels in batches(split, batch_size):
            logits = model(from_numpy(images).to(device))
            total += loss_fn(logits, from_numpy(labels).to(device)).item() * len(labels)
            probabilities.append(F.softmax(logits, 1).cpu().numpy())
            if on_batch:
                on_batch(sum(map(len, probabilities)))
    p = np.concatenate(probabilities)
    predictions = p.argmax(axis=1)
    accuracy = float((predictions == split.labels).mean())
    return Evaluation(total / len(split), accuracy, predictions, p)
