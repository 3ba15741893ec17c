"""IDX files: what is read, and that nothing but DataError comes of anything else."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicnn.data.idx import DataError, read_idx, read_pair, write_idx

MEBIBYTE = 2**20


def idx(*shape: int, element: int = 8, content: bytes | None = None) -> bytes:
    """The bytes of an IDX file with a random content, or with any content at all."""
    if content is None:
        content = np.random.default_rng(3).integers(0, 10, shape, np.uint8).tobytes()
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, element, len(shape), *shape) + content


def written(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def peak_memory(path: Path, **options: int) -> int:
    """The most memory that refusing the file took."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(path, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["plain", "packed.gz", "data.idx3-ubyte"])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (4, 28, 28), (2, 3, 4, 5)])
def test_what_is_written_is_read_again(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_idx(tmp_path / name, array)
    read = read_idx(tmp_path / name)
    assert read.dtype == np.uint8
    assert read.flags.writeable
    np.testing.assert_array_equal(read, array)


def test_a_file_by_hand(tmp_path: Path) -> None:
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(read_idx(written(tmp_path, content)), [[10, 20, 30], [40, 50, 60]])


def test_an_array_of_more_than_one_chunk(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 1000, 1000), np.uint8)
    for name in ("a", "a.gz"):
        write_idx(tmp_path / name, array)
        np.testing.assert_array_equal(read_idx(tmp_path / name), array)


BROKEN = {
    "empty": (b"", "the file is empty"),
    "one byte": (b"\0", "truncated in its header, after 1 bytes"),
    "header cut in the sizes": (idx(2, 3)[:9], "truncated in its header, after 9 bytes"),
    "header only": (idx(2, 3)[:12], "truncated, 0 bytes of the 6"),
    "one byte short": (idx(2, 3)[:-1], "truncated, 5 bytes of the 6"),
    "one byte more": (idx(2, 3) + b"\0", "goes on after the 6 bytes"),
    "a web page": (b"<!DOCTYPE html><title>404</title>", "not an IDX file (it starts with b'<!DO')"),
    "an unknown element type": (idx(2, element=0x0A), "not an IDX file"),
    "little-endian magic": (bytes([3, 8, 0, 0]) + idx(2)[4:], "not an IDX file"),
    "32-bit floats": (idx(2, element=0x0D, content=bytes(8)), "holds 32-bit floats, unsigned bytes were"),
    "signed bytes": (idx(2, element=0x09), "holds signed bytes"),
    "no dimensions": (idx(), "announces 0 dimensions"),
    "five dimensions": (idx(1, 1, 1, 1, 1), "announces 5 dimensions, 1 to 4"),
    "an empty dimension": (idx(3, 0, 4), "without elements (shape (3, 0, 4))"),
    "sizes beyond the bound": (idx(2**32 - 1, 2**32 - 1, content=b""), "the bound is 67,108,864"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_is_named(tmp_path: Path, case: str, packed: bool) -> None:
    content, message = BROKEN[case]
    path = written(tmp_path, gzip.compress(content) if packed else content, "f.gz" if packed else "f")
    if packed and case == "empty":
        message = "truncated in its header, after 0 bytes"
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


PACKED = gzip.compress(idx(20, 28, 28), mtime=0)

BROKEN_GZIP = {
    "not gzip": (b"<html>404 not found</html>", "named .gz, but not gzip (it starts with b'<htm'"),
    "unpacked already": (idx(2, 3), "which an unpacked IDX file does: drop .gz from its name"),
    "cut in the stream": (PACKED[:-100], "truncated, the gzip stream breaks off"),
    "cut in the trailer": (PACKED[:-3], "truncated, the gzip stream breaks off"),
    "cut in the gzip header": (PACKED[:5], "truncated, the gzip stream breaks off"),
    "wrong checksum": (PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:], "corrupt gzip stream (CRC check failed"),
    "a block of no known kind": (PACKED[:10] + b"\xff" * 40 + PACKED[50:], "corrupt gzip stream"),
    "something behind it": (PACKED + b"more", "corrupt gzip stream"),
    "another file behind it": (PACKED + PACKED, "goes on after the 15,680 bytes"),
}


@pytest.mark.parametrize("case", BROKEN_GZIP)
def test_broken_gzip_is_named(tmp_path: Path, case: str) -> None:
    content, message = BROKEN_GZIP[case]
    path = written(tmp_path, content, "images.gz")
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_gzip_under_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gzip-compressed, but its name does not end in \.gz"):
        read_idx(written(tmp_path, PACKED))


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such file$"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path)
    with pytest.raises(DataError):
        read_idx(tmp_path / "null\0character")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = written(tmp_path, idx(3))
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path)


def test_max_bytes_bounds_the_array(tmp_path: Path) -> None:
    path = written(tmp_path, idx(10, 10))
    assert read_idx(path, max_bytes=100).shape == (10, 10)
    with pytest.raises(DataError, match=r"announces 100 bytes \(shape \(10, 10\)\), the bound is 99"):
        read_idx(path, max_bytes=99)


