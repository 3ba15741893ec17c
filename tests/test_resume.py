"""Downloads that break off and go on, from a server that keeps the rules for it, or does not."""

import hashlib
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from http_server import Answer, Server, body, redirect, status

from minicnn import download
from minicnn.download import DownloadError, fetch, fetch_text
from minicnn.partial import Part, beside

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = bytes(reversed(CONTENT))
HALF = len(CONTENT) // 2


def ranges(
    content: bytes = CONTENT,
    tag: str | None = '"v1"',
    sends: int | None = None,
    accept: str | None = "bytes",
    modified: str | None = None,
    lies: str | None = None,
) -> Answer:
    """A file of which parts may be asked for; each answer breaks off after `sends` bytes.

    `lies` is what it says of the part that it sends, in place of the truth.
    """

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
        start = int(asked[1]) if asked and request.headers["If-Range"] in (tag, modified) else 0
        if start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            honest = f"bytes {start}-{len(content) - 1}/{len(content)}"
            request.send_header("Content-Range", lies or honest)
        for name, value in (("ETag", tag), ("Accept-Ranges", accept), ("Last-Modified", modified)):
            if value is not None:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start:][:sends])

    return answer


def fetched(urls: list[str], target: Path, **options: object) -> Path:
    settings: dict = {
        "sha256": SHA256,
        "max_bytes": 10**6,
        "max_unpacked": 10**6,
        "timeout": 5.0,
        "progress": False,
    }
    return fetch(urls, target, **(settings | options))


def starts(server: Server) -> list[int]:
    """Where each request wanted to begin."""
    return [int((headers["Range"] or "bytes=0-")[6:-1]) for headers in server.headers]


