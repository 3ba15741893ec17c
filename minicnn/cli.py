"""The command line: which command is meant, and how whatever goes wrong is told.

Whatever a user can get wrong is one line on stderr: exit code 2 for a wrong command or wrong input, 1 for
what failed on the way. A traceback means a mistake in minicnn. The commands themselves are in ``commands/``.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import minicnn
from minicnn.backend import OutOfGPUMemory, unknown
from minicnn.commands import COMMANDS
from minicnn.commands.arguments import FAILED, WRONG, Stop
from minicnn.data import DataError


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
        with warnings.catch_warnings():
            warnings.showwarning = _teller()
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
    except DataError as error:  # a file among many, into which nobody had looked before
        return _complain(str(error), FAILED)
    except OutOfGPUMemory as error:
        return _complain(str(error), FAILED)
    except MemoryError:
        return _complain("not enough memory; smaller images, or a smaller --batch-size, need less", FAILED)


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


def _teller() -> Callable[..., None]:
    """What shows a warning as one line, once, without the place in minicnn that it comes from."""
    told = set()

    def tell(message: Warning | str, *where: Any) -> None:
        line = f"minicnn: {' '.join(str(message).split())}"
        if line not in told:
            told.add(line)
            print(line, file=sys.stderr)

    return tell


def _os_error(error: OSError) -> str:
    if error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return error.strerror or str(error)


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
    for name, command in COMMANDS.items():
        words = (command.run.__doc__ or "").strip()
        added = commands.add_parser(
            name,
            help=words[0].lower() + words[1:].rstrip("."),
            description=words,
            epilog=command.epilog() if hasattr(command, "epilog") else "",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=command.run)
        if hasattr(command, "add_options"):
            command.add_options(added)
    return parser, dict(commands.choices)
