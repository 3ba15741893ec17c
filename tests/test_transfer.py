"""Transfer learning: frozen layers, cut networks, new heads, kept features."""

import numpy as np
import pytest
from cases import on_host

import minicnn as mc
from minicnn import data, models, nn, optim, train
from minicnn.models import transfer
from minicnn.train import features
from minicnn.train.checkpoint import CheckpointError

SMALL = {
    "resnet18": {"width": 4},
    "vgg16_bn": {"width": 4, "hidden": 12},
    "densenet121": {"width": 6, "growth": 4, "depths": (1, 2, 1, 1)},
    "googlenet": {"width": 4, "aux_logits": True},
    "mobilenet_v2": {"width_mult": 0.25},
    "cifar_resnet20": {"width": 4, "n": 1},
}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def images(*shape, seed=0):
    return mc.tensor(mc.random.Generator(seed).normal(shape))


def count(model):
    return transfer.count(model)


# --------------------------------------------------------------------------------------------- freezing


def test_frozen_batch_norm_and_dropout_stay_in_inference_mode():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3))
    models.freeze(net, "[0-2]")
    before = {name: on_host(a).copy() for name, a in net.state_dict().items()}
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = images(8, 1, 4, 4)
    for _ in range(3):
        net.train()
        first, second = net[:3](x), net[:3](x)
        assert (on_host(first) == on_host(second)).all()  # no dropout
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(net(x), mc.tensor(np.arange(8) % 3)).backward()
        optimizer.step()
    changed = {name for name, a in net.state_dict().items() if (on_host(a) != before[name]).any()}
    assert changed == {"4.weight", "4.bias"}
    assert [m.training for m in net] == [False, False, False, True, True]
    models.unfreeze(net)
    assert all(m.training for m in net.train())
    assert all(p.requires_grad for p in net.parameters())


def test_no_work_is_done_for_gradients_that_nobody_needs():
    net = models.create("vgg11", width=4, hidden=8, num_classes=5)
    x, labels = images(2, 3, 32, 32), mc.tensor(np.array([1, 4]))

    def passes():
        with mc.trace() as ran:
            nn.CrossEntropyLoss()(net(x), labels).backward()
        return [str(step) for step in ran]

    def backward_of_convolutions(ran):
        return sum("conv2d.grad" in step for step in ran)

    assert backward_of_convolutions(passes()) == 8 + 7  # the images need no gradient
    models.freeze(net, "features")
    assert backward_of_convolutions(passes()) == 0
    models.unfreeze(net, "features.18")  # the last convolution: its weights only
    assert backward_of_convolutions(passes()) == 1
    assert net.features[18].weight.grad is not None
    assert net.features[16].weight.grad is None


def test_freezing_by_pattern():
    net = models.create("resnet18", width=4)
    models.freeze(net, "conv1", "*.bn1", "layer[23].0")
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert "conv1.weight" in frozen
    assert {"layer1.0.bn1.weight", "layer4.1.bn1.bias", "layer2.0.conv2.weight"} <= frozen
    assert not {"bn1.weight", "layer2.1.conv1.weight", "fc.weight", "layer1.0.bn2.weight"} & frozen


def test_names_that_there_are_not():
    net = models.create("resnet18", width=4)
    with pytest.raises(ValueError, match=r"freeze: 'layer5' names nothing in .* \(it has conv1, bn1, .*fc\)"):
        models.freeze(net, "conv1", "layer5")
    assert all(p.requires_grad for p in net.parameters())
    with pytest.raises(ValueError, match="unfreeze: 'fc2' names nothing"):
        models.unfreeze(net, "fc2")


def test_a_frozen_network_is_trained_as_its_head_alone_would_be(digits):
    """Base and head together, and the head on kept features, to the same weights."""
    ends = []
    for keep in (False, True):
        mc.manual_seed(4)
        net = models.create("lenet5")
        models.freeze(net)
        models.unfreeze(net, "output")
        model = nn.Sequential(nn.Flatten(), net.output) if keep else net
        split = features.extract(net, digits.train) if keep else digits.train
        optimizer = optim.SGD(net.output.parameters(), lr=0.05, momentum=0.9)
        train.Trainer(model, optimizer).fit(split, epochs=2)
        ends.append(on_host(net.output.weight).copy())
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-5)


# ----------------------------------------------------------------------------------------- heads and cuts


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", "fc"),
        ("vgg16_bn", "classifier.6"),
        ("densenet121", "classifier"),
        ("googlenet", "fc"),
        ("mobilenet_v2", "classifier.1"),
        ("cifar_resnet20", "fc"),
    ],
)
def test_heads_for_other_classes(name, head):
    net = models.create(name, num_classes=7, **SMALL[name])
    assert models.replace_head(net, 3) == head
    net.eval()
    with mc.no_grad():
        assert net(images(1, 3, 64, 64)).shape == (1, 3)
    left = [m.out_features for m in net.modules() if isinstance(m, nn.Linear)]
    assert 7 not in left
    assert left.count(3) == (3 if name == "googlenet" else 1)


