"""Data sets: what a Split and a Dataset accept, how they are split, scaled and normalised."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import data
from minicnn.data.dataset import Dataset, Split, build, resize
from minicnn.data.digits import read_digits
from minicnn.data.sampling import stratified_split
from minicnn.random import Generator


def split(n: int = 4, shape: tuple[int, ...] = (1, 3, 3)) -> Split:
    rng = np.random.default_rng(n)
    return Split(rng.normal(size=(n, *shape)).astype(np.float32), np.arange(n) % 3)


def grey(n: int, size: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, size, size), np.uint8), rng.integers(0, 3, n).astype(np.uint8)


def built(images: np.ndarray, labels: np.ndarray, **options: int | float) -> Dataset:
    settings = {"size": 6, "validation": 0.25, "seed": 0} | options
    return build("grey", images, labels, *grey(8, seed=9), class_names=("a", "b", "c"), **settings)


def indices_of(part: Split, dataset: Dataset, images: np.ndarray) -> list[int]:
    """Which of the raw images a split holds, found by their pixels."""
    pixels = np.rint(dataset.to_pixels(part.images)[:, 0] * 255).astype(np.uint8)
    where = {image.tobytes(): i for i, image in enumerate(images)}
    assert len(where) == len(images), "the raw images are not all different"
    return [where[image.tobytes()] for image in pixels]


# ---- Split


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (np.zeros((2, 1, 3, 3)), np.arange(2), TypeError, "images has dtype float64, but an array"),
        (np.zeros((2, 1, 3, 3), "f4"), np.zeros(2, "i4"), TypeError, "labels has dtype int32, but"),
        ([[[[0.0]]]], np.arange(1), TypeError, "images has list"),
        (np.zeros((2, 3, 3), "f4"), np.arange(2), ValueError, r"images has shape \(2, 3, 3\), but"),
        (np.zeros((2, 1, 0, 3), "f4"), np.arange(2), ValueError, r"images has shape \(2, 1, 0, 3\)"),
        (np.zeros((2, 1, 3, 3), "f4"), np.arange(3), ValueError, r"labels has shape \(3,\), .* so \(2,\) is"),
        (np.zeros((2, 1, 3, 3), "f4"), np.zeros((2, 1), "i8"), ValueError, r"labels has shape \(2, 1\)"),
        (np.zeros((2, 1, 3, 3), "f4"), np.array([0, -1]), ValueError, "labels has the value -1"),
    ],
)  # fmt: skip
def test_a_split_checks_what_it_is_given(
    images: np.ndarray, labels: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"Split: {message}"):
        Split(images, labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_split_names_the_image_that_is_not_finite(value: float) -> None:
    images = np.zeros((5, 1, 3, 3), np.float32)
    images[3, 0, 2, 1] = value
    with pytest.raises(ValueError, match=r"images\[3\] holds a value that is not finite"):
        Split(images, np.arange(5))


def test_a_split_may_be_empty_and_is_frozen() -> None:
    empty = Split(np.zeros((0, 1, 28, 28), np.float32), np.zeros(0, np.int64))
    assert len(empty) == 0
    with pytest.raises(AttributeError):
        empty.labels = np.arange(3)  # type: ignore[misc]


def test_take() -> None:
    whole = split(6)
    part = whole.take(np.array([4, 1]))
    np.testing.assert_array_equal(part.images, whole.images[[4, 1]])
    assert part.labels.tolist() == [1, 1]


# ---- Dataset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": split(0)}, "the train split of dots is empty"),
        ({"test": split(0)}, "the test split of dots is empty"),
        (
            {"test": split(3, (1, 3, 4))},
            r"the test split's images have shape \(1, 3, 4\), .* split \(1, 3, 3\)",
        ),
        ({"validation": split(0, (3, 3, 3))}, r"the validation split's images have shape \(3, 3, 3\)"),
        ({"class_names": ("a", "b")}, "the train split has the label 2, but there are 2 class names"),
        ({"std": 0.0}, r"std=0\.0, but finite numbers and std > 0"),
        ({"std": -1.0}, "std > 0"),
        ({"mean": np.nan}, "mean=nan"),
    ],
)
def test_a_dataset_checks_that_its_parts_fit(change: dict, message: str) -> None:
    parts = {"train": split(5), "validation": split(0), "test": split(3), "class_names": ("a", "b", "c")}
    assert Dataset("dots", **parts).image_shape == (1, 3, 3)
    with pytest.raises(ValueError, match=f"Dataset: .*{message}"):
        Dataset("dots", **(parts | change))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_pixels_undoes_the_normalisation(dtype: type) -> None:
    images, labels = grey(40)
    dataset = built(images, labels)
    x = dataset.train.images.astype(dtype)
    before = x.copy()
    pixels = dataset.to_pixels(x)
    assert pixels.dtype == dtype
    np.testing.assert_array_equal(x, before)
    raw = images[indices_of(dataset.train, dataset, images)]
    np.testing.assert_allclose(pixels[:, 0], raw / 255, atol=3e-7)


def test_to_pixels_stays_within_0_and_1_and_refuses_bytes() -> None:
    dataset = built(*grey(40))
    pixels = dataset.to_pixels(np.array([-100, 0, 100], np.float32))
    np.testing.assert_allclose(pixels, [0, dataset.mean, 1], rtol=1e-6)
    with pytest.raises(TypeError, match="to_pixels: images has dtype uint8"):
        dataset.to_pixels(np.zeros(3, np.uint8))


# ---- splitting, scaling, normalising


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_stratified_split_is_exact_disjoint_and_proportional(
    labels: list[int], fraction: float, seed: int
) -> None:
    y = np.array(labels)
    count = int(fraction * (len(y) - 1))
    stay, drawn = stratified_split(y, count, Generator(seed))
    assert len(drawn) == count
    np.testing.assert_array_equal(np.sort(np.concatenate([stay, drawn])), np.arange(len(y)))
    wanted = np.bincount(y, minlength=5) * count / len(y)
    assert (abs(np.bincount(y[drawn], minlength=5) - wanted) < 1).all()


def test_a_stratified_split_depends_on_its_seed_only() -> None:
    y = np.arange(200) % 10
    first, again, other = (stratified_split(y, 0.3, Generator(seed))[1].tolist() for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert len(first) == 60


def test_every_image_is_as_likely_to_be_drawn() -> None:
    drawn = np.zeros(20)
    for seed in range(400):
        drawn[stratified_split(np.arange(20) % 2, 5, Generator(seed))[1]] += 1
    assert abs(drawn - 100).max() < 45  # five standard deviations of a binomial (400, 1/4)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (-1, ValueError, "validation=-1 of 10 images: at least 0 and at most 9"),
        (10, ValueError, "validation=10 of 10 images"),
        (1.0, ValueError, r"validation=1\.0 is not a fraction"),
        (-0.1, ValueError, r"validation=-0\.1 is not a fraction"),
        (0.99, ValueError, r"validation=0\.99 of 10 images"),
        (float("nan"), ValueError, "validation=nan is not a fraction"),
        (True, TypeError, "validation is True, but a count"),
        ("5", TypeError, "validation is '5', but a count"),
    ],
)
def test_parts_that_cannot_be_drawn(part: int | float, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stratified_split(np.arange(10) % 2, part, Generator(0), name="validation")


def test_normalisation_uses_the_training_images_only() -> None:
    images, labels = grey(60)
    plain = built(images, labels)
    changed = images.copy()
    held_out = indices_of(plain.validation, plain, images)
    changed[held_out] = 255 - changed[held_out] // 3
    other = build("grey", changed, labels, *grey(8, seed=4), class_names=("a", "b", "c"), size=6,
                  validation=0.25, seed=0)  # fmt: skip
    assert (other.mean, other.std) == (plain.mean, plain.std)
    np.testing.assert_array_equal(other.train.images, plain.train.images)
    assert not np.array_equal(other.validation.images, plain.validation.images)

    pixels = images[indices_of(plain.train, plain, images)] / 255
    assert plain.mean == pytest.approx(pixels.mean(), abs=1e-12)
    assert plain.std == pytest.approx(pixels.std(), abs=1e-12)
    expected = (images[held_out] / 255 - plain.mean) / plain.std
    np.testing.assert_allclose(plain.validation.images[:, 0], expected, atol=5e-7)
    np.testing.assert_array_equal(plain.validation.labels, labels[held_out])


def test_no_validation_split_and_inputs_left_alone() -> None:
    images, labels = grey(30)
    copy = images.copy()
    dataset = built(images, labels, validation=0)
    assert dataset.validation.images.shape == (0, 1, 6, 6)
    assert dataset.validation.labels.dtype == np.int64
    np.testing.assert_array_equal(dataset.train.labels, labels)
    np.testing.assert_array_equal(images, copy)


def test_images_without_any_contrast_are_refused() -> None:
    with pytest.raises(ValueError, match="every pixel of the training images has the same value"):
        built(np.full((10, 6, 6), 7, np.uint8), np.arange(10, dtype=np.uint8) % 3)


def test_resize() -> None:
    images, _ = grey(3, size=8)
    assert resize(images, 8) is images
    larger = resize(images, 28)
    assert larger.shape == (3, 28, 28)
    assert larger.dtype == np.uint8
    assert resize(images[1:2], 28).tobytes() == larger[1].tobytes()
    # A picture that is brighter to the right stays so, and is not turned or mirrored.
    ramp = np.tile(np.arange(0, 240, 30, dtype=np.uint8), (1, 8, 1))
    assert (np.diff(resize(ramp, 28)[0].astype(int), axis=1) >= 0).all()


# ---- the digits in the package


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def test_the_embedded_file_holds_the_1797_digits() -> None:
    images, labels = read_digits()
    assert (images.dtype, labels.dtype, images.shape) == (np.uint8, np.uint8, (1797, 8, 8))
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    sixteenths = np.rint(images / 255 * 16).astype(np.uint8)
    assert int(sixteenths.sum()) == 561718
    # Of scikit-learn's arrays as bytes: load_digits().images, then .target.
    digest = hashlib.sha256(sixteenths.tobytes() + labels.tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_digits_have_the_promised_sizes_and_kinds(digits: Dataset) -> None:
    assert [len(part) for part in digits.splits().values()] == [1257, 270, 270]
    assert digits.class_names == tuple("0123456789")
    assert digits.image_shape == (1, 28, 28)
    for part in digits.splits().values():
        assert (part.images.dtype, part.labels.dtype) == (np.float32, np.int64)
        assert part.images.flags.c_contiguous
        assert abs(np.bincount(part.labels) - len(part) / 10).max() <= len(part) * 0.006


def test_digits_are_normalised(digits: Dataset) -> None:
    assert abs(digits.train.images.mean(dtype=np.float64)) < 1e-6
    assert digits.train.images.std(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    pixels = digits.to_pixels(digits.train.images)
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert pixels.mean(dtype=np.float64) == pytest.approx(digits.mean, abs=1e-6)


def test_the_three_splits_of_digits_are_disjoint_and_cover_everything() -> None:
    dataset = data.load("digits", size=8)
    images, labels = read_digits()
    parts = [indices_of(part, dataset, images) for part in dataset.splits().values()]
    assert sorted(index for part in parts for index in part) == list(range(1797))
    for part, indices in zip(dataset.splits().values(), parts, strict=True):
        np.testing.assert_array_equal(part.labels, labels[indices])


def test_digits_depend_on_the_seed_only() -> None:
    images, _ = read_digits()
    first, again, other = (data.load("digits", size=8, seed=seed) for seed in (0, 0, 1))
    for name, part in first.splits().items():
        np.testing.assert_array_equal(part.images, again.splits()[name].images)
        np.testing.assert_array_equal(part.labels, again.splits()[name].labels)
        indices = indices_of(part, first, images)
        # Of two unrelated splits, the second holds an image of the first no more often than any other.
        shared = set(indices) & set(indices_of(other.splits()[name], other, images))
        assert len(shared) < len(indices) * (0.8 if name == "train" else 0.3)
    assert again.mean == first.mean != other.mean


def test_the_validation_option_leaves_the_test_images_alone(digits: Dataset) -> None:
    for validation, expected in ((0, 0), (100, 100), (0.5, 764)):
        dataset = data.load("digits", validation=validation)
        assert len(dataset.validation) == expected
        assert len(dataset.train) == 1527 - expected
        np.testing.assert_array_equal(dataset.test.labels, digits.test.labels)
        difference = dataset.to_pixels(dataset.test.images) - digits.to_pixels(digits.test.images)
        assert abs(difference).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("digit",), ValueError, "no data set 'digit', did you mean 'digits'"),
        (("MNSIT",), ValueError, "no data set 'MNSIT', did you mean 'mnist'"),
        (("imagenet",), ValueError, r"no data set 'imagenet'.* \(known: digits, mnist, "),
        (("",), ValueError, r"no data set '' \(known: digits, mnist, "),
        (("digits", {"size": 0}), ValueError, "size is 0, but at least 1"),
        (("digits", {"size": 28.0}), TypeError, r"size is 28\.0, but an integer"),
        (("digits", {"data_dir": "there"}), ValueError, "data_dir='there', but 'digits' is in the package"),
        (("digits", {"validation": 1527}), ValueError, "validation=1527 of 1527 images"),
        (("digits", {"seed": -1}), ValueError, "seed"),
    ],
)
def test_what_cannot_be_loaded(arguments: tuple, error: type[Exception], message: str) -> None:
    name, options = (*arguments, {})[:2]
    with pytest.raises(error, match=message):
        data.load(name, **options)


# ---- one-hot labels


def test_one_hot() -> None:
    rows = data.one_hot(np.array([1, 0, 3, 1], np.uint8), 4)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]])
    assert data.one_hot(np.zeros(0, np.int64), 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        (np.array([0.0, 1.0]), 2, TypeError, "labels has dtype float64"),
        (np.array([True]), 2, TypeError, "labels has dtype bool"),
        (np.array([[0, 1]]), 2, ValueError, r"labels has shape \(1, 2\)"),
        (np.array([0, 2, 5]), 2, ValueError, r"labels\[1\] is 2, but 0\.\.1 are expected"),
        (np.array([0, -1]), 2, ValueError, r"labels\[1\] is -1"),
        (np.array([0]), 0, ValueError, "classes=0, but at least 1"),
    ],
)
def test_labels_that_are_not_one_hot(
    labels: np.ndarray, classes: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        data.one_hot(labels, classes)
