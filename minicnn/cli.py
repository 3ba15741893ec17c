"""The command line: ``minicnn train``, ``models``, ``summary`` and ``gradcheck``.

Whatever a user can get wrong is one line on stderr: exit code 2 for a wrong command or wrong input, 1 for
what failed on the way. A traceback means a mistake in minicnn. What only one command needs is imported
when that command runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import minicnn
from minicnn.backend import (
    BACKEND_VARIABLE,
    BACKENDS,
    DEVICES,
    OutOfGPUMemory,
    default_device,
    resolve,
    unknown,
)

WRONG, FAILED = 2, 1
"""Exit codes: the command or its input is wrong; something failed while it ran."""


class Stop(Exception):
    """An end with an exit code, and the line that says why."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    >>> main(["--version"])
    minicnn 0.1.0
    0
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows no × gets a ? rather than an error
            stream.reconfigure(errors="replace")
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except Stop as stop:
        return _complain(str(stop), stop.code)
    except KeyboardInterrupt:
        return _complain("interrupted", FAILED)
    except BrokenPipeError:  # as with `minicnn models | head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (Python flushes stdout once more when it ends)
        return FAILED
    except OSError as error:
        return _complain(_os_error(error), FAILED)
    except OutOfGPUMemory as error:
        return _complain(str(error), FAILED)
    except MemoryError:
        return _complain("not enough memory; a smaller --batch-size needs less", FAILED)


def _run(arguments: list[str]) -> int:
    parser, commands = _parser()
    if not arguments:
        raise Stop(WRONG, f"a command is needed: {', '.join(commands)}; `minicnn --help` says more")
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        raise Stop(WRONG, f"command {unknown(arguments[0], commands)}")
    try:
        given, strange = parser.parse_known_args(arguments)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    if strange:
        command = commands[given.command]
        options = [option for action in command._actions for option in action.option_strings]
        if strange[0].startswith("-"):
            raise Stop(WRONG, f"{given.command}: option {unknown(strange[0].partition('=')[0], options)}")
        raise Stop(WRONG, f"{given.command}: there is one argument too many, {strange[0]!r}")
    return given.run(given)


def _complain(line: str, code: int) -> int:
    print(f"minicnn: {' '.join(line.split())}", file=sys.stderr)
    return code


def _os_error(error: OSError) -> str:
    if error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return error.strerror or str(error)


@contextlib.contextmanager
def _input() -> Iterator[None]:
    """A block in which a ValueError says that what the user gave is wrong."""
    try:
        yield
    except ValueError as error:
        raise Stop(WRONG, str(error)) from error


# ----------------------------------------------------------------------------------------------- commands


def train(given: argparse.Namespace) -> int:
    """Train a network and write what came out of it to a folder."""
    from rich.console import Console

    from minicnn.train.options import Options
    from minicnn.train.run import RunError, prepare

    options = {
        name: value
        for name, value in vars(given).items()
        if name in Options.__dataclass_fields__ and value is not None
    }
    with _input():
        run = prepare(
            options,
            data_dir=given.data_dir,
            out=given.out,
            resume=given.resume,
            device=given.device,
            version=minicnn.__version__,
        )
    try:
        run.execute(Console(), plots=given.plots)
    except RunError as error:
        raise Stop(FAILED, str(error)) from error
    return 0


