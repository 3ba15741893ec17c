"""Transfer learning: what one task learned, another can use.

The layers of a trained network turn an image into numbers (features) that tell
what matters in it. For a new question about such images, with few answers to
learn from, take the trained network, keep its base as it is (frozen), and train
a new last layer, the head, alone.

Here a network learns to read digits, and is then asked another question: odd or
even? Only two images of each digit come with the answer. The head has 202
parameters, all that is trained; from scratch all layers are.
"""

import numpy as np

import minicnn as mc
from minicnn import data, nn
from minicnn.data import Split
from minicnn.lessons.drawing import COLOURS, Sketchbook
from minicnn.lessons.training import accuracy, train

FEW = 2  # images of each digit with the new answer
SEEDS = range(5)


def network(classes: int) -> nn.Sequential:
    """A base that gives 100 features, and a head of one dense layer."""
    base = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 49, 100), nn.ReLU(),
    )  # fmt: skip
    return nn.Sequential(base, nn.Linear(100, classes))


def odd_or_even(split: Split) -> Split:
    """The same images with another label: 0 for even, 1 for odd."""
    return Split(split.images, split.labels % 2)


def a_few(split: Split, seed: int) -> Split:
    """FEW images of each digit, drawn by the seed."""
    draw = np.random.default_rng(seed)
    return split.take(
        np.concatenate([draw.permutation(np.flatnonzero(split.labels == k))[:FEW] for k in range(10)])
    )


def main(draw: Sketchbook) -> None:
    """From scratch, with a frozen base, and with everything trained further; five seeds each."""
    digits = data.load("digits")
    mc.manual_seed(4)
    taught = network(10)
    train(taught, digits.train, epochs=6, lr=0.02)
    print(f"the first network reads {accuracy(taught, digits.test):.1%} of the digits right")

    test = odd_or_even(digits.test)
    found: dict[str, list[float]] = {
        "from scratch": [],
        "frozen base, new head": [],
        "all layers, from there": [],
    }
    for seed in SEEDS:
        few = odd_or_even(a_few(digits.validation, seed))  # which the first network has not seen
        for way, scores in found.items():
            mc.manual_seed(10 + seed)
            net = network(2)
            if way != "from scratch":
                net[0].load_state_dict(taught[0].state_dict())
            if way.startswith("frozen"):
                for p in net[0].parameters():
                    p.requires_grad = False  # no gradient is computed for the base: steps are cheaper too
            train(net, few, epochs=30, lr=0.01, batch_size=10)
            scores.append(accuracy(net, test))
    print(f"\nodd or even, from {10 * FEW} images, {len(SEEDS)} seeds:")
    for way, scores in found.items():
        print(f"  {way:<24} {np.mean(scores):.1%} ({min(scores):.1%} to {max(scores):.1%})")
    with draw.picture("transfer", size=4.5) as axes:
        for place, (scores, colour) in enumerate(zip(found.values(), COLOURS, strict=False)):
            axes.plot([place] * len(scores), scores, "o", color=colour)
            axes.plot([place - 0.2, place + 0.2], [np.mean(scores)] * 2, color=colour)
        axes.set_xticks(range(len(found)), [way.replace(", ", ",\n") for way in found], fontsize=8)
        axes.set_title(f"odd or even from {10 * FEW} images: accuracy", fontsize=10)
    print("\nIt need not help: what the base has learned must be of use for the new question.")
    print("\nTry: teach the first network 0 to 4 only, and ask for 5 to 9.")
