"""A network explained: its numbers are the engine's, its page is bounded and safe, its network unchanged."""

import base64
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import cli, nn
from minicnn import functional as F
from minicnn.explain import network, network_page, watch
from minicnn.explain.cam import grad_cam, occlusion
from minicnn.explain.receptive import reach
from minicnn.explain.sensitivity import deconvolution, saliency

SLOW = ["vgg11", "resnet18", "googlenet"]


def image(C, H):
    return np.random.default_rng(3).normal(size=(1, C, H, H)).astype(np.float32)


class Block(nn.Module):
    """Branches, a shortcut, a module that is called twice and one that never is."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, stride=2, padding="same", groups=2)
        self.branches = nn.Concat(
            nn.Sequential(nn.Conv2d(6, 4, (3, 1), padding=(1, 0)), nn.BatchNorm2d(4), nn.SiLU()),
            nn.MaxPool2d(3, stride=1, padding=1),
        )
        self.norm = nn.LocalResponseNorm(3)
        self.relu = nn.ReLU()
        self.mix = nn.Conv2d(10, 10, 3, padding=2, dilation=2)
        self.unused = nn.Linear(2, 2)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(40, 5)

    def forward(self, x):
        x = self.norm(self.relu(self.branches(self.stem(x))))
        x = self.pool(self.relu(x + self.mix(x)))
        return self.head(F.flatten(x, 1))


@pytest.fixture(autouse=True)
def _on_the_cpu():
    with mc.use("numpy"):
        yield


@pytest.fixture(scope="module")
def model():
    mc.manual_seed(5)
    made = Block()
    made.branches.get_submodule("0.1").running_mean.data[:] = [0.3, -0.2, 0.1, 0.0]
    return made


@pytest.fixture(scope="module")
def explained(model):
    with mc.use("numpy"):
        return mc.explain(model, x=image(2, 8), label=2, lr=0.05)


def by_path(e, path):
    return [layer for layer in e.layers if layer.path == path]


def loss_from(model, path, call, replaced, x, label):
    """The loss where one call of a module gives other numbers."""
    calls = iter(range(9))
    with nn.module.inference(model):
        hook = lambda *_: mc.tensor(replaced) if next(calls) == call else None  # noqa: E731
        with model.get_submodule(path).register_forward_hook(hook):
            return float(F.cross_entropy(model(mc.tensor(x)), [label]))


def test_activations_are_the_engine_s(model, explained):
    with nn.module.inference(model):
        seen = {}
        with model.mix.register_forward_hook(lambda module, inputs, y: seen.update(y=y.numpy())):
            logits = model(mc.tensor(explained.x)).numpy()
    assert np.array_equal(by_path(explained, "mix")[0].y, seen["y"][0])
    assert np.array_equal(explained.layers[-1].y, logits[0])
    assert [layer.path for layer in explained.layers].count("relu") == 2
    assert not by_path(explained, "unused")


@pytest.mark.parametrize(
    ("path", "call"),
    [("stem", 0), ("branches", 0), ("branches.0.1", 0), ("relu", 0), ("relu", 1), ("head", 0)],
)
def test_gradients_by_finite_differences(model, path, call):
    x = image(2, 8).astype(np.float64)
    model.double()
    try:
        e = mc.explain(model, x=x, label=2)
        layer = by_path(e, path)[call]
        direction = np.random.default_rng(1).normal(size=layer.y.shape)
        step = 1e-6 * direction
        up, down = (loss_from(model, path, call, (layer.y + s)[None], x, 2) for s in (step, -step))
    finally:
        model.float()
    assert (up - down) / 2e-6 == pytest.approx(float((layer.gy * direction).sum()), rel=1e-6)


def test_units_are_sums_of_their_products(explained):
    worked = 0
    for layer in explained.layers:
        for unit in layer.units:
            assert unit.y == layer.y[unit.unit]
            if layer.y.ndim == 3:
                reached = np.where(layer.gy[unit.unit[0]] != 0, np.abs(layer.y[unit.unit[0]]), -1)
                assert abs(unit.y) == (
                    reached.max() if reached.max() >= 0 else np.abs(layer.y[unit.unit[0]]).max()
                )
            assert unit.gy == layer.gy[unit.unit]
            assert unit.products.sum() + unit.others + unit.constant == pytest.approx(
                unit.y, rel=1e-6, abs=1e-7
            )
            np.testing.assert_allclose(unit.products, unit.x * unit.derivatives)
            np.testing.assert_allclose(unit.sent, unit.gy * unit.derivatives)
            worked += unit.count > 0
    assert worked > 40


def seen(model, path, x):
    """The input and the output of a module when the network sees x."""
    found = []
    with model.get_submodule(path).register_forward_hook(lambda _, inputs, y: found.append((inputs[0], y))):
        model(x)
    return found[0]


@pytest.mark.parametrize("path", ["stem", "branches.0.0", "mix", "head"])
def test_a_filter_s_terms_agree_with_the_engine_s_backward(model, explained, path):
    layer, module = by_path(explained, path)[0], model.get_submodule(path)
    for unit in layer.units[:4]:
        with nn.module.inference(model):
            x = seen(model, path, mc.tensor(explained.x))[0].detach().requires_grad_()
            y = module(x)
        gy = np.zeros_like(y.data)
        gy[(0, *unit.unit)] = unit.gy
        module.zero_grad()
        y.backward(gy)
        np.testing.assert_allclose(x.grad[0][tuple(unit.places.T)], unit.sent, rtol=1e-5, atol=1e-9)
        assert np.count_nonzero(x.grad) <= unit.count
        assert unit.constant == pytest.approx(float(module.bias.data[unit.unit[0]]), abs=1e-6)
        # What it sends to the weights: each input's share of gw is somewhere in the filter.
        gw = module.weight.grad[unit.unit[0]].ravel()
        assert all(np.isclose(gw, part, rtol=1e-5, atol=1e-9).any() for part in unit.to_weights)
        module.zero_grad()


def test_receptive_fields_hold_what_gradients_reach(model, explained):
    x = mc.tensor(explained.x.astype(np.float64), requires_grad=True)
    model.double()
    try:
        with nn.module.inference(model):
            for path in ("stem", "branches", "mix", "pool"):
                y = seen(model, path, x)[1]
                for c, row, column in ((0, 0, 0), (3, 1, 1), (5, 1, 0)):
                    gy = np.zeros(y.shape)
                    gy[0, c, row, column] = 1
                    x.grad = None
                    y.backward(gy, retain_graph=True)
                    box = reach(y.grad_fn, y.shape, row, column, x)
                    outside = np.ones((8, 8), bool)
                    outside[box.top : box.bottom, box.left : box.right] = False
                    assert not x.grad[0].sum(0)[outside].any()
    finally:
        model.float()


def test_receptive_fields_are_as_computed_by_hand():
    """Pads and slices move the window; 3×3 on 3×3 with stride 2 sees 7×7; a mean sees everything."""
    x = mc.zeros(1, 1, 20, 20, requires_grad=True)
    w = mc.ones(1, 1, 3, 3)
    y = F.conv2d(F.conv2d(x, w, stride=2), w)
    assert reach(y.grad_fn, y.shape, 1, 2, x) == (2, 9, 4, 11)
    y = F.conv2d(F.pad(x, (1, 0, 2, 0)), w)[:, :, 1:, ::2]
    assert reach(y.grad_fn, y.shape, 3, 2, x) == (2, 5, 3, 6)
    y = x * F.mean(x, (2, 3), keepdim=True)
    assert reach(y.grad_fn, y.shape, 3, 2, x) == (0, 20, 0, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "efficientnet_b0", "nasnetamobile", "xception"])
def test_receptive_fields_in_real_networks(name):
    """In the first modules they are small, and hold what gradients reach."""
    model = mc.models.create(name)
    checked = 0
    with mc.use("numba", conv2d="direct"), watch.watched(model, image(3, 75), 0) as run:
        for call in run.calls:
            if call.y.ndim == 4 and min(call.y.shape[2:]) > 8 and checked < 12:
                gy = np.zeros_like(call.y.data)
                gy[0, :, 4, 5] = 1
                run.x.grad = None
                call.y.backward(gy, retain_graph=True)
                box = reach(call.watch, call.y.shape, 4, 5, run.x)
                outside = np.ones((75, 75), bool)
                outside[box.top : box.bottom, box.left : box.right] = False
                assert not run.x.grad[0].any(0)[outside].any(), call.path
                checked += not outside.all() and outside.any()
    assert checked > 5


def test_the_step_is_sgd_s_and_is_taken_back(model):
    before = {name: array.copy() for name, array in model.state_dict().items()}
    model.train()
    model.head.weight.grad = mark = np.ones_like(model.head.weight.data)
    x = image(2, 8)
    e = mc.explain(model, x=x, label=2, lr=0.05)
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    assert model.head.weight.grad is mark
    assert model.training
    assert not model.stem._hooks
    model.zero_grad()
    twin = Block()
    twin.load_state_dict(before)
    twin.eval()
    optimiser = mc.optim.SGD(twin.parameters(), lr=0.05)
    loss = F.cross_entropy(twin(mc.tensor(x)), [2])
    loss.backward()
    assert e.step.loss_before == pytest.approx(float(loss), rel=1e-6)
    gradients = {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
    optimiser.step()
    assert e.step.loss_after == pytest.approx(float(F.cross_entropy(twin(mc.tensor(x)), [2])), rel=1e-6)
    squares = sum(float((g.astype(float) ** 2).sum()) for g in gradients.values())
    assert e.step.expected == pytest.approx(-0.05 * squares, rel=1e-6)
    assert {update.name for update in e.step.updates} == set(gradients)
    largest = max(float(np.abs(g).max()) for g in gradients.values())
    assert abs(e.step.largest[0].gradient) == pytest.approx(largest, rel=1e-6)
    for change in e.step.largest:
        assert change.after == pytest.approx(change.before - 0.05 * change.gradient, abs=1e-7)


def test_a_step_that_runs_away_is_said(model):
    e = mc.explain(model, x=image(2, 8), label=2, lr=1e30)
    found = content(e.page())["step"]
    assert found["after"] is None or found["after"] > found["before"]
    model.stem.weight.data[0, 0, 0, 0] = np.nan
    try:
        e = mc.explain(model, x=image(2, 8), label=2)
    finally:
        model.stem.weight.data[0, 0, 0, 0] = 0.1
    assert content(e.page())["step"]["before"] is None
    assert "nan" in e.text()


# ---------------------------------------------------------------------------------------------------- pages


def content(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def nodes(node):
    yield node
    for child in node["children"]:
        yield from nodes(child)


def test_the_page_has_the_engine_s_numbers(model, explained):
    found = content(explained.page())
    tree = {node["path"]: node for node in nodes(found["tree"])}
    assert [child["path"] for child in found["tree"]["children"]] == [
        *("stem", "branches", "relu", "norm", "mix", "pool", "head", "unused")
    ]
    assert tree["unused"]["first"] is None
    assert tree["unused"]["calls"] == []
    assert tree["branches.0"]["parameters"] == 4 * 6 * 3 + 4 + 8
    assert tree[""]["macs"] == explained.summary.macs == sum(c["macs"] for c in found["tree"]["children"])
    (stem,), layer = tree["stem"]["calls"], by_path(explained, "stem")[0]
    y = layer.y.astype(float)
    expected = [y.mean(), y.std(), (y == 0).mean(), y.min(), y.max()]
    np.testing.assert_allclose(stem["activations"], expected, rtol=1e-5)
    for c, text in enumerate(stem["maps"]):
        values = np.frombuffer(base64.b64decode(text), np.int8).reshape(4, 4)
        assert np.abs(values * np.abs(y[c]).max() / 127 - y[c]).max() <= np.abs(y[c]).max() / 254 + 1e-9
    assert stem["filters"]["of"] == [6, 1, 1]
    assert stem["filters"]["size"] == [3, 3]
    assert stem["units"][0]["y"] == pytest.approx(layer.units[0].y, rel=1e-5)
    assert found["step"]["before"] == pytest.approx(explained.step.loss_before, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cifar_resnet20", {}),
        *(pytest.param(name, {"num_classes": 7}, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_networks_of_the_literature(name, options):
    mc.manual_seed(0)
    with mc.use("numba"):
        e = mc.explain(mc.models.create(name, **options), x=image(3, 32), pictures=name in SLOW)
    text = e.page()
    assert len(text.encode()) < network_page.LARGEST
    tree = content(text)["tree"]
    assert tree["macs"] == e.summary.macs
    assert tree["parameters"] == e.summary.parameters
    assert e.guessed
    assert e.label == int(e.layers[-1].y.argmax())
    assert math.isclose(e.step.probabilities_after.sum(), 1)
    assert all(layer.gy is not None for layer in e.layers)


def test_many_layers_share_the_space(monkeypatch):
    deep = nn.Sequential(*[nn.Conv2d(1, 16, 1) if i == 0 else nn.Conv2d(16, 16, 1) for i in range(30)])
    deep = nn.Sequential(deep, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    monkeypatch.setattr(network, "BUDGET", 300_000)
    e = mc.explain(deep, x=image(1, 16))
    assert {layer.maps for layer in e.layers if layer.maps and layer.y.ndim == 3} == {4}
    text = e.page()
    assert len(text) < 330_000
    monkeypatch.setattr(network_page, "LARGEST", 50_000)
    with pytest.raises(ValueError, match=r"explain Sequential: the page would have 0\.\d MB.*--text"):
        e.page()


def test_names_cannot_inject_markup():
    model = nn.Sequential({"</script><img src=x onerror=alert(1)>": nn.Flatten(), "b": nn.Linear(4, 2)})
    e = mc.explain(
        model, x=image(1, 2), label=1, name="<b>&", class_names=("<i>", "</script>"), command="<u>"
    )
    text = e.page()
    assert "<img" not in text
    assert "<b>&" not in text
    assert "<i>" not in text
    assert "<u>" not in text
    assert text.count("</script") == 2
    assert "onerror" in e.text()
    assert "[" in e.text()


def test_text(explained):
    lines = explained.text(100).splitlines()
    assert lines[0] == "Block"
    assert "label: class 2" in lines[1]
    (stem,) = [line.split() for line in lines if line.strip().startswith("stem")]
    y = by_path(explained, "stem")[0].y.astype(float)
    assert stem[1] == "6×4×4"
    assert float(stem[2].replace("−", "-")) == float(f"{y.mean():.3g}")
    assert all(len(line) <= 80 for line in explained.text(80).splitlines())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"x": np.zeros((2, 2, 8, 8), np.float32)},
            r"x must be one image, \(1, C, H, W\), got \(2, 2, 8, 8\)",
        ),
        ({"label": 5}, "label is 5, but one of 0 to 4 is expected"),
        ({"label": -1}, "label is -1"),
        ({"lr": 0}, "lr must be a number above 0, got 0"),
        ({"class_names": ("a", "b"), "label": None}, "5 classes, but 2 names"),
    ],
)
def test_what_cannot_be(model, change, words):
    with pytest.raises(ValueError, match=words):
        mc.explain(model, **{"x": image(2, 8), "label": 1, **change})


def test_no_network():
    with pytest.raises(TypeError, match="expected a Module or an operation's name, got int"):
        mc.explain(3)
    with pytest.raises(ValueError, match=r"must give scores \(N, classes\), but gave \(1, 2, 6, 6\)"):
        mc.explain(nn.Conv2d(1, 2, 3), x=image(1, 8))


def test_what_the_answer_rests_on(model, explained):
    """The page's pictures are what the functions give that others are drawn with."""
    x = explained.x
    with mc.use("numpy"):  # anew, as other tests run the model in training, where batch norm learns
        explained = mc.explain(model, x=x, label=explained.label)
        found = {view.title: view for view in explained.views}
        cam = grad_cam(model, x, explained.label)
        np.testing.assert_array_equal(found["saliency"].values, saliency(model, x, explained.label)[0])
        np.testing.assert_array_equal(found["Grad-CAM"].values, cam.heat[0])
        np.testing.assert_array_equal(found["deconvolution"].values, deconvolution(model, x).pixels[0])
        p = occlusion(model, x, explained.label, stride=1)[0]
    np.testing.assert_allclose(found["occlusion"].values, p.max() - p)
    assert cam.layer in found["Grad-CAM"].words
    assert cam.why in found["Grad-CAM"].words
    named = content(explained.page())["views"]
    assert [view["title"] for view in named] == list(found)
    assert all(("map" in view) != ("picture" in view) for view in named)
    with mc.use("numpy"):
        dense = mc.explain(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), x=image(1, 2), label=0)
        assert mc.explain(model, x=x, label=2, pictures=False).views == ()
        turned = mc.explain(model, x=x, label=2, bgr=True).views
    for a, b in zip(turned, mc.explain(model, x=x, label=2).views, strict=True):
        np.testing.assert_array_equal(a.values, b.values[::-1] if b.values.ndim == 3 else b.values)
    assert [view.title for view in dense.views] == ["saliency", "guided backprop", "occlusion"]


