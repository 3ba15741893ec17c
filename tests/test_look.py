"""Pictures of networks: each rule against plain NumPy, finite differences or a direct loop; the command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import cli, models, nn
from minicnn import functional as F
from minicnn.explain.cam import grad_cam, occlusion, probabilities
from minicnn.explain.network_sheets import Panel, around_grey, draw_panels
from minicnn.explain.observe import NothingToSee, feature_maps, filters, last_maps, layers
from minicnn.explain.pictures import Subject
from minicnn.explain.sensitivity import (
    deconvolution,
    gradient,
    guided_backprop,
    receptive_field,
    saliency,
)


@pytest.fixture(autouse=True)
def _on_the_cpu():
    """What is compared with is NumPy's; a network on the GPU has a test of its own."""
    with mc.use("numpy"):
        yield


NETWORKS = {
    "lenet5": ({}, (1, 28, 28)),
    "vgg11": ({"width": 4, "hidden": 8, "num_classes": 5}, (3, 32, 32)),
    "vgg11_bn": ({"width": 4, "hidden": 8, "num_classes": 5}, (3, 32, 32)),
    "resnet18": ({"width": 4, "num_classes": 5}, (3, 40, 40)),
    "densenet121": ({"num_classes": 5}, (3, 33, 33)),
    "googlenet": ({"num_classes": 5}, (3, 64, 64)),
}
PNG = b"\x89PNG"
TINY = ("lenet5", "vgg11_bn", "resnet18")


def network(name):
    """A network with random weights in float64, and two images for it."""
    options, shape = NETWORKS[name]
    model = models.create(name, **options).double()
    return model, np.random.default_rng(0).standard_normal((2, *shape))


@pytest.fixture(params=TINY)
def tiny(request):
    return network(request.param)


# Layers


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("lenet5", "s4"),
        ("vgg11", "features.19"),  # 2×2; the pooling after it leaves one pixel, which avgpool only repeats
        ("resnet18", "layer4.1.relu"),
        ("densenet121", "features.transition3.conv"),
        ("googlenet", "inception5b"),  # its branches together, not the last of them
    ],
)
def test_the_last_maps(name, last):
    model, x = network(name)
    assert last_maps(model, x).name == last


def test_layers_in_the_order_in_which_they_ran():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), relu), nn.Conv2d(2, 2, 3), relu, nn.Flatten())
    found = layers(model, np.zeros((1, 1, 8, 8), np.float32))
    assert [(layer.name, layer.kind) for layer in found] == [
        ("0.0", "Conv2d"),
        ("1", "Conv2d"),
        ("0.1", "ReLU"),  # where it ran last; the first Sequential gave what it gave the first time
        ("3", "Flatten"),
    ]
    assert found[2].shape == (1, 2, 4, 4)


def test_a_block_can_be_asked_for_by_its_name():
    """It gives what the last layer in it gives, so that it is not listed; but whoever names it means it."""
    model, x = network("resnet18")
    assert "layer2" not in [layer.name for layer in layers(model, x)]
    found = feature_maps(model, x, ["layer2", "layer2.1.relu"])
    np.testing.assert_array_equal(found["layer2"], found["layer2.1.relu"])
    assert grad_cam(model, x, layer="layer2").layer == "layer2"


def test_feature_maps_are_the_layers_own(tiny):
    model, x = tiny
    model.eval()
    found = feature_maps(model, x)
    assert len({maps.shape[2:] for maps in found.values()}) == len(found)
    seen = {}
    for name in found:
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.numpy()})
        )
    model(mc.from_numpy(x))
    for name, maps in found.items():
        np.testing.assert_allclose(maps, seen[name], rtol=1e-9, atol=1e-12)


def test_filters():
    assert filters(models.create("lenet5"))[0] == "c1"
    name, w = filters(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 3)))
    assert (name, w.shape) == ("1", (2, 4, 3, 3))


# Gradients


