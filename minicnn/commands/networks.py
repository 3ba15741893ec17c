"""What the commands that look into a network share: where it comes from, and which class is asked about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import minicnn
from minicnn.backend import unknown
from minicnn.commands.arguments import add_offline, one_of, whole
from minicnn.commands.predict import open_classifier

if TYPE_CHECKING:
    from minicnn.predict import Classifier

RANDOM = "random"
"""In place of weights: as a network is before any training."""


def open_network(given: argparse.Namespace, command: str, name: str, seed: int, quiet: bool) -> Classifier:
    """The network that is asked for by its name or by a training's folder; ValueError for what is neither."""
    path, known = Path(name), minicnn.models.list()
    if name in known and given.weights == RANDOM:
        return _untrained(name, seed)
    if name in known and given.weights is None and not minicnn.models.get_model_weights(name):
        raise ValueError(
            f"{command} {name}: it has no published weights; give --weights FILE or {RANDOM}, or "
            "the folder of a training in place of the name"
        )
    asked = {"model": name, "weights": given.weights}
    if name not in known:
        from minicnn.train.saved import is_training

        if not path.exists():
            words = "there is no such folder" if path.name != name else f"network {unknown(name, known)}"
            raise ValueError(
                f"{command} {name}: {words}; a network's name or a training's folder is expected"
            )
        if given.weights is not None or not is_training(path):
            raise ValueError(
                f"{command} {path}: a network's name with --weights is expected, or a training's folder alone"
            )
        asked = {"model": None, "weights": str(path)}
    more = {key: getattr(given, key) for key in ("preprocessing", "classes", "offline")}
    try:
        return open_classifier(argparse.Namespace(**asked, **more, json=quiet))
    except OSError as error:
        if name not in known or given.weights is not None or error.filename is not None:
            raise
        # Published weights that are not there, neither here nor on the network.
        raise OSError(f"{error}; or see it untrained, with --weights {RANDOM}") from None


def _untrained(name: str, seed: int) -> Classifier:
    from minicnn.models.preprocessing import Preprocessing, convention
    from minicnn.predict import Classifier

    minicnn.manual_seed(seed)
    C, size, _ = minicnn.models.info(name).input_shape
    grey = Preprocessing(size, None, (0.5,), (0.5,), channels="L")
    how = convention("torchvision", size) if C == 3 else grey
    return Classifier(name, f"drawn at random, seed {seed}", minicnn.models.create(name), how)


def find_label(text: str | None, names: Sequence[str]) -> int | None:
    """A class by its name or its number, which may be too large; ValueError for what is neither.

    >>> find_label("cat", ("ant", "cat")), find_label("7", ()), find_label(None, ())
    (1, 7, None)
    """
    if text is None:
        return None
    if text in names:
        return names.index(text)
    if text.isascii() and text.isdigit():
        return int(text)
    raise ValueError(f"--label {text}: {unknown(text, names) if names else 'a number is expected'}")


def add_network(parser: argparse._ActionsContainer) -> None:
    """The options that say which network it is, and how images become its input."""
    from minicnn.models.preprocessing import CONVENTIONS

    add = parser.add_argument
    add(
        "--weights",
        metavar="WEIGHTS",
        help=f"a published one's name, a file, or {RANDOM}, which --seed draws (the best published)",
    )
    add("--classes", metavar="FILE", type=Path, help="text file with a class's name in each line")
    add("--preprocessing", metavar="NAME", type=one_of(CONVENTIONS), help="how images are prepared")
    add_offline(parser)


def add_seed(parser: argparse._ActionsContainer) -> None:
    """The option ``--seed``, where no other says it."""
    words = f"for --weights {RANDOM} (0)"
    parser.add_argument("--seed", metavar="N", type=whole(0), default=0, help=words)
