"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32×32 pixels each, 50,000 for training and 10,000 for testing.

They are published in two archives that hold the same: the *binary* one, which is downloaded, and the one for
Python, whose pickles are read without being executed.  Either is read as it is, packed or unpacked; from a packed
one the files that are wanted are read in passing, and nothing is written.

A binary file is one record after the other: the label, one byte (in CIFAR-100 two, of which the second is that of
the 100 classes), and 3,072 bytes of red, green and blue, 32 rows of 32 each.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.data.idx import DataError
from minicnn.data.mnist import cache_folder, named_folder
from minicnn.download import fetch

IMAGE_BYTES = 3 * 32 * 32

MAX_FILE_BYTES = 2**28
"""More than any of the files takes."""

URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Kind:
    """One of the two: its archive, with its size and SHA-256, and what is in it."""

    name: str
    title: str
    archive: str
    size: int
    sha256: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int
    classes: int


CIFAR10 = Kind(
    "cifar10",
    "CIFAR-10",
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    "batches.meta.txt",
    label_bytes=1,
    classes=10,
)

CIFAR100 = Kind(
    "cifar100",
    "CIFAR-100",
    "cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    "fine_label_names.txt",
    label_bytes=2,
    classes=100,
)
