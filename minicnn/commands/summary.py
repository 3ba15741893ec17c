"""``minicnn summary``: what a network costs, layer by layer."""

from __future__ import annotations

import argparse

import minicnn
from minicnn.commands.arguments import add_model, whole


def run(given: argparse.Namespace) -> int:
    """Print what a network costs, layer by layer."""
    from minicnn.summary import summarize

    shape = minicnn.models.info(given.model).input_shape
    print(summarize(minicnn.models.create(given.model), shape, given.batch_size, name=given.model))
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    add_model(parser, "NAME")
    parser.add_argument("--batch-size", type=whole(1), default=1, metavar="N", help="images at a time (1)")
