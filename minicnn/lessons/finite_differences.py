"""Finite differences: how to know that a gradient is right.

A wrong gradient still trains: networks are forgiving, and the loss falls
anyway, only not as far. So gradients are not believed but checked, against
nothing but the forward:

    f'(x) ≈ (f(x + h) − f(x)) / h          wrong by about h
    f'(x) ≈ (f(x + h) − f(x − h)) / 2h     wrong by about h²

A smaller h is better, up to a point: f is computed with rounding errors of
some 10⁻¹⁶ of its size, and h divides them. Between the two lies the best h: in
float64 near 10⁻⁸ for the first formula and near 10⁻⁵ for the second, which is
right to a thousand times more. In float32 there is no good one.
"""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.gradcheck import GradientError
from minicnn.lessons.drawing import Sketchbook, curves

H = np.logspace(-12, -1, 45)


class Forgetful(mc.Function):
    """x², with the 2 of 2x forgotten: a mistake that training would never show."""

    def forward(self, x):
        self.save(x)
        return x * x

    def backward(self, gy):
        (x,) = self.saved
        return gy * x


def errors(dtype):
    """The errors of both formulas for the slope of tanh at 0.7, for every h."""
    x, true = dtype(0.7), 1 - np.tanh(0.7) ** 2
    steps = H.astype(dtype)
    ahead = (np.tanh(x + steps) - np.tanh(x)) / steps
    both = (np.tanh(x + steps) - np.tanh(x - steps)) / (2 * steps)
    return np.abs(ahead - true) + 1e-17, np.abs(both - true) + 1e-17


def main(draw: Sketchbook) -> None:
    """Find the best h, then catch a wrong backward."""
    ahead, both = errors(np.float64)
    single = errors(np.float32)[1]
    for name, error in (
        ("forward, float64", ahead),
        ("central, float64", both),
        ("central, float32", single),
    ):
        print(f"{name}: best h {H[error.argmin()]:.0e}, with an error of {error.min():.0e}")
    with draw.picture("errors", size=4.5) as axes:
        lines = {"(f(x+h) − f(x)) / h": ahead, "(f(x+h) − f(x−h)) / 2h": both, "the same in float32": single}
        curves(
            axes,
            {name: (H, e) for name, e in lines.items()},
            "error of the slope of tanh",
            "h",
            "error",
            "xy",
        )

    x = np.array([0.5, -1.0, 2.0])
    print("\nThe engine's checker, on a convolution:")
    image, filters = mc.randn(1, 2, 6, 6, dtype="float64"), mc.randn(3, 2, 3, 3, dtype="float64")
    print(f"  {mc.gradcheck(lambda x, w: F.conv2d(x, w, stride=2), (image.numpy(), filters.numpy()))}")
    print("and on x² whose backward forgets the 2:")
    try:
        mc.gradcheck(lambda x: Forgetful()(x), (x,))
    except GradientError as error:
        print(f"  {error}")
    print("\nTry: `minicnn gradcheck` checks every operation of the engine in this way.")
