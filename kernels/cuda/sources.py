"""The text of a kernel: a ``.cu`` file of this folder with its constants and headers put in.

CuPy keeps compiled kernels on disk under their text. A header that the compiler reads by itself is no part of
that text, and a change in it would go unnoticed: so our own headers are pasted in.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

HERE = Path(__file__).parent
INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)

REAL = {"float32": "float", "float64": "double"}
"""What C calls the dtypes that kernels compute in."""


@functools.cache
def source(file: str, constants: tuple[tuple[str, str | int], ...] = ()) -> str:
    """A file's text after a ``#define`` for each constant, with each header in place of its first include.

    >>> print(source("ptx.cuh", (("real", "float"), ("TILE", 8))).partition("//")[0], end="")
    #define real float
    #define TILE 8
    """
    pasted: set[str] = set()

    def paste(match: re.Match[str]) -> str:
        name = match[1]
        if name in pasted:
            return ""
        pasted.add(name)
        return INCLUDE.sub(paste, _read(name))

    text = INCLUDE.sub(paste, _read(file))
    return "".join(f"#define {name} {value}\n" for name, value in constants) + text


@functools.cache
def _read(file: str) -> str:
    """A file of this folder. ``#pragma once`` is for editors: here each header is pasted once."""
    return (HERE / file).read_text(encoding="utf-8").replace("#pragma once\n", "")
