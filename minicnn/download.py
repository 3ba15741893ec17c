"""Downloading one file from the first mirror that has the right one.

What arrives is judged by the SHA-256 of its *unpacked* bytes, because each mirror of MNIST wraps the
same bytes in a gzip stream of its own.  A download grows in a hidden file beside the target and is
renamed only when it has proved right, so that the target is either absent or complete.

A download that breaks off goes on from there: at once while that gets it further, or the next time it is
asked for.  The server must help (RFC 9110, sections 13 and 14): it says which version of the file it sends
(ETag, Last-Modified) and that parts may be asked for (Accept-Ranges), and the next request says

    Range: bytes=1000-      send what comes after the 1,000 bytes that are here,
    If-Range: "v1"          but if the file is no longer that version, all of it.

From other servers nothing is kept.
"""

import contextlib
import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from minicnn.partial import Part, Refused, beside, part_name

CHUNK = 2**16

ATTEMPTS = 5
"""How often one mirror is asked, as long as each time some more of the file arrives."""

Advance = Callable[[int, int | None], None]
"""Called with the number of bytes so far and, where the server tells it, the number in all."""


class DownloadError(OSError):
    """No mirror delivered the file; the message gives each one's reason, and the way to do it by hand.

    >>> issubclass(DownloadError, OSError)
    True
    """


# ValueError: an address that cannot be parsed, in a redirection, or a number beyond reason.
_FAILURES = (Refused, OSError, ValueError, http.client.HTTPException)


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
    packed: bool = False,
) -> Path:
    """Download `target` from the first of `urls` that sends it whole and unaltered.

    `sha256` (hexadecimal, or the first 8 digits of it or more) is that of the content: of the unpacked
    bytes where the name of `target` ends in ``.gz``, of the file itself otherwise or if `packed`.  At most
    `max_bytes` are downloaded, and at most `max_unpacked` bytes come out of them.  `timeout` (seconds)
    bounds every wait for the server, `total_timeout` the transfer of one mirror's file.  `progress` shows a
    bar of the bytes on stderr.

    The file appears under its name only when it is complete and right; on failure, Ctrl-C included, nothing
    is left behind but what the next try can go on from, ``.NAME.part`` and ``.NAME.part.version``.  An
    existing `target` is replaced.  Two processes may download the same file.  Returns the target's path.

    Raises ValueError, before anything is asked of the network, when `urls` is empty or holds anything
    but http and https addresses, or `sha256` is none; :class:`DownloadError` when every mirror failed.

    >>> fetch(["file:///etc/hosts"], "hosts", sha256="0" * 64, max_bytes=99, max_unpacked=99)
    Traceback (most recent call last):
    ValueError: fetch: 'file:///etc/hosts' is not an http or https address
    """
    target = Path(target)
    if isinstance(urls, str) or not urls:
        raise ValueError(f"fetch: urls must be a list of at least one address, not {urls!r}")
    for url in urls:
        _check_address("fetch", url)
    if not re.fullmatch("[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"fetch: sha256 is {sha256!r}, but 8 to 64 hexadecimal digits are expected")

    reasons = []
    for url in urls:
        try:
            with beside(target) as part, _bar(target.name, progress) as advance:
                while True:
                    resumed = part.size > 0
                    try:
                        _transfer(url, part, max_bytes, timeout, total_timeout, advance)
                        _verify(part.path, target.suffix == ".gz" and not packed, sha256, max_unpacked)
                        break
                    except Refused:
                        part.clear()
                        if not resumed:  # else what was wrong may have been the beginning, of another day
                            raise
                part.become(target)
                return target
        except _FAILURES as error:
            reasons.append(f"{url}: {_reason(error)}")
    kept = "; what has arrived is kept for the next try" if part_name(target).exists() else ""
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(reasons)}{kept}); get the file by other means "
        f"and put it at {target}"
    )


def fetch_text(url: str, *, max_bytes: int = 10_000, timeout: float = 30.0) -> str:
    """The short text at an address.

    Raises ValueError for anything but http and https addresses, :class:`DownloadError` when it cannot be had
    or is longer than `max_bytes`.

    >>> fetch_text("file:///etc/hosts")
    Traceback (most recent call last):
    ValueError: fetch_text: 'file:///etc/hosts' is not an http or https address
    """
    _check_address("fetch_text", url)
    try:
        with _opener().open(_request(url), timeout=timeout) as response:
            content = response.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise Refused(f"sends more than the bound of {max_bytes:,} bytes")
        return content.decode("utf-8", errors="replace")
    except _FAILURES as error:
        raise DownloadError(f"{url}: {_reason(error)}") from error


def _check_address(function: str, url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(f"{function}: {url!r} is not an http or https address")


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


def _request(url: str, headers: dict[str, str] | None = None) -> urllib.request.Request:
    plain = {"User-Agent": "minicnn", "Accept-Encoding": "identity"}
    return urllib.request.Request(url, headers={**plain, **(headers or {})})


def _transfer(
    url: str, part: Part, max_bytes: int, timeout: float, total_timeout: float, advance: Advance
) -> None:
    """Receive the file, and where the connection breaks go on from there, as long as that gets further."""
    deadline = time.monotonic() + total_timeout
    for left in reversed(range(ATTEMPTS)):
        size = part.size
        try:
            return _receive(url, part, max_bytes, timeout, deadline, advance)
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "code", None) == 416 and size and left:
                part.clear()  # there is no such byte: the file is shorter now
            elif not (left and part.kept and part.size > size and time.monotonic() < deadline):
                raise


def _receive(url: str, part: Part, max_bytes: int, timeout: float, deadline: float, advance: Advance) -> None:
    """Append to `part` what is missing of the file, all of it, and in all never more than `max_bytes`."""
    with _opener().open(_request(url, part.conditions(url)), timeout=timeout) as response:
        total = part.begin(url, response.headers, partial=response.status == 206)
        if total is not None and total > max_bytes:
            raise Refused(f"announces {total:,} bytes, the bound is {max_bytes:,}")
        advance(part.size, total)
        # read1 returns after one packet: a server that sends a byte now and then cannot hold us
        # beyond the deadline.  Unlike read, it does not notice a body that ends too early.
        while chunk := response.read1(CHUNK):
            if part.size + len(chunk) > max_bytes:
                raise Refused(f"sends more than the bound of {max_bytes:,} bytes")
            part.write(chunk)
            advance(part.size, total)
            if time.monotonic() > deadline:
                raise TimeoutError(f"too slow, {part.size:,} bytes in the time allowed")
    if total is not None and part.size < total:
        raise ConnectionError(f"truncated, {part.size:,} bytes of the {total:,} announced")


def _verify(path: Path, packed: bool, sha256: str, max_unpacked: int) -> None:
    """Compare the SHA-256 of the content, unpacking in bounded steps where it is packed."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        try:
            for chunk in _unpack(file) if packed else iter(lambda: file.read(CHUNK), b""):
                size += len(chunk)
                if size > max_unpacked:
                    raise Refused(f"unpacks to more than the bound of {max_unpacked:,} bytes")
                digest.update(chunk)
        except zlib.error as error:
            raise Refused(f"not a sound gzip file ({error})") from error
    if not digest.hexdigest().startswith(sha256.lower()):
        raise Refused(f"wrong content, its SHA-256 is {digest.hexdigest()} and not {sha256.lower()}")


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
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
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
