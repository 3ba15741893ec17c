"""``minicnn features``: what a network computes of images, for training a head in seconds."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import minicnn
from minicnn.backend import unknown
from minicnn.commands.arguments import add_data, add_device, add_offline, user_input, whole

if TYPE_CHECKING:
    from minicnn import nn
    from minicnn.data import Dataset


def run(given: argparse.Namespace) -> int:
    """Compute the features of a data set once, for heads to be trained on."""
    from minicnn import backend
    from minicnn.train import features
    from minicnn.train.display import counted

    with user_input():
        if given.out.exists():
            raise ValueError(f"{given.out}: is there already; name another file with --out")
        model, dataset = _by_name(given) if given.network in minicnn.models.list() else _trained(given)
        model.to(backend.resolve(given.device))
        features.extract(model, dataset.test.take(slice(1)), given.at)  # is there such a layer?
    start = time.perf_counter()
    count = sum(map(len, dataset.splits().values()))
    with counted("looking at images", count) as on_batch:
        found = features.extract_all(model, dataset, given.at, batch_size=given.batch_size, on_batch=on_batch)
    seconds = time.perf_counter() - start
    about = {"network": str(given.network), "weights": str(given.weights or ""), "layer": given.at or "head"}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    features.save(given.out, found, about)
    shape = "×".join(map(str, found.image_shape))
    print(f"features of {count:,} images, {shape} each, in {seconds:.1f} s: {given.out}")
    print(f"train a head on them with: minicnn train linear_head --data {given.out}")
    return 0


def _by_name(given: argparse.Namespace) -> tuple[nn.Module, Dataset]:
    """A network that was named, with weights from a file, and the data."""
    from minicnn.train.options import complete
    from minicnn.train.prepare import as_learnt, begin_with, load_data, network_options

    wanted = {"model": given.network, "data": given.data or "digits", "seed": given.seed}
    options = complete({**wanted, "weights": given.weights})
    dataset = as_learnt(load_data(options, options.data, given.data_dir, offline=given.offline), options)
    minicnn.manual_seed(given.seed)
    model = minicnn.models.create(given.network, **network_options(options, dataset))
    if given.weights is not None:
        begin_with(model, options, dataset.class_names, offline=given.offline)
    return model, dataset


def _trained(given: argparse.Namespace) -> tuple[nn.Module, Dataset]:
    """A network as a training left it, and the data as it saw them."""
    from minicnn.train.prepare import load_data
    from minicnn.train.saved import open_run

    if not Path(given.network).exists():
        words = unknown(given.network, minicnn.models.list())
        raise ValueError(f"{given.network}: no training is there, and as a network {words}")
    trained = open_run(given.network)
    name, known = given.data or trained.options.data, {"channels": trained.channels, "offline": given.offline}
    return trained.model, trained.prepared(load_data(trained.options, name, given.data_dir, **known))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "network", metavar="NETWORK", help="a training's folder, or one that `minicnn models` lists"
    )
    add_data(parser, "whose features (what it was trained on, else digits)")
    add_offline(parser)
    parser.add_argument("--weights", metavar="WEIGHTS", help="those of a network given by name, as for train")
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
