"""Convolution as its definition says: loops and nothing else. The oracle for every other kernel.

    y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j  x[n, c, oh·s + i·d − p, ow·s + j·d − p] · w[oc, c, i, j]

(a cross-correlation, as everywhere in this field). Each product in that sum touches one input, one
weight and one output; by the chain rule the same loop, with the roles exchanged, gives both gradients:

    gx[where the input stood]  += w · gy        gw[where the weight stood] += x · gy

With groups, the output channels of one group see only the input channels of the same group.
"""

import numpy as np

from minicnn.kernels.geometry import Window, pad, unpad
from minicnn.kernels.registry import kernel


def products(shape, w_shape, g: Window):
    """Every product of the sum: (input position in the padded image, weight position, output position)."""
    N, OC, OH, OW = shape
    _, C_per_group, KH, KW = w_shape
    OC_per_group = OC // g.groups
    for n in range(N):
        for oc in range(OC):
            first_channel = (oc // OC_per_group) * C_per_group
            for oh in range(OH):
                for ow in range(OW):
                    for c in range(C_per_group):
                        for i in range(KH):
                            for j in range(KW):
                                h = oh * g.stride[0] + i * g.dilation[0]
                                v = ow * g.stride[1] + j * g.dilation[1]
                                yield (n, first_channel + c, h, v), (oc, c, i, j), (n, oc, oh, ow)


@kernel("conv2d.forward", "numpy", "naive")
def forward(x, w, b, g: Window):
    """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW)."""
    y = np.zeros((x.shape[0], w.shape[0], *g.output_size(*x.shape[2:])), x.dtype)
    x = pad(x, g.padding)
    for at_x, at_w, at_y in products(y.shape, w.shape, g):
        y[at_y] += x[at_x] * w[at_w]
    return y if b is None else y + b[:, None, None]


@kernel("conv2d.grad_input", "numpy", "naive")
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    gx = pad(np.zeros(x_shape, gy.dtype), g.padding)
    for at_x, at_w, at_y in products(gy.shape, w.shape, g):
        gx[at_x] += w[at_w] * gy[at_y]
    return unpad(gx, g.padding)


@kernel("conv2d.grad_weight", "numpy", "naive")
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
    gw = np.zeros(w_shape, gy.dtype)
    x = pad(x, g.padding)
    for at_x, at_w, at_y in products(gy.shape, w_shape, g):
        gw[at_w] += x[at_x] * gy[at_y]
    return gw