def test_heads_of_ones_own():
    net = models.create("resnet18", **SMALL["resnet18"])
    own = nn.Sequential(nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 4))
    assert models.replace_head(net, own) == "fc"
    assert net.fc is own
    with pytest.raises(ValueError, match="layer1 is Sequential; give a module"):
        models.replace_head(net, 3, "layer1")
    with pytest.raises(ValueError, match="has no 'head'"):
        models.replace_head(net, 3, "head")
    with pytest.raises(ValueError, match="out_features"):
        models.replace_head(models.create("lenet5"), 0)
    with pytest.raises(ValueError, match="no dense layer"):
        models.replace_head(nn.Sequential(nn.Conv2d(1, 1, 1)), 2)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer2"),
        ("resnet18", "layer3.0.conv1"),
        ("vgg16_bn", "features.9"),
        ("vgg16_bn", "features"),
        ("densenet121", "features.denseblock2"),
        ("googlenet", "inception4a"),
        ("mobilenet_v2", "features.3"),
    ],
)
def test_a_network_cut_at_a_layer_gives_what_the_layer_gives(name, layer):
    net = models.create(name, num_classes=7, **SMALL[name]).eval()
    x, seen = images(2, 3, 64, 64), []
    look = net.get_submodule(layer).register_forward_hook(lambda m, i, output: seen.append(on_host(output)))
    with look, mc.no_grad():
        net(x)
    whole = sum(p.numel() for p in net.parameters())
    trunk = models.cut(net, layer, (3, 64, 64)).eval()
    with mc.no_grad():
        np.testing.assert_allclose(on_host(trunk(x)), seen[0], rtol=1e-4, atol=1e-5)
    assert 0 < sum(p.numel() for p in trunk.parameters()) < whole
    trunk.train()
    trunk(x).sum().backward()
    assert all(p.grad is not None for p in trunk.parameters())  # nothing is left that has no part in it


def test_cuts_that_cannot_be():
    with pytest.raises(ValueError, match="has no 'layer9'"):
        models.cut(models.create("resnet18", width=4), "layer9", (3, 32, 32))
    net = models.create("googlenet", width=4, aux_logits=True)
    with pytest.raises(ValueError, match="did not come to its layer 'aux1.fc2'"):
        models.cut(net, "aux1.fc2", (3, 64, 64))


# -------------------------------------------------------------------------------------------- features


def test_features_of_a_layer_and_of_the_heads_input(digits):
    net = models.create("mnist_cnn")
    few = digits.test.take(slice(50))
    maps = features.extract(net, few, "pool2", batch_size=20)
    assert maps.images.shape == (50, 64, 7, 7)
    vectors = features.extract(net, few)
    assert vectors.images.shape == (50, 64, 1, 1)
    assert (vectors.labels == few.labels).all()
    with mc.no_grad(), nn.module.inference(net):
        logits = net(mc.tensor(few.images))
        again = net.output(mc.tensor(vectors.images[:, :, 0, 0]))
    np.testing.assert_allclose(on_host(again), on_host(logits), atol=1e-4)
    assert net.training
    with pytest.raises(ValueError, match="no images"):
        features.extract(net, digits.test.take([]))


def test_files_of_features(digits, tmp_path):
    path = tmp_path / "f.safetensors"
    told = []
    found = features.extract_all(models.create("lenet5"), digits, batch_size=500, on_batch=told.append)
    assert told == [500, 1000, 1257, 1527, 1797]
    features.save(path, found, {"network": "lenet5"})
    again = features.load(path)
    assert again.class_names == digits.class_names
    for name, split in found.splits().items():
        assert (again.splits()[name].images == split.images).all()
        assert (again.splits()[name].labels == split.labels).all()


def test_files_that_hold_no_features(digits, tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(CheckpointError, match="there is no such file"):
        features.load(path)
    train.save_weights(models.create("lenet5"), path)
    with pytest.raises(CheckpointError, match="holds no features"):
        features.load(path)
    features.save(path, features.extract_all(models.create("lenet5"), digits))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"train.labels", b"train.labelz"))
    with pytest.raises(CheckpointError, match="are not what minicnn writes"):
        features.load(path)
    path.write_bytes(content[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        features.load(path)


@pytest.mark.parametrize(("name", "parameters"), [("linear_head", 5_130), ("mlp_head", 133_898)])
def test_heads_for_features(name, parameters):
    assert sum(p.numel() for p in models.create(name).parameters()) == parameters
    net = models.create(name, num_classes=3, in_channels=6)
    assert net(images(2, 6, 4, 5)).shape == (2, 3)
    with pytest.raises(ValueError, match=rf"{name}: x has shape \(2, 5, 1, 1\)"):
        net(images(2, 5, 1, 1))
