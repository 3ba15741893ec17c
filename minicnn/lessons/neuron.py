"""A neuron, and its gradient by hand.

A neuron weighs its inputs, adds a bias and bends the sum:

    z = w₁x₁ + w₂x₂ + b        y = tanh(z)

It learns by a loss that says how wrong y is, here (y − t)² for a wanted t. The
question that training asks is: if w₁ grew a little, what would the loss do?
The chain rule answers step by step, from the loss back to w₁:

    ∂loss/∂y = 2(y − t)    ∂y/∂z = 1 − y²    ∂z/∂w₁ = x₁

and the product of the three is the gradient. Here a neuron learns the logical
AND in this way.
"""

import math

from minicnn.lessons.drawing import BLUE, VERMILION, Sketchbook, curves

EXAMPLES = [((-1, -1), -1), ((-1, 1), -1), ((1, -1), -1), ((1, 1), 1)]  # inputs, and what is wanted


def gradient(w, b, x, t):
    """The loss of one example, and its gradient to w and b: the three factors above, multiplied."""
    y = math.tanh(w[0] * x[0] + w[1] * x[1] + b)
    to_z = 2 * (y - t) * (1 - y * y)
    return (y - t) ** 2, (to_z * x[0], to_z * x[1]), to_z


def main(draw: Sketchbook) -> None:
    """Take one gradient by hand, then learn AND."""
    w, b, rate = [0.3, -0.5], 0.1, 0.1
    x, t = EXAMPLES[1]
    loss, gw, gb = gradient(w, b, x, t)
    print(f"w = {w}, b = {b}; for x = {x} the wanted output is {t}, and the loss {loss:.4f}")
    print(f"its gradient to w is ({gw[0]:.4f}, {gw[1]:.4f}), to b {gb:.4f}")
    nudged = gradient([w[0] + 1e-4, w[1]], b, x, t)[0]
    print(f"check: w₁ + 0.0001 changes the loss by {(nudged - loss) / 1e-4:.4f} times that")

    losses = []
    for _ in range(60):
        total = 0.0
        for x, t in EXAMPLES:
            loss, gw, gb = gradient(w, b, x, t)
            w = [w[0] - rate * gw[0], w[1] - rate * gw[1]]  # downhill: against the gradient
            b -= rate * gb
            total += loss
        losses.append(total)
    print(f"\nafter 60 rounds w = ({w[0]:.2f}, {w[1]:.2f}), b = {b:.2f}; the loss fell to {losses[-1]:.3f}")
    for x, t in EXAMPLES:
        print(f"  {x!s:>8} -> {math.tanh(w[0] * x[0] + w[1] * x[1] + b):6.2f}, wanted {t:2d}")

    with draw.picture("and", columns=2) as (left, right):
        curves(left, {"loss": losses}, "the loss falls", "round", "loss of the four examples")
        for x, t in EXAMPLES:
            right.plot(*x, "o" if t > 0 else "s", color=VERMILION if t > 0 else BLUE, markersize=12)
        ends = [-1.6, 1.6]
        right.plot(ends, [-(w[0] * x1 + b) / w[1] for x1 in ends], color="black")
        right.set_title("where the neuron says 0", fontsize=10)
        right.set(xlim=ends, ylim=ends, xlabel="x₁", ylabel="x₂")
    print("\nTry: XOR, wanted -1, 1, 1, -1. One neuron draws one line, and cannot.")
