"""The registry, LeNet-5 and the small course networks."""

import numpy as np
import pytest
from cases import on_host

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.models import registry

NAMES = [
    "lenet5", "mlp_300_100", "mlp_512_512", "mlp_cifar", "mnist_cnn", "cifar_cnn", "cifar_model1", "cifar_model2",
    "cifar_model3", "fashion_cnn", "tiff_cnn",
]  # fmt: skip


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def images(name: str, N: int, dtype: type = np.float32) -> np.ndarray:
    shape = (N, *mc.models.info(name).input_shape)
    return np.random.default_rng(7).standard_normal(shape).astype(dtype)


@pytest.fixture
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    mc.manual_seed(3)
    model = mc.models.create(name)
    assert model.training
    N = 4
    logits = model(mc.tensor(images(name, N)))
    assert logits.shape == (N, 10)
    assert logits.dtype == np.float32
    assert np.isfinite(logits.data).all()
    F.cross_entropy(logits, mc.tensor(np.array([3, 0, 9, 5]))).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None, f"{name}: {key} has no gradient"
        assert p.grad.shape == p.data.shape
        assert np.isfinite(p.grad).all(), f"{name}: the gradient of {key} is not finite"
        assert np.any(p.grad != 0), f"{name}: the gradient of {key} is zero"


