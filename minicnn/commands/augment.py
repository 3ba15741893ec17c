"""``minicnn augment``: a picture of training images beside what augmentation makes of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicnn.commands.arguments import FAILED, WRONG, Stop, add_offline, picture, user_input, whole

if TYPE_CHECKING:
    from minicnn.data import Dataset
    from minicnn.data.augment import Compose

MOST = 20
"""Rows, and columns, of a picture that can still be looked at."""


def run(given: argparse.Namespace) -> int:
    """Draw training images beside what augmentation makes of them."""
    from minicnn import data, files
    from minicnn.data.augment import by_name

    for option, value in (("images", given.images), ("versions", given.versions)):
        if value > MOST:
            raise Stop(WRONG, f"augment: --{option} {value}, but the picture has room for {MOST} at most")
    with user_input():
        augment = by_name(given.augment)
        dataset = data.load(
            given.data,
            size=given.size,
            data_dir=given.data_dir,
            seed=given.seed,
            download=not given.offline,
        )
        chosen = choose(dataset.train.labels, given.images)
        found = versions(dataset, augment, chosen, given.versions, given.seed)
        pixels = [dataset.to_pixels(images) for images in found]
    title = f"{Path(dataset.name).name}, augmented with {given.augment} (seed {given.seed})"
    files.write(given.out, draw(dataset, chosen, pixels, title))
    print(f"saved in {given.out}: {len(chosen)} training images, each beside {given.versions} versions of it")
    if given.show:
        from PIL import Image, ImageShow

        with Image.open(given.out) as picture:
            shown = ImageShow.show(picture, title)
        if not shown:
            raise Stop(FAILED, f"augment: no program that shows pictures was found; look at {given.out}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument("data", metavar="DATA", help="a data set's name, or a folder or zip of images")
    parser.add_argument("--augment", metavar="NAMES", required=True, help="see below; commas between several")
    parser.add_argument("--out", metavar="FILE", type=picture, default="samples.png", help="(samples.png)")
    parser.add_argument("--show", action="store_true", help="open the picture, too")
    parser.add_argument("--images", metavar="N", type=whole(1), default=6, help="how many images (6)")
    parser.add_argument("--versions", metavar="N", type=whole(1), default=7, help="of each image (7)")
    parser.add_argument("--size", metavar="N", type=whole(1), help="images are scaled to N×N pixels")
    parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="for the random numbers (0)")
    parser.add_argument("--data-dir", metavar="DIR", help="where a named data set's files are (MINICNN_DATA)")
    add_offline(parser)


def epilog() -> str:
    """The augmentations and the sets of them."""
    from minicnn.data.augment import NAMES, SETS

    lines = ["augmentations, N being the number that may follow the name:"]
    for name, row in NAMES.items():
        number = "" if row.default is None else f"{row.default:g}"
        lines.append(f"  {name + number:<16} {row.words}")
    lines += ["", "sets of them:", *(f"  {name:<16} {words or 'nothing'}" for name, words in SETS.items())]
    return "\n".join(lines)


def choose(labels: np.ndarray, count: int) -> np.ndarray:
    """Images of as many classes as possible: the first of each class, then the second, and so on.

    >>> choose(np.array([0, 0, 0, 1, 1, 2]), 4).tolist()
    [0, 3, 5, 1]
    """
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    return order[np.lexsort((labels[order], place))][:count]


def versions(
    dataset: Dataset, augment: Compose, chosen: np.ndarray, count: int, seed: int
) -> list[np.ndarray]:
    """The images as they are, and as the loader gives them in so many epochs of training."""
    from minicnn.data import DataLoader

    split = dataset.train.take(chosen)
    loader = DataLoader(split, len(split), seed=seed, augment=augment)
    return [split.images[:], *(next(loader.epoch(epoch))[0] for epoch in range(count))]


def draw(dataset: Dataset, chosen: np.ndarray, pixels: list[np.ndarray], title: str) -> bytes:
    """A row for each image, the original first, as a PNG."""
    from minicnn.data import NAMES
    from minicnn.figures import plain, png
    from minicnn.train.plots import GREY, INK, new_figure

    rows, columns = len(chosen), len(pixels)
    figure = new_figure(1.25 * columns + 1, 1.25 * rows + 0.8)
    figure.suptitle(plain(title), color=INK)
    paper = "gray_r" if dataset.name in NAMES else "gray"  # digits are ink, photographs are light
    for row, panels in enumerate(figure.subplots(rows, columns, squeeze=False)):
        for column, axes in enumerate(panels):
            image = pixels[column][row].transpose(1, 2, 0)
            axes.imshow(image, cmap=paper, vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color(INK if column == 0 else "#CCCCCC")
        name = plain(dataset.class_names[dataset.train.labels[chosen[row]]])
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
        if row == 0:
            panels[0].set_title("original", fontsize=10, color=INK)
            panels[1].set_title("versions of it", fontsize=10, color=GREY, loc="left")
    return png(figure)
