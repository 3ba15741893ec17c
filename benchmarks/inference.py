"""Inference of each network: one batch forward, without gradients, in evaluation mode.

Otherwise as train_step.py; compared before timing are the logits.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks.options import parse, parser
from benchmarks.problem import ended
from benchmarks.steps import table


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for."""
    table("inference", "inference", parse(parser(__doc__, "networks"), arguments))


if __name__ == "__main__":
    sys.exit(ended(main))
