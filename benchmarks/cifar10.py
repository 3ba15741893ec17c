"""Where CIFAR-10 is taken from: its archive, or JPEG copies of its images where those are at hand."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "cifar10"
JPEG = "cifar10-jpeg.zip"
NOTES = {JPEG: " (CIFAR-10 kept as JPEG of quality 75, which costs a little accuracy)"}


def source() -> str:
    """The path of the JPEG copies, where the folder that MINICNN_DATA names has them; else the name."""
    photos = Path(os.environ.get("MINICNN_DATA") or "nowhere", JPEG)
    return str(photos) if photos.exists() else NAME
