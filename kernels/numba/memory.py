"""Freed memory is kept for the next step, which needs as much again.

NumPy's arrays come from C's malloc, and glibc's hands large ones back to the operating system when they are
freed. The next step gets fresh pages in their place, each of which costs about a microsecond at its first
write: a fifth of LeNet's training step, a tenth of ResNet-18's. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h
LARGEST = 32 << 20  # bytes, the most that every glibc takes; larger arrays come in pages of 2 MB


def keep_freed() -> None:
    """Let malloc keep what is freed, unless the environment has something else to say about it."""
    if sys.platform != "linux" or any(
        name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ
    ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
