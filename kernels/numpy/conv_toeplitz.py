"""Convolution as the product with a doubly blocked Toeplitz matrix.

Flatten an image to a vector. Convolution is linear, so some matrix T maps it to the flattened output:

    y as (OC·OH·OW)  =  T (OC·OH·OW, C·H·W) @ x as (C·H·W)

Row (oc, oh, ow) holds the filter oc, each weight in the column of the pixel that it meets there, and
zeros elsewhere. For stride 1 each block is constant along its diagonals, and so is the arrangement
of blocks: doubly blocked Toeplitz. Pixels in the padding are zero and need no column. Backward is
the transpose: gx = Tᵀ @ gy; and as T repeats each weight, that weight's gradient is the sum over its
repetitions. For teaching: T has as many entries as y times x, nearly all zero.
"""

import numpy as np

from minicnn.kernels.geometry import Window
from minicnn.kernels.registry import kernel


def placements(w_shape, H, W, g: Window):
    """For each tap (i, j) the output pixels whose tap meets a real pixel, and that pixel: flat indices."""
    OH, OW = g.output_size(H, W)
    oh, ow = (position.ravel() for position in np.indices((OH, OW)))
    for i in range(w_shape[2]):
        for j in range(w_shape[3]):
            h = oh * g.stride[0] + i * g.dilation[0] - g.padding[0][0]
            v = ow * g.stride[1] + j * g.dilation[1] - g.padding[1][0]
            inside = (h >= 0) & (h < H) & (v >= 0) & (v < W)
            yield i, j, (oh * OW + ow)[inside], (h * W + v)[inside]


def toeplitz(w, H, W, g: Window):
    """The matrix T of one group: (OC, C, KH, KW) -> (OC·OH·OW, C·H·W)."""
    OC, C = w.shape[:2]
    OH, OW = g.output_size(H, W)
    T = np.zeros((OC, OH * OW, C, H * W), w.dtype)
    for i, j, out, pixel in placements(w.shape, H, W, g):
        # Two index arrays with a slice between them put the indexed axis first.
        T[:, out, :, pixel] = w[:, :, i, j]
    return T.reshape(OC * OH * OW, C * H * W)


def flat(images):
    """(N, C, H, W) -> (N, C·H·W)."""
    N, C, H, W = images.shape
    return images.reshape(N, C * H * W)


@kernel("conv2d.forward", "numpy", "toeplitz")
def forward(x, w, b, g: Window):
    """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW)."""
    N, _, H, W = x.shape
    groups = [
        flat(group_x) @ toeplitz(group_w, H, W, g).T
        for group_x, group_w in zip(np.split(x, g.groups, axis=1), np.split(w, g.groups), strict=True)
    ]
    y = np.concatenate(groups, axis=1).reshape(N, w.shape[0], *g.output_size(H, W))
    return y if b is None else y + b[:, None, None]


@kernel("conv2d.grad_input", "numpy", "toeplitz")
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    H, W = x_shape[2:]
    groups = [
        flat(group_gy) @ toeplitz(group_w, H, W, g)
        for group_gy, group_w in zip(np.split(gy, g.groups, axis=1), np.split(w, g.groups), strict=True)
    ]
    return np.concatenate(groups, axis=1).reshape(x_shape)


@kernel("conv2d.grad_weight", "numpy", "toeplitz")
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
    H, W = x.shape[2:]
    OC_per_group, C_per_group = w_shape[0] // g.groups, w_shape[1]
    gw = np.empty((g.groups, OC_per_group, *w_shape[1:]), gy.dtype)
    for group, (group_x, group_gy) in enumerate(
        zip(np.split(x, g.groups, axis=1), np.split(gy, g.groups, axis=1), strict=True)
    ):
        gT = flat(group_gy).T @ flat(group_x)  # the gradient to every entry of T
        gT = gT.reshape(OC_per_group, -1, C_per_group, H * W)
        for i, j, out, pixel in placements(w_shape, H, W, g):
            gw[group, :, :, i, j] = gT[:, out, :, pixel].sum(axis=0)
    return gw.reshape(w_shape)
