"""Images as networks want them: against torchvision, timm and Keras, and by hand."""

import importlib
import io
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minicnn import data
from minicnn.data import DataError, imagenet_classes, read_image
from minicnn.data.preprocess import cut, numbers, of_dataset
from minicnn.models import Preprocessing
from minicnn.models.preprocessing import CONVENTIONS, KERAS, convention, of_keras
from minicnn.models.published import PUBLISHED

SIZES = [(500, 375), (375, 500), (256, 256), (257, 256), (100, 61), (224, 1000), (640, 427), (3, 2)]


def photograph(W: int, H: int, mode: str = "RGB") -> Image.Image:
    """Smooth colours and noise, so that each pixel of the result depends on how it was averaged."""
    rng = np.random.default_rng(W * 1000 + H)
    y, x = np.mgrid[:H, :W]
    waves = np.stack([np.sin(x / 7), np.cos(y / 5), np.sin((x + y) / 11)], axis=-1)
    pixels = np.clip(127 + 90 * waves + rng.normal(0, 25, (H, W, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_by_hand() -> None:
    how = Preprocessing(crop=2, resize=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0), interpolation="nearest")
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    x = numbers(cut(Image.fromarray(pixels), how), how)
    assert (x.shape, x.dtype) == ((3, 2, 2), np.float32)
    for c in range(3):
        expected = (pixels[:, 1:3, c] / 255 - how.mean[c]) / how.std[c]
        np.testing.assert_allclose(x[c], expected, rtol=1e-6)


def test_blue_green_red_in_whole_numbers() -> None:
    how = convention("caffe", 1)
    x = numbers(Image.new("RGB", (1, 1), (10, 20, 30)), how)
    np.testing.assert_allclose(x.ravel(), [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)


def test_grey(tmp_path: Path) -> None:
    Image.new("RGB", (9, 5), (255, 255, 255)).save(tmp_path / "white.png")
    how = Preprocessing(crop=4, resize=None, mean=(0.5,), std=(0.25,), channels="L")
    image, x = read_image(tmp_path / "white.png", how)
    assert (image.mode, image.size) == ("L", (4, 4))
    np.testing.assert_array_equal(x, np.full((1, 4, 4), 2, np.float32))


@pytest.mark.parametrize("size", SIZES)
def test_every_shape_of_image_becomes_a_square(size: tuple[int, int]) -> None:
    for how in CONVENTIONS.values():
        assert cut(photograph(*size), how).size == (224, 224)


def test_a_strip_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    Image.new("L", (1, 60_000)).save(tmp_path / "strip.png")
    with pytest.raises(
        DataError, match=r"strip.png: 1×60000 pixels are too thin a strip to cut a square from"
    ):
        read_image(tmp_path / "strip.png", Preprocessing(crop=224))
    assert read_image(tmp_path / "strip.png", convention("tf", 224))[1].shape == (3, 224, 224)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match="empty.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg", Preprocessing(crop=224))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop": 0}, "crop is 0, but a whole number >= 1 is expected"),
        ({"crop": 2.5}, "crop is 2.5, but a whole number"),
        ({"resize": 200}, "resize is 200, but a whole number >= 224"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos' is unknown"),
        ({"channels": "RGBA"}, "channels 'RGBA' is unknown"),
        ({"channels": "L"}, "but 1 numbers in each are expected"),
        ({"mean": (1.0, 2.0)}, "but 3 numbers in each are expected"),
        ({"std": (1.0, 0.0, 1.0)}, "but numbers above 0 are expected"),
        ({"scale": 0}, "but numbers above 0 are expected"),
    ],
)
def test_what_cannot_be(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=f"^Preprocessing: .*{words}"):
        replace(Preprocessing(crop=224), **changes)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_there_and_back_as_json(name: str) -> None:
    import json

    how = convention(name, 299)
    assert Preprocessing.from_dict(json.loads(json.dumps(asdict(how)))) == how


@pytest.mark.parametrize("values", [None, [], {}, {"resize": 5}, {"crop": 5, "pickle": 1}, "crop"])
def test_what_describes_none(values: object) -> None:
    with pytest.raises(ValueError, match="does not describe one"):
        Preprocessing.from_dict(values)


def test_a_file_becomes_what_the_data_set_holds(tmp_path: Path) -> None:
    digits = data.load("digits", seed=3)
    images, labels = data.digits.read_digits()
    which = next(i for i in range(len(labels)) if labels[i] == 7)
    Image.fromarray(images[which]).save(tmp_path / "seven.png")
    _, x = read_image(tmp_path / "seven.png", of_dataset(digits))
    parts = np.concatenate([split.images for split in digits.splits().values()])
    assert np.abs(parts - x).max(axis=(1, 2, 3)).min() < 1e-6


def test_the_thousand_classes() -> None:
    classes = imagenet_classes()
    assert len(classes) == len({row.name for row in classes}) == 1000
    assert [row.wnid for row in classes] == sorted(row.wnid for row in classes)
    assert (classes[0].name, classes[281].name, classes[999].name) == ("tench", "tabby", "toilet tissue")
    assert (classes[134], classes[517]) == (("n02012849", "crane bird"), ("n03126707", "crane"))


# ------------------------------------------------------------------------------------------ others' ways


@pytest.mark.oracle
def test_classes_are_torchvisions(torchvision) -> None:
    theirs = importlib.import_module("torchvision.models._meta")._IMAGENET_CATEGORIES
    assert [row.name for row in imagenet_classes()] == theirs


@pytest.mark.oracle
def test_numbers_in_wordnet_are_timms(torchvision) -> None:
    ImageNetInfo = pytest.importorskip("timm.data").ImageNetInfo
    assert [row.wnid for row in imagenet_classes()] == ImageNetInfo("imagenet-1k").label_names()


TRANSFORMS = {
    (row.preprocessing.resize, row.preprocessing.crop, row.preprocessing.interpolation): row
    for row in PUBLISHED
    if row.publisher == "torchvision"
}


@pytest.mark.oracle
@pytest.mark.parametrize("key", TRANSFORMS, ids=str)
def test_pixels_are_torchvisions(torchvision, key: tuple) -> None:
    """Each pixel is the same one of 256 values; only normalising it may round otherwise, by the last bit."""
    row = TRANSFORMS[key]
    transform = torchvision.get_model_weights(row.network)[row.name].transforms()
    how = row.preprocessing
    for size in SIZES[:-1] if key[0] < 400 else SIZES[:2]:
        image = photograph(*size)
        ours, theirs = numbers(cut(image, how), how), transform(image).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        plain = replace(how, mean=(0, 0, 0), std=(1, 1, 1))
        pixels = theirs * np.array(how.std)[:, None, None] + np.array(how.mean)[:, None, None]
        np.testing.assert_array_equal(np.rint(pixels * 255), np.rint(numbers(cut(image, plain), plain) * 255))


@pytest.mark.oracle
@pytest.mark.parametrize("network", sorted({row.network for row in PUBLISHED if row.publisher == "timm"}))
def test_pixels_are_timms(torchvision, network: str) -> None:
    timm = pytest.importorskip("timm")
    row = next(row for row in PUBLISHED if row.network == network)
    config = timm.get_pretrained_cfg(f"{network}.{row.name}").to_dict()
    settings = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=True)
    transform = timm.data.create_transform(**settings)
    for size in SIZES[:3]:
        image = photograph(*size)
        ours = numbers(cut(image, row.preprocessing), row.preprocessing)
        np.testing.assert_allclose(ours, transform(image).numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_numbers_are_keras(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")
    utilities = importlib.import_module("keras.src.applications.imagenet_utils")
    image = photograph(320, 200)
    file = io.BytesIO()
    image.save(file, "PNG")
    theirs = importlib.import_module("keras.utils").load_img(file, target_size=(224, 224))
    x = utilities.preprocess_input(np.asarray(theirs, np.float32), data_format="channels_last", mode=mode)
    how = convention(mode, 224)
    np.testing.assert_allclose(numbers(cut(image, how), how), x.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_kerass_modes_are_for_networks_whose_files_are_read() -> None:
    from minicnn.weights.keras_networks import NETWORKS

    networks = [name for names in KERAS.values() for name in names]
    assert sorted(networks) == sorted(NETWORKS)
    assert of_keras("mobilenet_v2", 224) is None
