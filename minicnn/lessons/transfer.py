"""Transfer learning: what one task learned, another can use.

The first layers of a trained network find edges and strokes, whatever they
were trained for. So for a new task with few images, take a trained network,
keep its base as it is (frozen), and train a new last layer, the head, alone.

Here a network learns the digits 0 to 4 from many images, and is then to tell 5
to 9 apart with five images of each.
"""

import numpy as np

import minicnn as mc
from minicnn import data, nn
from minicnn.data import Split
from minicnn.lessons.drawing import COLOURS, Sketchbook
from minicnn.lessons.training import accuracy, train

FEW = 5  # images of each new class
SEEDS = range(3)


def network() -> nn.Sequential:
    """A base of two convolutions, and a head of one dense layer for five classes."""
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        ),
        nn.Linear(32 * 49, 5),
    )  # fmt: skip


def digits_from(split: Split, low: int) -> Split:
    """The images of five digits from ``low`` on, with labels 0 to 4."""
    chosen = split.take(np.flatnonzero((split.labels >= low) & (split.labels < low + 5)))
    return Split(chosen.images, chosen.labels - low)


def a_few(split: Split, seed: int) -> Split:
    """FEW images of each class, drawn by the seed."""
    draw = np.random.default_rng(seed)
    return split.take(
        np.concatenate([draw.permutation(np.flatnonzero(split.labels == k))[:FEW] for k in range(5)])
    )


def main(draw: Sketchbook) -> None:
    """From scratch, with a frozen base, and with everything trained further; three seeds each."""
    digits = data.load("digits")
    mc.manual_seed(4)
    taught = network()
    train(taught, digits_from(digits.train, 0), epochs=6, lr=0.02)
    print(f"on 0 to 4 it reads {accuracy(taught, digits_from(digits.test, 0)):.1%} right")

    new, test = digits_from(digits.train, 5), digits_from(digits.test, 5)
    found: dict[str, list[float]] = {
        "from scratch": [],
        "frozen base, new head": [],
        "all layers, from there": [],
    }
    for seed in SEEDS:
        for way, scores in found.items():
            mc.manual_seed(10 + seed)
            net = network()
            if way != "from scratch":
                net[0].load_state_dict(taught[0].state_dict())
            if way.startswith("frozen"):
                for p in net[0].parameters():
                    p.requires_grad = (
                        False  # no gradient is computed for the base, which makes steps cheaper too
                    )
            train(net, a_few(new, seed), epochs=30, lr=0.01, batch_size=25)
            scores.append(accuracy(net, test))
    print(f"\n5 to 9 with {FEW} images of each, {len(SEEDS)} seeds:")
    for way, scores in found.items():
        print(f"  {way:<24} {np.mean(scores):.1%} ({min(scores):.1%} to {max(scores):.1%})")
    with draw.picture("transfer", size=4) as axes:
        for place, (scores, colour) in enumerate(zip(found.values(), COLOURS, strict=False)):
            axes.plot([place] * len(scores), scores, "o", color=colour)
            axes.plot([place - 0.2, place + 0.2], [np.mean(scores)] * 2, color=colour)
        axes.set_xticks(range(len(found)), list(found), fontsize=8)
        axes.set_title(f"accuracy on 5 to 9 with {FEW} images of each", fontsize=10)
    print("\nTry: FEW = 1, and FEW = 50. When does the head start no longer matter?")
