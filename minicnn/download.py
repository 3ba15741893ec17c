"""Downloading one file from the first mirror that has the right one.

What arrives is judged by the SHA-256 of its *unpacked* bytes, because each mirror of MNIST wraps the
same bytes in a gzip stream of its own.  A download goes to a temporary file beside the target and is
renamed only when it has proved right, so that the target is either absent or complete.
"""

import contextlib
import hashlib
import http.client
import os
import secrets
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

CHUNK = 2**16

Advance = Callable[[int, int | None], None]
"""Called with the number of bytes so far and, where the server tells it, the number in all."""


class DownloadError(OSError):
    """No mirror delivered the file; the message gives each one's reason, and the way to do it by hand.

    >>> issubclass(DownloadError, OSError)
    True
    """


class _Refused(Exception):
    """Why what one mirror sends is not taken."""


def fetch(
    urls: Sequence[str],
    target: str | os.PathLike[str],
    *,
    sha256: str,
    max_bytes: int,
    max_unpacked: int,
    timeout: float = 30.0,
    total_timeout: float = 1800.0,
    progress: bool = True,
) -> Path:
    """Download `target` from the first of `urls` that sends it whole and unaltered.

    `sha256` (hexadecimal) is that of the content: of the unpacked bytes where the name of `target`
    ends in ``.gz``, of the file itself otherwise.  At most `max_bytes` are downloaded, and at most
    `max_unpacked` bytes come out of them.  `timeout` (seconds) bounds every wait for the server,
    `total_timeout` the transfer of one mirror's file.  `progress` shows a bar of the bytes on stderr.

    The file appears under its name only when it is complete and right; on failure, Ctrl-C included,
    nothing is left behind.  An existing `target` is replaced.  Returns the target's path.

    Raises ValueError, before anything is asked of the network, when `urls` is empty or holds anything
    but http and https addresses; :class:`DownloadError` when every mirror failed.

    >>> fetch(["file:///etc/hosts"], "hosts", sha256="0" * 64, max_bytes=99, max_unpacked=99)
    Traceback (most recent call last):
    ValueError: fetch: 'file:///etc/hosts' is not an http or https address
    """
    target = Path(target)
    if isinstance(urls, str) or not urls:
        raise ValueError(f"fetch: urls must be a list of at least one address, not {urls!r}")
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"fetch: {url!r} is not an http or https address")

    reasons = []
    for url in urls:
        try:
            with _temporary_beside(target) as temporary:
                with temporary.open("wb") as file, _bar(target.name, progress) as advance:
                    _receive(url, file, max_bytes, timeout, time.monotonic() + total_timeout, advance)
                    file.flush()
                    os.fsync(file.fileno())
                _verify(temporary, target.suffix == ".gz", sha256, max_unpacked)
                temporary.replace(target)
                return target
        # ValueError: an address that cannot be parsed, in a redirection, or a number beyond reason.
        except (_Refused, OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {_reason(error)}")
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(reasons)}); get the file by other means "
        f"and put it at {target}"
    )


@contextlib.contextmanager
def _temporary_beside(target: Path) -> Iterator[Path]:
    """A path in the target's folder (a rename is atomic only there), removed on the way out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows http and https only, so that no redirection leads to file: or ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _receive(
    url: str, file: BinaryIO, max_bytes: int, timeout: float, deadline: float, advance: Advance
) -> None:
    """Copy the body of `url` into `file`, never more than `max_bytes`, and the whole of it."""
    request = urllib.request.Request(url, headers={"User-Agent": "minicnn", "Accept-Encoding": "identity"})
    with _opener().open(request, timeout=timeout) as response:
        announced = response.headers.get("Content-Length", "")
        total = int(announced) if announced.isascii() and announced.isdigit() else None
        if total is not None and total > max_bytes:
            raise _Refused(f"announces {total:,} bytes, the bound is {max_bytes:,}")
        received = 0
        # read1 returns after one packet: a server that sends a byte now and then cannot hold us
        # beyond the deadline.  Unlike read, it does not notice a body that ends too early.
        while chunk := response.read1(CHUNK):
            received += len(chunk)
            if received > max_bytes:
                raise _Refused(f"sends more than the bound of {max_bytes:,} bytes")
            if time.monotonic() > deadline:
                raise _Refused(f"too slow, {received:,} bytes in the time allowed")
            file.write(chunk)
            advance(received, total)
    if total is not None and received < total:
        raise _Refused(f"truncated, {received:,} bytes of the {total:,} announced")


def _verify(path: Path, packed: bool, sha256: str, max_unpacked: int) -> None:
    """Compare the SHA-256 of the content, unpacking in bounded steps where it is packed."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        try:
            for chunk in _unpack(file) if packed else iter(lambda: file.read(CHUNK), b""):
                size += len(chunk)
                if size > max_unpacked:
                    raise _Refused(f"unpacks to more than the bound of {max_unpacked:,} bytes")
                digest.update(chunk)
        except zlib.error as error:
            raise _Refused(f"not a sound gzip file ({error})") from error
    if digest.hexdigest() != sha256.lower():
        raise _Refused(f"wrong content, its SHA-256 is {digest.hexdigest()} and not {sha256.lower()}")


def _unpack(file: BinaryIO) -> Iterator[bytes]:
    """The content of a gzip file, at most `CHUNK` bytes at a time whatever the compression."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    while packed := file.read(CHUNK):
        while packed and not inflate.eof:
            yield inflate.decompress(packed, CHUNK)
            packed = inflate.unconsumed_tail
        if inflate.eof:
            break
    if not inflate.eof:
        raise zlib.error("it breaks off before its end")
    if inflate.unused_data or file.read(1):
        raise zlib.error("something follows its end")


@contextlib.contextmanager
def _bar(name: str, progress: bool) -> Iterator[Advance]:
    if not progress:
        yield lambda received, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(name, total=None)
        yield lambda received, total: display.update(task, completed=received, total=total)


def _reason(error: Exception) -> str:
    """What went wrong, as one short printable line: part of it may be the server's own words."""
    if isinstance(error, urllib.error.HTTPError):
        reason = f"HTTP {error.code} {error.reason}"
    elif isinstance(error, urllib.error.URLError):
        reason = str(error.reason)
    elif isinstance(error, http.client.IncompleteRead):
        reason = "truncated, the connection closed in the middle"
    else:
        reason = str(error) or type(error).__name__
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split())[:200]