# --------------------------------------------------------------------------------------------- command line


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30)).save("digit.png")
    return "digit.png"


def test_command(photo, tmp_path, capsys):
    assert cli.main(["explain", "lenet5", "--image", photo, "--weights", "random", "--label", "3"]) == 0
    assert re.fullmatch(r"lenet5\.html \(0\.\d\d MB of at most 5\): .*\n", capsys.readouterr().out)
    found = content((tmp_path / "lenet5.html").read_text("utf-8"))
    assert found["label"] == "class 3"
    assert not found["guessed"]
    assert found["command"] == "minicnn explain lenet5 --image digit.png --label 3 --weights random"
    assert cli.main(["explain", "lenet5", "--image", photo, "--weights", "random", "--text"]) == 0
    assert "drawn at random, seed 0" in capsys.readouterr().out


def test_without_its_weights_a_network_can_be_seen_untrained(photo, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("MINICNN_WEIGHTS", str(tmp_path / "empty"))
    assert cli.main(["explain", "resnet18", "--image", photo, "--offline"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"resnet18-\w+\.pth; or see it untrained, with --weights random\n$", said)
    assert cli.main(["explain", "resnet18", "--image", photo, "--offline", "--classes", "none.txt"]) == 1
    assert capsys.readouterr().err == "minicnn: none.txt: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("lenet5", "--image FILE is needed"),
        ("conv2d --image digit.png", "conv2d is an operation"),
        ("conv2d --label 3", "--label is for networks"),
        ("lenet5 --image digit.png", "no published weights"),
        ("lenet5 --image digit.png --weights random --kernel 3", "--kernel is for operations"),
        ("lenet5 --image digit.png --weights random --label cat", "--label cat: a number is expected"),
        ("lenet5 --image none.png --weights random", "none.png: cannot be read"),
        ("lenet6 --image digit.png", "did you mean 'lenet5'"),
        (". --image digit.png", "not a training's folder"),
    ],
)
def test_wrong_commands(photo, capsys, words, line):
    assert cli.main(["explain", *words.split()]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