def test_gradients_are_finite_differences(tiny):
    model, x = tiny
    g = gradient(model, x, label=3)
    np.testing.assert_array_equal(saliency(model, x, label=3), np.abs(g).max(axis=1))
    model.eval()

    def score(images):
        with mc.no_grad():
            return model(mc.from_numpy(images)).numpy()[:, 3]

    random = np.random.default_rng(1)
    for _ in range(4):
        c, h, w = (random.integers(size) for size in x.shape[1:])
        step = np.zeros_like(x)
        step[:, c, h, w] = 1e-6
        differences = (score(x + step) - score(x - step)) / 2e-6
        np.testing.assert_allclose(g[:, c, h, w], differences, rtol=1e-4, atol=1e-7 * np.abs(g).max())


def test_without_a_label_it_is_the_highest_score(tiny):
    model, x = tiny
    best = model.eval()(mc.from_numpy(x)).numpy().argmax(axis=1)
    expected = np.stack([gradient(model, x, int(best[n]))[n] for n in range(2)])
    np.testing.assert_allclose(gradient(model, x), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    "look", [gradient, guided_backprop, deconvolution, receptive_field, grad_cam, occlusion]
)
def test_the_network_is_left_as_it_was(look):
    model, x = network("vgg11_bn")
    model.features[0].weight.requires_grad = False
    model.features[1].eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    modes = [module.training for module in model.modules()]
    with mc.no_grad():
        look(model, x[:1])
    with pytest.raises(ValueError, match="vgg11_bn: x has shape"):
        look(model, x[:, :2])
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert not any(module._hooks for module in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def two_layers():
    """1×1 convolutions with a ReLU between them, of which half is off, and one pixel to look at."""
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten()).double()
    x = np.random.default_rng(2).standard_normal((1, 3, 1, 1))
    w1, w2 = (model[i].weight.numpy()[:, :, 0, 0] for i in (0, 2))
    on = w1 @ x.reshape(3) + model[0].bias.numpy() > 0
    assert 0 < on.sum() < 6
    assert (w2[1] > 0).any()
    assert (w2[1] < 0).any()
    return model, x, w1, w2, on


def test_three_rules_by_hand():
    model, x, w1, w2, on = two_layers()
    np.testing.assert_allclose(gradient(model, x, 1).reshape(3), w1.T @ (w2[1] * on))
    np.testing.assert_allclose(guided_backprop(model, x, 1).reshape(3), w1.T @ (np.maximum(w2[1], 0) * on))
    found = deconvolution(model, x, "2", channel=1)
    activation = w2[1] @ np.maximum(w1 @ x.reshape(3) + model[0].bias.numpy(), 0) + model[2].bias.numpy()[1]
    expected = w1.T @ np.maximum(activation * w2[1], 0)
    np.testing.assert_allclose(found.pixels.reshape(3), expected)
    assert found.units == [(1, 0, 0)]


def test_relu6_in_guided_backprop_stops_where_it_is_full():
    model = nn.Sequential(nn.ReLU6(), nn.Flatten(), nn.Linear(3, 1)).double()
    model[2].weight.data[...] = [[2.0, 2.0, 2.0]]
    x = np.array([-1.0, 3.0, 7.0]).reshape(1, 1, 1, 3)
    np.testing.assert_array_equal(guided_backprop(model, x, 0).reshape(3), [0, 2, 0])


def test_deconvolution_of_linear_layers_is_the_gradient():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2)).double()
    x = np.random.default_rng(3).standard_normal((2, 2, 9, 9))
    found = deconvolution(model, x)
    assert found.layer == "1"
    for n, unit in enumerate(found.units):
        pixels = mc.tensor(x[n : n + 1], requires_grad=True)
        maps = model(pixels)
        c, row, column = unit
        assert maps.numpy()[0].max() == maps.numpy()[0, c, row, column]
        (maps[0, c, row, column] * maps[0, c, row, column] / 2).backward()  # ∂(a²/2) = a · ∂a
        np.testing.assert_allclose(found.pixels[n], pixels.grad[0], rtol=1e-9, atol=1e-12)


