"""What a unit responds to most in a data set (Zeiler and Fergus 2014, section 4.1 and figure 2).

Every channel of a layer looks for one thing, in all places. So all images go through the network, and of each
image and channel the place with the largest response is noted; the images with the largest of all say what
the channel looks for. What the unit at that place could see, its receptive field, is cut out of the image,
and deconvolution shows beside it which pixels of it made the response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minicnn import nn
from minicnn.autograd import Array
from minicnn.data import Split, batches
from minicnn.data.pixels import per_channel
from minicnn.explain.observe import find_layer, outputs
from minicnn.explain.receptive import Box
from minicnn.explain.sensitivity import project

TOP, BATCH = 8, 32
"""Images for each channel, and how many go through the network at a time, unless told otherwise."""


class Responses(NamedTuple):
    """The strongest responses of a layer's C channels, K of each, the strongest first.

    ``values`` (C, K), in the network's dtype; ``places`` (C, K, 3): the image's number in the split, and row
    and column in the layer's maps. ``seen`` counts the images that were looked at.
    """

    layer: str
    values: Array
    places: Array
    seen: int

    def strongest(self, count: int) -> list[int]:
        """The channels whose strongest responses are the largest; of equals the first.

        >>> found = Responses("c1", np.array([[1.0], [3.0], [2.0]]), np.zeros((3, 1, 3), int), 2)
        >>> found.strongest(2)
        [1, 2]
        """
        return np.argsort(-self.values[:, 0], kind="stable")[:count].tolist()


class Patch(NamedTuple):
    """One response: its value, the image, and the unit (channel, row, column) with what it could see.

    ``pixels`` (C, h, w) are those of the image in ``box``, in 0..1; ``explained``, of the same shape, is what
    deconvolution says of them.
    """

    value: float
    image: int
    unit: tuple[int, int, int]
    box: Box
    pixels: Array
    explained: Array


def strongest_responses(
    model: nn.Module,
    split: Split,
    layer: str | None = None,
    *,
    top: int = TOP,
    batch_size: int = BATCH,
    on_batch: Callable[[int], None] | None = None,
) -> Responses:
    """The images of a split to which each channel of a layer responds most, and where in them it does.

        value[c, n] = max over h, w of y[n, c, h, w]

    and of these the ``top`` largest of each channel: an image counts once. Of equal responses the first
    image, and in it the first place in reading order, is taken. One batch of images is in memory at a time.

    Args:
        layer: its path; the last whose maps have more than one pixel if None.
        on_batch: called after each batch with the number of images seen so far.

    Raises ValueError for a layer that there is not, a split without images, numbers below 1, and responses
    that are not finite; :class:`minicnn.data.DataError` at a broken file.

    >>> one, three = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    >>> one[0, 2, 1], three[0, 0, 3] = 1, 3
    >>> split = Split(np.stack([one, three]).astype(np.float32), np.array([0, 0]))
    >>> found = strongest_responses(nn.Sequential(nn.ReLU()), split, top=1)
    >>> found.layer, found.values.tolist(), found.places.tolist()
    ('0', [[3.0]], [[[1, 0, 3]]])
    """
    for name, value in (("top", top), ("batch_size", batch_size)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"strongest_responses: {name} is {value!r}, but at least 1 is expected")
    if not len(split):
        raise ValueError("strongest_responses: the split has no images")
    found = find_layer(model, split.images[:1], layer)
    values, places, seen = _nothing(found.shape[1])
    for images, _ in batches(split, batch_size):
        maps = outputs(model, images, [found.name])[found.name]
        values, places = _kept(values, places, *_largest(maps, seen), top)
        seen += len(images)
        if on_batch is not None:
            on_batch(seen)
    return Responses(found.name, values, places, seen)


def patches(model: nn.Module, split: Split, found: Responses, channel: int) -> list[Patch]:
    """What a channel's units saw where they responded most, and which pixels of it made them.

    At the image's edges a receptive field is cut off, and so are the pixels. Raises ValueError for a channel
    that there is not.
    """
    C = len(found.values)
    if not isinstance(channel, int | np.integer) or not 0 <= channel < C:
        raise ValueError(f"channel is {channel!r}, but {found.layer} has channels 0 to {C - 1}")
    rows = zip(found.values[channel].tolist(), found.places[channel].tolist(), strict=True)
    return [_patch(model, split, found.layer, value, int(channel), *place) for value, place in rows]


def _patch(
    model: nn.Module, split: Split, layer: str, value: float, channel: int, image: int, row: int, column: int
) -> Patch:
    x, unit = split.images[image : image + 1], (channel, row, column)
    explained, (box,) = project(model, x, layer, lambda maps: [unit])
    return Patch(value, image, unit, box, box.cut(_visible(x[0], split)), box.cut(explained[0]))


def _visible(x: Array, split: Split) -> Array:
    """An image (C, H, W) as it was before normalisation, in 0..1."""
    return np.clip(x * per_channel(split.std, x.dtype) + per_channel(split.mean, x.dtype), 0, 1)


def _nothing(C: int) -> tuple[Array, Array, int]:
    return np.empty((C, 0)), np.empty((C, 0, 3), int), 0


def _largest(maps: Array, first: int) -> tuple[Array, Array]:
    """The largest of each map, (C, N), and where, (C, N, 3); the images are those from ``first`` on."""
    N, C, _, W = maps.shape
    flat = maps.reshape(N, C, -1).transpose(1, 0, 2)
    at = flat.argmax(axis=2)
    values = np.take_along_axis(flat, at[:, :, None], axis=2)[:, :, 0]
    if not np.isfinite(values).all():
        n = first + int(np.argwhere(~np.isfinite(values))[0, 1])
        raise ValueError(f"strongest_responses: the responses to image {n} are not finite numbers")
    images = np.broadcast_to(first + np.arange(N), at.shape)
    return values, np.stack([images, at // W, at % W], axis=2)


def _kept(values: Array, places: Array, more: Array, more_places: Array, top: int) -> tuple[Array, Array]:
    """The ``top`` largest of both; what came first goes before its equals."""
    values = np.concatenate([values.astype(more.dtype), more], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :top]
    return (
        np.take_along_axis(values, order, axis=1),
        np.take_along_axis(np.concatenate([places, more_places], axis=1), order[:, :, None], axis=1),
    )
