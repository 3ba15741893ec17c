"""Write conv2d_backward: the three gradients of a convolution.

The forward below multiplies each window of the image with the filters. Every
product

    x[n, c, h, v] · w[oc, c, i, j]     with h = oh·stride + i
                                       and  v = ow·stride + j

of the padded image goes into one y[n, oc, oh, ow]. Backward, gy[n, oc, oh, ow]
returns to the same pixel, times the weight, and to the same weight, times the
pixel; all that comes back to one place adds up.

    x   (N, C, H, W)        w   (OC, C, KH, KW)        gy  (N, OC, OH, OW)

Check it:  minicnn exercise conv2d_backward THIS_FILE
"""

import numpy as np


def conv2d(x, w, b, stride, padding):
    """The forward, as above."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    KH, KW = w.shape[2:]
    OH, OW = (x.shape[2] - KH) // stride + 1, (x.shape[3] - KW) // stride + 1
    y = np.zeros((x.shape[0], w.shape[0], OH, OW))
    for oh in range(OH):
        for ow in range(OW):
            window = x[:, :, oh * stride : oh * stride + KH, ow * stride : ow * stride + KW]
            y[:, :, oh, ow] = np.einsum("ncij,ocij->no", window, w) + b
    return y


def conv2d_backward(gy, x, w, stride, padding):
    """Returns gx, of x's shape, gw, of w's shape, and gb (OC,)."""
    raise NotImplementedError