@pytest.mark.parametrize("name", NAMES)
def test_options_change_the_ends_of_the_network(name: str) -> None:
    _, H, W = mc.models.info(name).input_shape
    model = mc.models.create(name, num_classes=3, in_channels=2).eval()
    assert model.input_shape == (2, H, W)
    with mc.no_grad():
        assert model(mc.tensor(np.zeros((1, 2, H, W), np.float32))).shape == (1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_another_image_size_is_refused_in_one_line(name: str) -> None:
    C, H, W = mc.models.info(name).input_shape
    with pytest.raises(ValueError, match=rf"^{name}: x has shape \(2, {C}, 8, 8\), .*\(N, {C}, {H}, {W}\)"):
        mc.models.create(name)(mc.tensor(np.zeros((2, C, 8, 8), np.float32)))


def test_an_image_without_its_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lenet5: x has shape \(1, 28, 28\)"):
        mc.models.create("lenet5")(mc.tensor(np.zeros((1, 28, 28), np.float32)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_options_must_be_positive_integers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}: num_classes must be a positive integer, but is {value}"):
        mc.models.create(name, num_classes=value)


def test_tiff_cnn_fits_other_image_sizes() -> None:
    model = mc.models.create("tiff_cnn", image_size=30, num_classes=4).eval()
    assert model.dense1.weight.shape == (128, 128 * 3 * 3)
    with mc.no_grad():
        assert model(mc.tensor(np.zeros((1, 3, 30, 30), np.float32))).shape == (1, 4)
    with pytest.raises(ValueError, match="image_size must be at least 8, but is 7"):
        mc.models.create("tiff_cnn", image_size=7)


def test_lenet5_layer_by_layer() -> None:
    model = mc.models.create("lenet5")
    layers = {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "output": 850}
    assert {name: count(getattr(model, name)) for name in layers} == layers
    assert list(model.state_dict()) == [f"{name}.{part}" for name in layers for part in ("weight", "bias")]


def test_models_1_and_2_differ_by_dropout_alone() -> None:
    one, two = mc.models.create("cifar_model1"), mc.models.create("cifar_model2")
    two.load_state_dict(one.state_dict())
    x = mc.tensor(images("cifar_model1", 2))
    kinds = [type(m) for m in two.children()]
    assert [kind for kind in kinds if kind is not nn.Dropout] == [type(m) for m in one.children()]
    assert kinds.count(nn.Dropout) == 2
    with mc.no_grad():
        assert not np.array_equal(on_host(one(x).data), on_host(two(x).data))
        np.testing.assert_array_equal(on_host(one(x).data), on_host(two.eval()(x).data))


def test_activations_are_the_ones_documented() -> None:
    assert mc.models.create("cifar_model3").act1.negative_slope == 0.1
    assert isinstance(mc.models.create("cifar_cnn").act1, nn.ReLU)


def test_one_seed_gives_one_network() -> None:
    def weights(seed: int) -> np.ndarray:
        mc.manual_seed(seed)
        return on_host(mc.models.create("lenet5").c3.weight.data)

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def test_list_is_sorted_and_complete() -> None:
    names = mc.models.list()
    assert names == sorted(names)
    assert set(NAMES) <= set(names)


@pytest.mark.parametrize("name", mc.models.list())
def test_every_entry_describes_itself(name: str) -> None:
    about = mc.models.info(name)
    assert about.name == name
    assert len(about.input_shape) == 3
    assert about.description.endswith(".")
    assert "\n" not in about.description
    assert about.options["num_classes"] > 1


@pytest.mark.parametrize(
    ("given", "nearest"), [("lenet", "lenet5"), ("LeNet-5", "lenet5"), ("mnist-cnn", "mnist_cnn")]
)
@pytest.mark.parametrize("call", [mc.models.create, mc.models.info])
def test_an_unknown_name_suggests_the_nearest(call: object, given: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"no network named '{given}'; did you mean '{nearest}'"):
        call(given)


def test_a_name_near_to_none_lists_them_all() -> None:
    with pytest.raises(ValueError, match=r"no network named 'zzz'; known are alexnet, .*lenet5"):
        mc.models.create("zzz")


def test_a_name_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="create: name must be a string, but is int"):
        mc.models.create(5)


def test_an_unknown_option_names_the_accepted_ones() -> None:
    with pytest.raises(TypeError, match=r"lenet5 has no option 'classes'.*num_classes=10, in_channels=1"):
        mc.models.create("lenet5", classes=3)


def test_register(scratch_registry: None) -> None:
    @mc.models.register(input_shape=(1, 2, 2), name="tiny")
    def build(width: int = 3) -> nn.Module:
        """One dense layer.

        More about it.
        """
        return nn.Sequential(nn.Flatten(), nn.Linear(4, width))

    assert mc.models.info("tiny") == mc.models.ModelInfo("tiny", (1, 2, 2), "One dense layer.", {"width": 3})
    assert count(mc.models.create("tiny", width=2)) == 10
    with pytest.raises(ValueError, match="already a network named 'tiny'"):
        mc.models.register(input_shape=(1, 2, 2), name="tiny")(build)


def test_register_refuses_what_it_could_not_list(scratch_registry: None) -> None:
    def no_doc(width: int = 3) -> nn.Module:
        return nn.Identity()

    def no_default(width: int) -> nn.Module:
        """One dense layer."""
        return nn.Identity()

    enter = mc.models.register(input_shape=(1, 2, 2))
    with pytest.raises(TypeError, match="no_doc needs a docstring"):
        enter(no_doc)
    with pytest.raises(TypeError, match="no_default's option 'width' must be named and have a default"):
        enter(no_default)
    assert not {"no_doc", "no_default"} & set(mc.models.list())


@pytest.mark.oracle
def test_lenet5_equals_pytorch() -> None:
    torch = pytest.importorskip("torch")
    mc.manual_seed(11)
    ours = mc.models.create("lenet5").double()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5, padding=2),
        torch.nn.Tanh(),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(6, 16, 5),
        torch.nn.Tanh(),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(400, 120),
        torch.nn.Tanh(),
        torch.nn.Linear(120, 84),
        torch.nn.Tanh(),
        torch.nn.Linear(84, 10),
    ).double()
    state = dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))
    theirs.load_state_dict({key: torch.from_numpy(on_host(value).copy()) for key, value in state.items()})

    x = images("lenet5", 8, np.float64)
    labels = np.random.default_rng(8).integers(0, 10, 8)
    logits = ours(mc.tensor(x))
    F.cross_entropy(logits, mc.tensor(labels)).backward()
    expected = theirs(torch.from_numpy(x))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()

    assert logits.dtype == np.float64
    np.testing.assert_allclose(on_host(logits), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(on_host(p.grad), q.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)
