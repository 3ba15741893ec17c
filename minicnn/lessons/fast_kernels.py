"""How fast kernels are fast.

The same convolution, the same products, and times that differ by a factor of
ten thousand and more:

    loops      Python handles every product by itself: about a hundred
               instructions each
    im2col     one matrix product by BLAS, but every pixel is first copied nine
               times
    direct     filters and pixels stay in the processor's registers: a tile of
               outputs is summed up there, 16 numbers to an instruction, and
               memory is read once. Compiled for this machine by Numba
    winograd   fewer products: a 4×4 tile of a 3×3 convolution needs 36 in
               place of 144, at the price of additions before and after, and of
               some accuracy

`kernels/README.md` tells how each is made; here they run on one layer, and
their errors are compared.
"""

import time

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn.lessons.drawing import BLUE, Sketchbook

C, OC, SIZE = 64, 64, 56  # a layer of ResNet's first stage
WAYS = (
    ("loops", "numpy", "naive"),
    ("im2col", "numpy", "im2col"),
    ("direct", "numba", "direct"),
    ("winograd", "numba", "winograd"),
)


def timed(backend: str, algorithm: str, x, w, rounds: int):
    """The result, and the least of several times."""
    with mc.use(backend, conv2d=algorithm), mc.no_grad():
        y = F.conv2d(x, w, padding=1)  # compiles
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            y = F.conv2d(x, w, padding=1)
            times.append(time.perf_counter() - start)
    return y.numpy(), min(times)


def main(draw: Sketchbook) -> None:
    """One layer, four ways: times, products a second, errors."""
    mc.manual_seed(5)
    x, w = mc.randn(1, C, SIZE, SIZE), mc.randn(OC, C, 3, 3)
    products = OC * SIZE * SIZE * C * 9
    layer = f"{C} to {OC} maps of {SIZE}×{SIZE}, 3×3"
    threads = mc.get_num_threads()
    print(f"{layer}: {products / 1e6:.0f} million products; {threads} thread{'s' if threads > 1 else ''}")
    with mc.use("numpy", conv2d="im2col"):
        exact = F.conv2d(
            mc.tensor(x.numpy().astype("float64")), mc.tensor(w.numpy().astype("float64")), padding=1
        ).numpy()
    rates = {}
    for name, backend, algorithm in WAYS:
        if name == "loops":  # on a corner of the image, and so many times as much
            part, share = mc.tensor(x.numpy()[:, :2, :10, :10]), 2 * 100 * 2 * 9
            seconds = timed(backend, algorithm, part, mc.tensor(w.numpy()[:2, :2]), 1)[1] * products / share
            error = "      -"
        else:
            y, seconds = timed(backend, algorithm, x, w, 10)
            error = f"{np.abs(y - exact).max() / np.abs(exact).max():.0e}"
        rates[name] = 2 * products / seconds / 1e9
        print(f"  {name:<9}{1e3 * seconds:12.2f} ms {rates[name]:10.3f} GFLOP/s   error {error}")
    with draw.picture("speed", size=4) as axes:
        axes.bar(list(rates), list(rates.values()), color=BLUE)
        axes.set_yscale("log")
        axes.set_ylabel("GFLOP/s")
        axes.set_title(layer, fontsize=10)
    print("(loops: measured on a corner of the image, and scaled up; winograd: as if it saved no products)")
    print("\nTry: SIZE = 7. Which of them suffers most, and why?")
