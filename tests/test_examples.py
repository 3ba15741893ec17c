"""The examples: the course's flows of transfer learning, and how many parameters each trains."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import data, models, optim
from minicnn.models.transfer import count

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("five_flowers", "odd_or_even", "vgg16_features")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def photos(folder, classes, size, count):
    """A folder for each class, with pictures that differ from class to class."""
    draw = np.random.default_rng(0)
    for k in range(classes):
        for split, images in (("train", count), ("test", 3)):
            (folder / split / f"kind{k}").mkdir(parents=True)
            for number in range(images):
                pixels = draw.integers(0, 100, (size, size, 3))
                pixels[k * size // classes : (k + 1) * size // classes] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"kind{k}/{number}.png")
    return folder


def test_all_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NAMES, "script"}


@pytest.mark.parametrize("name", NAMES)
def test_they_run_from_anywhere_and_complain_in_one_line(name, tmp_path):
    def run(*words):
        asked = [sys.executable, EXAMPLES / f"{name}.py", *words]
        return subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path)

    told = run("--help")
    assert told.returncode == 0
    assert f"python examples/{name}.py" in told.stdout
    if name != "odd_or_even":
        failed = run(*(["nowhere/"] if name == "five_flowers" else ["--data", "nowhere/"]))
        assert failed.returncode == 1
        assert failed.stderr.startswith(f"{name}: nowhere")
        assert failed.stderr.count("\n") == 1


def test_odd_or_even(example, capsys):
    """A digit classifier used again: 202 of 265,802 parameters are trained, and it beats a fresh one's."""
    example("odd_or_even").main([])
    said = capsys.readouterr().out
    assert said.count("202 of 265,802 parameters are trained") == 2
    last = said.splitlines()[-1]
    reads, fresh = (float(word.strip("%")) for word in last.split() if word.endswith("%"))
    assert reads > 95 > fresh + 3


def test_vgg16_cut_after_block_3(example):
    trunk = example("vgg16_features").network(5)[0]
    assert trunk(mc.zeros(1, 3, 32, 32)).shape == (1, 256, 4, 4)
    assert sum(p.numel() for p in trunk.parameters()) == 1_735_488
    assert not any("classifier" in name for name, _ in trunk.named_parameters())


def test_features_of_vgg16(example, tmp_path, monkeypatch, capsys):
    """The whole script, with a narrow network; then with weights from a file."""
    script = example("vgg16_features")
    folder, network = str(photos(tmp_path / "photos", 4, 32, 12)), script.network
    monkeypatch.setattr(script, "network", lambda classes, weights=None: network(classes, weights, width=4))
    script.main(["--data", folder, "--epochs", "2", "--images", "3"])
    said = capsys.readouterr().out
    assert "VGG-16, as far as block 3, learns kind0, kind1:" in said
    assert "A dense layer learns kind2, kind3, from 3 images of each:" in said
    assert [line.split("right ")[1] for line in said.splitlines()[-3:]] == [
        "from pixels",
        "from what a fresh VGG-16 makes of them",
        "from what VGG-16 makes of them that has learnt",
    ]
    images = data.load(folder, size=32, validation=0)
    first, second = script.halves(images)
    assert (first.class_names, second.class_names) == (("kind0", "kind1"), ("kind2", "kind3"))
    assert (second.test.images == images.test.images[6:]).all()
    assert sorted(script.some(second.train, 3).labels) == [0, 0, 0, 1, 1, 1]


def test_features_of_published_weights(example, tmp_path, monkeypatch):
    """A file of weights takes the place of learning, and its colours are ImageNet's."""
    script = example("vgg16_features")
    narrow = {"width": 4, "hidden": 1}
    mc.weights.save(models.create("vgg16", **narrow), tmp_path / "vgg16.safetensors")
    create = models.create
    monkeypatch.setattr(models, "create", lambda name, **given: create(name, **{**narrow, **given}))
    net = script.network(2, str(tmp_path / "vgg16.safetensors"), width=4)
    arrays = mc.weights.read(tmp_path / "vgg16.safetensors")
    assert (net[0].body.features[0].weight.numpy() == arrays["features.0.weight"]).all()
    assert script.constants("DEFAULT")["mean"] == (0.485, 0.456, 0.406)
    assert script.constants(None) == {}


def test_five_flowers(example):
    """590,597 new parameters on a frozen base; then 7,079,424 of the base as well, at a smaller rate."""
    script = example("five_flowers")
    net = script.network(5, None)
    models.freeze(net, "0")
    assert count(net) == (14_714_688 + 590_597, 590_597)
    models.unfreeze(net, script.BLOCK_5)
    assert count(net[0]) == (14_714_688, 7_079_424)
    optimizer = optim.SGD(optim.param_groups(net, {"0": {"lr": 1e-5}}), lr=1e-4)
    assert [(g["name"], g["lr"], len(g["params"])) for g in optimizer.param_groups] == [
        ("others", 1e-4, 4),
        ("0", 1e-5, 6),
    ]


def test_five_flowers_in_two_phases(example, tmp_path, monkeypatch, capsys):
    """The first phase changes the head alone, the second block 5 as well, and it learns."""
    script = example("five_flowers")
    network, seen = script.network, []

    def narrow(classes, weights):
        assert weights == "DEFAULT"
        seen.append(network(classes, None, width=4))
        before.update({name: array.copy() for name, array in seen[0].state_dict().items()})
        return seen[0]

    before = {}
    monkeypatch.setattr(script, "network", narrow)
    script.main([str(photos(tmp_path, 3, 64, 6)), "--epochs", "1"])
    after = seen[0].state_dict()
    changed = {name.rpartition(".")[0] for name in after if (after[name] != before[name]).any()}
    assert changed == {"1.2", "1.5", *(f"0.body.features.{k}" for k in (24, 26, 28))}
    said = capsys.readouterr().out
    assert "18 photographs to learn kind0, kind1, kind2\n" in said
    assert said.count("of the test images are right") == 2
