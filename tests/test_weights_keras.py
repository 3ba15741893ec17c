"""Keras's files, in both layouts and of all its years; and that its networks compute the same here."""

import sys

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn, no_grad, weights
from minicnn.weights import WeightsError, keras_file

h5py = pytest.importorskip("h5py")

LAYERS = {
    "block1_conv1": {"kernel": (3, 3, 3, 4), "bias": (4,)},
    "sep": {"depthwise_kernel": (3, 3, 4, 1), "pointwise_kernel": (1, 1, 4, 5)},
    "bn": {"gamma": (4,), "beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
    "bn_unscaled": {"beta": (4,), "moving_mean": (4,), "moving_variance": (4,)},
    "conv1/conv": {"kernel": (1, 1, 2, 2)},
    "odd": {"0": (2, 2, 2)},
}
GENERATOR = np.random.default_rng(3)
ARRAYS = {
    f"{layer}/{role}": GENERATOR.normal(size=shape).astype(np.float32)
    for layer, roles in LAYERS.items()
    for role, shape in roles.items()
}


def listed(path, arrays, group="model_weights", names=lambda layer, role: f"{layer}/{role}:0", most=None):
    """The layout of Keras 2; its older versions named arrays in other ways, and divided long lists."""
    with h5py.File(path, "w") as file:
        top = file.create_group(group) if group else file
        layers = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
        parts = [layers] if most is None else [layers[i : i + most] for i in range(0, len(layers), most)]
        for i, part in enumerate(parts):
            name = "layer_names" if most is None else f"layer_names{i}"
            top.attrs[name] = [layer.encode() for layer in [*part, *(["empty"] if i == 0 else [])]]
        top.create_group("empty").attrs["weight_names"] = np.array([], "S1")
        for layer in layers:
            inside = top.require_group(layer)
            here = {name: a for name, a in arrays.items() if name.rpartition("/")[0] == layer}
            paths = [names(*name.rpartition("/")[::2]) for name in here]
            inside.attrs["weight_names"] = [path.encode() for path in paths]
            for path, array in zip(paths, here.values(), strict=True):
                inside[path] = array


def numbered(path, arrays, named=True):
    """The layout of Keras 3."""
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        layers = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
        for i, layer in enumerate(layers):
            inside = file.create_group(f"layers/layer_{i}/vars")
            if named:
                inside.attrs["name"] = layer
            here = [a for name, a in arrays.items() if name.rpartition("/")[0] == layer]
            for j, array in enumerate(here):
                inside[str(j)] = array
        file.create_group("layers/flatten/vars").attrs["name"] = "flatten"


WRITERS = {
    "a whole model": listed,
    "weights alone": lambda path, arrays: listed(path, arrays, group=None),
    "Keras 1": lambda path, arrays: listed(path, arrays, names=lambda layer, role: f"{layer}_{role}_1:0"),
    "long lists": lambda path, arrays: listed(path, arrays, most=2),
    "Keras 3": numbered,
}


@pytest.mark.parametrize("how", WRITERS)
def test_layouts(tmp_path, how):
    WRITERS[how](tmp_path / "w", ARRAYS)
    found = weights.read(tmp_path / "w")
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_layers_without_names_have_their_places(tmp_path):
    numbered(tmp_path / "w", ARRAYS, named=False)
    np.testing.assert_array_equal(
        weights.read(tmp_path / "w")["layer_0/kernel"], ARRAYS["block1_conv1/kernel"]
    )


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        weights.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_without_h5py(tmp_path, monkeypatch):
    numbered(tmp_path / "w", ARRAYS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(tmp_path / "w", "h5py is needed: pip install h5py")


# ------------------------------------------------------------------------------------------ hostile


def spoiled(path, layer="bn", array="0"):
    """A group of variables of a file of Keras 3, to put something else there."""
    numbered(path, {"bn/0": np.ones(3, np.float32)})
    file = h5py.File(path, "r+")
    inside = file["layers/layer_0/vars"]
    del inside["0"]
    return file, inside


def test_links_are_not_followed(tmp_path):
    h5py.File(tmp_path / "secret", "w")["0"] = np.ones(3)
    for link in (h5py.ExternalLink("secret", "/0"), h5py.SoftLink("/layers")):
        file, inside = spoiled(tmp_path / "w")
        inside["0"] = link
        file.close()
        refused(tmp_path / "w", "it has no 0, or only a link to it")


def test_arrays_elsewhere_packed_or_virtual(tmp_path):
    (tmp_path / "raw").write_bytes(bytes(12))
    sources = h5py.VirtualLayout((3,), "f4")
    for create in (
        lambda inside: inside.create_dataset("0", (3,), "f4", external=str(tmp_path / "raw")),
        lambda inside: inside.create_dataset("0", (10**6,), "f4", compression="gzip"),
        lambda inside: inside.create_virtual_dataset("0", sources),
    ):
        file, inside = spoiled(tmp_path / "w")
        create(inside)
        file.close()
        refused(tmp_path / "w", "an array of layer bn is packed, or lies elsewhere")


def test_arrays_larger_than_the_file(tmp_path):
    file, inside = spoiled(tmp_path / "w")
    inside.create_dataset("0", (10**12,), "f4", chunks=(1000,))  # chunks that are never written
    file.close()
    refused(tmp_path / "w", "the arrays of layer bn are larger than the file")
    file, inside = spoiled(tmp_path / "w")
    inside["0"] = np.ones(10**4)
    for i in range(1, 4):
        inside[str(i)] = inside["0"]  # one array under several names
    file.close()
    refused(tmp_path / "w", "the arrays of layer bn are larger than the file")


def test_arrays_of_something_else(tmp_path):
    for value in (np.array([b"a"]), np.ones(3, np.complex64), "text"):
        file, inside = spoiled(tmp_path / "w")
        inside["0"] = value
        file.close()
        refused(tmp_path / "w", "layer bn holds .*, not numbers")


def test_groups_in_a_circle(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_file, "MOST_GROUPS", 100)
    file, _ = spoiled(tmp_path / "w")
    file["layers/again"] = file["layers"]
    file.close()
    refused(tmp_path / "w", "it has more than 100 groups")


def test_two_layers_of_one_name(tmp_path):
    numbered(tmp_path / "w", {"a/0": np.ones(3), "b/0": np.ones(3)})
    with h5py.File(tmp_path / "w", "r+") as file:
        file["layers/layer_1/vars"].attrs["name"] = "a"
    refused(tmp_path / "w", "it has two layers named a")


def test_other_files(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file["x"] = np.ones(3)
    refused(tmp_path / "w", "an HDF5 file, but not one of Keras's weights")
    (tmp_path / "w").write_bytes(keras_file.SIGNATURE + bytes(100))
    refused(tmp_path / "w", "damaged, or HDF5 of another kind")
    listed(tmp_path / "w", ARRAYS)
    whole = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "w", "damaged, or HDF5 of another kind")
    with h5py.File(tmp_path / "w", "w") as file:
        file.attrs["layer_names"] = [b"absent"]
    refused(tmp_path / "w", "it has no absent")


# ------------------------------------------------------------------------------------- into networks


def keras_arrays(model, name):
    """Arrays of Keras's for a network of ours, with the names that its table gives, at random."""
    from minicnn.weights.keras_networks import NETWORKS

    found = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            roles, shape = ("gamma", "beta", "moving_mean", "moving_variance"), (module.num_features,)
            arrays = {role: GENERATOR.uniform(0.5, 1, shape).astype(np.float32) for role in roles}
        elif isinstance(module, nn.Conv2d | nn.Linear):
            arrays = {"kernel": GENERATOR.normal(size=module.weight.shape[2:] + module.weight.shape[1::-1])}
            if module.bias is not None:
                arrays["bias"] = GENERATOR.normal(size=module.bias.shape)
        else:
            continue
        found |= {f"{NETWORKS[name].layer(model, path)}/{role}": a for role, a in arrays.items()}
    return found


SMALL_RESNET = {"width": 4, "depths": (1, 2, 1, 1), "num_classes": 5, "stride_on": "1x1"}


def test_epsilon_and_biases_are_folded():
    model = models.create("resnet50", **SMALL_RESNET)
    arrays = keras_arrays(model, "resnet50") | {"conv2_block1_3_conv/bias": np.full(16, 0.25, np.float32)}
    report = weights.load(model, arrays)
    norm = model.layer1[0].bn3
    theirs = {role: arrays[f"conv2_block1_3_bn/{role}"] for role in ("moving_mean", "moving_variance")}
    np.testing.assert_allclose(norm.running_mean.numpy(), theirs["moving_mean"] - 0.25)
    np.testing.assert_allclose(norm.running_var.numpy() + norm.eps, theirs["moving_variance"] + 1.001e-5)
    assert "  turned from the layout of Keras's ResNet50; its epsilon, and biases" in str(report)


def test_what_does_not_fit():
    model = models.create("resnet50", **SMALL_RESNET)
    arrays = keras_arrays(model, "resnet50")

    def unfit(arrays, match, **options):
        before = {name: array.copy() for name, array in model.state_dict().items()}
        with pytest.raises(WeightsError, match=match):
            weights.load(model, arrays, **options)
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    unfit(arrays | {"more/kernel": np.ones((1, 1, 1, 1))}, "1 unexpected: more/kernel")
    unfit(arrays | {"conv1_conv/kernel": np.ones((4, 3, 7, 7))}, r"conv1.weight \(7, 7, 4, 3\), expected")
    unfit(arrays | {"conv1_bn/beta": np.ones((5, 5))}, r"bn1.bias \(5, 5\), expected \(4,\)")
    unfit(arrays | {"conv1_conv/bias": np.ones(5)}, "unexpected: conv1_conv/bias")
    unfit({n: a for n, a in arrays.items() if n != "conv1_bn/moving_mean"}, "4 missing: bn1.weight")
    unfit({"fc1/kernel": np.ones((2, 2))}, "1 unexpected: fc1/kernel")
    headless = {name: array for name, array in arrays.items() if not name.startswith("predictions")}
    unfit(headless, "2 missing: fc.weight, fc.bias")
    weights.load(model, headless, replace_head=True)


def test_names_of_older_files():
    model = models.create("densenet121", width=6, growth=4, depths=(1, 1, 1, 1), num_classes=5)
    arrays = keras_arrays(model, "densenet121")
    older = {"conv1_conv": "conv1/conv", "conv1_bn": "conv1/bn", "predictions": "fc1000"}
    renamed = {}
    for name, array in arrays.items():
        layer, _, role = name.rpartition("/")
        renamed[f"{older.get(layer, layer)}/{role}"] = array
    weights.load(model, renamed)
    kernel = renamed["conv1/conv/kernel"].transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(model.features.conv0.weight.numpy(), kernel.astype(np.float32))


def test_numbers_of_layers_go_on_from_network_to_network():
    model = models.create("inception_resnet_v2", width=4, depths=(1, 2, 1), num_classes=5)
    arrays, shifted = keras_arrays(model, "inception_resnet_v2"), {}
    for name, array in arrays.items():
        layer, _, role = name.rpartition("/")
        kind, _, number = layer.rpartition("_")
        if kind in ("conv2d", "batch_normalization"):
            layer = f"{kind}_{int(number) + 95}"
        if role != "gamma":  # which Keras's has not
            shifted[f"{layer}/{role}"] = array
    assert {"conv2d_95/kernel", "conv2d_100/kernel", "block17_2_conv/bias", "block8_2_conv/bias"} <= set(
        shifted
    )
    weights.load(model, shifted)
    np.testing.assert_array_equal(
        model.conv2d_2a.bn.running_var.numpy(), arrays["batch_normalization_1/moving_variance"]
    )
    assert (model.conv2d_2a.bn.weight.numpy() == 1).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mobilenet_v1", "pads images on the right and below only before a stride of 2"),
        ("mobilenet_v2", "pads images on the right and below only before a stride of 2"),
        ("inception_v3", "means at an image's border leave the padding out, this network's count it"),
        ("xception", "pads images of even size on the right and below only before pooling"),
        ("alexnet", "Keras's, which has no network like AlexNet; it has vgg16, vgg19, resnet50"),
        ("resnet50", "the stride on the first 1×1 convolution; create the network with stride_on='1x1'"),
    ],
)
def test_networks_that_keras_computes_otherwise(name, reason):
    with nn.init.skip():
        model = models.create(name)
    with pytest.raises(WeightsError, match=reason):
        weights.load(model, {"a/kernel": np.ones((1, 1))})


