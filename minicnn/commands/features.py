"""``minicnn features``: what a network computes of images, for training a head in seconds."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import minicnn
from minicnn.commands.arguments import add_data, add_device, user_input, whole


def run(given: argparse.Namespace) -> int:
    """Compute the features of a data set once, for heads to be trained on."""
    from minicnn import backend, models
    from minicnn.train import features
    from minicnn.train.options import complete
    from minicnn.train.prepare import load_data, network_options
    from minicnn.train.saved import open_run, start_from

    with user_input():
        if given.out.exists():
            raise ValueError(f"{given.out}: is there already; name another file with --out")
        if given.network in models.list():
            options = complete({"model": given.network, "data": given.data or "digits", "seed": given.seed})
            dataset = load_data(options, options.data, given.data_dir)
            minicnn.manual_seed(given.seed)
            model = models.create(given.network, **network_options(given.network, dataset))
            if given.weights is not None:
                start_from(model, given.weights)
        else:
            trained = open_run(given.network)
            model, options = trained.model, trained.options
            dataset = load_data(options, given.data or options.data, given.data_dir)
            dataset = trained.normalise(dataset)
        if given.at is not None:
            model.get_submodule(given.at)
        model.to(backend.resolve(given.device))
        start = time.perf_counter()
        found = features.extract_all(model, dataset, given.at, batch_size=given.batch_size)
    seconds = time.perf_counter() - start
    about = {"network": str(given.network), "weights": str(given.weights or ""), "layer": given.at or "head"}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    features.save(given.out, found, about)
    images, shape = sum(map(len, found.splits().values())), "×".join(map(str, found.image_shape))
    print(f"features of {images:,} images, {shape} each, in {seconds:.1f} s: {given.out}")
    print(f"train a head on them with: minicnn train linear_head --data {given.out}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "network", metavar="NETWORK", help="a training's folder, or one that `minicnn models` lists"
    )
    add_data(parser, "whose features (what it was trained on, else digits)")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="the weights of a network given by name")
    parser.add_argument("--at", metavar="LAYER", help="whose results they are (what goes into the head)")
    parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help="for the data's splits (0)")
    parser.add_argument("--batch-size", metavar="N", type=whole(1), default=64, help="images at a time (64)")
    add_device(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("features.safetensors"),
        help="(features.safetensors)",
    )
