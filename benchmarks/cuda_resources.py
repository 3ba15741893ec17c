"""What each CUDA kernel takes of a GPU: registers, shared memory, what did not fit, and its inner loop.

    python benchmarks/cuda_resources.py [sm_90 …] [--only conv_tensor.cu …]

It needs NVIDIA's compiler and disassembler (pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm), but no GPU.
Without an argument it lists what the kernels need on Hopper, for all the constants that a file is compiled
with; those that never change, and those of 0, are left out. "threads" are how many a multiprocessor can hold
at a time, as far as registers limit it. "loop" counts the instructions of the loop that multiplies most, and
"multiply" those that do: single numbers or, on tensor cores, fragments.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import nvrtc, sass
from benchmarks.options import Parser, chosen
from benchmarks.problem import Problem, ended
from minicnn.kernels import registered
from minicnn.kernels.cuda.compiling import Constants, declared
from minicnn.kernels.cuda.sources import source

REGISTERS = 65536  # of one multiprocessor
MOST_THREADS = {"sm_75": 1024, "sm_86": 1536, "sm_89": 1536}  # and 2,048 on the others
WARP = 32
NUMBERS = ("registers", "shared", "local", "spilled", "threads", "loop", "multiply")


def threads_at_a_time(registers: int, architecture: str) -> int:
    """Of a kernel whose threads take so many registers each, which are dealt out to warps by 256.

    >>> threads_at_a_time(128, "sm_90")
    512
    """
    each = -(-registers * WARP // 256) * 256
    return min(REGISTERS // each * WARP, MOST_THREADS.get(architecture, 2048))


def short(constants: Constants, others: Sequence[Constants]) -> str:
    """The constants in which a file's variants differ.

    >>> short((("N", 2), ("WIDE", 0), ("real", "float")), [(("N", 4), ("WIDE", 1), ("real", "float"))])
    'N=2'
    """
    differing = [pair for pair in constants if any(pair not in other for other in others)]
    return " ".join(f"{name}={value}" for name, value in differing if value != 0)


def add_rows(table: Table, file: str, constants: Constants, words: str, architecture: str) -> None:
    """One row for each kernel of a file compiled with these constants, which only the first repeats."""
    labels = [file, words]
    text = source(file, constants)
    loops = sass.loops(text, architecture)
    for needs in nvrtc.compiled(text, architecture)[0]:
        threads = threads_at_a_time(needs.registers, architecture)
        numbers = (needs.registers, needs.shared, needs.stack, needs.spilled, threads)
        numbers += loops.get(needs.kernel, ())
        table.add_row(*labels, needs.kernel, *(f"{number:,}" for number in numbers))
        labels = ["", ""]


def main(arguments: Sequence[str]) -> None:
    """Print a table for each architecture."""
    registered("cuda")  # imports all that declare sources
    every = list(declared())
    known = ", ".join(nvrtc.ARCHITECTURES)
    made = Parser(__doc__)
    made.add_argument("architectures", nargs="*", default=["sm_90"], metavar="SM", help=f"of {known} (sm_90)")
    made.add_argument("--only", nargs="+", metavar="FILE", help="these files (all); * stands for anything")
    given = made.parse_args(arguments)
    files = chosen(dict.fromkeys(file for file, _ in every), given.only)
    if wrong := set(given.architectures) - set(nvrtc.ARCHITECTURES):
        raise Problem(f"architecture {min(wrong)!r} is not one of {known}")
    if nvrtc.library() is None:
        raise Problem("NVIDIA's compiler is not installed: pip install nvidia-cuda-nvrtc")
    if sass.disassembler() is None:
        raise Problem("NVIDIA's disassembler is not installed: pip install nvidia-cuda-nvdisasm")
    mine = [(file, constants) for file, constants in every if file in files]
    for architecture in given.architectures:
        table = Table(title=architecture)
        table.add_column("source", no_wrap=True)
        table.add_column("constants")  # what is too long for the terminal goes on in the next line
        table.add_column("kernel", no_wrap=True)
        for name in NUMBERS:
            table.add_column(name, justify="right", no_wrap=True, min_width=len(name))
        for file, constants in track(mine, architecture, console=Console(stderr=True), transient=True):
            words = short(constants, [other for name, other in every if name == file])
            add_rows(table, file, constants, words, architecture)
        Console(width=max(Console().width, 120)).print(table)


if __name__ == "__main__":
    sys.exit(ended(main))