# ----------------------------------------------------------------------------------- Keras's own files


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras, computing with PyTorch, in one thread: two pools of threads would wait for each other."""
    torch = pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield pytest.importorskip("keras")
        torch.set_num_threads(threads)


def livened(model):
    """Weights, biases and statistics that all matter."""

    def drawn(shape):
        if len(shape) == 1:
            return GENERATOR.uniform(0.5, 1.5, shape)
        return GENERATOR.normal(size=shape) / np.prod(shape[:-1]) ** 0.5

    model.set_weights([drawn(weight.shape) for weight in model.get_weights()])
    return model


def small_vgg(keras):
    """VGG-16 with 4 maps for 64, and 12 hidden units, layer for layer as keras.applications builds it."""
    layers = keras.layers
    x = images = keras.Input((224, 224, 3))
    for block, (depth, maps) in enumerate(((2, 4), (2, 8), (3, 16), (3, 32), (3, 32)), 1):
        for i in range(1, depth + 1):
            x = layers.Conv2D(maps, 3, activation="relu", padding="same", name=f"block{block}_conv{i}")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten()(x)
    for name, units, activation in (("fc1", 12, "relu"), ("fc2", 12, "relu"), ("predictions", 5, None)):
        x = layers.Dense(units, activation=activation, name=name)(x)
    return keras.Model(images, x)


def small_resnet(keras):
    """A ResNet of Keras's own functions, with a block a stage."""
    from keras.src.applications import resnet

    def stages(x):
        for i, maps in enumerate((64, 128, 256, 512)):
            x = resnet.stack_residual_blocks_v1(x, maps, 1, stride1=2 if i else 1, name=f"conv{i + 2}")
        return x

    return resnet.ResNet(
        stages, False, True, weights=None, input_shape=(40, 40, 3), classes=5, classifier_activation=None
    )


