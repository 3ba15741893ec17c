"""Images in folders and zips: which class, which split, and every way in which a folder can be wrong."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import data, nn, optim, train
from minicnn.data import DataError, DataLoader, DataWarning, load_images, storage
from minicnn.data.pixels import FileSource
from minicnn.data.preprocess import of_dataset

KINDS = (".png", ".jpg", ".tif", ".PNG")


def put(path: Path, value: int = 0, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Path:
    """An image of a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (value % 256, value // 256 * 40, 200) if mode == "RGB" else value % 256
    Image.new(mode, size, colour).save(path)
    return path


def pets(folder: Path, count: int = 8, **options) -> Path:
    """Two classes, of images that are all different and of several formats."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(count):
            put(folder / name / f"{i}{KINDS[i % len(KINDS)]}", 100 * c + 3 * i, **options)
    return folder


def zipped(folder: Path, above: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, above + str(file.relative_to(folder)))
    return path


def everything(dataset: data.Dataset) -> list[np.ndarray]:
    return [array for split in dataset.splits().values() for array in (split.images[:], split.labels)]


def test_classes_splits_and_shapes(tmp_path: Path) -> None:
    dataset = load_images(pets(tmp_path / "pets", 20))
    assert dataset.class_names == ("cat", "dog")
    assert dataset.image_shape == (3, 6, 6)
    assert [len(split) for split in dataset.splits().values()] == [29, 5, 6]
    assert np.bincount(dataset.test.labels).tolist() == [3, 3]
    x = dataset.train.images[:]
    assert (x.dtype, x.shape) == (np.float32, (29, 3, 6, 6))
    assert abs(x.mean(axis=(0, 2, 3))).max() < 1e-5
    red = np.rint(dataset.to_pixels(x)[:, 0, 3, 3] * 255)
    np.testing.assert_array_equal(red >= 95, dataset.train.labels == 1)  # the colours tell the classes apart
    names = [name for split in dataset.splits().values() for name in split.images.names()]
    assert len(set(names)) == 40
    assert all(Path(name).is_file() for name in names)


@pytest.mark.parametrize("above", ["", "everything/pets/"])
def test_a_zip_is_the_same_as_its_folder(tmp_path: Path, above: str) -> None:
    folder = pets(tmp_path / "pets")
    for one, other in zip(
        everything(load_images(folder)), everything(load_images(zipped(folder, above))), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pets", "pets.zip"]  # nothing was unpacked


def test_splits_with_folders_of_their_own(tmp_path: Path) -> None:
    for split, count in (("Train", 5), ("val", 2), ("test", 3)):
        pets(tmp_path / "pets" / split, count, size=(len(split), 9))
    dataset = load_images(tmp_path, size=4)
    assert [len(split) for split in dataset.splits().values()] == [10, 4, 6]
    assert "val" in dataset.validation.images.names()[0]
    with pytest.raises(ValueError, match="validation=3, but .* has a folder of validation images"):
        load_images(tmp_path, validation=3)


def test_what_has_no_folder_is_drawn(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("test", 3)):
        pets(tmp_path / split, count, size=(len(split), 9))
    first, again, other = (load_images(tmp_path, validation=0.2, seed=seed) for seed in (0, 0, 1))
    assert [len(split) for split in first.splits().values()] == [16, 4, 6]
    assert first.validation.images.names() == again.validation.images.names()
    assert first.validation.images.names() != other.validation.images.names()
    assert first.test.images.names() == other.test.images.names()
    assert len(load_images(tmp_path, validation=0).validation) == 0


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    pets(tmp_path)
    put(tmp_path / ".thumbnails" / "x.png")
    put(tmp_path / "__MACOSX" / "cat" / "y.png")
    (tmp_path / "cat" / "._1.png").write_bytes(b"rubbish")
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"rubbish")
    (tmp_path / "README.txt").write_text("pets")
    assert sum(len(split) for split in load_images(tmp_path).splits().values()) == 16


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    pets(tmp_path)
    os.symlink(tmp_path, tmp_path / "cat" / "loop")
    assert sum(len(split) for split in load_images(tmp_path).splits().values()) == 16


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path: Path) -> None:
    pets(tmp_path / "grey", mode="L")
    assert load_images(tmp_path / "grey").image_shape == (1, 6, 6)
    assert load_images(tmp_path / "grey", channels=3).image_shape == (3, 6, 6)
    pets(tmp_path / "mixed", mode="L")
    put(tmp_path / "mixed" / "dog" / "0.png", 7)
    dataset = load_images(tmp_path / "mixed")
    assert dataset.image_shape == (3, 6, 6)
    assert dataset.train.images[:].shape == (12, 3, 6, 6)


def test_sizes_and_constants(tmp_path: Path) -> None:
    pets(tmp_path, size=(300, 400))
    assert load_images(tmp_path).image_shape == (3, 224, 224)
    dataset = load_images(tmp_path, size=5, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4))
    assert dataset.image_shape == (3, 5, 5)
    blue = dataset.train.images[:1][0, 2]
    np.testing.assert_allclose(blue, (200 / 255 - 0.3) / 0.4, atol=0.02)  # within what JPEG loses


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: (p / "cat").mkdir(), "there are no images in it"),
        (lambda p: put(p / "1.png"), "has images, but no folders that would say of which class"),
        (lambda p: [put(p / "cat" / f"{i}.png", i) for i in range(9)], "there is only one class, 'cat'"),
        (lambda p: [pets(p), (p / "eel").mkdir()], r"eel: there are no images in this folder"),
        (lambda p: [pets(p), put(p / "1.png")], r"1\.png: lies beside the class folders, in none of them"),
        (lambda p: [pets(p / "train"), put(p / "train" / "1.png")], r"train/1\.png: lies beside the class"),
        (lambda p: [pets(p), put(p / "Cat" / "1.png")], "classes 'Cat' and 'cat' differ in upper and lower"),
        (lambda p: [pets(p / "train"), pets(p / "more")], "has 'more' beside a folder for training"),
        (
            lambda p: [pets(p / "train"), put(p / "test" / "eel" / "1.png")],
            "class 'eel' has test images, but",
        ),
        (lambda p: [pets(p / "train"), (p / "val").mkdir()], "val: there are no images in this folder"),
        (lambda p: [pets(p), (p / "cat" / "9.png").touch()], r"9\.png: the file is empty"),
        (lambda p: pets(p, 1), "has no image left for training|too few to hold any out"),
    ],
)
def test_folders_that_are_wrong(tmp_path: Path, make, message: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "channels is 2, but 1"),
        ({"crop": 0}, "crop is 0, but a share above 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore', but 'raise' or 'skip'"),
        ({"size": 0}, "size is 0"),
        ({"test": 16}, "test=16 of 16 images"),
        ({"test": 0}, "too few to hold any out for testing"),
    ],
)
def test_arguments_that_are_wrong(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_images(pets(tmp_path), **options)


def test_paths_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: no such folder or zip$"):
        load_images(tmp_path / "none")
    path = tmp_path / "pets.zip"
    path.write_bytes(b"PK hello")
    with pytest.raises(DataError, match=r"pets\.zip: no sound zip file"):
        load_images(path)


@pytest.mark.parametrize(
    ("file", "name"), [("train-labels-idx1-ubyte.gz", "mnist"), ("data_batch_1.bin", "cifar10")]
)
def test_the_files_of_a_published_data_set_are_no_folder_of_images(
    tmp_path: Path, file: str, name: str
) -> None:
    (tmp_path / file).touch()
    with pytest.raises(DataError, match=f"no images in it .*the data are {name}, and this folder is its"):
        load_images(tmp_path)


# ---- broken images


def broken(folder: Path) -> Path:
    pets(folder, 10)
    content = (folder / "dog" / "1.jpg").read_bytes()
    (folder / "dog" / "1.jpg").write_bytes(content[: len(content) // 2])
    (folder / "cat" / "3.PNG").write_bytes(b"hello")
    return folder


def test_a_broken_image_is_named_at_its_batch(tmp_path: Path) -> None:
    dataset = load_images(broken(tmp_path), mean=0.5, std=0.5, channels=3)
    files = {Path(name).name for name in dataset.train.images.names()}
    assert {"1.jpg", "3.PNG"} <= files
    for workers in (0, 2):
        loader = DataLoader(dataset.train, 1, workers=workers)
        seen = 0
        with pytest.raises(DataError, match=r"cat/3\.PNG: damaged, or no image") as caught:  # noqa: PT012
            for _ in loader.epoch(0):
                seen += 1
        assert "\n" not in str(caught.value)
        wanted = [Path(name).name for name in dataset.train.images.names()].index("3.PNG")
        assert seen == wanted


@pytest.mark.parametrize("as_zip", [False, True])
def test_broken_images_can_be_left_out(tmp_path: Path, as_zip: bool) -> None:
    folder = broken(tmp_path / "pets")
    (folder / "cat" / "empty.jpg").touch()
    with pytest.warns(DataWarning) as told:
        dataset = load_images(zipped(folder) if as_zip else folder, on_error="skip")
    lines = sorted(str(warning.message) for warning in told)
    for line, name in zip(lines, ("cat/3.PNG", "cat/empty.jpg", "dog/1.jpg"), strict=True):
        assert name in line
        assert line.endswith("; left out")
    assert sum(len(split) for split in dataset.splits().values()) == 18
    for split in dataset.splits().values():
        assert np.isfinite(split.images[:]).all()


def test_a_class_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    pets(tmp_path, 8)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "1.png").write_bytes(b"no eel")
    with (
        pytest.warns(DataWarning, match="left out"),
        pytest.raises(DataError, match="of class 'eel' no image for training can be read"),
    ):
        load_images(tmp_path, on_error="skip")


# ---- training images among those that are held out


@pytest.mark.parametrize("as_zip", [False, True])
def test_images_that_are_also_held_out_are_told(tmp_path: Path, as_zip: bool) -> None:
    folder = tmp_path / "pets"
    pets(folder / "train", 6)
    pets(folder / "test", 3, size=(9, 9))
    load_images(zipped(folder) if as_zip else folder)  # no warning
    content = (folder / "train" / "dog" / "2.tif").read_bytes()
    (folder / "test" / "dog" / "again.tif").write_bytes(content)
    with pytest.warns(
        DataWarning, match=r"1 of 7 test images are in training too.* the first is test/dog/again"
    ):
        load_images(zipped(folder) if as_zip else folder, validation=0)


# ---- zips from anywhere


def test_names_in_a_zip_lead_nowhere(tmp_path: Path) -> None:
    image = put(tmp_path / "x.png").read_bytes()
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(6):
            archive.writestr(f"../../cat/{i}.png", image)
            archive.writestr(f"/etc/dog/{i}.png", image)
    with pytest.raises(DataError):
        load_images(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.zip", "x.png"]


def test_zips_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(pets(tmp_path / "pets"))
    content = bytearray(path.read_bytes())
    start = content.index(b"cat/0.png") + 20
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pets\.zip/cat/0\.png: cannot be unpacked"):
        load_images(path)
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"bytes are more than the bound of 10"):
        load_images(zipped(pets(tmp_path / "pets")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", b"one")
        archive.writestr("cat/1.png", b"two")
    with pytest.raises(DataError, match=r"holds 'cat/1\.png' more than once"):
        load_images(path)


# ---- memory


def test_what_is_small_is_decoded_once_and_what_is_large_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = storage.Folder(pets(tmp_path))
    opened: list[str] = []
    plain = storage.Folder.open
    monkeypatch.setattr(
        storage.Folder, "open", lambda self, name: [opened.append(name), plain(self, name)][1]
    )
    which = np.arange(16)
    kept = FileSource(folder, folder.names, size=4, channels=3)
    first = kept.read(which)
    np.testing.assert_array_equal(kept.read(which), first)
    assert len(opened) == 16
    monkeypatch.setattr("minicnn.data.pixels.CACHE_BYTES", 16 * 4 * 4 * 3 - 1)
    large = FileSource(folder, folder.names, size=4, channels=3)
    for _ in range(2):
        np.testing.assert_array_equal(large.read(which), first)
    assert len(opened) == 48


# ---- arrays


def test_arrays_in_any_order_of_axes() -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (20, 6, 6, 3), np.uint8), np.arange(20) % 2
    one = data.from_arrays(images, labels)
    other = data.from_arrays(images.transpose(0, 3, 1, 2), labels)
    np.testing.assert_array_equal(one.train.images[:], other.train.images[:])
    own = data.from_arrays(images, labels, test=(images[:5], labels[:5]), validation=0)
    assert [len(split) for split in own.splits().values()] == [20, 0, 5]
    np.testing.assert_allclose(
        own.to_pixels(own.test.images[:]).transpose(0, 2, 3, 1), images[:5] / 255, atol=1e-6
    )


IMAGES, LABELS = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 2


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((IMAGES / 255, LABELS), {}, TypeError, r"images have dtype float64, but uint8 .* \(255 \* images\)"),
        ((IMAGES.astype(int), LABELS), {}, TypeError, "images have dtype int64, but uint8 is expected$"),
        ((IMAGES[0], LABELS), {}, ValueError, r"images have shape \(4, 4\), but \(N, H, W\)"),
        ((IMAGES[..., None, None], LABELS), {}, ValueError, "images have shape"),
        ((IMAGES[:0], LABELS[:0]), {}, ValueError, r"images have shape \(0, 4, 4\)"),
        ((IMAGES, LABELS * 1.0), {}, TypeError, "labels have dtype float64, but integers"),
        ((IMAGES, LABELS[:5]), {}, ValueError, r"labels have shape \(5,\), but there are 6 images"),
        ((IMAGES, LABELS - 1), {}, ValueError, "labels have the value -1, but labels start at 0"),
        (
            (IMAGES, LABELS),
            {"class_names": ["a"]},
            ValueError,
            "labels go up to 1, but there are 1 class_names",
        ),
        ((IMAGES, LABELS * 0), {}, ValueError, "there is only one class, '0'"),
        ((IMAGES, LABELS * 10**12), {}, ValueError, "labels go up to 1000000000000, but there are only 6"),
        ((IMAGES, LABELS), {"class_names": "abc"}, ValueError, "class 'c' has no image left for training"),
        ((IMAGES, LABELS), {"test": (IMAGES,)}, ValueError, "test is a tuple of 1, but images and labels"),
        ((IMAGES, LABELS), {"test": 1, "validation": 1}, ValueError, "every pixel .* has the same value"),
    ],
)
def test_arrays_that_are_wrong(arguments: tuple, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        data.from_arrays(*arguments, **options)


# ---- by path, and the real images


def test_load_takes_paths(tmp_path: Path) -> None:
    pets(tmp_path / "pets")
    assert data.load(tmp_path / "pets", size=4).image_shape == (3, 4, 4)
    assert data.load(str(zipped(tmp_path / "pets")), crop=0.5).class_names == ("cat", "dog")
    with pytest.raises(DataError, match=r"flowers\.zip: cannot be read \(No such file|no such folder"):
        data.load("flowers.zip")
    with pytest.raises(ValueError, match="data_dir='x', but .* is a path itself"):
        data.load(tmp_path / "pets", data_dir="x")


def test_cifar10_as_jpeg() -> None:
    path = Path(os.environ.get("MINICNN_DATA", "")) / "cifar10-jpeg.zip"
    if not path.is_file():
        pytest.skip("MINICNN_DATA does not say where cifar10-jpeg.zip is")
    dataset = load_images(path, validation=5000)
    assert dataset.class_names[3:6] == ("cat", "deer", "dog")
    assert [len(split) for split in dataset.splits().values()] == [45_000, 5_000, 10_000]
    assert dataset.image_shape == (3, 32, 32)
    np.testing.assert_allclose(dataset.mean, (0.4914, 0.4822, 0.4465), atol=0.01)  # of all, and not as JPEG
    np.testing.assert_allclose(dataset.std, (0.247, 0.2435, 0.2616), atol=0.01)


def test_a_network_is_trained_and_measured_on_files(tmp_path: Path) -> None:
    dataset = load_images(pets(tmp_path, 24), size=8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.05), batch_size=8)
    trainer.fit(dataset.train, dataset.validation, epochs=8)
    assert trainer.history[-1].loss < trainer.history[0].loss
    assert train.evaluate(model, dataset.test, batch_size=3).accuracy > 0.8


def test_a_file_is_seen_as_its_data_set_has_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 40, 3), np.uint8)).save(path)
    images = load_images(tmp_path, size=10).train.images
    how = of_dataset(load_images(tmp_path, size=10))
    for k, name in enumerate(images.names()):
        np.testing.assert_allclose(data.read_image(name, how)[1], images[k], atol=0.03)  # a step of a byte
