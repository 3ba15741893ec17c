"""VGG-16 learns five kinds of flowers from some photographs of each, in two phases.

    python examples/five_flowers.py flower_photos/    # a folder of photographs for each kind

It comes with what it has learnt from ImageNet (528 MB, downloaded once). In place of its dense layers it
gets a pooling and two smaller ones, 590,597 new parameters. First these are trained alone: what the frozen
network makes of each photograph is computed once, then an epoch takes a second. After that the fifth block of
convolutions is trained as well, 7,079,424 parameters of the base, with a tenth of the rate.

Any folder with a folder of photographs for each class will do, or a zip of one; five classes are no must.
"""

from __future__ import annotations

import argparse

from script import ended, seen, trained

import minicnn as mc
from minicnn import data, models, nn, optim
from minicnn.data import Dataset, augment
from minicnn.models.transfer import count

BLOCK_5 = "0.body.features.2[4-9]"
SIZE = 224


def main(arguments: list[str]) -> None:
    """Train the new layers, then block 5 as well."""
    given = parser().parse_args(arguments)
    mc.manual_seed(0)
    how = models.get_model_weights("vgg16")[0].preprocessing
    flowers = data.load(given.photos, size=SIZE, channels=3, validation=0, mean=how.mean, std=how.std)
    print(f"{len(flowers.train)} photographs to learn {', '.join(flowers.class_names)}")
    in_two_phases(network(len(flowers.class_names), given.weights), flowers, given.epochs)


def network(classes: int, weights: str | None, width: int = 64) -> nn.Sequential:
    """VGG-16 without its dense layers, and a head: (N, 3, 224, 224) to (N, classes)."""
    # Fresh layers after the cut are as small as can be; weights from a file have the paper's 4,096 units.
    options = {"width": width, "hidden": 1} if weights is None else {}
    base = models.cut(models.create("vgg16", weights=weights, **options), "features", (3, SIZE, SIZE))
    head = nn.Sequential(
        nn.MaxPool2d(2),  # 7 × 7 to 3 × 3
        nn.Flatten(),
        nn.Linear(3 * 3 * 8 * width, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, classes),
    )
    return nn.Sequential(base, head)


def in_two_phases(net: nn.Sequential, flowers: Dataset, epochs: int) -> None:
    """Train the head on what the frozen base sees, then the base's last block, too."""
    base, head = net
    models.freeze(net, "0")
    print(f"{count(head)[1]:,} new parameters. The frozen network looks at each photograph once.")
    right = trained(head, seen(net, flowers, "0"), optim.Adam(head.parameters(), lr=1e-3), 10, batch_size=32)
    print(f"{right:.1%} of the test images are right.")

    models.unfreeze(net, BLOCK_5)
    print(f"Now {count(base)[1]:,} parameters of the base are trained, too:")
    optimizer = optim.SGD(optim.param_groups(net, {"0": {"lr": 1e-4}}), lr=1e-3, momentum=0.9)
    right = trained(net, flowers, optimizer, epochs, batch_size=16, augment=augment.by_name("flip"))
    print(f"{right:.1%} of the test images are right.")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("photos", help="a folder with a folder for each class, or a zip of one")
    made.add_argument("--weights", default="DEFAULT", help="the base's: published ones, or a file (DEFAULT)")
    made.add_argument("--epochs", type=int, default=3, help="of the second phase (3)")
    return made


if __name__ == "__main__":
    ended(main)
