"""``minicnn summary``: what a network costs, layer by layer."""

from __future__ import annotations

import argparse

import minicnn
from minicnn.commands.arguments import add_model, image_shape, user_input, whole


def run(given: argparse.Namespace) -> int:
    """Print what a network costs, layer by layer."""
    from minicnn.summary import summarize

    about = minicnn.models.info(given.model)
    shape = given.input or about.input_shape
    wanted = {"in_channels": shape[0], "num_classes": given.classes or about.options["num_classes"]}
    options = {name: value for name, value in wanted.items() if value != about.options[name]}
    with user_input():
        with minicnn.nn.init.skip():  # what the weights are does not matter here
            model = minicnn.models.create(given.model, **options)
        print(summarize(model, shape, given.batch_size, name=given.model))
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    add_model(parser, "NAME")
    parser.add_argument(
        "--input",
        metavar="CxHxW",
        type=image_shape,
        help="size of the images, as 3x224x224 (the network's own)",
    )
    parser.add_argument("--batch-size", type=whole(1), default=1, metavar="N", help="images at a time (1)")
    parser.add_argument("--classes", type=whole(1), metavar="K", help="number of classes (the network's own)")
