"""Write avg_pool2d_backward: the gradient of a mean over windows.

Forward, with K = kernel_size:

    y[n, c, oh, ow] = 1/K² Σ_i Σ_j x[n, c, h, v]

    with h = oh·stride + i − padding  and  v = ow·stride + j − padding

where x is 0 outside of the image: the padding counts in the mean.

Check it:  minicnn exercise avg_pool2d_backward THIS_FILE
"""

import numpy as np


def avg_pool2d(x, kernel_size, stride, padding):
    """The forward, as above."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    N, C, H, W = x.shape
    OH, OW = (H - kernel_size) // stride + 1, (W - kernel_size) // stride + 1
    y = np.zeros((N, C, OH, OW))
    for oh in range(OH):
        for ow in range(OW):
            rows = slice(oh * stride, oh * stride + kernel_size)
            columns = slice(ow * stride, ow * stride + kernel_size)
            y[:, :, oh, ow] = x[:, :, rows, columns].mean(axis=(2, 3))
    return y


def avg_pool2d_backward(gy, x_shape, kernel_size, stride, padding):
    """gy: (N, C, OH, OW). Returns gx of shape x_shape = (N, C, H, W)."""
    raise NotImplementedError