def test_switches_are_the_winners_of_max_pooling():
    x = np.random.default_rng(4).permutation(36).reshape(1, 1, 6, 6) + 1.0
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 3)).double()
    model[1].weight.data[...] = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    model[1].bias.data[...] = 0
    pooled = F.max_pool2d(mc.from_numpy(x), 2).numpy()
    activation = (pooled * np.arange(1.0, 10).reshape(3, 3)).sum()
    expected = np.zeros((6, 6))
    for (_, _, row, column), largest in np.ndenumerate(pooled):
        (h,), (w,) = np.where(x[0, 0] == largest)
        assert (h // 2, w // 2) == (row, column)
        expected[h, w] = activation * (3 * row + column + 1)
    np.testing.assert_allclose(deconvolution(model, x, "1").pixels[0, 0], expected)


def test_on_a_gpu(gpu):
    model, x = network("vgg11_bn")
    x, model = x.astype(np.float32), model.float()
    functions = [
        lambda: gradient(model, x),
        lambda: guided_backprop(model, x),
        lambda: deconvolution(model, x).pixels,
        lambda: receptive_field(model, x[:1]).strength,
        lambda: grad_cam(model, x).heat,
        lambda: occlusion(model, x, stride=16),
        lambda: filters(model)[1],
        lambda: feature_maps(model, x, ["features.2"])["features.2"],
    ]
    expected = [look() for look in functions]
    model.to("cuda")
    for look, y in zip(functions, expected, strict=True):
        found = look()
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, y, rtol=1e-3, atol=1e-4 * np.abs(y).max())


# Receptive fields


def test_a_dead_network_has_receptive_fields_too():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(2, 1, 3, dilation=2))
    model[0].bias.data[...] = -100
    found = receptive_field(model, np.zeros((1, 1, 40, 30), np.float32), unit=(3, 2))
    # 3, and 2 more by pooling, and 4 dilated steps of 2; the unit's window begins at 2 · its place
    assert found.box == (6, 6 + 13, 4, 4 + 13)
    assert (found.strength[6:19, 4:17] > 0).all()


def test_dilated_max_pooling_has_no_mean():
    model = nn.Sequential(nn.MaxPool2d(2, 1, dilation=2), nn.Conv2d(1, 1, 1))
    with pytest.raises(NothingToSee, match="dilated max-pooling"):
        receptive_field(model, np.zeros((1, 1, 9, 9), np.float32))


@pytest.mark.parametrize(("layer", "size"), [("features.2", 5), ("features.9", 16), ("features.30", 212)])
def test_fields_of_vgg16(layer, size):
    """The sizes that the literature gives, at 224×224 in the middle of the image."""
    model = models.create("vgg16", width=1, hidden=1)
    top, bottom, left, right = receptive_field(model, np.zeros((1, 3, 224, 224), np.float32), layer).box
    assert (bottom - top, right - left) == (size, size)


# Grad-CAM and occlusion


def test_grad_cam_by_its_equation():
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    ).double()
    x = np.random.default_rng(5).standard_normal((2, 3, 8, 7))
    found = grad_cam(model, x, label=2)
    A = F.relu(model[0](mc.from_numpy(x))).numpy()
    # behind the mean over 6×5 places, ∂S/∂A is the dense layer's weight / 30, the same at every place
    expected = np.maximum(np.einsum("k,nkhw->nhw", model[4].weight.numpy()[2] / 30, A), 0)
    assert found.layer == "1"
    np.testing.assert_allclose(found.heat, expected)
    assert expected.any()


def test_grad_cam_inside_a_network(tiny):
    """α from finite differences: each map moved as a whole changes the score by 1/pixels of what α says."""
    model, x = tiny
    layer = layers(model, x)[2].name
    found = grad_cam(model, x[:1], label=1, layer=layer)
    model.eval()

    def score(k, step):
        def move(module, inputs, output):
            moved = output.numpy().copy()
            moved[:, k] += step
            return mc.from_numpy(moved)

        with mc.no_grad(), model.get_submodule(layer).register_forward_hook(move):
            return model(mc.from_numpy(x[:1])).numpy()[0, 1]

    A = feature_maps(model, x[:1], [layer])[layer][0]
    sums = np.array([(score(k, 1e-6) - score(k, -1e-6)) / 2e-6 for k in range(len(A))])
    expected = np.maximum(np.tensordot(sums / A[0].size, A, 1), 0)
    np.testing.assert_allclose(found.heat[0], expected, rtol=1e-3, atol=1e-5 * expected.max())
    assert found.why == "as asked"


