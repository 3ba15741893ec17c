"""Write linear_backward: the three gradients of a dense layer.

Forward:  y = x wᵀ + b,  that is  y[n, o] = Σ_i x[n, i] · w[o, i] + b[o]

    x   (N, inputs)          N examples
    w   (outputs, inputs)    a row for each output
    b   (outputs,)
    y   (N, outputs)

Each product x[n, i] · w[o, i] goes into one y[n, o]. So the gradient gy[n, o]
goes back to x[n, i] times w[o, i], and to w[o, i] times x[n, i]; all that
comes back to one place adds up.

Check it:  minicnn exercise linear_backward THIS_FILE
"""


def linear(x, w, b):
    return x @ w.T + b


def linear_backward(gy, x, w):
    """gy: (N, outputs). Returns gx (N, inputs), gw (outputs, inputs), gb (outputs,)."""
    raise NotImplementedError
