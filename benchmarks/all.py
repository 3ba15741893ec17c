"""Every benchmark of speed, then the READMEs' tables and the charts. About half an hour on two cores.

Options are handed on to each benchmark. What is interrupted keeps what it measured to the end, and can be
continued benchmark by benchmark.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import conv, inference, ladder, machine, report, scaling, train_step
from benchmarks.options import chosen, parse, parser
from benchmarks.problem import ended

ALL = {"train_step": train_step, "inference": inference, "ladder": ladder, "conv": conv, "scaling": scaling}


def main(arguments: list[str]) -> None:
    """Measure everything and report it; with --quick, only see that it runs."""
    made = parser(__doc__, f"benchmarks ({', '.join(ALL)})")
    given = parse(made, arguments)
    names = chosen(ALL, given.only)
    rest = _without_only(arguments)
    for name in names:
        print(f"== {name}", flush=True)
        ALL[name].main(rest)
    if given.out == report.FOLDER:
        report.write(machine.ROOT, report.FOLDER)


def _without_only(arguments: list[str]) -> list[str]:
    """The arguments for a benchmark, whose --only has another meaning."""
    if "--only" not in arguments:
        return arguments
    start = arguments.index("--only")
    end = next((i for i in range(start + 1, len(arguments)) if arguments[i].startswith("-")), len(arguments))
    return arguments[:start] + arguments[end:]


if __name__ == "__main__":
    sys.exit(ended(main))
