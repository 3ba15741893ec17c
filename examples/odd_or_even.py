"""A network that reads digits is used again: is the digit odd or even?

    python examples/odd_or_even.py
    python examples/odd_or_even.py --data mnist

It gets a last layer for two classes, and only that is trained: 202 of 265,802 parameters. For comparison the
same is done with a network whose other layers were never trained: what it lacks is what the first had learnt.
"""

from __future__ import annotations

import argparse

from script import ended, relabelled, trained

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data import Split


def main(arguments: list[str]) -> None:
    """Learn to read, then to tell odd from even."""
    given = parser().parse_args(arguments)
    mc.manual_seed(0)
    digits = data.load(given.data, validation=0)
    reader, fresh = models.create("mlp_300_100"), models.create("mlp_300_100")

    print("A network learns to read digits:")
    optimizer = optim.SGD(reader.parameters(), lr=0.1, momentum=0.9)
    right = trained(reader, digits, optimizer, given.epochs)
    print(f"It reads {right:.1%} of the test images right.")

    question = relabelled(digits, odd_or_even, ("even", "odd"))
    found = {}
    for name, net in {"the network that reads": reader, "one that has learnt nothing": fresh}.items():
        asked_anew(net)
        total, own = models.transfer.count(net)
        print(f"\nOdd or even, with {name}: {own} of {total:,} parameters are trained.")
        optimizer = optim.SGD(optim.param_groups(net), lr=0.1, momentum=0.9)
        found[name] = trained(net, question, optimizer, given.epochs)
    print("\nRight on test images: " + ", ".join(f"{share:.1%} with {name}" for name, share in found.items()))


def asked_anew(net: nn.Module) -> None:
    """Put a last layer for two classes on a network, and freeze all others."""
    head = models.replace_head(net, 2)
    models.freeze(net)
    models.unfreeze(net, head)


def odd_or_even(split: Split) -> Split:
    """The same images, labelled 0 if even and 1 if odd."""
    return Split(split.images, split.labels % 2)


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", default="digits", choices=("digits", "mnist"), help="whose images (digits)")
    made.add_argument("--epochs", type=int, default=5, help="of each training (5)")
    return made


if __name__ == "__main__":
    ended(main)
