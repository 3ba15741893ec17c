"""Write conv2d_forward: convolution by loops.

    y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j  x[n, c, h, v] · w[oc, c, i, j]

    with h = oh·stride + i − padding  and  v = ow·stride + j − padding

where x is 0 outside of the image.

    x   (N, C, H, W)         N images of C channels
    w   (OC, C, KH, KW)      OC filters, each with a window for every channel
    b   (OC,)
    y   (N, OC, OH, OW)      OH = (H + 2·padding − KH) // stride + 1;
                             OW likewise

Check it:  minicnn exercise conv2d_forward THIS_FILE
"""


def conv2d_forward(x, w, b, stride, padding):
    """Returns y; stride and padding are whole numbers, the same for rows and columns."""
    raise NotImplementedError
