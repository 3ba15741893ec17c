"""VGG: depth from small filters.

K. Simonyan and A. Zisserman 2015 asked what depth alone can do, and used
nothing but 3×3. Two of them in a row see 5×5 pixels, three see 7×7, with fewer
weights and a rectifier between:

    one 7×7 over C maps: 49 C² weights        three 3×3: 27 C² weights

How far a unit sees is its receptive field. It need not be believed: the
gradient of one output to the image is zero wherever the unit does not look.
"""

import numpy as np

import minicnn as mc
from minicnn import nn
from minicnn.lessons.drawing import Sketchbook, grid
from minicnn.summary import summarize


def field(*layers: nn.Module, side: int = 16) -> np.ndarray:
    """How often each pixel reaches the unit in the middle: the gradient of that unit, with all weights 1."""
    net = nn.Sequential(*layers)
    for p in net.parameters():
        nn.init.ones_(p)
    x = mc.ones(1, 1, side, side, requires_grad=True)
    y = net(x)
    gy = np.zeros(y.shape, np.float32)
    gy[0, 0, y.shape[2] // 2, y.shape[3] // 2] = 1
    y.backward(gy)
    return x.grad[0, 0]


def conv(K: int) -> nn.Conv2d:
    """One map to one, padded so that the image keeps its size."""
    return nn.Conv2d(1, 1, K, padding=K // 2, bias=False)


def main(draw: Sketchbook) -> None:
    """Receptive fields by gradient, weights counted, and VGG-16's table."""
    fields = {
        "one 3×3": field(conv(3)),
        "two 3×3": field(conv(3), conv(3)),
        "three 3×3": field(conv(3), conv(3), conv(3)),
        "one 7×7": field(conv(7)),
        "3×3, pool, 3×3": field(conv(3), nn.AvgPool2d(2), conv(3)),
    }
    for name, seen in fields.items():
        rows = np.flatnonzero(seen.any(axis=1))
        more = seen.max() / seen[seen > 0].min()
        words = f", the middle by {more:.0f} times as many ways as a corner" if more > 1 else ", all alike"
        print(f"  {name:<16} sees {len(rows)}×{len(rows)} pixels{words}")
    with draw.picture("fields", columns=5, size=2.3) as axes:
        for place, (name, seen) in zip(axes, fields.items(), strict=True):
            grid(place, seen, name)

    C = 256
    print(f"\nweights over {C} maps: one 5×5 {25 * C * C:,}, two 3×3 {18 * C * C:,}; ", end="")
    print(f"one 7×7 {49 * C * C:,}, three 3×3 {27 * C * C:,}")

    with nn.init.skip():  # weights are not needed to be counted
        net = mc.models.create("vgg16")
    parameters = {name: p.data.size for name, p in net.named_parameters()}
    total = sum(parameters.values())
    print(
        f"\nVGG-16 has {total:,} parameters. (Pooling has none: tables that give another number are wrong.)"
    )
    first = parameters["classifier.0.weight"]
    print(f"{first:,} of them, {first / total:.0%}, are in the first dense layer.")
    small = summarize(mc.models.create("vgg16", width=8, hidden=16), (3, 224, 224))
    shapes = [row.output_shape[1:] for row in small.rows if row.kind == "MaxPool2d"]
    print(
        f"the image shrinks by five poolings (here with an eighth of the maps): {', '.join(map(str, shapes))}"
    )
    print("\nTry: `minicnn summary vgg16`.")
