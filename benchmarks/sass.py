"""The GPU's own instructions: how many a kernel's inner loop has, and how many of them multiply.

A multiprocessor issues four instructions in each cycle, whatever they do. Where a loop multiplies as fast as
that allows, all the rest of it, above all finding out where numbers are, takes time from the multiplications:
this can be read from the code, and no GPU is needed for it.

The disassembler comes from the wheel ``nvidia-cuda-nvdisasm``, or from a CUDA toolkit.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks import nvrtc

MULTIPLY = ("FFMA", "DFMA", "HMMA")
"""One number for each lane, of 32 or of 64 bits; and a product of fragments on tensor cores."""

KERNEL = re.compile(r"\.text\.(\w+):")
LABEL = re.compile(r"(\.L_\w+):")
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(\w+)[^;]*?(?:`\((\.L_\w+)\))?\s*;")


class Loop(NamedTuple):
    """An inner loop: the instructions of one round, and those of them that multiply."""

    instructions: int
    multiplications: int


@functools.cache
def disassembler() -> str | None:
    """Where nvdisasm is, or None."""
    for path in nvrtc.in_wheels("nvdisasm*"):
        if path.stem == "nvdisasm" and path.is_file():
            return str(path)
    return shutil.which("nvdisasm")


def loops(text: str, architecture: str) -> dict[str, Loop]:
    """For each kernel of a source that has one, the loop that multiplies most.

    Raises:
        RuntimeError: there is no disassembler, or the source has errors.
    """
    tool = disassembler()
    if tool is None:
        raise RuntimeError("nvdisasm is not installed: pip install nvidia-cuda-nvdisasm")
    with tempfile.TemporaryDirectory(prefix="minicnn-sass-") as folder:
        file = Path(folder) / "kernels.cubin"
        file.write_bytes(nvrtc.binary(text, architecture))
        code = subprocess.run([tool, "-c", str(file)], capture_output=True, text=True, check=True).stdout
    found = {name: max(_loops(lines), key=lambda loop: loop[1]) for name, lines in _kernels(code)}
    return {name: loop for name, loop in found.items() if loop.multiplications}


def _kernels(code: str) -> Iterator[tuple[str, list[str]]]:
    """Each kernel's name and lines."""
    parts = KERNEL.split(code)[1:]
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        yield name, body.partition(".section")[0].splitlines()


def _loops(lines: Iterable[str]) -> Iterator[Loop]:
    """What each jump back goes through again; and no loop at all.

    >>> code = [".L_1:", "/*00*/  FFMA R1, R1, R1, R1 ;", "/*10*/  IADD3 R2, R2, R2, R2 ;"]
    >>> list(_loops([*code, "/*20*/  @!P0 BRA `(.L_1) ;", "/*30*/  EXIT ;"]))
    [Loop(instructions=3, multiplications=1), Loop(instructions=0, multiplications=0)]
    """
    labels: dict[str, int] = {}
    names: list[str] = []
    for line in lines:
        if label := LABEL.match(line):
            labels[label[1]] = len(names)
        elif instruction := INSTRUCTION.match(line):
            name, to = instruction.groups()
            names.append(name)
            if name == "BRA" and to in labels:
                loop = names[labels[to] :]
                yield Loop(len(loop), sum(name in MULTIPLY for name in loop))
    yield Loop(0, 0)
