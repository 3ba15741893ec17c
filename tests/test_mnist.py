"""MNIST: where it is looked for, what is said when it is not there, and the real files."""

import gzip
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_download import Server, body, real_mnist, server, status  # noqa: F401  (fixtures among them)

from minicnn import data
from minicnn.data import mnist
from minicnn.data.mnist import MNIST, File, find_files, read_mnist

TRAIN, TEST = 60, 20


@pytest.fixture(autouse=True)
def cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test, and no environment variable but for the real files."""
    if "real_mnist" not in request.fixturenames:
        monkeypatch.delenv(mnist.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setitem(vars(MNIST), "mirrors", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(mnist, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "mnist"


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    result = []
    for n in (TRAIN, TEST):
        result.append(rng.integers(0, 256, (n, 28, 28), np.uint8))
        result.append((np.arange(n) % 10).astype(np.uint8))
    return result


def put(folder: Path, ending: str = "", dotted: bool = False) -> list[Path]:
    """A small data set with MNIST's names."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file, array in zip(MNIST.files, arrays(), strict=True):
        stem = file.stem.replace("-idx", ".idx") if dotted else file.stem
        paths.append(folder / f"{stem}{ending}")
        data.write_idx(paths[-1], array)
    return paths


@pytest.mark.parametrize("dotted", [False, True], ids=["-idx", ".idx"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("subfolder", ["", "mnist", "MNIST/raw"])
def test_every_spelling_is_found(tmp_path: Path, subfolder: str, ending: str, dotted: bool) -> None:
    put(tmp_path / subfolder, ending, dotted)
    for read, expected in zip(read_mnist(tmp_path), arrays(), strict=True):
        np.testing.assert_array_equal(read, expected)


def test_data_dir_goes_before_the_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "here")
    monkeypatch.setenv(mnist.ENVIRONMENT_VARIABLE, str(tmp_path / "absent"))
    assert len(read_mnist(tmp_path / "here")[0]) == TRAIN
    with pytest.raises(data.DataError, match=r"absent: no such folder \(given as MINICNN_DATA\)"):
        read_mnist()
    monkeypatch.setenv(mnist.ENVIRONMENT_VARIABLE, str(tmp_path / "here"))
    assert len(read_mnist()[0]) == TRAIN


def test_a_named_folder_without_the_files(tmp_path: Path, cache: Path) -> None:
    put(cache)  # not to be looked at
    put(tmp_path / "MNIST" / "raw")[2].unlink()
    with pytest.raises(data.DataError) as caught:
        read_mnist(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: MNIST is not there (given as data_dir); looked in it, in mnist/ and in MNIST/raw/, "
        "missing t10k-images-idx3-ubyte[.gz]"
    )


def test_two_halves_are_not_put_together(tmp_path: Path) -> None:
    for path in put(tmp_path)[:2] + put(tmp_path / "mnist")[2:]:
        path.unlink()
    with pytest.raises(data.DataError, match=r"missing train-images-idx3-ubyte\[\.gz\], train-labels"):
        find_files(tmp_path)


def test_mislabelled_files_are_named(tmp_path: Path) -> None:
    paths = put(tmp_path)
    shutil.copy(paths[1], paths[0])
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte: holds labels \(shape \(60,\)\)"):
        data.load("mnist", data_dir=tmp_path)
    paths = put(tmp_path)
    shutil.copy(paths[1], paths[3])
    with pytest.raises(data.DataError, match=r"t10k-labels-idx1-ubyte: 60 labels for the 20 images of "):
        data.load("mnist", data_dir=tmp_path)


def test_load_splits_the_training_images(tmp_path: Path) -> None:
    put(tmp_path)
    dataset = data.load("mnist", data_dir=tmp_path, validation=20)
    assert [len(part) for part in dataset.splits().values()] == [40, 20, 20]
    assert np.bincount(dataset.validation.labels).tolist() == [2] * 10
    images, labels, test_images, test_labels = arrays()
    pixels = np.concatenate([dataset.to_pixels(part.images) for part in (dataset.train, dataset.validation)])
    raw = np.rint(pixels[:, 0] * 255).astype(np.uint8)
    assert sorted(image.tobytes() for image in raw) == sorted(image.tobytes() for image in images)
    assert dataset.train.images.mean(dtype=np.float64) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(dataset.to_pixels(dataset.test.images)[:, 0], test_images / 255, atol=3e-7)
    np.testing.assert_array_equal(dataset.test.labels, test_labels)

    everything = data.load("mnist", data_dir=tmp_path, validation=0)
    np.testing.assert_array_equal(everything.train.labels, labels)
    assert everything.validation.images.shape == (0, 1, 28, 28)
    assert data.load("mnist", data_dir=tmp_path, validation=0.1, size=32).image_shape == (1, 32, 32)
    with pytest.raises(ValueError, match="validation=5000 of 60 images"):
        data.load("mnist", data_dir=tmp_path)


def test_the_seed_draws_the_validation_images(tmp_path: Path) -> None:
    put(tmp_path)
    first, again, other = (
        data.load("mnist", data_dir=tmp_path, validation=20, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.validation.images, again.validation.images)
    assert not np.array_equal(
        first.to_pixels(first.validation.images), other.to_pixels(other.validation.images)
    )


# ---- downloading


@pytest.fixture
def mirror(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:  # noqa: F811
    """Two mirrors, of which the first has the labels only, and the small files they send."""
    files = []
    for file, path in zip(MNIST.files, put(tmp_path / "origin", ".gz"), strict=True):
        content = gzip.decompress(path.read_bytes())
        files.append(File(file.stem, len(content), hashlib.sha256(content).hexdigest()))
        server.url(f"/second/{path.name}", body(path.read_bytes()))
        server.url(f"/first/{path.name}", body(path.read_bytes()) if "labels" in path.name else status(404))
    monkeypatch.setitem(vars(MNIST), "files", tuple(files))
    monkeypatch.setitem(vars(MNIST), "mirrors", (server.url("/first/"), server.url("/second/")))
    return server


def test_absent_files_are_downloaded_once(mirror: Server, cache: Path) -> None:
    for read, expected in zip(read_mnist(progress=False), arrays(), strict=True):
        np.testing.assert_array_equal(read, expected)
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{file.stem}.gz" for file in MNIST.files)
    assert len(mirror.asked) == 6
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    read_mnist(progress=False)
    assert mirror.asked[6:] == ["/first/t10k-labels-idx1-ubyte.gz"]
    assert len(data.load("mnist", validation=10, progress=False).train) == 50
    assert len(mirror.asked) == 7


def test_what_is_said_when_no_mirror_helps(mirror: Server, cache: Path) -> None:
    mirror.answers.clear()
    with pytest.raises(data.DownloadError) as caught:
        read_mnist(progress=False)
    message = str(caught.value)
    assert message.count("HTTP 404 Not Found") == 2
    assert message.endswith(f"put it at {cache / 'train-images-idx3-ubyte.gz'}")
    assert list(cache.iterdir()) == []


def test_downloading_can_be_forbidden(mirror: Server, cache: Path) -> None:
    with pytest.raises(data.DataError, match="downloading was not allowed"):
        data.load("mnist", download=False)
    assert mirror.asked == []
    put(cache, ".gz")
    assert len(data.load("mnist", download=False, validation=10).train) == 50


def test_a_damaged_file_in_the_cache(mirror: Server, cache: Path) -> None:
    path = put(cache, ".gz")[1]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(data.DataError, match=r"train-labels.*truncated.*; delete that file to have it down"):
        read_mnist()
    assert mirror.asked == []


# ---- the real files


def test_the_real_mnist(real_mnist: list[Path]) -> None:  # noqa: F811
    for file, path in zip(MNIST.files, real_mnist, strict=True):
        content = gzip.decompress(path.read_bytes())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
    dataset = data.load("mnist")
    assert [part.images.shape for part in dataset.splits().values()] == [
        (n, 1, 28, 28) for n in (55000, 5000, 10000)
    ]
    train = np.bincount(dataset.train.labels) + np.bincount(dataset.validation.labels)
    assert train.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.test.labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert abs(np.bincount(dataset.validation.labels) - train / 12).max() < 1
    # The mean and standard deviation that everybody uses for all 60,000 images.
    assert dataset.mean == pytest.approx(0.1307, abs=3e-4)
    assert dataset.std == pytest.approx(0.3081, abs=3e-4)
    assert all(part.images.dtype == np.float32 for part in dataset.splits().values())


# ---- Fashion-MNIST, in files of the same names


@pytest.mark.parametrize("subfolder", ["", "fashion_mnist", "FashionMNIST/raw"])
def test_fashion_mnist(tmp_path: Path, subfolder: str) -> None:
    put(tmp_path / subfolder, ".gz")
    dataset = data.load("fashion_mnist", data_dir=tmp_path, validation=10)
    assert [len(part) for part in dataset.splits().values()] == [50, 10, 20]
    assert (dataset.class_names[0], dataset.class_names[9]) == ("T-shirt", "ankle boot")


def test_mnist_is_not_taken_for_fashion(tmp_path: Path, real_mnist: list[Path]) -> None:  # noqa: F811
    with pytest.raises(data.DataError, match="are MNIST's labels, but those of Fashion-MNIST are expected"):
        read_mnist(real_mnist[0].parent, kind=mnist.FASHION_MNIST)


def test_fashion_mnist_is_judged_by_its_packed_files(
    mirror: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for file in MNIST.files:
        packed = (tmp_path / "origin" / f"{file.stem}.gz").read_bytes()
        files.append(File(file.stem, file.size, hashlib.sha256(packed).hexdigest(), packed=True))
    others = tuple(replace(file, sha256="f" * 64) for file in MNIST.files)
    monkeypatch.setitem(vars(MNIST), "files", others)  # or these would be MNIST's
    kind = replace(mnist.FASHION_MNIST, files=tuple(files), mirrors=(mirror.url("/second/"),))
    assert len(read_mnist(kind=kind, progress=False)[0]) == TRAIN
    assert sorted(p.name for p in cache.parent.iterdir()) == ["fashion_mnist"]
    wrong = replace(kind, files=tuple(replace(file, sha256="1" * 64) for file in files), name="other")
    with pytest.raises(data.DownloadError, match="wrong content"):
        read_mnist(kind=wrong, progress=False)
    with pytest.raises(
        data.DataError, match="Fashion-MNIST is not there, and downloading was not allowed; put train-"
    ):
        read_mnist(kind=wrong, download=False)
