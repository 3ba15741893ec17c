"""Where a network looks: Grad-CAM, by the gradient to its last maps, and occlusion, by covering the image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.autograd import Array, no_grad
from minicnn.explain.observe import (
    NothingToSee,
    as_input,
    find_layer,
    hooked,
    observed,
    on_the_cpu,
    probabilities,
    score_gradient,
    scores,
    which,
)
from minicnn.nn.module import inference
from minicnn.tensor import Tensor

BATCH = 32
"""Covered images that are asked about at a time."""


class GradCAM(NamedTuple):
    """Heat maps (N, H', W') as large as the maps of ``layer``, and why it was that one."""

    heat: Array
    layer: str
    why: str


def grad_cam(model: nn.Module, x: Any, label: int | None = None, layer: str | None = None) -> GradCAM:
    """Which places of a layer's maps A speak for a class with score S.

        α_k = mean over h, w of ∂S/∂A[k, h, w]        how much map k counts
        heat[h, w] = max(Σ_k α_k · A[k, h, w], 0)

    Args:
        label: the class; each image's highest-scoring if None.
        layer: its path; the last whose maps have more than one pixel if None, as that is where the network
            knows most and still knows where.

    Shapes: x (N, C, H, W).

    Raises ValueError for a label or layer that there is not, or a layer on which the score does not depend.

    Source: R. Selvaraju et al., "Grad-CAM", 2017, equations 1 and 2.

    >>> from minicnn import models
    >>> found = grad_cam(models.create("lenet5"), np.ones((1, 1, 28, 28), np.float32))
    >>> found.heat.shape, found.layer, found.why
    ((1, 5, 5), 's4', 'the last layer whose maps have more than one pixel')
    """
    why = "as asked" if layer else "the last layer whose maps have more than one pixel"
    found = find_layer(model, x, layer)
    cuts: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        cuts.append(Tensor(output.data, requires_grad=True))  # a leaf, where backward ends
        return cuts[-1]

    pixels = as_input(model, x, requires_grad=False)
    with observed(model), hooked([model.get_submodule(found.name)], cut):
        logits = scores(model, pixels)
        if logits.requires_grad:
            logits.backward(score_gradient(logits, label))
    maps = cuts[-1]
    if maps.grad is None:
        raise NothingToSee(f"layer {found.name!r}: the scores do not depend on it")
    A, gradients = on_the_cpu(maps.data), on_the_cpu(maps.grad)
    alpha = gradients.mean(axis=(2, 3), keepdims=True)
    return GradCAM(np.maximum((alpha * A).sum(axis=1), 0), found.name, why)


def occlusion(
    model: nn.Module,
    x: Any,
    label: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    fill: float = 0.0,
) -> Array:
    """The probability of a class while a square of the image is covered, for each place of the square.

        heat[i, j] = p(label | x, covered around pixel (i·stride + ⌊stride/2⌋, j·stride + ⌊stride/2⌋))

    Where covering takes the probability away, there is what the network saw (Zeiler and Fergus 2014,
    section 4.2).

    Args:
        label: the class; each image's most probable if None.
        size: the side of the square, in pixels; a quarter of the image's shorter side if None. At the edges
            the square is cut off.
        stride: the step from one place to the next; a fourteenth of the shorter side if None.
        fill: what the square is filled with; 0, which is the mean colour after the usual preprocessing.

    Shapes: x (N, C, H, W) to (N, I, J), one for each such pixel that is in the image. Dtype: float64.

    Raises ValueError for what is no batch of images, or a label, size or stride that cannot be.
    """
    images = on_the_cpu(as_input(model, x, requires_grad=False).data)
    H, W = images.shape[2:]
    size = max(1, min(H, W) // 4) if size is None else size
    stride = max(1, min(H, W) // 14) if stride is None else stride
    for name, value in (("size", size), ("stride", stride)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"occlusion: {name} must be a whole number of at least 1, got {value!r}")
    rows, columns = range(stride // 2, H, stride), range(stride // 2, W, stride)
    centres = [(h, w) for h in rows for w in columns]
    with inference(model), no_grad():
        labels = which(scores(model, as_input(model, images, requires_grad=False)), label)
        heat = [
            _covered(model, image, int(k), centres, size, fill)
            for image, k in zip(images, labels, strict=True)
        ]
    return np.stack(heat).reshape(len(images), len(rows), len(columns))


def _covered(
    model: nn.Module, image: Array, label: int, centres: list[tuple[int, int]], size: int, fill: float
) -> Array:
    """The probability of the label with the square around each of these pixels."""
    found = []
    for start in range(0, len(centres), BATCH):
        some = centres[start : start + BATCH]
        batch = np.repeat(image[None], len(some), axis=0)
        for covered, (h, w) in zip(batch, some, strict=True):
            top, left = h - size // 2, w - size // 2
            covered[:, max(top, 0) : top + size, max(left, 0) : left + size] = fill
        found.append(probabilities(scores(model, as_input(model, batch, requires_grad=False)))[:, label])
    return np.concatenate(found)