def test_max_bytes_bounds_the_file(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.write(idx(5, content=b""))
        file.truncate(2**33)
    with pytest.raises(DataError, match=r"the file has 8,589,934,592 bytes"):
        read_idx(tmp_path / "sparse")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(idx(10) + bytes(60 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE // 8
    path = written(tmp_path, bomb, "bomb.gz")
    with pytest.raises(DataError, match="goes on after the 10 bytes"):
        read_idx(path)
    assert peak_memory(path) < MEBIBYTE


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_header_that_announces_what_is_not_there_costs_no_memory(tmp_path: Path, packed: bool) -> None:
    content = idx(60000, 28, 28, content=bytes(100))
    path = written(tmp_path, gzip.compress(content) if packed else content, "f.gz" if packed else "f")
    assert peak_memory(path) < 4 * MEBIBYTE


VALID = idx(3, 4, 5)


def outcome(path: Path) -> tuple[np.ndarray | None, str]:
    """What came of reading: the array, or the message of the only error there may be."""
    try:
        return read_idx(path), ""
    except DataError as error:
        return None, str(error)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A small valid file, plain or packed, with bytes replaced, cut, inserted or appended."""
    packed = draw(st.booleans())
    content = bytearray(gzip.compress(VALID, mtime=0) if packed else VALID)
    for _ in range(draw(st.integers(1, 4))):
        # The header is where it hurts, so half of the damage is done there.
        position = draw(st.one_of(st.integers(0, min(20, len(content))), st.integers(0, len(content))))
        kind = draw(st.sampled_from(["replace", "cut", "insert"]))
        if kind == "replace":
            content[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del content[position : position + draw(st.integers(1, 100))]
        else:
            content[position:position] = draw(st.binary(max_size=10))
    return bytes(content), packed


@given(damage=damaged())
@settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_raise_nothing_but_data_errors(tmp_path: Path, damage: tuple[bytes, bool]) -> None:
    content, packed = damage
    path = written(tmp_path, content, "damaged.gz" if packed else "damaged")
    tracemalloc.start()
    try:
        read, message = outcome(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEBIBYTE
    if read is None:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    else:
        assert read.dtype == np.uint8
        assert read.size <= len(VALID) + 40  # no more than the insertions can have added


@given(content=st.binary(max_size=200), packed=st.booleans())
@settings(max_examples=100, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_raise_nothing_but_data_errors(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = written(tmp_path, content, "any.gz" if packed else "any")
    read, message = outcome(path)
    if read is None:
        assert str(path) in message
    else:
        assert read.size == len(content) - 4 - 4 * content[3]


def pair(folder: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    write_idx(folder / "images.gz", images)
    write_idx(folder / "labels.gz", labels)
    return folder / "images.gz", folder / "labels.gz"


def test_a_pair(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 28, 28), np.uint8)
    labels = np.array([0, 9, 3, 3, 1, 7], np.uint8)
    read = read_pair(*pair(tmp_path, images, labels))
    np.testing.assert_array_equal(read[0], images)
    np.testing.assert_array_equal(read[1], labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((6,), (6,), r"images\.gz: holds labels \(shape \(6,\)\), images \(N, 28, 28\) were expected"),
        ((6, 28, 28), (6, 28, 28), r"labels\.gz: holds images \(shape \(6, 28, 28\)\), labels \(N,\) were"),
        ((6, 28, 27), (6,), r"images\.gz: holds images \(shape \(6, 28, 27\)\)"),
        ((6, 784), (6,), r"images\.gz: holds an array \(shape \(6, 784\)\)"),
        ((6, 28, 28), (5,), r"labels\.gz: 5 labels for the 6 images of .*images\.gz$"),
    ],
    ids=["labels for images", "images for labels", "other size", "flat images", "other count"],
)
def test_pairs_that_do_not_match(
    tmp_path: Path, images: tuple[int, ...], labels: tuple[int, ...], message: str
) -> None:
    paths = pair(tmp_path, np.zeros(images, np.uint8), np.zeros(labels, np.uint8))
    with pytest.raises(DataError, match=message):
        read_pair(*paths)


def test_labels_out_of_range(tmp_path: Path) -> None:
    paths = pair(tmp_path, np.zeros((3, 28, 28), np.uint8), np.array([1, 10, 200], np.uint8))
    with pytest.raises(DataError, match=r"labels\.gz: label 10 at position 1, labels are 0\.\.9"):
        read_pair(*paths)
    with pytest.raises(DataError, match=r"label 200 at position 2, labels are 0\.\.199"):
        read_pair(*paths, classes=200)
    assert read_pair(*paths, classes=201)[1].tolist() == [1, 10, 200]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="array has dtype int64, but uint8 is expected"):
        write_idx(tmp_path / "f", np.arange(3))
    for shape in ((), (0,), (1,) * 5):
        with pytest.raises(ValueError, match="1 to 4 dimensions and at least one element"):
            write_idx(tmp_path / "f", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())
