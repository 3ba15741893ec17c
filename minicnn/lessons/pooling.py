"""Pooling: who won, and who shares.

A pooling layer makes an image smaller by one number for each window: the
largest, or the mean. It has no weights, and nothing to learn, but it has a
gradient. A mean hands each pixel its share. A maximum hands everything to the
winner: the other pixels were not felt in y, so to change them a little changes
nothing.

What it is for: a pattern that moves by a pixel often gives the same output,
and the layers above see more of the image at once. What it costs: where
exactly the pattern was, is forgotten.
"""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.lessons.drawing import Sketchbook, grid


def main(draw: Sketchbook) -> None:
    """Pool a small image both ways, send a gradient back, and move a pattern by one pixel."""
    pixels = np.array([[1.0, 3, 2, 1], [4, 2, 0, 1], [0, 1, 5, 6], [2, 1, 7, 3]])
    gy = np.array([[[[10.0, 20], [30, 40]]]])
    pictures = {"x": pixels}
    for name, pool in (("max", F.max_pool2d), ("avg", F.avg_pool2d)):
        x = mc.tensor(pixels[None, None], requires_grad=True)
        y = pool(x, 2)
        y.backward(gy)
        print(f"{name}: y = {y.data[0, 0].tolist()}; gradients 10, 20, 30, 40 go back as")
        print(x.grad[0, 0])
        pictures |= {f"{name}: y": y.data[0, 0], f"{name}: gx": x.grad[0, 0]}

    overlapping = mc.tensor(pixels[None, None], requires_grad=True)
    y = F.max_pool2d(overlapping, 3, 1)
    y.backward(np.ones((1, 1, 2, 2)))
    print("windows of 3×3 that overlap (stride 1) with gy = 1: a pixel that wins twice receives twice")
    print(overlapping.grad[0, 0])
    pictures["3×3, stride 1: gx"] = overlapping.grad[0, 0]
    with draw.picture("pooling", columns=3, rows=2) as axes:
        for place, (name, matrix) in zip(axes.ravel(), pictures.items(), strict=True):
            grid(place, matrix, name)

    image = np.zeros((1, 1, 8, 8))
    image[0, 0, 2:4, 4:6] = 1
    moved = np.roll(image, 1, axis=3)
    for size in (1, 2, 4):
        a, b = (F.max_pool2d(mc.tensor(i), size).numpy() for i in (image, moved))
        print(f"moved by a pixel, pooled by {size}×{size}: {int((a != b).sum())} of {a.size} outputs change")
    print("\nTry: `minicnn exercise max_pool2d_backward --start`.")
