"""What a network's answer rests on, for its page: five ways to ask, as small arrays with words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from minicnn import nn
from minicnn.autograd import Array
from minicnn.explain.cam import grad_cam, occlusion
from minicnn.explain.observe import NothingToSee
from minicnn.explain.sensitivity import GUIDED, deconvolution, guided_backprop, saliency, without_relu

STEPS = 7
"""Places along a side that occlusion covers: of a large network each costs a forward pass."""


class View(NamedTuple):
    """One picture: ``values`` (H, W), 0 where nothing speaks, or (C, H, W), gradients of each channel."""

    title: str
    words: str
    values: Array


def views(model: nn.Module, x: Array, label: int, name: str, bgr: bool = False) -> Sequence[View]:
    """What speaks for a class in an image x (1, C, H, W); without what there is not to see in this network.

    ``name`` is what the class is called. Gradients are in the order red, green, blue; with ``bgr``, x is not.

    >>> from minicnn import models
    >>> import numpy as np
    >>> found = views(models.create("lenet5"), np.ones((1, 1, 28, 28), np.float32), 3, "a three")
    >>> [view.title for view in found]
    ['saliency', 'guided backprop', 'deconvolution', 'Grad-CAM', 'occlusion']
    """
    found = [view for make in VIEWS for view in _seen(make, model, x, label, name)]
    return [
        view._replace(values=view.values[::-1]) if bgr and view.values.ndim == 3 else view for view in found
    ]


def _seen(make: Maker, model: nn.Module, x: Array, label: int, name: str) -> Iterator[View]:
    try:
        yield make(model, x, label, name)
    except NothingToSee:
        return


def _saliency(model: nn.Module, x: Array, label: int, name: str) -> View:
    words = f"how much each pixel moves the score of {name}: the largest |∂score/∂x| of its channels"
    return View("saliency", words, saliency(model, x, label)[0])


def _guided(model: nn.Module, x: Array, label: int, name: str) -> View:
    words = f"{GUIDED}; 0 is grey{without_relu(model)}"
    return View("guided backprop", words, guided_backprop(model, x, label)[0])


def _deconvolution(model: nn.Module, x: Array, label: int, name: str) -> View:
    found = deconvolution(model, x)
    return View("deconvolution", f"{found.words}; 0 is grey{without_relu(model)}", found.pixels[0])


def _grad_cam(model: nn.Module, x: Array, label: int, name: str) -> View:
    found = grad_cam(model, x, label)
    nothing = "" if found.heat.any() else "; nothing there speaks for it"
    return View("Grad-CAM", f"what speaks for {name} at {found.layer}, {found.why}{nothing}", found.heat[0])


def _occlusion(model: nn.Module, x: Array, label: int, name: str) -> View:
    side = min(x.shape[2:])
    p = occlusion(model, x, label, stride=max(1, side // STEPS))[0]
    words = (
        f"with a square covered there, the probability of {name} is {p.min():.3g} (strong) to {p.max():.3g} "
        "(nothing)"
    )
    return View("occlusion", words, p.max() - p)


Maker = Callable[[nn.Module, Array, int, str], View]
VIEWS: Sequence[Maker] = (_saliency, _guided, _deconvolution, _grad_cam, _occlusion)