def small_densenet(keras):
    from keras.src.applications import densenet

    return densenet.DenseNet(
        [1, 2, 1, 1], weights=None, input_shape=(40, 40, 3), classes=5, classifier_activation=None
    )


PAIRS = {
    "vgg16": (small_vgg, {"width": 4, "hidden": 12, "num_classes": 5}),
    "resnet50": (small_resnet, {"depths": (1, 1, 1, 1), "num_classes": 5, "stride_on": "1x1"}),
    "densenet121": (small_densenet, {"depths": (1, 2, 1, 1), "num_classes": 5}),
}


def same_logits(theirs, ours, side):
    images = GENERATOR.normal(size=(2, side, side, 3)).astype(np.float32)
    expected = theirs.predict(images, verbose=0)
    ours.eval()
    with no_grad():
        logits = ours(mc.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()
    assert expected.std() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # Keras's own
@pytest.mark.parametrize("name", PAIRS)
def test_the_same_logits_as_keras(keras, tmp_path, name):
    build, options = PAIRS[name]
    theirs = livened(build(keras))
    theirs.save_weights(tmp_path / "new.weights.h5")
    theirs.save(tmp_path / "old.h5")
    for file in ("new.weights.h5", "old.h5"):
        ours = models.create(name, **options)
        weights.load(ours, tmp_path / file)
        same_logits(theirs, ours, theirs.input_shape[1])


FULL = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "inception_resnet_v2": "InceptionResNetV2",
}


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FULL)
def test_the_whole_networks(keras, tmp_path, name):
    theirs = livened(getattr(keras.applications, FULL[name])(weights=None, classifier_activation=None))
    theirs.save_weights(tmp_path / "w.weights.h5")
    options = {"stride_on": "1x1"} if name.startswith("resnet") else {}
    with nn.init.skip():
        ours = models.create(name, **options)
    weights.load(ours, tmp_path / "w.weights.h5")
    same_logits(theirs, ours, theirs.input_shape[1])
