"""From the name of weights to a file of them on this machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.download import DownloadError, fetch, fetch_text
from minicnn.models.published import Published, get_model_weights

ENVIRONMENT_VARIABLE = "MINICNN_WEIGHTS"

DEFAULT = "DEFAULT"

LARGEST = 1 << 30
"""More bytes than any published file has (the largest: 575 million)."""

PATIENCE = 12 * 3600.0
"""Seconds that a download may take; what has arrived by then is kept for the next try."""


# Keras's ResNets have the stride where the paper has it.
KERAS_OPTIONS = {f"resnet{depth}": {"stride_on": "1x1"} for depth in (50, 101, 152)}


class Found(NamedTuple):
    """What a user means by weights: a file that is there, published weights, or both.

    ``options`` are those with which the network computes what the weights were trained for.
    """

    path: Path | None
    published: Published | None
    options: Mapping[str, Any]

    @property
    def of_keras(self) -> bool:
        """Whether it is a file in Keras's format."""
        return self.path is not None and self.path.suffix == ".h5"


def find(network: str, weights: str | os.PathLike[str]) -> Found:
    """Tell what is meant: the name of weights published for this network, or else the path of a file.

    A file that has a published one's name is taken for that one.

    Raises ValueError for what is neither.

    >>> find("resnet50", "DEFAULT").published.name
    'IMAGENET1K_V2'
    >>> find("resnet50", "IMAGENET1K_V3")
    Traceback (most recent call last):
    ValueError: weights 'IMAGENET1K_V3': resnet50 has DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, and there is no
    file of that name
    """
    known = get_model_weights(network)
    names = {row.name: row for row in known}
    if known:
        names = {DEFAULT: known[-1], **names}
    if isinstance(weights, str) and weights in names:
        return Found(None, names[weights], names[weights].options)
    path = Path(weights)
    if path.exists():
        row = next((row for row in known if row.file == path.name), None)
        found = Found(path, row, row.options if row else {})
        return found._replace(options=KERAS_OPTIONS.get(network, {})) if found.of_keras else found
    has = ", ".join(names) or "no published ones"
    raise ValueError(f"weights {str(weights)!r}: {network} has {has}, and there is no file of that name")


def folder() -> Path:
    """Where weights are kept: what ``MINICNN_WEIGHTS`` names, else in the user's cache folder.

    >>> folder().name
    'weights'
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("minicnn", appauthor=False)) / "weights"


def download(published: Published, *, offline: bool = False, progress: bool = True) -> Path:
    """The file of these weights: the one that is in :func:`folder`, else it is downloaded into it.

    A download that breaks off goes on from there the next time. The file's SHA-256 is compared where it is
    known, also when the file has been there before. ``offline`` asks nothing of the network.

    Raises ValueError for a file with other content, FileNotFoundError when it is not there and ``offline``,
    :class:`DownloadError` when it cannot be downloaded.
    """
    path = folder() / published.file
    if path.is_file():
        _check(path, published)
        return path
    if offline:
        raise FileNotFoundError(
            f"{published.network}'s weights {published.name} are not on this machine: get {published.url} "
            f"and put it at {path}"
        )
    sha256, size = published.sha256, published.size and round(published.size * 2**20)
    if not sha256:
        sha256, size = _asked(published)
    bound = LARGEST if size is None else size + 2**20  # a published size is rounded
    return fetch(
        [published.url],
        path,
        sha256=sha256,
        max_bytes=bound,
        max_unpacked=bound,
        total_timeout=PATIENCE,
        progress=progress,
    )


def _check(path: Path, published: Published) -> None:
    if not published.sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(published.sha256):
        raise ValueError(
            f"{path}: not {published.network}'s weights {published.name}, its SHA-256 begins with "
            f"{found[:8]} and not with {published.sha256}; delete the file to have it downloaded again"
        )


def _asked(published: Published) -> tuple[str, int]:
    """A file's SHA-256 and size, as the hub has them in the pointer that stands for the file in Git (LFS)."""
    url = published.url.replace("/resolve/", "/raw/")
    pointer = fetch_text(url)
    digest = re.search(r"^oid sha256:([0-9a-f]{64})$", pointer, re.MULTILINE)
    size = re.search(r"^size ([0-9]{1,12})$", pointer, re.MULTILINE)
    if digest is None or size is None:
        raise DownloadError(f"{url}: does not tell the checksum of {published.file}")
    return digest[1], min(int(size[1]), LARGEST)
