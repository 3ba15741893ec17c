"""A sheet of what some channels of a layer respond to most: patches of images, and what explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.drawing import INK, around_grey, bare, caption, figure, show_image
from minicnn.explain.responses import Patch
from minicnn.explain.words import number
from minicnn.figures import png

BORDER = 0.93
"""The grey of what lies outside the image."""


def draw_responses(found: Mapping[int, Sequence[Patch]], title: str, rule: str = "") -> bytes:
    """Two rows for each channel: the patches that it responds to most, and below each what explains it.

    ``rule`` is what is to be said of how they are explained. A PNG.
    """
    columns = max(len(row) for row in found.values())
    height, width = (max(p.pixels.shape[axis] for row in found.values() for p in row) for axis in (1, 2))
    sheet = figure((1.1 * columns + 1.3, 2.35 * len(found) * min(max(height / width, 0.5), 2) + 1.4), title)
    panels = sheet.subplots(2 * len(found), columns, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for (channel, row), above, below in zip(found.items(), panels[::2], panels[1::2], strict=True):
        for patch, image, explained in zip(row, above, below, strict=False):
            for axes, content in ((image, patch.pixels), (explained, around_grey(patch.explained))):
                axes.axis("on")
                bare(axes)
                show_image(axes, in_frame(content, patch, (height, width)))
            image.set_title(number(patch.value), color=INK, fontsize=8, pad=3)
        for axes, words in ((above[0], f"channel {channel}"), (below[0], "what made it")):
            axes.axis("on")
            axes.set_ylabel(words, rotation=0, ha="right", va="center", color=INK, fontsize=9)
    caption(
        sheet,
        f"Above each patch is the response. Below it are the pixels that made it, by deconvolution{rule}: "
        "0 is grey. What a unit sees beyond the image's edge is pale.",
    )
    return png(sheet)


def in_frame(pixels: Array, patch: Patch, size: tuple[int, int]) -> Array:
    """Pixels (C, h, w) in a pale frame of a size, on the side that the image's edges leave.

    >>> from minicnn.explain.receptive import Box
    >>> at_the_top = Patch(1.0, 0, (0, 0, 0), Box(0, 2, 3, 6), None, None)
    >>> in_frame(np.zeros((1, 2, 3)), at_the_top, (3, 3))[0]
    array([[0.93, 0.93, 0.93],
           [0.  , 0.  , 0.  ],
           [0.  , 0.  , 0.  ]])
    """
    C, h, w = pixels.shape
    (H, W), framed = size, np.full((C, *size), BORDER)
    top = H - h if patch.box.top == 0 else 0
    left = W - w if patch.box.left == 0 else 0
    framed[:, top : top + h, left : left + w] = pixels
    return framed
