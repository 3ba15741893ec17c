"""The pictures of a network at work on one image, each drawn and put into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minicnn import nn
from minicnn.autograd import Array
from minicnn.explain.cam import grad_cam, occlusion
from minicnn.explain.network_sheets import MOST_FILTERS, Panel, draw_filters, draw_maps, draw_panels
from minicnn.explain.observe import feature_maps, filters
from minicnn.explain.sensitivity import (
    GUIDED,
    deconvolution,
    gradient,
    guided_backprop,
    receptive_field,
    without_relu,
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and an image, and what is asked about them.

    Attributes:
        network: what the network is called.
        model: the network.
        image: (C, H, W) in 0..1, as the network sees it; x: (1, C, H, W), its numbers.
        label: the class that is asked about; asked: the same in words.
        layer: the layer to look into; each picture's own choice if None.
        bgr: whether the channels of x are blue, green, red.
    """

    network: str
    model: nn.Module
    image: Array
    x: Array
    label: int
    asked: str
    layer: str | None = None
    bgr: bool = False

    def colours(self, values: Array) -> Array:
        """Numbers of each channel (…, C, H, W) in the order red, green, blue, in which they are drawn."""
        return values[..., ::-1, :, :] if self.bgr else values


Drawn = tuple[bytes, str]
"""A PNG, and a line that says what it shows."""


def _filters(subject: Subject) -> Drawn:
    name, w = filters(subject.model)
    OC, C, KH, KW = w.shape
    shown = min(OC, MOST_FILTERS)
    words = f"{shown} of {OC} filters of {name}, {C}×{KH}×{KW} each"
    return draw_filters(subject.colours(w), f"{subject.network}\n{words}"), words


def _maps(subject: Subject) -> Drawn:
    names = None if subject.layer is None else [subject.layer]
    found = {name: maps[0] for name, maps in feature_maps(subject.model, subject.x, names).items()}
    words = f"feature maps of {', '.join(found)}" + ("" if names else ": the last layer of each size")
    return draw_maps(found, f"{subject.network}\nfeature maps"), words


def _panels(subject: Subject, *panels: tuple, words: str) -> Drawn:
    first = Panel("what the network sees", "image", subject.image)
    title = f"{subject.network}\nasked about: {subject.asked}"
    return draw_panels([first, *(Panel(*panel) for panel in panels)], title, words), words


def _saliency(subject: Subject) -> Drawn:
    g = gradient(subject.model, subject.x, subject.label)[0]
    return _panels(
        subject,
        ("∂ score / ∂ pixel, 0 is grey", "signed", subject.colours(g)),
        ("its magnitude", "heat", np.abs(g).max(axis=0)),
        words="saliency: how much the score moves with each pixel",
    )


def _guided(subject: Subject) -> Drawn:
    g = guided_backprop(subject.model, subject.x, subject.label)[0]
    return _panels(
        subject,
        ("guided gradient, 0 is grey", "signed", subject.colours(g)),
        words=f"guided backprop: {GUIDED}{without_relu(subject.model)}",
    )


def _deconvolution(subject: Subject) -> Drawn:
    found = deconvolution(subject.model, subject.x, subject.layer)
    return _panels(
        subject,
        ("projected back, 0 is grey", "signed", subject.colours(found.pixels[0])),
        words=f"deconvolution: {found.words}{without_relu(subject.model)}",
    )


def _grad_cam(subject: Subject) -> Drawn:
    found = grad_cam(subject.model, subject.x, subject.label, subject.layer)
    heat = found.heat[0]
    nothing = "" if heat.any() else "; nothing there speaks for this class"
    return _panels(
        subject,
        ("heat of {}×{}".format(*heat.shape), "heat", heat),
        ("over the image", "overlay", heat),
        words=f"Grad-CAM at {found.layer}, {found.why}{nothing}",
    )


def _occlusion(subject: Subject) -> Drawn:
    p = occlusion(subject.model, subject.x, subject.label)[0]
    low, high = p.min(), p.max()
    words = (
        "occlusion: with a square covered there, the class's probability is "
        f"{low:.3g} (light) to {high:.3g} (dark)"
    )
    return _panels(
        subject, ("what covering takes away", "heat", -p), ("over the image", "overlay", -p), words=words
    )


def _receptive_field(subject: Subject) -> Drawn:
    found = receptive_field(subject.model, subject.x, subject.layer)
    top, bottom, left, right = found.box
    words = (
        f"receptive field of unit {found.unit} of {found.layer}: {bottom - top}×{right - left} pixels, "
        f"rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    )
    return _panels(
        subject,
        ("how much each pixel can move it", "heat", found.strength, found.box),
        ("over the image", "overlay", found.strength, found.box),
        words=words,
    )


PICTURES: dict[str, Callable[[Subject], Drawn]] = {
    "filters": _filters,
    "maps": _maps,
    "saliency": _saliency,
    "guided": _guided,
    "deconvolution": _deconvolution,
    "grad_cam": _grad_cam,
    "occlusion": _occlusion,
    "receptive_field": _receptive_field,
}
"""By the name of their file."""
