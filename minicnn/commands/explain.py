"""``minicnn explain``: an operation step by step, or a network at work, as a page or in the terminal."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minicnn
from minicnn.backend import unknown
from minicnn.commands.arguments import WRONG, Stop, above_zero, one_of, user_input
from minicnn.commands.predict import open_classifier
from minicnn.explain.options import OPTIONS, as_flag, as_words

if TYPE_CHECKING:
    from rich.console import Console

    from minicnn.explain.document import Explanation
    from minicnn.explain.network import NetworkExplanation
    from minicnn.predict import Classifier

RANDOM = "random"
"""In place of weights: as a network is before any training."""

OF_NETWORKS = ("label", "weights", "lr", "invert", "classes", "preprocessing", "offline")
"""The options that go with ``--image``."""


def run(given: argparse.Namespace) -> int:
    """Explain an operation step by step, or a network at work on an image, with real numbers."""
    from rich.console import Console

    from minicnn.explain import network_page, operations, page

    console = Console()
    if given.operation is None:
        return _list(console)
    options = {name: getattr(given, name) for name in OPTIONS if getattr(given, name) is not None}
    out = Path(f"{Path(given.operation).name or 'network'}.html") if given.out is None else given.out
    if given.text and given.out is not None:
        raise Stop(WRONG, "explain: --text writes to the terminal, --out to a file; choose one")
    if out.is_dir():
        raise Stop(WRONG, f"explain: --out {out} is a folder; the name of a file is expected")
    _check_kind(given, options)
    explanation: Explanation | NetworkExplanation
    with user_input():
        if given.image is not None:
            explanation, most = _network(given, options), network_page.LARGEST
        else:
            explanation, most = operations.explain(given.operation, options), page.LARGEST
        if given.text:
            explanation.write(console)
            return 0
        size = explanation.save(out).stat().st_size
    console.print(
        f"{out} ({size / 1e6:.2f} MB of at most {most // 1_000_000}): open it in a browser; it needs no "
        "network",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return 0


def _check_kind(given: argparse.Namespace, options: dict[str, Any]) -> None:
    """Stop where options of the one kind come with the other."""
    from minicnn.explain.operations import OPERATIONS

    name, is_operation = given.operation, given.operation in OPERATIONS
    if given.image is None and not is_operation and (name in minicnn.models.list() or Path(name).exists()):
        raise Stop(
            WRONG, f"explain {name}: a network is explained at work on an image: --image FILE is needed"
        )
    if given.image is not None and is_operation:
        raise Stop(WRONG, f"explain {name}: --image is for networks, and {name} is an operation")
    foreign = [other for other in OF_NETWORKS if given.image is None and getattr(given, other)]
    foreign += [other for other in options if given.image is not None and other != "seed"]
    if foreign:
        kind = "networks, with --image" if given.image is None else "operations"
        raise Stop(WRONG, f"explain {name}: {as_flag(foreign[0])} is for {kind}")


def _network(given: argparse.Namespace, options: dict[str, Any]) -> NetworkExplanation:
    """A network at work; ValueError for what cannot be."""
    import numpy as np

    from minicnn.data import read_image
    from minicnn.explain.network import explain_network

    seen = _classifier(given, options)
    image, x = read_image(given.image, seen.preprocessing, given.invert)
    return explain_network(
        seen.model.cpu(),
        x[None],
        _label(given.label, seen.class_names),
        given.lr or 0.01,
        name=seen.network,
        weights=seen.weights,
        class_names=seen.class_names,
        picture=np.asarray(image),
        command=_as_typed(given, options),
    )


def _as_typed(given: argparse.Namespace, options: dict[str, Any]) -> str:
    """The command that made a page of a network."""
    words = ["minicnn", "explain", given.operation, "--image", str(given.image)]
    for name in OF_NETWORKS:
        value = getattr(given, name)
        if value:
            words += [as_flag(name)] if value is True else [as_flag(name), str(value)]
    return shlex.join([*words, *as_words(options)])


def _classifier(given: argparse.Namespace, options: dict[str, Any]) -> Classifier:
    """The network that is asked for: registered, or what a training left."""
    folder, known = Path(given.operation), minicnn.models.list()
    if given.operation not in known and not folder.exists():
        raise ValueError(
            f"explain: network {unknown(given.operation, known)} (nor is it a training's folder)"
        )
    if given.operation in known and given.weights == RANDOM:
        return _untrained(given.operation, options)
    published = given.operation in known and minicnn.models.get_model_weights(given.operation)
    if given.operation in known and given.weights is None and not published:
        raise ValueError(
            f"explain {given.operation}: it has no published weights; give --weights FILE or {RANDOM}, or "
            "the folder of a training in place of the name"
        )
    asked = {"model": given.operation, "weights": given.weights}
    if given.operation not in known:
        from minicnn.train.saved import is_training

        if given.weights is not None or not is_training(folder):
            raise ValueError(
                f"explain {folder}: a network's name with --weights is expected, or a training's folder alone"
            )
        asked = {"model": None, "weights": str(folder)}
    more = {name: getattr(given, name) for name in ("preprocessing", "classes", "offline")}
    return open_classifier(argparse.Namespace(**asked, **more, json=given.text))


def _untrained(name: str, options: dict[str, Any]) -> Classifier:
    from minicnn.models.preprocessing import Preprocessing, convention
    from minicnn.predict import Classifier

    seed = OPTIONS["seed"].read(options.get("seed", 0))
    if seed is None:
        raise ValueError(f"--seed {options['seed']}: {OPTIONS['seed'].expected} is expected")
    minicnn.manual_seed(seed)
    C, size, _ = minicnn.models.info(name).input_shape
    grey = Preprocessing(size, None, (0.5,), (0.5,), channels="L")
    how = convention("torchvision", size) if C == 3 else grey
    return Classifier(name, f"drawn at random, seed {seed}", minicnn.models.create(name), how)


def _label(given: str | None, names: Sequence[str]) -> int | None:
    """A class by its number or its name."""
    if given is None:
        return None
    if given.isascii() and given.isdigit() and given not in names:
        return int(given)
    if given not in names:
        raise ValueError(f"--label {given}: {unknown(given, names) if names else 'a number is expected'}")
    return names.index(given)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "operation",
        metavar="OPERATION|NETWORK",
        nargs="?",
        help="see below; without, the operations are listed",
    )
    for name, option in OPTIONS.items():
        if option.switch is not None:
            flag, value = option.switch
            parser.add_argument(flag, dest=name, action="store_const", const=value, help=option.help)
        else:
            parser.add_argument(as_flag(name), dest=name, metavar=option.metavar, help=option.help)
    _add_options_of_networks(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, help="where the page is written (its NAME.html)")
    parser.add_argument("--text", action="store_true", help="for the terminal, instead of a page")


def _add_options_of_networks(parser: argparse.ArgumentParser) -> None:
    from minicnn.models.preprocessing import CONVENTIONS

    add = parser.add_argument_group("a network at work on an image").add_argument
    add("--image", metavar="FILE", type=Path, help="what the network is shown")
    add("--label", metavar="K", help="the right class, its number or name (what the network says)")
    add(
        "--weights",
        metavar="WEIGHTS",
        help=f"a published one's name, a file, or {RANDOM}, which --seed draws (the best published)",
    )
    add("--lr", metavar="RATE", type=above_zero, help="of the training step (0.01)")
    add("--invert", action="store_true", help="light for dark, as for `minicnn predict`")
    add("--classes", metavar="FILE", type=Path, help="text file with a class's name in each line")
    add("--preprocessing", metavar="NAME", type=one_of(CONVENTIONS), help="how images are prepared")
    add("--offline", action="store_true", help="download nothing")


def epilog() -> str:
    """The operations, and how much a page can show."""
    from minicnn.explain.operations import OPERATIONS
    from minicnn.explain.page import LARGEST

    return "\n".join(
        [
            "operations, with what each can be told and what it assumes:",
            *(f"  {name:<20} {about.usage()}" for name, about in OPERATIONS.items()),
            "",
            f"A page is one file of at most {LARGEST // 1_000_000} MB that needs no network. What is too "
            "large to be followed number by number is refused.",
            "",
            "NETWORK is one that `minicnn models` lists, or a training's folder; its page has at most 5 MB:",
            "  minicnn explain resnet18 --image cat.jpg",
            "  minicnn explain runs/lenet5-mnist --image seven.png --label 7 --text",
        ]
    )


def _list(console: Console) -> int:
    from rich import box
    from rich.table import Table

    from minicnn.explain.operations import OPERATIONS

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("operation", no_wrap=True, style="bold")
    table.add_column("what its page shows")
    table.add_column("options, and what they are unless given")
    for name, about in OPERATIONS.items():
        table.add_row(name, about.words, about.usage())
    console.print(table, highlight=False)
    console.print("for example: minicnn explain conv2d --input 1x5x5 --kernel 3 --stride 2", highlight=False)
    return 0