def test_occlusion_is_a_loop():
    model, x = network("resnet18")
    x = x[:, :, :10, :12]
    heat = occlusion(model, x, label=1, size=5, stride=3, fill=0.5)
    assert heat.shape == (2, 3, 4)
    model.eval()
    for n, i, j in np.ndindex(heat.shape):
        covered = x[n : n + 1].copy()
        for h, w in np.ndindex(10, 12):
            if abs(h - (3 * i + 1)) <= 2 and abs(w - (3 * j + 1)) <= 2:
                covered[0, :, h, w] = 0.5
        logits = model(mc.from_numpy(covered)).numpy()[0]
        p = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(heat[n, i, j], p[1], rtol=1e-9)


def test_occlusion_that_covers_nothing_leaves_the_probability():
    model, x = network("lenet5")
    x[:] = 0
    heat = occlusion(model, x)
    assert heat.shape == (2, 14, 14)
    p = probabilities(model.eval()(mc.from_numpy(x)))
    np.testing.assert_allclose(heat, np.broadcast_to(p.max(axis=1)[:, None, None], heat.shape))


# Mistakes


@pytest.mark.parametrize(
    ("look", "options", "error", "words"),
    [
        (gradient, {"label": 10}, ValueError, "label is 10, but one of 0 to 9 is expected"),
        (
            grad_cam,
            {"layer": "s5"},
            ValueError,
            r"layer 's5' is unknown \(known: c1, c3, s2, s4, tanh1, tanh3\)",
        ),
        (grad_cam, {"layer": "f6"}, ValueError, "layer 'f6' is unknown"),
        (deconvolution, {"channel": 16}, ValueError, "channel is 16, but one of 0 to 15 is expected"),
        (receptive_field, {"unit": (5, 0)}, ValueError, r"unit is \(5, 0\), but s4 has 5×5 of them"),
        (occlusion, {"stride": 0}, ValueError, "stride must be a whole number of at least 1, got 0"),
    ],
)
def test_what_there_is_not(look, options, error, words):
    with pytest.raises(error, match=words):
        look(models.create("lenet5"), np.zeros((1, 1, 28, 28), np.float32), **options)


def test_what_is_no_image():
    model = models.create("lenet5")
    with pytest.raises(ValueError, match=r"x must be images \(N, C, H, W\), got shape \(28, 28\)"):
        saliency(model, np.zeros((28, 28), np.float32))
    with pytest.raises(TypeError, match="floating dtype, got uint8"):
        saliency(model, np.zeros((1, 1, 28, 28), np.uint8))
    with pytest.raises(ValueError, match=r"scores \(N, classes\), but gave \(1, 2, 5, 5\)"):
        saliency(nn.Conv2d(1, 2, 1), np.zeros((1, 1, 5, 5), np.float32))


def test_a_network_without_maps():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), np.zeros((1, 1, 2, 2), np.float32)
    for look in (grad_cam, deconvolution, receptive_field, feature_maps):
        with pytest.raises(NothingToSee, match="no layer whose maps have more than one pixel"):
            look(model, x)
    with pytest.raises(NothingToSee, match="no convolution"):
        filters(model)


def test_grey_is_zero():
    np.testing.assert_array_equal(around_grey(np.zeros((1, 2, 2))), 0.5)
    one = np.zeros((1, 30, 30))
    one[0, 0, 0] = -3  # beyond the percentile, which is 0 here
    assert around_grey(one)[0, 0, 0] == 0


def test_blue_first_is_drawn_red_first():
    x = np.arange(3.0).reshape(1, 3, 1, 1)
    for bgr, expected in ((True, [2, 1, 0]), (False, [0, 1, 2])):
        subject = Subject("a network", nn.Flatten(), x[0], x, 0, "a class", bgr=bgr)
        assert subject.colours(x)[0, :, 0, 0].tolist() == expected


@pytest.mark.parametrize("name", ["$\\frac$", "a\tb\udcff", "long " * 40])
def test_names_are_drawn_as_they_are(name):
    image = np.zeros((1, 4, 4))
    panels = [Panel("image", "image", image), Panel("heat", "heat", image[0])]
    assert draw_panels(panels, f"{name}\n{name}", name).startswith(PNG)


# The command