def kept(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def begun(server: Server, target: Path, path: str = "/f", size: int = HALF, **options: object) -> str:
    """A download that was given up after `size` bytes; the address."""
    url = server.url(path, ranges(sends=size, **options))
    old, download.ATTEMPTS = download.ATTEMPTS, 1
    try:
        with pytest.raises(DownloadError, match="truncated"):
            fetched([url], target)
    finally:
        download.ATTEMPTS = old
    server.headers.clear()
    return url


def assert_alone(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("progress", [False, True])
def test_a_connection_that_breaks_is_taken_up_again(server: Server, tmp_path: Path, progress: bool) -> None:
    url = server.url("/f", ranges(sends=30_000))
    assert fetched([url], tmp_path / "f", progress=progress) == tmp_path / "f"
    assert starts(server) == [0, 30_000, 60_000, 90_000]
    assert {headers["If-Range"] for headers in server.headers[1:]} == {'"v1"'}
    assert_alone(tmp_path / "f")


def test_a_server_that_gives_little_is_not_asked_for_ever(server: Server, tmp_path: Path) -> None:
    url = server.url("/f", ranges(sends=1))
    with pytest.raises(DownloadError, match="truncated, 5 bytes of the 102,400 announced; what has arrived"):
        fetched([url], tmp_path / "f")
    assert starts(server) == [0, 1, 2, 3, 4]
    assert kept(tmp_path / "f").read_bytes() == CONTENT[:5]


def test_the_next_try_goes_on(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "f"
    url = begun(server, target)
    assert kept(target).read_bytes() == CONTENT[:HALF]
    assert not target.exists()
    server.url("/f", ranges())
    fetched([url], target)
    assert starts(server) == [HALF]
    assert_alone(target)


def test_by_the_date_where_there_is_no_tag(server: Server, tmp_path: Path) -> None:
    date = {"tag": None, "modified": "Tue, 01 Jul 2025 10:00:00 GMT"}
    url = begun(server, tmp_path / "f", **date)
    server.url("/f", ranges(**date))
    fetched([url], tmp_path / "f")
    assert starts(server) == [HALF]
    assert_alone(tmp_path / "f")


def test_a_file_that_changed_meanwhile_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f", content=OTHER)
    server.url("/f", ranges(tag='"v2"'))
    fetched([url], tmp_path / "f")
    assert starts(server) == [HALF]
    assert server.headers[0]["If-Range"] == '"v1"'
    assert_alone(tmp_path / "f")


def test_a_file_that_is_shorter_now(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f", content=OTHER + OTHER, size=len(CONTENT) + 5)
    server.url("/f", ranges())
    fetched([url], tmp_path / "f")
    assert starts(server) == [len(CONTENT) + 5, 0]
    assert_alone(tmp_path / "f")


def test_a_beginning_that_was_damaged_is_thrown_away(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f")
    kept(tmp_path / "f").write_bytes(OTHER[:HALF])
    server.url("/f", ranges())
    fetched([url], tmp_path / "f")
    assert starts(server) == [HALF, 0]
    assert_alone(tmp_path / "f")


def test_a_beginning_of_which_nothing_is_known(server: Server, tmp_path: Path) -> None:
    kept(tmp_path / "f").write_bytes(CONTENT[:HALF])
    for note in (None, b"", b"http://x/f", b"http://x/f\n\x1b", b"\xff\xfe\n\xff"):
        if note is not None:
            kept(tmp_path / "f").with_name(".f.part.version").write_bytes(note)
        fetched([server.url("/f", ranges())], tmp_path / "f")
        assert_alone(tmp_path / "f")
        kept(tmp_path / "f").write_bytes(CONTENT[:HALF])
    assert set(starts(server)) == {0}


NOT_KEPT: dict[str, dict] = {
    "no version": {"tag": None},
    "a weak version": {"tag": 'W/"v1"'},
    "no parts": {"accept": None},
    "parts refused": {"accept": "none"},
}


@pytest.mark.parametrize("case", NOT_KEPT)
def test_nothing_is_kept_of_what_could_not_go_on(server: Server, tmp_path: Path, case: str) -> None:
    url = server.url("/f", ranges(sends=HALF, **NOT_KEPT[case]))
    with pytest.raises(DownloadError, match=r"announced\); get the file"):
        fetched([url], tmp_path / "f")
    assert starts(server) == [0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lies", ["bytes 7-99/100", "bytes 0-102399/102400", "nonsense", "bytes */102400"])
def test_a_server_that_sends_another_part(server: Server, tmp_path: Path, lies: str) -> None:
    url = begun(server, tmp_path / "f")
    server.url("/f", ranges(lies=lies))
    fetched([url], tmp_path / "f")  # asks for all of it then
    assert starts(server) == [HALF, 0]
    assert_alone(tmp_path / "f")


def test_a_server_that_promises_parts_and_sends_everything(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f")
    server.url("/f", body(CONTENT))
    fetched([url], tmp_path / "f")
    assert_alone(tmp_path / "f")


def test_another_mirror_begins_anew(server: Server, tmp_path: Path) -> None:
    first = begun(server, tmp_path / "f")
    server.url("/f", status(503))
    fetched([first, server.url("/g", ranges())], tmp_path / "f")
    assert starts(server) == [HALF, 0]
    assert_alone(tmp_path / "f")


def test_a_mirror_that_fails_leaves_the_beginning(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f")
    server.url("/f", status(503))
    with pytest.raises(DownloadError, match="HTTP 503 .*what has arrived is kept for the next try"):
        fetched([url], tmp_path / "f")
    assert kept(tmp_path / "f").read_bytes() == CONTENT[:HALF]


def test_wrong_content_is_not_kept(server: Server, tmp_path: Path) -> None:
    url = server.url("/f", ranges(OTHER, sends=HALF + 1))
    with pytest.raises(DownloadError, match="wrong content"):
        fetched([url], tmp_path / "f")
    assert starts(server) == [0, HALF + 1]
    assert list(tmp_path.iterdir()) == []


def test_the_bound_is_for_all_parts_together(server: Server, tmp_path: Path) -> None:
    url = begun(server, tmp_path / "f")
    server.url("/f", ranges(CONTENT + CONTENT))
    with pytest.raises(DownloadError, match="announces 204,800 bytes, the bound is 150,000"):
        fetched([url], tmp_path / "f", max_bytes=150_000)
    assert list(tmp_path.iterdir()) == []


def test_redirected_requests_keep_their_range(server: Server, tmp_path: Path) -> None:
    server.url("/there", ranges(sends=HALF))
    fetched([server.url("/here", redirect("/there"))], tmp_path / "f")
    assert server.asked == ["/here", "/there", "/here", "/there"]
    assert starts(server) == [0, 0, HALF, HALF]
    assert_alone(tmp_path / "f")


def test_too_slow_but_kept(server: Server, tmp_path: Path) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        ranges(sends=HALF)(request)
        request.wfile.flush()
        while not server.stop.wait(0.02):
            request.wfile.write(b"x")

    with pytest.raises(DownloadError, match="too slow"):
        fetched([server.url("/f", answer)], tmp_path / "f", total_timeout=0.3)
    assert kept(tmp_path / "f").read_bytes()[:HALF] == CONTENT[:HALF]


def stalling(server: Server) -> Answer:
    """Half of the file, and then silence."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        ranges(sends=HALF)(request)
        request.wfile.flush()
        server.stop.wait(60)

    return answer


def other_process(url: str, target: Path) -> subprocess.Popen:
    code = (
        "from minicnn.download import fetch\n"
        f"fetch([{url!r}], {str(target)!r}, sha256={SHA256!r}, max_bytes=10**6, max_unpacked=10**6)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def half_there(target: Path) -> bool:
    return kept(target).exists() and kept(target).stat().st_size == HALF


@pytest.mark.skipif(os.name == "nt", reason="no locks, so nothing is kept there")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_a_process_that_was_ended(server: Server, tmp_path: Path, how: int) -> None:
    target = tmp_path / "f"
    url = server.url("/f", stalling(server))
    process = other_process(url, target)
    try:
        until(lambda: half_there(target))
        process.send_signal(how)
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()
    assert not target.exists()
    server.headers.clear()
    server.url("/f", ranges())
    fetched([url], target)
    assert starts(server) == [HALF]
    assert_alone(target)


@pytest.mark.skipif(os.name == "nt", reason="no locks, so nothing is kept there")
def test_two_processes_do_not_write_into_one_file(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "f"
    process = other_process(server.url("/slow", stalling(server)), target)
    try:
        until(lambda: half_there(target))
        with pytest.raises(DownloadError, match="truncated, 30,000 bytes"):  # its own file is not kept
            fetched([server.url("/f", ranges(sends=30_000))], target)
        fetched([server.url("/f", ranges())], target)
    finally:
        process.kill()
        process.wait()
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == [".f.part", ".f.part.version", "f"]


def test_many_at_once(server: Server, tmp_path: Path) -> None:
    """Whoever comes late may find the file renamed between opening and locking it."""
    url = server.url("/f", ranges())
    threads = [threading.Thread(target=fetched, args=([url], tmp_path / "f")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_alone(tmp_path / "f")


def test_a_part_that_was_moved_is_not_removed(tmp_path: Path) -> None:
    with beside(tmp_path / "f") as part:
        part.write(CONTENT)
        part.become(tmp_path / "f")
        kept(tmp_path / "f").write_bytes(b"another process's")
    assert kept(tmp_path / "f").read_bytes() == b"another process's"
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_no_file_no_conditions(tmp_path: Path) -> None:
    part = Part(tmp_path / "f")
    assert part.conditions("http://x/f") == {}
    part.close()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- checksums and short texts


def test_the_beginning_of_a_checksum_is_enough(server: Server, tmp_path: Path) -> None:
    url = server.url("/f", body(CONTENT))
    fetched([url], tmp_path / "f", sha256=SHA256[:8].upper())
    assert_alone(tmp_path / "f")
    with pytest.raises(DownloadError, match=f"is {SHA256} and not {'0' * 8}"):
        fetched([url], tmp_path / "g", sha256="0" * 8)


@pytest.mark.parametrize("sha256", ["", "1234567", "x" * 64, "0" * 65])
def test_what_is_no_checksum(server: Server, tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ValueError, match="8 to 64 hexadecimal digits are expected"):
        fetched([server.url("/f", body(CONTENT))], tmp_path / "f", sha256=sha256)
    assert server.asked == []


def test_a_short_text(server: Server) -> None:
    assert fetch_text(server.url("/t", body("größe 5\n".encode()))) == "größe 5\n"
    with pytest.raises(DownloadError, match="sends more than the bound of 10,000 bytes"):
        fetch_text(server.url("/long", body(bytes(10_001))))
    with pytest.raises(DownloadError, match="HTTP 404"):
        fetch_text(server.url("/none", status(404)))
