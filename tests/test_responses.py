"""What units respond to most in a data set: against loops over every unit, and as a user meets it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import cli, models, nn
from minicnn.data import Split
from minicnn.explain.observe import NothingToSee
from minicnn.explain.responses import patches, strongest_responses
from minicnn.explain.sensitivity import deconvolution


@pytest.fixture(autouse=True)
def _on_the_cpu():
    with mc.use("numpy"):
        yield


def network():
    """Padding, a stride that leaves a remainder, and pooling: fields are cut off at all four edges."""
    mc.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(3, 4, 3, padding=1)
    )


def split(N, seed=0, side=(9, 8)):
    images = np.random.default_rng(seed).random((N, 2, *side)).astype(np.float32)
    return Split(images, np.zeros(N, np.int64))


def by_search(model, images, top):
    """Every unit of every image, one image at a time, in reading order."""
    found = []
    for c in range(4):
        best = []
        for n, image in enumerate(images):
            y = model(mc.from_numpy(image[None])).numpy()[0, c]
            places = [(-float(y[at]), n, *at) for at in np.ndindex(y.shape)]
            best.append(min(places, key=lambda place: place[0]))  # of equals the first
        found.append(sorted(best, key=lambda place: place[:2])[:top])
    return found


@pytest.mark.parametrize(("N", "top", "batch_size"), [(7, 3, 2), (7, 3, 7), (2, 5, 1), (5, 1, 3)])
def test_every_unit_is_searched(N, top, batch_size):
    model, data, counted = network(), split(N), []
    found = strongest_responses(model, data, "3", top=top, batch_size=batch_size, on_batch=counted.append)
    expected = by_search(model, data.images, top)
    np.testing.assert_allclose(found.values, [[-row[0] for row in rows] for rows in expected], rtol=1e-5)
    assert found.places.tolist() == [[list(row[1:]) for row in rows] for rows in expected]
    assert (found.layer, found.seen) == ("3", N)
    assert counted == [min(k, N) for k in range(batch_size, N + batch_size, batch_size)]


def test_of_equal_images_the_first():
    data = split(3)
    same = data.take([1, 1, 0, 1])
    found = strongest_responses(network(), same, "3", top=3, batch_size=2)
    for places in found.places[:, :, 0].tolist():
        assert [n for n in places if n != 2] == [0, 1, 3][: 3 - places.count(2)]


def test_fields_hold_what_can_change_the_unit_and_no_more():
    """The box of each patch is around the pixels that change its unit, in one image or another."""
    model, data = network(), split(12)
    found = strongest_responses(model, data, "3", top=6)
    edges = set()
    for channel in range(4):
        for patch in patches(model, data, found, channel):
            box, (c, row, column) = patch.box, patch.unit
            assert (
                patch.pixels.shape == patch.explained.shape == (2, box.bottom - box.top, box.right - box.left)
            )
            np.testing.assert_allclose(
                patch.pixels,
                data.images[patch.image][:, box.top : box.bottom, box.left : box.right],
                rtol=1e-6,
            )
            reached = np.zeros((9, 8), bool)
            for trial in range(12):  # a maximum hides some pixels in one image, not in all
                x = np.repeat(split(1, seed=50 + trial).images, 1 + 72, axis=0)
                for k, (h, w) in enumerate(np.ndindex(9, 8), 1):
                    x[k, :, h, w] += 5 * (-1) ** trial
                y = model(mc.from_numpy(x)).numpy()[:, c, row, column]
                reached |= (y[1:] != y[0]).reshape(9, 8)
            rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
            assert box == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
            edges |= {
                name for name, at in zip(box._fields, (0, 9, 0, 8), strict=True) if getattr(box, name) == at
            }
    assert edges == {"top", "bottom", "left", "right"}


def test_what_explains_a_patch_is_its_deconvolution():
    model, data = network(), split(6)
    found = strongest_responses(model, data, "3", top=2)
    for patch in patches(model, data, found, 2):
        whole = deconvolution(model, data.images[patch.image : patch.image + 1], "3", 2)
        assert whole.units == [patch.unit]
        np.testing.assert_array_equal(patch.explained, patch.box.cut(whole.pixels[0]))
        outside = whole.pixels[0].copy()
        patch.box.cut(outside)[...] = 0
        assert not outside.any()


def test_pixels_are_shown_as_they_were_before_normalisation():
    data = Split((split(2).images - 0.25) / 0.5, np.zeros(2, np.int64), mean=0.25, std=0.5)
    found = strongest_responses(network(), data, "3", top=1)
    (patch,) = patches(network(), data, found, 0)
    np.testing.assert_allclose(patch.pixels, patch.box.cut(split(2).images[patch.image]), atol=1e-6)


def test_the_network_is_left_as_it_was():
    model, data = network().train(), split(2)
    patches(model, data, strongest_responses(model, data, "3"), 0)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": "4"}, "layer '4' is unknown"),
        ({"top": 0}, "top is 0, but at least 1 is expected"),
        ({"batch_size": 1.5}, "batch_size is 1.5, but"),
        ({"split": split(1).take([])}, "the split has no images"),
    ],
)
def test_what_cannot_be(change, words):
    with pytest.raises(ValueError, match=words):
        strongest_responses(**{"model": network(), "split": split(2), "layer": "3", **change})


def test_more_that_cannot_be():
    model, data = network(), split(5)
    found = strongest_responses(model, data, "3")
    with pytest.raises(ValueError, match="channel is 4, but 3 has channels 0 to 3"):
        patches(model, data, found, 4)
    model[3].bias.data[1] = np.nan
    with pytest.raises(ValueError, match="responses to image 0 are not finite"):
        strongest_responses(model, data, "3", batch_size=2)
    with pytest.raises(NothingToSee):
        strongest_responses(nn.Sequential(nn.Flatten()), data)


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    with mc.use("numpy"):
        assert cli.main(["train", "lenet5", "--epochs", "1", "--no-plots", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def look(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*arguments, network=trained):
        code = cli.main(["look", str(network), *arguments])
        return code, *capsys.readouterr()

    return call


def test_a_training_and_its_own_data(look):
    code, out, err = look("--responds", "--limit", "40")
    assert (code, err) == (0, "")
    assert out == (
        f"{Path('look') / 'responses.png'}: what s4, the last layer whose maps have more than one pixel, "
        "responds to most in 40 test images of digits: 6 of 16 channels, those with the strongest responses, "
        "8 images for each; without a ReLU in the network, a plain gradient\n"
    )
    assert Path("look/responses.png").read_bytes().startswith(b"\x89PNG")


def test_channels_that_are_named(look):
    code, out, _ = look(
        "--responds", "c3:15,0", "--split", "train", "--limit", "9", "--top", "1", "--out", "a"
    )
    assert code == 0
    assert "what c3 responds to most in 9 train images of digits: 2 of 16 channels, 1 image for each;" in out


def test_photographs_and_a_network_by_name(look):
    @models.register(input_shape=(3, 32, 32), name="little")
    def build(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
        """VGG-11 with few maps."""
        return models.create("vgg11", width=4, hidden=8, num_classes=num_classes, in_channels=in_channels)

    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for k in range(8):
            Image.effect_noise((50, 40), 90).convert("RGB").save(f"photos/{name}/{k}.jpg")
    try:
        given = ("--weights", "random", "--responds", "features.4:1", "--data", "photos")
        code, out, err = look(*given, network="little")
        assert (code, err) == (0, "")
        assert "responds to most in 2 test images of photos: 1 of 8 channels, 2 images for each\n" in out
        Path("photos/cat/0.jpg").write_bytes(b"no image")
        code, _, err = look(*given, "--split", "train", "--out", "more", network="little")
        assert (code, err.count("\n")) == (2, 1)
        assert "0.jpg: damaged" in err
        assert not Path("more").exists()
    finally:
        models.registry.forget("little")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "look: --image FILE or --responds is needed"),
        (("--responds", "--image", "x.png"), "make different pictures: one at a time"),
        (("--responds", "c9"), "layer 'c9' is unknown"),
        (("--responds", "c3:16"), "look: --responds c3:16: c3 has channels 0 to 15"),
        (("--responds", "c3:x"), "LAYER:CHANNELS is expected"),
        (("--responds", "c3:"), "LAYER:CHANNELS is expected"),
        (("--responds", "c3:" + ",".join(map(str, range(17)))), "room for 16 channels, not 17"),
        (("--responds", "--top", "17"), "--top 17, but the picture has room for 16"),
        (("--responds", "--label", "3"), "--label goes with --image"),
        (("--image", "x.png", "--limit", "3"), "--limit goes with --responds"),
        (("--responds", "--data", "digit"), "there is no data set 'digit', did you mean 'digits'?"),
        (("--responds", "--data", "f.safetensors"), "features are no images"),
        (("--responds", "--limit", "0"), "--limit"),
    ],
)
def test_mistakes_are_one_line(look, arguments, words):
    code, out, err = look(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words in err
    assert not Path("look").exists()


def test_a_network_by_name_needs_data(look):
    code, _, err = look("--weights", "random", "--responds", network="lenet5")
    assert (code, err) == (2, "minicnn: look lenet5: --responds needs --data NAME, or a folder of images\n")
