"""What each CUDA kernel takes of a GPU: registers, shared memory, and what did not fit into registers.

    python benchmarks/cuda_resources.py [sm_90 …]

It needs NVIDIA's compiler (pip install nvidia-cuda-nvrtc), but no GPU. Without an argument it lists what the
kernels need on Hopper. The last column is how many threads a multiprocessor can hold at a time, as far as
registers limit it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import nvrtc
from minicnn.kernels import registered
from minicnn.kernels.cuda.compiling import declared
from minicnn.kernels.cuda.sources import source

REGISTERS = 65536  # of one multiprocessor
MOST_THREADS = {"sm_75": 1024, "sm_86": 1536, "sm_89": 1536}  # and 2,048 on the others
WARP = 32


def threads_at_a_time(registers: int, architecture: str) -> int:
    """Of a kernel whose threads take so many registers each, which are dealt out to warps by 256.

    >>> threads_at_a_time(128, "sm_90")
    512
    """
    each = -(-registers * WARP // 256) * 256
    return min(REGISTERS // each * WARP, MOST_THREADS.get(architecture, 2048))


def rows(architecture: str) -> Iterator[tuple[str, ...]]:
    """One row for each kernel of each file and each set of constants."""
    for file, constants in declared():
        given = " ".join([file, *(f"{name}={value}" for name, value in constants)])
        for needs in nvrtc.compiled(source(file, constants), architecture)[0]:
            threads = threads_at_a_time(needs.registers, architecture)
            numbers = (needs.registers, needs.shared, needs.stack, needs.spilled, threads)
            yield given, needs.kernel, *map(str, numbers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("architectures", nargs="*", default=["sm_90"], help="such as sm_80")
    if nvrtc.library() is None:
        parser.error("NVIDIA's compiler is not installed: pip install nvidia-cuda-nvrtc")
    registered("cuda")  # imports all that declare sources
    for architecture in parser.parse_args().architectures:
        table = Table(title=architecture)
        for name in ("source", "kernel"):
            table.add_column(name, no_wrap=True)
        for name in ("registers", "shared", "local", "spilled", "threads"):
            table.add_column(name, justify="right")
        for row in rows(architecture):
            table.add_row(*row)
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
