"""Convolution as one matrix product: im2col, then GEMM (Chellapilla, Puri, Simard 2006).

im2col writes the C·KH·KW pixels under each window as one column. A filter is a row of the same
length, so that all windows under all filters are one product:

    w as (OC, C·KH·KW)  @  columns (C·KH·KW, OH·OW)  =  y as (OC, OH·OW)

The gradients are the two other products of the same three matrices, and col2im, the transpose of
im2col, adds each column's entries back to the pixels that they were copied from:

    gw = gy @ columnsᵀ        gx = col2im(wᵀ @ gy)

The price is memory: the columns repeat every pixel up to KH·KW times. They are built anew in the
backward pass rather than kept, and for a few images at a time.
"""

import numpy as np

from minicnn.kernels.geometry import Window, pad, unpad
from minicnn.kernels.registry import chooser, kernel

# A few images at a time bound the buffer, and keep the columns in the cache until the product reads
# them: forward and both backwards of 32 to 32 channels of 32×32 pixels, batch 64, took 0.8 of the
# time of the whole batch at once; LeNet-5's layers took as long either way, and longer below 8 MiB.
COLUMN_BYTES = 1 << 23


def im2col(x, g: Window):
    """(N, C, H, W), padded already -> (N, groups, C/groups · KH·KW, OH·OW)."""
    N, C, H, W = x.shape
    OH, OW = Window(g.kernel, g.stride, dilation=g.dilation).output_size(H, W)
    if g.kernel == g.stride == (1, 1):  # a 1×1 convolution's columns are the image itself
        return x.reshape(N, g.groups, C // g.groups, H * W)
    columns = np.empty((N, C, *g.kernel, OH, OW), x.dtype)
    for i, j, (rows, cols) in g.taps(OH, OW):
        columns[:, :, i, j] = x[:, :, rows, cols]
    return columns.reshape(N, g.groups, -1, OH * OW)


def col2im(columns, padded_shape, OH, OW, g: Window):
    """The transpose of im2col: each pixel becomes the sum of its copies, (N, C, H, W), still padded."""
    N, C = padded_shape[:2]
    columns = columns.reshape(N, C, *g.kernel, OH, OW)
    x = np.zeros(padded_shape, columns.dtype)
    for i, j, (rows, cols) in g.taps(OH, OW):
        x[:, :, rows, cols] += columns[:, :, i, j]
    return x


def images_at_a_time(x_shape, OH, OW, g: Window, itemsize):
    """Slices over the batch, each with columns of at most COLUMN_BYTES (or one image)."""
    N, C = x_shape[:2]
    step = max(1, COLUMN_BYTES // max(1, C * g.kernel[0] * g.kernel[1] * OH * OW * itemsize))
    return [slice(n, n + step) for n in range(0, N, step)]


@kernel("conv2d.forward", "numpy", "im2col")
def forward(x, w, b, g: Window):
    """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW)."""
    N, OC = x.shape[0], w.shape[0]
    OH, OW = g.output_size(*x.shape[2:])
    w = w.reshape(g.groups, OC // g.groups, -1)
    y = np.empty((N, g.groups, OC // g.groups, OH * OW), x.dtype)
    for some in images_at_a_time(x.shape, OH, OW, g, x.itemsize):
        np.matmul(w, im2col(pad(x[some], g.padding), g), out=y[some])
    y = y.reshape(N, OC, OH, OW)
    if b is not None:
        y += b[:, None, None]
    return y


@kernel("conv2d.grad_input", "numpy", "im2col")
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    N, OC, OH, OW = gy.shape
    w = w.reshape(g.groups, OC // g.groups, -1).transpose(0, 2, 1)
    gy = gy.reshape(N, g.groups, OC // g.groups, OH * OW)
    (top, bottom), (left, right) = g.padding
    H, W = x_shape[2] + top + bottom, x_shape[3] + left + right
    gx = np.empty(x_shape, gy.dtype)
    for some in images_at_a_time(x_shape, OH, OW, g, gy.itemsize):
        gcolumns = np.matmul(w, gy[some])
        gx[some] = unpad(col2im(gcolumns, (len(gcolumns), x_shape[1], H, W), OH, OW, g), g.padding)
    return gx


@kernel("conv2d.grad_weight", "numpy", "im2col")
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
    N, OC, OH, OW = gy.shape
    gy = gy.reshape(N, g.groups, OC // g.groups, OH * OW)
    gw = np.zeros((g.groups, OC // g.groups, w_shape[1] * w_shape[2] * w_shape[3]), gy.dtype)
    for some in images_at_a_time(x.shape, OH, OW, g, x.itemsize):
        columns = im2col(pad(x[some], g.padding), g)
        gw += np.matmul(gy[some], columns.transpose(0, 1, 3, 2)).sum(axis=0)
    return gw.reshape(w_shape)


@chooser("conv2d.forward", "numpy")
@chooser("conv2d.grad_input", "numpy")
def auto(_, w, __, g: Window):
    """What "auto" means, for either call (x, w, b, g) or (gy, w, x_shape, g)."""
    return choose(w.shape, g)


@chooser("conv2d.grad_weight", "numpy")
def auto_weight(gy, x, w_shape, g: Window):
    """What "auto" means for the gradient to the weights."""
    return choose(w_shape, g)


def choose(w_shape, g: Window):
    """im2col, but for depthwise filters taps: matrices of one row and one column gain nothing from GEMM."""
    depthwise = w_shape[0] == g.groups > 1 and w_shape[1] == 1
    return ["taps", "im2col"] if depthwise else ["im2col"]
