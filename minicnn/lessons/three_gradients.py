"""The three gradients of a convolution.

Every product x[h, v] · w[i, j] of the forward goes into one output y[oh, ow],
with h = oh·stride + i. Backward, the gradient gy[oh, ow] of that output
returns to both:

    gx[h, v] += gy[oh, ow] · w[i, j]
    gw[i, j] += gy[oh, ow] · x[h, v]
    gb       += gy[oh, ow]

That is the whole of it. Three things follow. A pixel that several windows
cover receives from all of them, and what it receives adds up. gw is a
convolution too: the image under gy as its filter. And gx is one: gy under the
filter *turned round*, since the output to the left saw the pixel with its
right-hand weight.
"""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.lessons.drawing import Sketchbook, grid


def main(draw: Sketchbook) -> None:
    """Compute the three gradients by loops, by the engine, and as convolutions."""
    x = mc.tensor(np.arange(25.0).reshape(1, 1, 5, 5) % 7, requires_grad=True)
    w = mc.tensor(np.array([[[[1.0, 2, 0], [0, 1, -1], [3, 0, 1]]]]), requires_grad=True)
    y = F.conv2d(x, w)
    gy = np.array([[[[1.0, 0, 2], [0, -1, 0], [1, 0, 0]]]])
    y.backward(gy)

    gx, gw = np.zeros((5, 5)), np.zeros((3, 3))
    for oh, ow, i, j in np.ndindex(3, 3, 3, 3):
        gx[oh + i, ow + j] += gy[0, 0, oh, ow] * w.data[0, 0, i, j]
        gw[i, j] += gy[0, 0, oh, ow] * x.data[0, 0, oh + i, ow + j]
    print("by loops and by the engine:")
    print(f"  gx equal: {np.allclose(gx, x.grad[0, 0])}    gw equal: {np.allclose(gw, w.grad[0, 0])}")

    turned = np.ascontiguousarray(w.data[:, :, ::-1, ::-1])
    full = F.conv2d(mc.tensor(gy), mc.tensor(turned), padding=2).numpy()
    print("as convolutions:")
    print(f"  gx = gy, padded by 2, under w turned round: {np.allclose(full[0, 0], gx)}")
    print(f"  gw = x under gy: {np.allclose(F.conv2d(x.detach(), mc.tensor(gy)).numpy()[0, 0], gw)}")

    covered = mc.ones(1, 1, 5, 5, requires_grad=True)
    F.conv2d(covered, mc.ones(1, 1, 3, 3)).backward(np.ones((1, 1, 3, 3), np.float32))
    print("\nhow many windows cover each pixel, which is how often gx adds up there:")
    print(covered.grad[0, 0].astype(int))

    with draw.picture("gradients", columns=3, rows=2) as axes:
        matrices = {
            "x": x.data[0, 0],
            "w": w.data[0, 0],
            "gy, the gradient to y": gy[0, 0],
            "gx, the gradient to x": gx,
            "gw, the gradient to w": gw,
            "windows over each pixel": covered.grad[0, 0],
        }
        for place, (name, matrix) in zip(axes.ravel(), matrices.items(), strict=True):
            grid(place, matrix, name)
    print("\nTry: write them yourself: `minicnn exercise conv2d_backward --start`.")