def models(given: argparse.Namespace) -> int:
    """List the networks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("input", no_wrap=True)
    table.add_column("parameters", no_wrap=True, justify="right")
    table.add_column("description")
    for name in minicnn.models.list():
        about = minicnn.models.info(name)
        parameters = about.parameters
        shape = "×".join(map(str, about.input_shape))
        words = about.description.removesuffix(f": {parameters:,} parameters.")  # which has its column
        table.add_row(name, shape, f"{parameters:,}", words)
    Console().print(table, highlight=False)
    return 0


def summary(given: argparse.Namespace) -> int:
    """Print what a network costs, layer by layer."""
    from minicnn.summary import summarize

    shape = minicnn.models.info(given.model).input_shape
    print(summarize(minicnn.models.create(given.model), shape, given.batch_size, name=given.model))
    return 0


def gradcheck(given: argparse.Namespace) -> int:
    """Check every gradient against finite differences, and print a line for each as it is done."""
    with _input():
        if given.device is not None:
            device = resolve(given.device)
            if device == "cpu" and given.backend == "cuda":
                raise ValueError("gradcheck: --backend cuda computes on the GPU, but --device is cpu")
            given.backend = "cuda" if device == "cuda" else given.backend
        setting = minicnn.use(given.backend)
    with setting:
        return _gradcheck(given)


def _gradcheck(given: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from minicnn import gradcases

    mode = "elementwise" if given.elementwise else "directional"
    with _input():
        rows = gradcases.run(only=given.only or None, mode=mode, seed=given.seed)
    console = Console()
    other = "; the compiled ones too with --backend numba" if given.backend == "numpy" else ""
    console.print(f"kernels: {given.backend}{other}", highlight=False)
    heading = f"{'operation':<32} {'case':<38} {'algorithm':<14} {'error':>8}"
    console.print(heading, style="bold", soft_wrap=True)
    total, wrong = 0, 0
    for row in rows:
        total, wrong = total + 1, wrong + (not row.ok)
        line = Text(f"{row.operation:<32} {row.case:<38} {row.algorithm:<14} {row.error:8.1e}  ")
        console.print(
            line + (Text("right", "green") if row.ok else Text("WRONG", "bold red")), soft_wrap=True
        )
        if not row.ok:
            console.print(Text(row.detail), soft_wrap=True)
    if wrong:
        raise Stop(FAILED, f"gradcheck: {wrong} of {total} gradients are wrong")
    console.print(f"all {total} gradients are right", highlight=False)
    return 0


# ------------------------------------------------------------------------------------------------ options


class _Parser(argparse.ArgumentParser):
    """Complains in one line, and completes no abbreviations, whose meaning changes as options are added."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("minicnn").strip()
        raise Stop(WRONG, f"{command}: {message}" if command else message)


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    parser = _Parser(prog="minicnn", description="Convolutional networks, from scratch.")
    parser.add_argument("--version", action="version", version=f"minicnn {minicnn.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], epilog: str = "") -> _Parser:
        words = (run.__doc__ or "").strip()
        added = commands.add_parser(
            run.__name__,
            help=words[0].lower() + words[1:].rstrip("."),
            description=words,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    _add_train_options(command(train, epilog=_defaults_in_words()))
    command(models)
    costs = command(summary)
    _add_model(costs, "NAME")
    costs.add_argument("--batch-size", type=_whole(1), default=1, metavar="N", help="images at a time (1)")
    checks = command(gradcheck)
    checks.add_argument(
        "--elementwise", action="store_true", help="every element by itself, rather than random directions"
    )
    checks.add_argument("--only", action="append", metavar="NAME", help="this operation only (repeatable)")
    checks.add_argument(
        "--backend",
        metavar="NAME",
        type=_one_of(BACKENDS),
        default=os.environ.get(BACKEND_VARIABLE, "numpy"),
        help=f"kernels: numpy, or compiled first: numba, cuda (on a GPU) ({BACKEND_VARIABLE}, else numpy)",
    )
    checks.add_argument(
        "--device", metavar="NAME", type=_one_of((*DEVICES, "auto")), help="cuda is short for --backend cuda"
    )
    checks.add_argument("--seed", type=_whole(0), default=0, metavar="N", help="for the inputs (0)")
    return parser, dict(commands.choices)


def _add_model(parser: _Parser, metavar: str) -> None:
    known = minicnn.models.list()
    parser.add_argument("model", metavar=metavar, type=_one_of(known), help="one that `minicnn models` lists")


def _add_train_options(parser: _Parser) -> None:
    from minicnn.kernels.registry import PRECISIONS
    from minicnn.train.recipes import OPTIMIZERS, RECIPES, SCHEDULES

    # The defaults are None here, so that --resume can tell what was given from what was not.
    def option(name: str, metavar: str, help: str, type: Callable[[str], Any] = str) -> None:
        parser.add_argument(name, metavar=metavar, help=help, type=type, default=None)

    _add_model(parser, "MODEL")
    option("--data", "NAME", f"{' or '.join(RECIPES)} (digits, which are in the package)", _one_of(RECIPES))
    option("--data-dir", "DIR", "where the data's files are (MINICNN_DATA, else they are downloaded)")
    option("--validation", "N", "images held out of the training: a number, or a fraction", _part)
    option("--epochs", "N", "passes over the training images", _whole(1))
    option("--batch-size", "N", "images in a step", _whole(1))
    option("--optimizer", "NAME", "see below", _one_of(OPTIMIZERS))
    option("--lr", "RATE", "learning rate", _number)
    option("--momentum", "M", "for sgd, nesterov and rmsprop", _number)
    option("--weight-decay", "D", "how strongly weights are drawn to zero", _number)
    option("--label-smoothing", "S", "the share of a label that goes to all classes alike", _share)
    option("--schedule", "NAME", "of the learning rate, see below", _one_of(SCHEDULES))
    words = "what factors may be rounded to on a GPU: tf32, bf16, or fp32: not at all (fp32)"
    option("--precision", "NAME", words, _one_of(PRECISIONS))
    option("--seed", "N", "for the splits, the weights, the order and dropout (0)", _whole(0))
    parser.add_argument(
        "--device",
        metavar="NAME",
        type=_one_of((*DEVICES, "auto")),
        default=default_device() if BACKEND_VARIABLE in os.environ else "auto",
        help=f"cpu, cuda, or auto: the GPU if there is one ({BACKEND_VARIABLE}, else auto)",
    )
    option("--out", "DIR", "folder for everything that is written (runs/MODEL-DATA)", Path)
    parser.add_argument("--resume", action="store_true", help="go on where a training was interrupted")
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="draw no pictures")


def _defaults_in_words() -> str:
    from minicnn.train.options import complete
    from minicnn.train.recipes import OPTIMIZERS, RECIPES, SCHEDULES, TUNED

    def section(title: str, rows: dict[str, str]) -> str:
        return "\n".join([title, *(f"  {name:<18} {words}" for name, words in rows.items())])

    recipes = {}
    for model, data in [*TUNED, *(("others", name) for name in RECIPES)]:
        recipes[f"{model} on {data}"] = str(complete({"model": model, "data": data}))
    optimizers = {
        name: f"lr {kind.lr:g}, weight decay {kind.weight_decay:g}"
        + ("" if kind.momentum is None else f", momentum {kind.momentum:g}")
        for name, kind in OPTIMIZERS.items()
    }
    return "\n\n".join(
        [
            section("where nothing else is given:", recipes),
            section("optimizers, and their own defaults:", optimizers),
            section("schedules:", {name: kind.description for name, kind in SCHEDULES.items()}),
        ]
    )


def _one_of(known: Any) -> Callable[[str], str]:
    def name(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(unknown(text, known))
        return text

    return name


def _whole(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}, but a whole number of at least {least} is expected")

    return whole


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}, but a number of at least 0 is expected")


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}, but a number from 0 to below 1 is expected")


def _part(text: str) -> int | float:
    """A count as int, a fraction below 1 as float."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if text.strip().isdecimal():
            return int(text)
        if 0 < value < 1:
            return value
    raise argparse.ArgumentTypeError(f"{text!r}, but a whole number or a fraction below 1 is expected")
