"""Write max_pool2d_backward: the gradient of a maximum over windows.

Forward:

    y[n, c, oh, ow] = the largest x[n, c, oh·stride + i, ow·stride + j]

    with 0 ≤ i, j < kernel_size

Only the winner of a window is felt in y, so the winner takes the gradient. A
pixel may win in several windows that overlap. Where several are equal, the
first in reading order wins.

Check it:  minicnn exercise max_pool2d_backward THIS_FILE
"""

import numpy as np


def max_pool2d(x, kernel_size, stride):
    """The forward, as above."""
    N, C, H, W = x.shape
    OH, OW = (H - kernel_size) // stride + 1, (W - kernel_size) // stride + 1
    y = np.zeros((N, C, OH, OW))
    for oh in range(OH):
        for ow in range(OW):
            rows = slice(oh * stride, oh * stride + kernel_size)
            columns = slice(ow * stride, ow * stride + kernel_size)
            y[:, :, oh, ow] = x[:, :, rows, columns].max(axis=(2, 3))
    return y


def max_pool2d_backward(gy, x, kernel_size, stride):
    """gy: (N, C, OH, OW). Returns gx, of x's shape (N, C, H, W)."""
    raise NotImplementedError
