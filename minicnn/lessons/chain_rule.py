"""The chain rule as a graph.

A computation is a graph: numbers flow along its edges, and each node is one
operation. Backward goes the same edges in the other direction. A node knows
one thing only: given ∂loss/∂(its output), what is ∂loss/∂(each of its inputs)?
A product hands each factor the other factor times what came back; a sum hands
everyone all of it; and where a number was used twice, what comes back adds up.

That is all there is to automatic differentiation. Here is the graph of

    loss = (x · w + x)²

with the numbers that flow forward, and those that flow back, by the engine,
which recorded the graph on the way.
"""

import numpy as np

import minicnn as mc
from minicnn.lessons.drawing import BLUE, VERMILION, Sketchbook

# Where the picture has each number: name -> (column, row).
PLACES = {"x": (0, 0), "w": (0, 2), "p = x·w": (1, 1), "s = p + x": (2, 0.5), "loss = s²": (3, 0.5)}


def main(draw: Sketchbook) -> None:
    """Compute the graph forward and backward, and compare with the chain rule by hand."""
    x = mc.tensor(3.0, requires_grad=True)
    w = mc.tensor(2.0, requires_grad=True)
    p = x * w
    s = p + x
    loss = s * s
    loss.backward()
    print(f"forward:   p = {p.item():g}, s = {s.item():g}, loss = {loss.item():g}")
    print(f"the loss remembers how it was made: {type(loss.grad_fn).__name__}, and so back to x and w")

    gs = 2 * s.item()
    print("\nbackward, by hand:")
    print(f"  ∂loss/∂s = 2s = {gs:g}")
    print(f"  a sum hands it on to both:       to p {gs:g}, to x {gs:g}")
    print(
        f"  a product, times the other one:  to w {gs:g}·{x.item():g} = {gs * x.item():g}, "
        f"to x {gs:g}·{w.item():g} = {gs * w.item():g}"
    )
    print(f"  x was used twice:                {gs:g} + {gs * w.item():g} = {gs + gs * w.item():g}")
    print(f"\nbackward, by the engine:  to x {float(x.grad):g}, to w {float(w.grad):g}")

    numbers = {"x": (x.item(), float(x.grad)), "w": (w.item(), float(w.grad)), "p = x·w": (p.item(), gs),
               "s = p + x": (s.item(), gs), "loss = s²": (loss.item(), 1.0)}  # fmt: skip
    returned = {("x", "p = x·w"): gs * w.item(), ("w", "p = x·w"): gs * x.item(),
                ("p = x·w", "s = p + x"): gs, ("x", "s = p + x"): gs,
                ("s = p + x", "loss = s²"): gs}  # fmt: skip
    with draw.picture("graph", size=5) as axes:
        for (start, end), back in returned.items():
            arrow = {"arrowstyle": "->", "shrinkA": 34, "shrinkB": 34}
            axes.annotate("", PLACES[end], PLACES[start], arrowprops=arrow)
            middle = np.mean([PLACES[start], PLACES[end]], axis=0)
            axes.text(*middle, f"{back:g}", color=VERMILION, fontsize=8, ha="center", va="center",
                      bbox={"fc": "white", "ec": "none", "pad": 1})  # fmt: skip
        for name, (column, row) in PLACES.items():
            value, gradient = numbers[name]
            axes.text(
                column, row, name, ha="center", va="center", bbox={"boxstyle": "round,pad=0.5", "fc": "white"}
            )
            axes.text(column, row - 0.3, f"{value:g}", ha="center", color=BLUE)
            axes.text(column, row + 0.36, f"{gradient:g}", ha="center", color=VERMILION)
        axes.set_title("below: forward; above, and on each arrow: what comes back", fontsize=10)
        axes.set(xlim=(-0.6, 3.6), ylim=(-0.6, 2.6))
        axes.axis("off")
    print("\nTry: loss = x · x · x. How many times does x get something back?")
