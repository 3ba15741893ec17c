"""Write dropout_backward: the gradient of dropout.

Forward, in training:  y = x · mask / (1 − p)

mask is 1 (True) where a value is kept and 0 (False) where it is dropped, which
happens with probability p. The division makes the mean of y that of x, so that
nothing need be done when the network is used.

Check it:  minicnn exercise dropout_backward THIS_FILE
"""


def dropout(x, mask, p):
    return x * mask / (1 - p)


def dropout_backward(gy, mask, p):
    """gy and mask have x's shape. Returns gx, of the same shape."""
    raise NotImplementedError