ALL = ["filters", "maps", "saliency", "guided", "deconvolution", "grad_cam", "occlusion", "receptive_field"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training on the digits, and an image of a seven."""
    folder = tmp_path_factory.mktemp("trained")
    options = ["--epochs", "1", "--no-plots"]
    assert cli.main(["train", "lenet5", *options, "--out", str(folder / "run")]) == 0
    images, labels = mc.data.digits.read_digits()
    Image.fromarray(images[labels == 7][3]).save(folder / "seven.png")
    return folder


@pytest.fixture
def look(trained, tmp_path, monkeypatch, capsys):
    """Run the command in an empty folder; return its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*arguments, image=trained / "seven.png", network=trained / "run"):
        code = cli.main(["look", str(network), "--image", str(image), *arguments])
        return code, *capsys.readouterr()

    return call


def test_a_run(look):
    code, out, err = look()
    assert (code, err) == (0, "")
    first, *lines = out.splitlines()
    assert first.startswith("lenet5, trained on digits: seven.png, asked about: ")
    assert [line.partition(":")[0] for line in lines] == [str(Path("look") / f"{name}.png") for name in ALL]
    assert all((Path("look") / f"{name}.png").read_bytes().startswith(PNG) for name in ALL)
    assert "Grad-CAM at s4, the last layer whose maps have more than one pixel" in out
    assert "receptive field of unit (2, 2) of s4: 16×16 pixels, rows 6 to 21, columns 6 to 21" in out


def test_a_label_and_a_layer(look):
    code, out, _ = look("--label", "2", "--layer", "c3", "--only", "grad_cam", "maps", "--out", "a/b")
    assert code == 0
    assert "asked about: 2 (" in out
    assert "; most probable is " in out
    assert "Grad-CAM at c3, as asked" in out
    assert "feature maps of c3\n" in out
    assert sorted(path.name for path in Path("a/b").iterdir()) == ["grad_cam.png", "maps.png"]


def test_colours(look):
    """A network by name, with a file of weights, and a photograph."""

    @models.register(input_shape=(3, 32, 32), name="little")
    def build(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
        """VGG-11 with few maps."""
        return models.create("vgg11", width=4, hidden=8, num_classes=num_classes, in_channels=in_channels)

    try:
        mc.weights.save(models.create("little"), "little.safetensors")
        Image.effect_noise((50, 40), 90).convert("RGB").save("noise.jpg")
        code, out, err = look("--weights", "little.safetensors", image="noise.jpg", network="little")
    finally:
        models.registry.forget("little")
    assert (code, err) == (0, "")
    assert "4 of 4 filters of features.0, 3×3×3 each" in out
    assert "plain gradient" not in out
    assert "Grad-CAM at features.19" in out


def test_a_network_without_convolutions(look):
    @models.register(input_shape=(3, 8, 8), name="dense")
    def build(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
        """A dense layer."""
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))

    try:
        mc.weights.save(models.create("dense"), "dense.safetensors")
        Image.new("RGB", (8, 8), "teal").save("teal.png")
        given = {"image": "teal.png", "network": "dense"}
        code, out, _ = look("--weights", "dense.safetensors", **given)
        assert code == 0
        assert out.count("not drawn, as the model has no") == 5
        assert sorted(p.name for p in Path("look").iterdir()) == [
            "guided.png",
            "occlusion.png",
            "saliency.png",
        ]
        code, _, err = look("--weights", "dense.safetensors", "--only", "grad_cam", **given)
        assert (code, err.count("\n")) == (2, 1)
        assert "--only grad_cam: the model has no layer" in err
    finally:
        models.registry.forget("dense")


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        ((), {"network": "resnet81"}, "network 'resnet81' is unknown; did you mean"),
        ((), {"network": "lenet5"}, "look lenet5: it has no published weights"),
        ((), {"image": "none.png"}, "none.png: cannot be read"),
        (("--weights", "x"), {}, "a network's name with --weights is expected, or a training's folder alone"),
        (("--label", "12"), {}, "label is 12, but one of 0 to 9 is expected"),
        (("--layer", "c4"), {}, "layer 'c4' is unknown"),
        (("--only", "gradcam"), {}, "'gradcam' is unknown; did you mean 'grad_cam'?"),
        (("--out", "file"), {}, "--out file: a folder is expected, but this is a file"),
    ],
)
def test_mistakes_are_one_line(look, arguments, given, words):
    Path("file").write_text("not a folder")
    code, out, err = look(*arguments, **given)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words in err
    assert not Path("look").exists()
