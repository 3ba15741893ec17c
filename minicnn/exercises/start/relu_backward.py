"""Write relu_backward: the gradient of max(x, 0), a gate.

Forward:  y = max(x, 0), element by element.

The loss L depends on x only through y, so by the chain rule, element by
element,

    gx = ∂L/∂x = ∂L/∂y · ∂y/∂x = gy · (the slope of max(x, 0) at x)

At x = 0 there are two slopes; by convention it is 0 there.

Check it:  minicnn exercise relu_backward THIS_FILE
"""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def relu_backward(gy, x):
    """gy: the gradient of the loss to y, of x's shape. Returns gx, of the same shape."""
    raise NotImplementedError
