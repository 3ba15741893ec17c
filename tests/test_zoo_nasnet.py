"""NASNet-A: its cells and paddings, and the two networks whose weights are published, as second opinions."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from zoo import compare, undrawn

import minicnn as mc
from minicnn.models import nasnet


def windows(size, stride):
    """The pixels of each window of three along one axis, padded as TensorFlow says; −1 is padding."""
    count = -(-size // stride)
    padding = max((count - 1) * stride + 3 - size, 0)
    starts = np.arange(count) * stride - padding // 2
    pixels = starts[:, None] + np.arange(3)
    return np.where((pixels >= 0) & (pixels < size), pixels, -1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 2), (4, 4), (7, 5), (6, 9)])
def test_pooling_pads_as_tensorflow(shape, stride):
    H, W = shape
    image = mc.random.Generator(1).normal((H, W), dtype=np.float64)
    inside = [
        [image[np.ix_(rows[rows >= 0], columns[columns >= 0])] for columns in windows(W, stride)]
        for rows in windows(H, stride)
    ]
    expected = {
        ("max", False): lambda pixels: pixels.max(),
        ("mean", False): lambda pixels: pixels.mean(),
        ("mean", True): lambda pixels: pixels.sum() / 9,
    }
    for (kind, counted), reduce in expected.items():
        if counted and stride == 1:
            continue  # no network has such a mean
        y = nasnet.SamePool(kind, stride, counted)(mc.tensor(image[None, None])).data[0, 0]
        np.testing.assert_allclose(y, [[reduce(pixels) for pixels in row] for row in inside], rtol=1e-12)


def test_halving_reads_even_and_odd_pixels():
    for H, W in ((4, 6), (5, 7)):
        x = mc.randn(2, 3, H, W)
        even, odd = nasnet.halves(3, 8)
        y = mc.pad(x, (0, W % 2, 0, H % 2))  # where the size is odd, the last odd pixel is 0
        for path, pixels in ((even, x[:, :, ::2, ::2]), (odd, y[:, :, 1::2, 1::2])):
            weight = path[-1].weight.data[:, :, 0, 0]
            expected = np.einsum("mc,nchw->nmhw", weight, pixels.data)
            np.testing.assert_allclose(path(x).data, expected, rtol=1e-5, atol=1e-6)


def test_cells_see_the_last_two():
    """Their names, maps, and what comes before them, as published."""
    mobile, large = undrawn("nasnetamobile"), undrawn("nasnetalarge")
    assert [row.name for row in mobile.rows] == (
        ["cell_stem_0", "cell_stem_1", "cell_0", "cell_1", "cell_2", "cell_3", "reduction_cell_0"]
        + ["cell_6", "cell_7", "cell_8", "cell_9", "reduction_cell_1"]
        + ["cell_12", "cell_13", "cell_14", "cell_15"]
    )
    assert [row.M for row in mobile.rows] == [11, 22, *[44] * 4, *[88] * 5, *[176] * 5]
    assert [row.M for row in large.rows] == [42, 84, *[168] * 6, *[336] * 7, *[672] * 7]
    for model, hands_on in ((mobile, True), (large, False)):
        halved = {row.name for row in model.rows if model.get_submodule(row.name).before == "halve"}
        assert halved == {"cell_stem_1", "cell_0", "cell_6", "cell_12"}
        assert [row.hands_on for row in model.rows if row.name.startswith("reduction")] == [hands_on] * 2


@pytest.mark.parametrize("hands_on", [True, False])
def test_what_the_cell_after_a_reduction_has_for_p(hands_on):
    name = "nasnetamobile" if hands_on else "nasnetalarge"
    model = mc.models.create(name, width=4, stem=4, cells=2).eval()
    seen = {}
    for row in model.rows:
        model.get_submodule(row.name).register_forward_hook(
            lambda cell, inputs, output, key=row.name: seen.update({key: (inputs, output)})
        )
    with mc.no_grad():
        model(mc.randn(1, 3, 33, 33))
    assert seen["reduction_cell_0"][0][0] is seen["cell_1"][1]
    assert seen["reduction_cell_0"][0][1] is seen["cell_0"][1]
    assert seen["cell_6"][0][0] is seen["reduction_cell_0"][1]
    assert seen["cell_6"][0][1] is seen["cell_1" if hands_on else "cell_0"][1]


# Second opinions


@pytest.fixture(scope="module")
def published(request):
    """The classes of the networks that have weights: timm's, and that of the package pretrainedmodels.

    The latter is read from its own file, as the package imports much else.
    """
    request.getfixturevalue("torchvision")  # which timm imports
    timm = pytest.importorskip("timm.models.nasnet", reason="timm is not installed")
    package = importlib.util.find_spec("pretrainedmodels")
    if package is None:
        pytest.skip("pretrainedmodels is not installed")
    path = Path(package.origin).parent / "models" / "nasnet_mobile.py"
    spec = importlib.util.spec_from_file_location("nasnet_mobile", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {"nasnetalarge": timm.NASNetALarge, "nasnetamobile": module.NASNetAMobile}


NARROW = {"width": 4, "stem": 6}
NARROW_LARGE = {"stem_size": 6, "num_features": 96}
NARROW_MOBILE = {"stem_filters": 6, "penultimate_filters": 96}
PAIRS = {
    "large, odd sizes": ("nasnetalarge", NARROW, NARROW_LARGE, 83),
    "large, even sizes": ("nasnetalarge", NARROW, NARROW_LARGE, 97),
    "mobile": ("nasnetamobile", NARROW, NARROW_MOBILE, 224),
}
FULL_SIZE = {
    "nasnetalarge": ("nasnetalarge", {}, {}, 83),
    "nasnetamobile": ("nasnetamobile", {}, {}, 224),
}


def against(published, pair, training, dtype="float64"):
    """Compare our network and the published one."""
    name, options, theirs, side = pair
    make = published[name]
    compare(None, (name, options, lambda _: make(num_classes=5, **theirs), side), training, dtype)


@pytest.mark.oracle
@pytest.mark.parametrize("name", FULL_SIZE)
def test_names_and_shapes_are_the_published_ones(published, name):
    import torch

    with torch.device("meta"):
        other = published[name](num_classes=1000)
    expected = {key: tuple(value.shape) for key, value in other.state_dict().items()}
    assert {key: value.shape for key, value in undrawn(name).state_dict().items()} == expected


@pytest.mark.oracle
def test_multiplications_are_those_of_timms_network(published):
    """Counted by another programme from the shapes that it computes."""
    import torch

    found = 0

    def count(module, inputs, output):
        nonlocal found
        found += output.numel() * (module.weight.numel() // module.weight.shape[0])

    with torch.device("meta"):
        other = published["nasnetalarge"]().eval()
        for module in other.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.register_forward_hook(count)
        other(torch.zeros(1, 3, 331, 331))
    assert found == mc.models.info("nasnetalarge").macs


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", PAIRS)
def test_the_published_networks_compute_the_same(published, name, training, dtype):
    against(published, PAIRS[name], training, dtype)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_published_networks_compute_the_same_at_full_size(published, name, training):
    against(published, FULL_SIZE[name], training)
