"""One training step of each network: forward, cross-entropy, backward, SGD with momentum.

minicnn and PyTorch (in NCHW and in channels_last) start from the same weights, and must agree in the loss and
in the gradient to every parameter before anything is timed. Kept are images per second, the ratio of times
round by round, and the peak memory of each process.
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
    table("train", "train_step", parse(parser(__doc__, "networks"), arguments))


if __name__ == "__main__":
    sys.exit(ended(main))
