"""Ten steps of training whose losses are known: they notice what changes the numbers of a whole training."""

import numpy as np
import pytest
from cases import Choice, device_of, on_its_device

import minicnn as mc
from minicnn import backend, data, nn, optim
from minicnn.train import train

# Written down from a run in which every gradient check and every comparison with PyTorch passed.
LENET5_ON_DIGITS = [
    2.308021,
    2.305227,
    2.303071,
    2.314335,
    2.253588,
    2.23356,
    2.259885,
    2.190981,
    2.120193,
    2.105225,
]
BATCH_NORM_AND_DROPOUT = [
    2.311766,
    2.305057,
    2.357191,
    2.294055,
    2.283726,
    2.264214,
    2.278485,
    2.226097,
    2.229492,
    2.243333,
]


FAMILIES = [pytest.param(Choice(backend.current_backend(), ""), id="as set")]
FAMILIES += [on_its_device(Choice("cuda", "own kernels"))]


def losses(create, family):
    """Of ten steps, computed by a family of kernels, and by no other if it is that of the GPU."""
    with device_of(family), mc.use(family.backend), mc.trace() as ran:
        mc.manual_seed(0)
        model = create()
        digits = data.load("digits", seed=0).train
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
        batches = data.DataLoader(digits, 32, shuffle=True, seed=0).epoch(0)
        steps = train(model, batches, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer)
        found = [next(steps).loss for _ in range(10)]
    assert [one.operation for one in ran].count("sgd.update") == 10  # one for all parameters
    if family.backend == "cuda":
        assert {one.backend for one in ran} == {"cuda"}
    return found


def lenet5():
    return mc.models.create("lenet5")


def of_many_layers():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.SeparableConv2d(8, 12, 3, padding="same"),
        nn.LocalResponseNorm(3, alpha=0.1),
        nn.LeakyReLU(0.1),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(192, 10),
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("create", "golden"), [(lenet5, LENET5_ON_DIGITS), (of_many_layers, BATCH_NORM_AND_DROPOUT)]
)
def test_ten_steps(create, golden, family):
    found = losses(create, family)
    np.testing.assert_allclose(found, golden, rtol=1e-4)
    np.testing.assert_allclose(found, losses(create, Choice("numpy", "")), rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES[1:])
@pytest.mark.parametrize(("precision", "most"), [("tf32", 1e-3), ("bf16", 1e-2), ("fp16", 1e-3)])
def test_ten_steps_with_rounded_factors(precision, most, family):
    """The losses hardly change; and tensor cores did run."""
    with mc.use(precision=precision), mc.trace() as ran:
        found = losses(lenet5, family)
    assert 0 < np.abs(np.divide(found, LENET5_ON_DIGITS) - 1).max() < most
    rounded = {one.operation for one in ran if one.algorithm == precision}
    parts = {f"linear.{part}" for part in ("forward", "grad_input", "grad_weight")}
    assert rounded == {"conv2d.forward", "conv2d.grad_weight", *parts}
