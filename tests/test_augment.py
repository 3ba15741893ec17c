"""Augmentation: what each does, on whole batches, by numbers of each image's own, never to test images."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import data
from minicnn.commands.augment import choose
from minicnn.data import DataLoader, Dataset, Split, augment
from minicnn.data.augment import (
    ColorJitter,
    Compose,
    Cutout,
    PCANoise,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSquare,
    RandomVerticalFlip,
    by_name,
)
from minicnn.data.pixels import ArraySource, Pixels
from minicnn.data.sampling import own_numbers
from minicnn.data.warp import movement, warp
from minicnn.random import Generator

EVERY = [name if row.default is None else f"{name}{row.default:g}" for name, row in augment.NAMES.items()]


def photos(n: int = 6, channels: int = 3, height: int = 12, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, channels, height, width), np.float32)


def numbers(n: int, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, count), np.float32)


def dataset(n: int = 40, size: int = 12) -> Dataset:
    rng = np.random.default_rng(1)
    return data.from_arrays(rng.integers(0, 256, (n, size, size, 3), np.uint8), np.arange(n) % 2)


# ---- each one


@pytest.mark.parametrize("name", [*EVERY, *augment.SETS])
def test_every_name_changes_images_within_0_and_1(name: str) -> None:
    compose = by_name(name)
    x = photos()
    kept = x.copy()
    u = numbers(len(x), compose.draws)
    y = compose(x, u)
    np.testing.assert_array_equal(x, kept)
    assert (y.shape, y.dtype) == (x.shape, np.float32)
    assert y.min() >= 0
    assert y.max() <= 1
    frame = compose.frame(u)
    assert not np.array_equal(y, x) or frame is not None or name == "none"


@pytest.mark.parametrize("name", EVERY)
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    compose = by_name(name)
    x, u = photos(), numbers(6, compose.draws)
    together = compose(x, u)
    for k in range(6):
        np.testing.assert_array_equal(compose(x[k : k + 1], u[k : k + 1])[0], together[k])


def test_flips() -> None:
    x = photos(2)
    u = np.array([[0.49], [0.5]])
    np.testing.assert_array_equal(RandomHorizontalFlip()(x, u), np.stack([x[0, :, :, ::-1], x[1]]))
    np.testing.assert_array_equal(RandomVerticalFlip()(x, u), np.stack([x[0, :, ::-1], x[1]]))
    np.testing.assert_array_equal(RandomHorizontalFlip(p=0)(x, u * 0), x)


@pytest.mark.parametrize(("u", "top", "left"), [((0, 0), 0, 0), ((0.5, 0.99), 2, 4), ((0.999, 0.4), 4, 2)])
def test_crop(u: tuple[float, float], top: int, left: int) -> None:
    x = photos(1, height=5, width=7)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    y = RandomCrop(2)(x, np.array([u]))
    np.testing.assert_array_equal(y, padded[:, :, top : top + 5, left : left + 7])


def test_every_place_of_a_crop_is_as_likely() -> None:
    x = np.zeros((5000, 1, 3, 3), np.float32)
    x[:, 0, 1, 1] = 1
    y = RandomCrop(1)(x, own_numbers(Generator(0), np.arange(5000), 2))
    assert abs(y.mean(axis=0) - 1 / 9).max() < 0.025  # five standard deviations


@pytest.mark.parametrize("fill", [0.0, 0.7, "nearest"])
def test_standing_still_is_exact(fill: float | str) -> None:
    x = photos(3, height=7, width=10)
    np.testing.assert_array_equal(warp(x, np.broadcast_to(np.eye(3), (3, 3, 3)), fill), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (6, 1), (2, 2), (7, 10)])
def test_the_nearest_pixel_fills_what_is_uncovered(height: int, width: int) -> None:
    x = photos(1, height=height, width=width)
    there = np.array([[[1, 0, 1], [0, 1, -1], [0, 0, 1]]])  # right and up
    rows = np.minimum(np.arange(height) + 1, height - 1)
    columns = np.maximum(np.arange(width) - 1, 0)
    np.testing.assert_array_equal(warp(x, there), x[:, :, rows][:, :, :, columns])
    assert (warp(x, there * [[[1, 1, 50], [1, 1, 50], [1, 1, 1]]], fill=0.25) == 0.25).all()


def test_a_quarter_turn_is_a_transposition() -> None:
    x = photos(1)
    zero, one = np.zeros(1), np.ones(1)
    turned = warp(x, movement(90 * one, (zero, zero), one, zero))
    np.testing.assert_allclose(turned, x.transpose(0, 1, 3, 2)[..., ::-1], atol=1e-5)


def test_movements_in_a_row_are_one() -> None:
    x = photos(4)
    one, two = RandomAffine(degrees=30, fill=0.0), RandomAffine(translate=(0.2, 0.2), fill=0.0)
    u = numbers(4, 10)
    y = Compose([one, two])(x, u)
    both = two.matrices(u[:, 5:], 12, 12) @ one.matrices(u[:, :5], 12, 12)
    np.testing.assert_array_equal(y, warp(x, both, 0.0))
    twice = warp(warp(x, one.matrices(u[:, :5], 12, 12), 0.0), two.matrices(u[:, 5:], 12, 12), 0.0)
    assert abs(y - twice).max() > 1e-3  # a second sampling would have blurred; shifts are of whole pixels
    flipped = Compose([one, RandomHorizontalFlip(1), two])(x, numbers(4, 11))
    assert flipped.shape == x.shape


def test_shifts_are_of_whole_pixels_and_centred() -> None:
    matrices = RandomAffine(translate=(0.25, 0.5)).matrices(numbers(500, 5), 8, 16)
    shifts = matrices[:, :2, 2]
    np.testing.assert_array_equal(shifts, np.rint(shifts))
    assert shifts.min(axis=0).tolist() == [-4, -4]
    assert shifts.max(axis=0).tolist() == [4, 4]


@given(
    u=st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=22, max_size=22),
    w=st.integers(1, 60),
    h=st.integers(1, 60),
)
def test_parts_lie_within_the_image(u: list[float], w: int, h: int) -> None:
    for framing in (RandomResizedCrop(), RandomSquare(), RandomSquare((0.25, 1.0))):
        left, top, right, bottom = framing.box(np.array(u, np.float32)[: framing.draws], w, h)
        assert 0 <= left < right <= w + 1e-9
        assert 0 <= top < bottom <= h + 1e-9
        if isinstance(framing, RandomSquare):
            assert right - left == pytest.approx(bottom - top)


def test_areas_and_shapes_of_parts() -> None:
    u = own_numbers(Generator(3), np.arange(3000), RandomResizedCrop.draws)
    boxes = np.array([RandomResizedCrop().box(row, 200, 200) for row in u])
    sides = boxes[:, 2:] - boxes[:, :2]
    area, ratio = sides.prod(axis=1) / 200**2, sides[:, 0] / sides[:, 1]
    assert 0.07 < area.min() < 0.1
    assert area.max() > 0.9
    assert 0.4 < area.mean() < 0.54  # the largest do not fit in every shape
    assert 0.73 < ratio.min() < 0.77
    assert 1.3 < ratio.max() < 1.36
    boxes = np.array([RandomSquare((0.4375, 0.875)).box(row[:3], 512, 400) for row in u])
    scaled_to = 224 / (boxes[:, 2] - boxes[:, 0]) * 400  # what the shorter side becomes, if the part is 224
    np.testing.assert_allclose(
        np.quantile(scaled_to, [0, 0.25, 0.5, 0.75, 1]), [256, 320, 384, 448, 512], atol=8
    )


def test_colour_that_is_erased_and_covered() -> None:
    x = photos(400, height=10, width=20)
    y = RandomErasing(p=0.5, scale=(0.1, 0.3))(x, numbers(400, 5))
    covered = (y != x).any(axis=1)
    share = covered.mean(axis=(1, 2))
    assert (share > 0).mean() == pytest.approx(0.5, abs=0.13)
    assert (share[share > 0] > 0.06).all()
    assert (share < 0.36).all()
    k = int(np.argmax(share > 0))
    np.testing.assert_allclose(
        y[k][:, covered[k]], x[k].mean(axis=(1, 2))[:, None].repeat(covered[k].sum(), 1), rtol=1e-5
    )
    y = Cutout(4, value=0.0)(x, numbers(400, 2))
    sizes = (y == 0).all(axis=1).sum(axis=(1, 2))
    assert sizes.max() == 16
    assert sizes.min() >= 4  # a centre in the corner covers a quarter


def test_colour_noise_follows_the_components() -> None:
    noise = PCANoise(0.1, values=(0.3, 0.1, 0.0), vectors=np.eye(3))
    x = np.full((4000, 3, 1, 1), 0.5, np.float32)
    step = noise(x, own_numbers(Generator(0), np.arange(4000), 4))[:, :, 0, 0] - 0.5
    np.testing.assert_allclose(step.std(axis=0), [0.03, 0.01, 0], atol=0.001)
    np.testing.assert_allclose(step.mean(axis=0), 0, atol=0.002)
    assert abs(np.corrcoef(step[:, :2].T)[0, 1]) < 0.08


# ---- torchvision's, as a second opinion


@pytest.fixture(scope="module")
def theirs(torchvision):
    """torchvision.transforms.functional."""
    return importlib.import_module("torchvision.transforms.functional")


@pytest.mark.oracle
@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_movements_are_torchvisions(theirs, fill: float) -> None:
    import torch

    x = photos(1, height=15, width=20)
    cases = [(30, 0, 0, 1, 0), (0, 3, -2, 1, 0), (0, 0, 0, 1.3, 0), (0, 0, 0, 1, 20), (-70, 2, 5, 0.8, -15)]
    for angle, dx, dy, scale, shear in cases:
        wanted = theirs.affine(
            torch.from_numpy(x), angle, [dx, dy], scale, [shear, 0.0],
            interpolation=theirs.InterpolationMode.BILINEAR, fill=[fill],
        )  # fmt: skip
        arrays = (np.array([float(v)]) for v in (angle, dx, dy, scale, shear))
        a, tx, ty, s, sh = arrays
        y = warp(x, movement(a, (tx, ty), s, sh), fill)
        inside = warp(np.ones_like(x), movement(a, (tx, ty), s, sh), 0.0) == 1
        # torchvision rounds at the border to inside or outside, where here it fades.
        np.testing.assert_allclose(y[inside], wanted.numpy()[inside], atol=2e-5)
        assert inside.mean() > 0.3


@pytest.mark.oracle
@pytest.mark.parametrize("f", [0.6, 1.0, 1.4])
@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation"])
def test_colours_are_torchvisions(theirs, what: str, f: float) -> None:
    import torch

    x = photos(3)
    place = ("brightness", "contrast", "saturation").index(what)
    u = np.zeros((3, 3), np.float32)
    u[:, place] = (f - 0.6) / 0.8
    wanted = getattr(theirs, f"adjust_{what}")(torch.from_numpy(x), f).numpy()
    np.testing.assert_allclose(
        ColorJitter(**{what: 0.4})(x, u), wanted, atol=2e-3
    )  # its weights: 0.2989, 0.587, 0.114


@pytest.mark.oracle
def test_parts_are_torchvisions(theirs) -> None:
    import torch

    transforms = importlib.import_module("torchvision.transforms")
    image = torch.zeros(3, 90, 60)
    torch.manual_seed(0)
    wanted = np.array(
        [transforms.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(1500)]
    )
    u = own_numbers(Generator(0), np.arange(1500), RandomResizedCrop.draws)
    boxes = np.array([RandomResizedCrop().box(row, 60, 90) for row in u])
    found = np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1)
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1.6)
    np.testing.assert_allclose(found.std(axis=0), wanted.std(axis=0), atol=1.2)


# ---- numbers of each image's own


def test_own_numbers() -> None:
    u = own_numbers(Generator(7), np.arange(2000), 6)
    assert (u.shape, u.dtype) == ((2000, 6), np.float32)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean(axis=0) - 0.5).max() < 0.035
    assert abs(np.corrcoef(u.T) - np.eye(6)).max() < 0.12
    assert len(np.unique(u)) > 0.99 * u.size
    for few in ([5], [1999, 5], []):
        np.testing.assert_array_equal(own_numbers(Generator(7), np.array(few, int), 6), u[few])
    assert not np.array_equal(own_numbers(Generator(8), np.arange(2000), 6), u)
    assert own_numbers(Generator(7), np.arange(3), 0).shape == (3, 0)
    far = own_numbers(Generator(7), np.array([2**40]), 4)  # the high words of the counter count, too
    assert not np.array_equal(far, own_numbers(Generator(7), np.array([0]), 4))


# ---- in the loader


@pytest.mark.parametrize("names", ["flip,crop4", "resized-crop", "rotate,erase"])
@pytest.mark.parametrize("of_pixels", [True, False])
def test_workers_and_batches_change_nothing(names: str, of_pixels: bool) -> None:
    split = dataset().train
    if not of_pixels:
        split = Split(split.images[:], split.labels, split.mean, split.std)
    compose = by_name(names)

    def epoch(number: int = 3, seed: int = 5, **options) -> tuple[np.ndarray, np.ndarray]:
        loader = DataLoader(split, options.pop("batch_size", 7), seed=seed, augment=compose, **options)
        images, labels = zip(*loader.epoch(number, start=options.get("start", 0)), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    x, labels = epoch(workers=0)
    for other in ({"workers": 1}, {"workers": 3, "prefetch": 0}, {"workers": 2, "batch_size": 3}):
        y, its = epoch(**other)
        np.testing.assert_array_equal(y, x)
        np.testing.assert_array_equal(its, labels)
    shuffled, order = epoch(workers=2, shuffle=True)
    place = DataLoader(split, 7, shuffle=True, seed=5).order(3)
    np.testing.assert_array_equal(shuffled, x[place])  # an image's numbers are its own wherever it comes
    np.testing.assert_array_equal(order, labels[place])
    assert not np.array_equal(epoch(number=4)[0], x)
    assert not np.array_equal(epoch(seed=6)[0], x)
    assert (x.dtype, labels.dtype) == (np.float32, np.int64)


def test_an_array_and_pixels_give_the_same() -> None:
    split = dataset().train
    held = Split(split.images[:], split.labels, split.mean, split.std)
    for names in ("flip,crop4", "square50"):
        compose = by_name(names)
        one, other = (next(DataLoader(s, 20, augment=compose).epoch(0))[0] for s in (split, held))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_epoch_is_taken_up_in_the_middle() -> None:
    split = dataset().train
    whole = [x for x, _ in DataLoader(split, 8, shuffle=True, augment=by_name("cifar")).epoch(2)]
    rest = [x for x, _ in DataLoader(split, 8, shuffle=True, augment=by_name("cifar")).epoch(2, start=2)]
    assert len(rest) == len(whole) - 2
    for x, y in zip(rest, whole[2:], strict=True):
        np.testing.assert_array_equal(x, y)


def test_what_is_held_out_is_never_augmented(tmp_path: Path) -> None:
    from test_folder import pets

    sets = [dataset(), data.load("digits", size=8), data.load_images(pets(tmp_path / "pets", 20))]
    for some in sets:
        assert not some.train.held_out
        DataLoader(some.train, 4, augment=by_name("flip"))
        for split in (some.validation, some.test, some.test.take([0, 1]), some.validation.take(slice(2))):
            assert split.held_out
            with pytest.raises(ValueError, match="held out .*: it is never augmented"):
                DataLoader(split, 2, augment=by_name("flip"))
            with pytest.raises(ValueError, match="never augmented"):
                split.augmented(slice(1), by_name("flip"), numbers(1, 1))
    # Whatever way its splits came, a data set marks them.
    train = sets[0].train
    again = Dataset("again", train, train, train, sets[0].class_names, sets[0].mean, sets[0].std)
    assert (again.train.held_out, again.validation.held_out, again.test.held_out) == (False, True, True)
    # And what evaluation reads with has no way of being told to.
    x, _ = next(data.batches(again.test, 4))
    np.testing.assert_array_equal(x, again.test.images[:4])


# ---- by name


def test_names_and_numbers() -> None:
    assert repr(by_name("none")) == repr(by_name("")) == "Compose([])"
    assert by_name("none").draws == 0
    assert [type(t) for t in by_name("imagenet, pca5").transforms] == [
        RandomResizedCrop,
        RandomHorizontalFlip,
        PCANoise,
    ]
    assert by_name("pca5").transforms[0].std == 0.05
    assert by_name("square87.5").transforms[0].sides == (0.875, 0.875)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("flop", "'flop' is unknown; did you mean 'flip'"),
        ("flip3", "'flip3', but 'flip' takes no number"),
        ("crop0", "'crop0' cannot be: RandomCrop: padding is 0"),
        ("crop1.5", r"'crop1\.5' cannot be: crop takes a whole number of pixels"),
        ("zoom100", "'zoom100' cannot be: RandomAffine: scale is"),
        ("rotate200", "'rotate200' cannot be: RandomAffine: degrees is 200.0, but 0 to 180"),
        ("resized-crop0", "RandomResizedCrop: scale is"),
        ("flip,resized-crop", "RandomResizedCrop.* chooses a part of the image, so it must be the first"),
        ("crop-4", "'crop-4' is unknown"),
        ("flip\ncrop", "is unknown"),
    ],
)
def test_names_that_cannot_be(names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_name(names)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomHorizontalFlip(1.5), ValueError, "p is 1.5, but 0 to 1"),
        (lambda: RandomHorizontalFlip("x"), TypeError, "p is 'x', but a number"),
        (lambda: RandomCrop(-1), ValueError, "padding is -1, but at least 1"),
        (lambda: RandomAffine(translate=0.1), TypeError, "translate is 0.1, but two numbers"),
        (lambda: RandomAffine(scale=(1.2, 0.8)), ValueError, r"scale is \(1.2, 0.8\), but 0 < low ≤ high"),
        (lambda: RandomAffine(fill="black"), ValueError, "fill is 'black', but 'nearest' or a number"),
        (lambda: ColorJitter(brightness=float("nan")), ValueError, "brightness is nan"),
        (
            lambda: PCANoise(vectors=[[1, 2, 3]]),
            ValueError,
            r"vectors have shapes \(3,\) and \(1, 3\), but",
        ),
        (lambda: PCANoise()(photos(1, channels=1), numbers(1, 4)), ValueError, "1 channels, but 3 colours"),
        (lambda: Compose([print]), TypeError, "at place 0 is no Transform"),
        (
            lambda: DataLoader(dataset().train, 4, augment="flip"),
            TypeError,
            "augment is str, but augment.Compose",
        ),
        (
            lambda: DataLoader(Split(photos(4, width=9), np.arange(4)), 2, augment=by_name("square")),
            ValueError,
            r"RandomSquare.* makes square images, but those of split have shape \(3, 12, 9\)",
        ),
        (lambda: DataLoader(dataset().train, 4, workers=-1), ValueError, "workers is -1, but at least 0"),
        (lambda: DataLoader(dataset().train, 4, prefetch=1.5), TypeError, "prefetch is 1.5"),
    ],
)
def test_settings_that_cannot_be(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# ---- the picture


def test_the_picture_shows_every_class_first() -> None:
    labels = np.array([1, 1, 0, 2, 0, 1])
    assert choose(labels, 3).tolist() == [2, 0, 3]
    assert choose(labels, 5).tolist() == [2, 0, 3, 4, 1]
    assert sorted(choose(labels, 99).tolist()) == list(range(6))


def test_pixels_are_read_as_an_array_is() -> None:
    source = ArraySource(np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3))
    images = Pixels(source, np.array([3, 1, 0]), mean=0.1, std=0.5)
    whole = np.asarray(images)
    assert whole.shape == images.shape == (3, 3, 2, 2)
    for which in (slice(1, 3), [2, 0], np.array([1]), np.array([True, False, True])):
        np.testing.assert_array_equal(images[which], whole[which])
        np.testing.assert_array_equal(images.take(which)[:], whole[which])
    np.testing.assert_array_equal(images[2], whole[2])
