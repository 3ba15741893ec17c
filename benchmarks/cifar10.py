"""Where CIFAR-10 is taken from: its archive, or JPEG copies of its images where those are at hand."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "cifar10"
JPEG = "cifar10-jpeg.zip"
NOTES = {JPEG: " (CIFAR-10 kept as JPEG of quality 75, which costs a little accuracy)"}


def source(data: str) -> str:
    """The data as they are named; of "cifar10" the JPEG copies, if MINICNN_DATA's folder has them."""
    photos = Path(os.environ.get("MINICNN_DATA") or "nowhere", JPEG)
    return str(photos) if data == NAME and photos.exists() else data
