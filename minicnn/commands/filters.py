"""``minicnn filters``: what Sobel, blur, sharpen and other image kernels make of a photograph."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import minicnn
from minicnn.commands.arguments import WRONG, Stop, one_of, user_input, whole

LARGEST = 2000
"""The longest side that a picture on a sheet may have; more pixels than this could not be seen there."""


def run(given: argparse.Namespace) -> int:
    """Draw what image kernels (edges, blur, sharpen, ...) make of a photograph."""
    from minicnn import data, files
    from minicnn.explain.filter_sheet import draw
    from minicnn.explain.filters import FILTERS

    if given.list:
        for name, filter in FILTERS.items():
            print(f"{name:<14} {filter.words}")
        return 0
    if given.out.suffix.lower() != ".png" or given.out.is_dir():
        raise Stop(WRONG, f"filters: --out {given.out}: the name of a file that ends in .png is expected")
    if given.size > LARGEST:
        raise Stop(WRONG, f"filters: --size {given.size}, but at most {LARGEST} is expected")
    path = given.image or _sample()
    with user_input():
        image = data.open_image(path)
    image.thumbnail((given.size, given.size))
    x = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    names = tuple(dict.fromkeys(given.only or FILTERS))
    W, H = image.size
    with minicnn.use("numpy"):  # which needs no compiling
        picture = draw(x, names, f"Image kernels on {path.name}, {W}×{H} pixels")
    files.write(given.out, picture)
    print(f"saved in {given.out}: {', '.join(names)}")
    return 0


def _sample() -> Path:
    """The photograph that comes with matplotlib; says so."""
    from matplotlib import cbook

    path = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    if not path.is_file():  # some distributions leave matplotlib's samples out
        raise Stop(
            WRONG, "filters: an IMAGE is needed, as this matplotlib came without its sample photograph"
        )
    print(
        "no image was given; here is Grace Hopper, computer scientist and Rear Admiral: "
        "a photograph in the public domain that comes with matplotlib"
    )
    return path


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    from minicnn.explain.filters import FILTERS

    parser.add_argument(
        "image", metavar="IMAGE", nargs="?", type=Path, help="an image file (a portrait of Grace Hopper)"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        nargs="+",
        type=one_of(FILTERS),
        help=f"these alone, of {', '.join(FILTERS)}",
    )
    parser.add_argument("--list", action="store_true", help="say what the filters do, and draw nothing")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("filters.png"), help="(filters.png)")
    parser.add_argument(
        "--size", metavar="N", type=whole(3), default=240, help="the image's longer side, in pixels (240)"
    )


def epilog() -> str:
    """What to try first."""
    return (
        "examples:\n"
        "  minicnn filters\n"
        "  minicnn filters cat.jpg --only sobel unsharp_mask --out edges.png\n"
        "  minicnn filters --only emboss --size 400"
    )
