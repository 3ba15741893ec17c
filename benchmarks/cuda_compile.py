"""Compile every CUDA kernel for the GPU at hand, on all cores, into CuPy's cache.

Whatever runs afterwards finds its kernels there. One after the other, as they are needed, they take minutes.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import gpu, machine
from benchmarks.options import Parser
from benchmarks.problem import ended
from minicnn import kernels
from minicnn.kernels.cuda.compiling import OPTIONS, Constants, declared
from minicnn.kernels.cuda.sources import source

MOST = 8
"""Processes at a time: each takes some hundred MB of the GPU's memory, though nothing runs there."""


def main(arguments: list[str]) -> None:
    """Compile what has been declared; the first error ends it."""
    made = Parser(__doc__)
    made.add_argument("--quick", action="store_true", help="see that it runs: one source only")
    given = made.parse_args(arguments)
    gpu.require()
    kernels.registered("cuda")  # imports all that declare sources
    every = list(declared())[: 1 if given.quick else None]
    start = time.perf_counter()
    processes = min(len(machine.cores()), len(every), MOST)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, (file, took) in enumerate(pool.imap_unordered(compiled, every), 1):
            print(f"{number:3} of {len(every)}: {file}, {took:.1f} s", flush=True)
    print(f"{len(every)} sources in {time.perf_counter() - start:.0f} s, on {processes} cores")


def compiled(wanted: tuple[str, Constants]) -> tuple[str, float]:
    """Compile one source with its constants, and say how long it took."""
    import cupy

    file, constants = wanted
    start = time.perf_counter()
    cupy.RawModule(code=source(file, constants), options=OPTIONS, backend="nvrtc").compile()
    return file, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(ended(main))
