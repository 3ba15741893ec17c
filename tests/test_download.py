"""Downloads, from a real server on this machine that behaves as badly as servers do."""

import gzip
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from http_server import Answer, Server, body, redirect, status

from minicnn.data.mnist import ENVIRONMENT_VARIABLE, MNIST, PACKED_BOUND, find_files
from minicnn.download import DownloadError, fetch

CONTENT = bytes(range(256)) * 400
PACKED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def trickle(server: Server, pause: float) -> Answer:
    """Announce everything, send the first half, then a byte after every pause."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(PACKED)))
        request.end_headers()
        half = len(PACKED) // 2
        request.wfile.write(PACKED[:half])
        for byte in PACKED[half:]:
            if server.stop.wait(pause):
                return
            request.wfile.write(bytes([byte]))

    return answer


def fetched(urls: list[str], target: Path, **options: object) -> Path:
    settings: dict = {
        "sha256": SHA256,
        "max_bytes": 10_000,
        "max_unpacked": len(CONTENT),
        "timeout": 5.0,
        "progress": False,
    }
    return fetch(urls, target, **(settings | options))


def refused(urls: list[str], target: Path, **options: object) -> str:
    """The message of the failure, after which there must be nothing in the folder."""
    with pytest.raises(DownloadError) as caught:
        fetched(urls, target, **options)
    assert list(target.parent.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{target.name} could not be downloaded (")
    assert message.endswith(f"; get the file by other means and put it at {target}")
    assert all(f"{url}: " in message for url in urls)
    return message


@pytest.mark.parametrize("length", [-1, None], ids=["length announced", "length not announced"])
@pytest.mark.parametrize("progress", [False, True])
def test_a_good_file(
    server: Server, tmp_path: Path, length: int | None, progress: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "folder" / "file.gz"
    url = server.url("/file.gz", body(PACKED, length))
    assert fetched([url], target, progress=progress, sha256=SHA256.upper()) == target
    assert target.read_bytes() == PACKED
    assert list(target.parent.iterdir()) == [target]
    assert capfd.readouterr().out == ""


def test_the_wrapping_may_differ_but_not_the_content(server: Server, tmp_path: Path) -> None:
    other = gzip.compress(CONTENT, compresslevel=1, mtime=12345)
    assert other != PACKED
    fetched([server.url("/f", body(other))], tmp_path / "f.gz")
    assert gzip.decompress((tmp_path / "f.gz").read_bytes()) == CONTENT


def test_a_file_that_is_not_packed(server: Server, tmp_path: Path) -> None:
    url = server.url("/f", body(CONTENT))
    fetched([url], tmp_path / "f", max_bytes=len(CONTENT))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_an_existing_file_is_replaced_by_a_good_one_only(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "f.gz"
    target.write_bytes(b"old")
    with pytest.raises(DownloadError):
        fetched([server.url("/bad", body(b"bad"))], target)
    assert target.read_bytes() == b"old"
    fetched([server.url("/good", body(PACKED))], target)
    assert target.read_bytes() == PACKED
    assert list(tmp_path.iterdir()) == [target]


LARGE = gzip.compress(bytes(50 * 2**20))

WRONG: dict[str, tuple[Answer, str]] = {
    "another content": (body(gzip.compress(b"other")), "wrong content, its SHA-256 is d9298a10d1b0735837"),
    "truncated": (body(PACKED[:-9], len(PACKED)), f"truncated, {len(PACKED) - 9:,} bytes of the"),
    "truncated unnoticed": (body(PACKED[:-9], None), "not a sound gzip file (it breaks off"),
    "empty": (body(b""), "not a sound gzip file (it breaks off"),
    "not gzip": (body(b"<html>log in first</html>"), "not a sound gzip file"),
    "more behind it": (body(PACKED + b"more"), "not a sound gzip file (something follows its end)"),
    "corrupt": (body(PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:]), "not a sound gzip file"),
    "words with control characters": (status(404, "\x1b[2JGone\tfishing"), "HTTP 404 [2JGone fishing"),
    "404": (status(404), "HTTP 404 Not Found"),
    "500": (status(500), "HTTP 500 Internal Server Error"),
    "announced too large": (body(b"", 10**12), "announces 1,000,000,000,000 bytes, the bound is 10,000"),
    "too large": (body(bytes(10_001), None), "sends more than the bound of 10,000 bytes"),
    "a gzip bomb": (body(LARGE), "unpacks to more than the bound of 102,400 bytes"),
    "to a local file": (redirect("file:///etc/hosts"), "HTTP 302"),
    "to an ftp server": (redirect("ftp://127.0.0.1/f"), "unknown url type: ftp"),
    "to nowhere": (redirect("http://[bad/f"), "Invalid IPv6 URL"),
    "in a circle": (redirect("/file.gz"), "HTTP 302"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_named_and_leaves_nothing(server: Server, tmp_path: Path, case: str) -> None:
    answer, reason = WRONG[case]
    bound = len(LARGE) if case == "a gzip bomb" else 10_000
    assert reason in refused([server.url("/file.gz", answer)], tmp_path / "file.gz", max_bytes=bound)


def test_a_chunked_body_that_breaks_off(server: Server, tmp_path: Path) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.protocol_version = "HTTP/1.1"
        request.close_connection = True
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"64\r\n" + PACKED[:20])

    assert "truncated" in refused([server.url("/f", answer)], tmp_path / "f.gz")


def test_a_redirection_within_http_is_followed(server: Server, tmp_path: Path) -> None:
    server.url("/new", body(PACKED))
    fetched([server.url("/old", redirect("/new"))], tmp_path / "f.gz")
    assert server.asked == ["/old", "/new"]


def test_the_second_mirror_helps_where_the_first_fails(server: Server, tmp_path: Path) -> None:
    for number, (answer, _) in enumerate((WRONG["404"], WRONG["truncated"], WRONG["another content"])):
        urls = [server.url(f"/bad{number}", answer), server.url("/good", body(PACKED)), server.url("/unused")]
        assert fetched(urls, tmp_path / f"{number}.gz").read_bytes() == PACKED
    assert "/unused" not in server.asked
    assert len(list(tmp_path.iterdir())) == 3


def test_every_mirror_s_reason_is_given(server: Server, tmp_path: Path) -> None:
    urls = [server.url("/a", status(503)), server.url("/b", body(b"junk")), "http://127.0.0.1:9/c"]
    message = refused(urls, tmp_path / "f.gz")
    assert "/a: HTTP 503 Service Unavailable" in message
    assert "/b: not a sound gzip file" in message
    assert "/c: " in message
    assert "refused" in message


def test_a_server_that_falls_silent(server: Server, tmp_path: Path) -> None:
    start = time.monotonic()
    message = refused([server.url("/f", trickle(server, 60))], tmp_path / "f.gz", timeout=0.2)
    assert "timed out" in message
    assert time.monotonic() - start < 5


def test_a_server_that_trickles(server: Server, tmp_path: Path) -> None:
    start = time.monotonic()
    url = server.url("/f", trickle(server, 0.02))
    assert "too slow" in refused([url], tmp_path / "f.gz", total_timeout=0.2)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "url", ["file:///etc/hosts", "ftp://127.0.0.1/f", "data:,hello", "/etc/hosts", "http:///nobody", ""]
)
def test_addresses_that_are_not_http(tmp_path: Path, server: Server, url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https address"):
        fetched([server.url("/good", body(PACKED)), url], tmp_path / "f.gz")
    assert server.asked == []
    assert list(tmp_path.iterdir()) == []


def test_addresses_must_be_a_list(tmp_path: Path) -> None:
    for urls in ([], "http://127.0.0.1/f"):
        with pytest.raises(ValueError, match="urls must be a list of at least one address"):
            fetched(urls, tmp_path / "f")


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(DownloadError, match="File exists"):
        fetched([server.url("/f", body(PACKED))], tmp_path / "file" / "f.gz")
    assert (tmp_path / "file").read_bytes() == b"in the way"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_ctrl_c_leaves_nothing(server: Server, tmp_path: Path) -> None:
    url = server.url("/f", trickle(server, 60))
    code = (
        "from minicnn.download import fetch\n"
        f"fetch([{url!r}], {str(tmp_path / 'f.gz')!r}, sha256='0' * 64, max_bytes=10**6, max_unpacked=10**6)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path.parent, stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 30
        while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)  # now in the middle of the body, waiting for the second half
        half_written = [path.name for path in tmp_path.iterdir()]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert len(half_written) == 1
    assert half_written[0].endswith(".part")
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def real_mnist() -> list[Path]:
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    if not folder:
        pytest.skip(f"{ENVIRONMENT_VARIABLE} does not say where MNIST is")
    paths = find_files(folder)
    if any(path.suffix != ".gz" for path in paths):
        pytest.skip(f"the MNIST files in {folder} are not packed")
    return paths


def test_the_real_files_pass_and_a_flipped_bit_does_not(
    server: Server, tmp_path: Path, real_mnist: list[Path]
) -> None:
    for file, path in zip(MNIST.files, real_mnist, strict=True):
        content = path.read_bytes()
        limits = {"sha256": file.sha256, "max_bytes": PACKED_BOUND, "max_unpacked": file.size}
        target = tmp_path / f"{file.stem}.gz"
        fetched([server.url("/good", body(content))], target, **limits)
        assert target.read_bytes() == content
        target.unlink()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        message = refused([server.url("/flipped", body(flipped))], target, **limits)
        assert "wrong content" in message or "not a sound gzip file" in message


def test_a_real_file_under_another_s_name(server: Server, tmp_path: Path, real_mnist: list[Path]) -> None:
    url = server.url("/labels", body(real_mnist[1].read_bytes()))
    options = {"sha256": MNIST.files[3].sha256, "max_bytes": PACKED_BOUND, "max_unpacked": MNIST.files[1].size}
    assert "wrong content" in refused([url], tmp_path / "t10k-labels-idx1-ubyte.gz", **options)
