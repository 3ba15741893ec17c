"""CIFAR's archives: binary and pickled, packed and unpacked, hostile, damaged, absent and downloaded."""

import hashlib
import io
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_download import Server, body, server  # noqa: F401  (fixtures among them)

from minicnn import data
from minicnn.data import catalogue, cifar, mnist
from minicnn.data.cifar import CIFAR10, CIFAR100, Form, Kind, read_cifar
from minicnn.data.cifar_pickle import read_batch
from minicnn.weights.errors import Unreadable

KINDS = pytest.mark.parametrize("kind", [CIFAR10, CIFAR100], ids=lambda kind: kind.name)
PYTHON = pytest.mark.parametrize("python", [False, True], ids=["binary", "python"])
PACKED = pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(mnist.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(cifar, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(cifar, "URL", "http://127.0.0.1:9/")
    return tmp_path / "cache"


def arrays(kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Images as files have them, channels first, and labels; a hundred for each file."""
    n = 100 * (len(kind.binary.train) + 1)
    images = np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), np.uint8)
    return images, (np.arange(n) * 7 % kind.classes).astype(np.uint8)


class Python2:
    """What Python 2's pickle wrote: texts of bytes, and NumPy's arrays by their state."""

    def __init__(self, value: object) -> None:
        self.out = b"\x80\x02"
        self.put(value)
        self.out += b"."

    def put(self, value: object) -> None:
        if isinstance(value, dict):
            self.out += b"}("
            for pair in value.items():
                for part in pair:
                    self.put(part)
            self.out += b"u"
        elif isinstance(value, list):
            self.out += b"]("
            for part in value:
                self.put(part)
            self.out += b"e"
        elif isinstance(value, bytes):
            short = len(value) < 256
            self.out += (
                b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))
            )
            self.out += value
        elif isinstance(value, np.ndarray):
            n, width = value.shape
            self.out += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            self.out += b"(K\x01J" + struct.pack("<i", n) + b"M" + struct.pack("<H", width) + b"\x86"
            self.out += b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + 2 * b"J\xff\xff\xff\xff"
            self.out += b"K\x00tb\x89"
            self.put(value.tobytes())
            self.out += b"tb"
        else:
            self.out += b"K" + struct.pack("<B", int(value))  # type: ignore[call-overload]


def names_of(kind: Kind) -> list[str]:
    return [f"class_{i}" for i in range(kind.classes)]


def contents(kind: Kind, python: bool) -> dict[str, bytes]:
    """The files of a small data set."""
    form = kind.python if python else kind.binary
    images, labels = arrays(kind)
    files = {}
    for k, name in enumerate((*form.train, form.test)):
        x, y = images[100 * k :][:100].reshape(100, 3072), labels[100 * k :][:100]
        key = b"labels" if kind is CIFAR10 else b"fine_labels"
        if python:
            batch = {b"batch_label": b"a batch", key: y.tolist(), b"data": x, b"filenames": [b"x.png"] * 100}
            files[name] = Python2(batch).out
        else:
            before = y[:, None] if kind is CIFAR10 else np.stack([y // 5, y], axis=1)
            files[name] = np.concatenate([before, x], axis=1).tobytes()
    if python:
        key = b"label_names" if kind is CIFAR10 else b"fine_label_names"
        files[form.names] = Python2({b"num_vis": 9, key: [name.encode() for name in names_of(kind)]}).out
    else:
        files[form.names] = "\n".join([*names_of(kind), ""]).encode()
    return files


def put(folder: Path, form: Form, files: dict[str, bytes], packed: bool) -> Path:
    if not packed:
        for name, content in files.items():
            path = folder / form.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / form.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / form.archive, "w:gz") as archive:
        for name, content in {**files, "readme.html": b"hello"}.items():
            member = tarfile.TarInfo(f"{form.folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / form.archive


@KINDS
@PYTHON
@PACKED
@pytest.mark.parametrize("inner", ["", "cifar10"])
def test_every_archive_is_read(tmp_path: Path, kind: Kind, python: bool, packed: bool, inner: str) -> None:
    if inner and kind is CIFAR100:
        inner = "cifar100"
    put(tmp_path / inner, kind.python if python else kind.binary, contents(kind, python), packed)
    images, labels = arrays(kind)
    read = read_cifar(tmp_path, kind=kind)
    np.testing.assert_array_equal(read.images, images[:-100].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(read.labels, labels[:-100])
    np.testing.assert_array_equal(read.test_images, images[-100:].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(read.test_labels, labels[-100:])
    assert list(read.class_names) == names_of(kind)
    assert read.images.dtype == read.labels.dtype == np.uint8


def test_load_splits_and_normalises(tmp_path: Path) -> None:
    put(tmp_path, CIFAR10.binary, contents(CIFAR10, False), True)
    dataset = data.load("cifar10", data_dir=tmp_path, validation=50)
    assert [len(split) for split in dataset.splits().values()] == [450, 50, 100]
    assert dataset.image_shape == (3, 32, 32)
    x = dataset.train.images[:]
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, atol=1e-5)
    images, labels = arrays(CIFAR10)
    np.testing.assert_allclose(dataset.to_pixels(dataset.test.images[:]), images[-100:] / 255, atol=1e-6)
    np.testing.assert_array_equal(dataset.test.labels, labels[-100:])
    assert data.load("cifar10", data_dir=tmp_path, validation=0, size=8).image_shape == (3, 8, 8)
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    assert data.load("cifar10", data_dir=tmp_path, validation=0, **imagenet).mean == imagenet["mean"]
    with pytest.raises(ValueError, match="validation=5000 of 500 images"):
        data.load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("python", "change", "message"),
    [
        (False, {"data_batch_3.bin": None}, r"has no file 'data_batch_3\.bin', which belongs to CIFAR-10"),
        (False, {"test_batch.bin": b""}, r"test_batch\.bin: 0 bytes are no multiple of the 3,073"),
        (False, {"test_batch.bin": b"\x00" * 3072}, r"test_batch\.bin: 3,072 bytes are no multiple"),
        (False, {"test_batch.bin": b"\x0a" * 3073}, r"has the label 10, but those of CIFAR-10 are 0\.\.9"),
        (False, {"batches.meta.txt": b"cat dog"}, r"has the names of 2 classes, but CIFAR-10 has 10"),
        (True, {"test_batch": b"\x80\x02]."}, "test_batch: is a pickle of something else"),
        (
            True,
            {"test_batch": b"\x80\x02cos\nsystem\nU\x02ls\x85R."},
            "asks for os.system, .* CIFAR's files: refused",
        ),
        (
            True,
            {"test_batch": Python2({b"labels": [1], b"data": 3}).out},
            "has no images, which are rows of 3,072",
        ),
        (True, {"test_batch": Python2({b"data": np.zeros((2, 3072), "u1")}).out}, "has no list of labels"),
        (
            True,
            {"test_batch": Python2({b"labels": [1], b"data": np.zeros((2, 3072), "u1")}).out},
            "has 1 labels for 2 images",
        ),
        (
            True,
            {"test_batch": Python2({b"labels": [1], b"data": np.zeros((1, 9), "u1")}).out},
            "has no images",
        ),
        (
            True,
            {"batches.meta": Python2({b"label_names": [1]}).out},
            "batches.meta: has no list of the classes",
        ),
    ],
)
@PACKED
def test_files_that_are_wrong(tmp_path: Path, packed: bool, python: bool, change: dict, message: str) -> None:
    files = {**contents(CIFAR10, python), **change}
    form = CIFAR10.python if python else CIFAR10.binary
    path = put(
        tmp_path, form, {name: content for name, content in files.items() if content is not None}, packed
    )
    with pytest.raises(data.DataError, match=message) as caught:
        read_cifar(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")


def test_an_archive_that_is_damaged_or_leads_elsewhere(tmp_path: Path) -> None:
    files = contents(CIFAR10, False)
    path = put(tmp_path / "a", CIFAR10.binary, files, True)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(data.DataError, match="damaged, or no packed archive"):
        read_cifar(tmp_path / "a")
    path.write_bytes(b"hello")
    with pytest.raises(data.DataError, match="damaged, or no packed archive"):
        read_cifar(tmp_path / "a")
    with tarfile.open(path, "w:gz") as archive:  # links and other folders are not followed
        for name in files:
            for where in ("../", "/", ""):
                member = tarfile.TarInfo(f"{where}{CIFAR10.binary.folder}/{name}")
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(member)
    with pytest.raises(data.DataError, match=r"has no file 'data_batch_1\.bin'"):
        read_cifar(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == [path.name]


@given(position=st.integers(2, 400), value=st.integers(0, 255), cut=st.integers(0, 7000))
def test_pickles_that_are_damaged(position: int, value: int, cut: int) -> None:
    content = bytearray(Python2({b"labels": [1, 2], b"data": np.zeros((2, 3072), "u1")}).out)
    content[position % len(content)] = value
    try:
        images, labels = read_batch(bytes(content[: cut or None]))
    except Unreadable:
        return
    assert images.shape == (2, 3072)
    assert labels.shape == (2,)


# ---- where it is looked for


def test_what_is_said_when_it_is_not_there(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(
        data.DataError, match=r"CIFAR-10 is not there \(given as data_dir\); put cifar-10-binary"
    ):
        read_cifar(tmp_path)
    with pytest.raises(data.DataError) as caught:
        data.load("cifar100", download=False)
    assert str(caught.value).startswith(f"{cache / 'cifar100'}: CIFAR-100 is not there")
    assert "put cifar-100-binary.tar.gz there" in str(caught.value)
    with pytest.raises(data.DownloadError, match="get the file by other means and put it at"):
        data.load("cifar10", progress=False)


def test_it_is_downloaded_once(
    tmp_path: Path,
    cache: Path,
    server: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = put(tmp_path / "origin", CIFAR10.binary, contents(CIFAR10, False), True).read_bytes()
    kind = replace(CIFAR10, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar, "URL", server.url("/kriz/"))
    server.url(f"/kriz/{kind.binary.archive}", body(content))
    for _ in range(2):
        assert len(read_cifar(kind=kind, progress=False).images) == 500
    assert len(server.asked) == 1
    assert [path.name for path in (cache / "cifar10").iterdir()] == [kind.binary.archive]
    other = replace(kind, sha256="0" * 64)
    (cache / "cifar10" / kind.binary.archive).unlink()
    with pytest.raises(data.DownloadError, match="wrong content, its SHA-256 is"):
        read_cifar(kind=other, progress=False)
    assert catalogue.NAMES == ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
