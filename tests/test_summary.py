"""Parameters, multiply-accumulates and activation memory, against figures worked out by hand."""

import json

import numpy as np
import pytest
from cases import on_host, there

import minicnn as mc
from minicnn import nn
from minicnn.summary import summarize


def lenet5() -> nn.Module:
    return mc.models.create("lenet5")


class Residual(nn.Module):
    """y = relu(conv(x) + x), with the relu used twice and a scale of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.scale = nn.Parameter(there(np.ones((4, 1, 1), np.float32)))
        self.head = nn.Linear(4, 2)  # for training alone, and not used here

    def forward(self, x: mc.Tensor) -> mc.Tensor:
        return self.relu(self.relu(self.conv(x)) * self.scale + x)


def test_lenet5_figures() -> None:
    report = summarize(lenet5(), (1, 28, 28))
    counted = {row.name: (row.parameters, row.macs) for row in report.rows if row.parameters}
    assert counted == {
        "c1": (156, 28 * 28 * 6 * 25),
        "c3": (2_416, 10 * 10 * 16 * 150),
        "c5": (48_120, 400 * 120),
        "f6": (10_164, 120 * 84),
        "output": (850, 84 * 10),
    }
    assert (report.parameters, report.trainable, report.not_trainable) == (61_706, 61_706, 0)
    assert report.macs == 416_520
    assert report.buffers == 0
    assert report.model == "LeNet5"
    assert [row.output_shape for row in report.rows if row.name in ("c1", "s2", "c3", "s4", "flatten")] == [
        (1, 6, 28, 28),
        (1, 6, 14, 14),
        (1, 16, 10, 10),
        (1, 16, 5, 5),
        (1, 400),
    ]


def test_lenet5_activation_memory() -> None:
    report = summarize(lenet5(), (1, 28, 28), batch_size=3)
    # Each tanh repeats its layer's output; the flattened image is the pooled one under another shape.
    values = 2 * 6 * 28 * 28 + 6 * 14 * 14 + 2 * 16 * 10 * 10 + 16 * 5 * 5 + 2 * 120 + 2 * 84 + 10
    assert report.training_bytes == 3 * 4 * values
    assert report.inference_bytes == 3 * 4 * (2 * 6 * 28 * 28)  # tanh1 reads c1's output and writes its own
    assert {row.name: row.activation_bytes for row in report.rows}["flatten"] == 0


@pytest.mark.parametrize(("batch", "training"), [(1, 12_000_000), (100, 1_200_000_000)])
def test_the_course_example(batch: int, training: int) -> None:
    report = summarize(nn.Conv2d(3, 200, 5, padding="same"), (3, 100, 150), batch_size=batch)
    assert report.parameters == 15_200
    assert report.macs == batch * 225_000_000
    assert report.training_bytes == training
    assert report.inference_bytes == training + batch * 3 * 100 * 150 * 4
    assert report.rows[0].output_shape == (batch, 200, 100, 150)


def test_a_large_batch_is_not_allocated() -> None:
    assert summarize(lenet5(), (1, 28, 28), batch_size=10**9).macs == 416_520 * 10**9


def test_groups_stride_and_leading_axes() -> None:
    grouped = summarize(nn.Conv2d(6, 8, (3, 5), stride=2, groups=2, bias=False), (6, 9, 11), batch_size=2)
    assert grouped.rows[0].output_shape == (2, 8, 4, 4)
    assert grouped.macs == 2 * 4 * 4 * 8 * (6 // 2) * 3 * 5
    dense = summarize(nn.Linear(7, 5), (3, 7), batch_size=2)
    assert dense.rows[0].output_shape == (2, 3, 5)
    assert dense.macs == 2 * 3 * 5 * 7


def test_frozen_parameters_and_buffers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2))
    model[0].weight.requires_grad = False
    report = summarize(model, (3, 4, 4))
    assert (report.parameters, report.trainable, report.not_trainable) == (216 + 16 + 66, 16 + 66, 216)
    assert report.buffers == 16
    assert [row.trainable for row in report.rows] == [0, 16, 0, 66]


def test_the_course_transfer_example() -> None:
    model = mc.models.create("mlp_300_100")
    for p in model.parameters():
        p.requires_grad = False
    model.output = nn.Linear(100, 2)
    report = summarize(model, (1, 28, 28))
    assert (report.parameters, report.trainable) == (265_802, 202)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Dropout2d(0.5)])
def test_dropout_counts_in_training_alone(layer: nn.Module) -> None:
    report = summarize(layer, (10, 1, 1))
    assert report.training_bytes == 40
    assert report.inference_bytes == 40  # the input, which it passes on as it is


def test_branches_reuse_and_idle_layers() -> None:
    report = summarize(Residual(), (4, 5, 5), batch_size=2)
    assert [(row.name, row.parameters) for row in report.rows] == [
        ("conv", 148),
        ("relu", 0),
        ("relu", 0),
        ("Residual", 4),
        ("head", 10),
    ]
    assert [row.output_shape for row in report.rows] == [(2, 4, 5, 5)] * 4 + [None]
    assert report.parameters == 148 + 4 + 10
    assert report.macs == 2 * 5 * 5 * 4 * 36
    assert (
        report.training_bytes == 3 * 2 * 4 * 4 * 25
    )  # conv and relu twice; their sum is the last relu's input


def test_shared_weights_count_once_and_work_twice() -> None:
    shared = nn.Linear(6, 6)
    report = summarize(nn.Sequential(shared, nn.ReLU(), shared), (6,))
    assert report.parameters == 42
    assert report.macs == 2 * 36


def test_float64_takes_twice_the_memory() -> None:
    single, double = summarize(lenet5(), (1, 28, 28)), summarize(lenet5().double(), (1, 28, 28))
    assert double.training_bytes == 2 * single.training_bytes
    assert double.inference_bytes == 2 * single.inference_bytes


def snapshot(model: nn.Module) -> tuple[list[bool], list[np.ndarray], list[np.ndarray]]:
    return (
        [m.training for m in model.modules()],
        [on_host(value).copy() for value in model.state_dict().values()],
        [on_host(p.grad).copy() for p in model.parameters()],
    )


def assert_same(before: tuple, after: tuple) -> None:
    assert before[0] == after[0]
    for old, new in zip(before[1] + before[2], after[1] + after[2], strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("size", [6, 5])  # 5×5 images fail in the dense layer
def test_the_model_is_left_as_it_was(size: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )
    rng = np.random.default_rng(0)
    model(mc.tensor(rng.standard_normal((5, 1, 6, 6)).astype(np.float32))).sum().backward()
    model[1].eval()  # a frozen batch norm inside a network in training
    before = snapshot(model)
    calls = []
    handle = model[0].register_forward_hook(lambda module, inputs, output: calls.append(1))
    state = mc.random.default_generator.get_state()

    if size == 6:
        assert summarize(model, (1, 6, 6)) == summarize(model, (1, 6, 6))
    else:
        with pytest.raises(ValueError, match="linear"):
            summarize(model, (1, 5, 5))

    assert_same(before, snapshot(model))
    assert mc.random.default_generator.get_state() == state
    assert calls, "the caller's own hook is still attached and ran"
    handle.remove()
    assert mc.is_grad_enabled()
    assert all(not module._hooks for module in model.modules())


def test_text() -> None:
    lines = str(summarize(lenet5(), (1, 28, 28), name="lenet5")).splitlines()
    assert lines[0].strip() == "lenet5, input 1 × 1 × 28 × 28"
    (c3,) = (line.split() for line in lines if line.split()[0] == "c3")
    assert c3 == ["c3", "Conv2d", "1", "×", "16", "×", "10", "×", "10", "2,416", "240,000", "6.4", "kB"]
    assert any(line.split()[:3] == ["total", "61,706", "416,520"] for line in lines)
    assert "61,706: 61,706 trainable, 0 not; 0 values in buffers" in lines[-3]
    assert lines[-2].split()[:4] == ["weights'", "memory", "247", "kB;"]
    assert "in training" in lines[-1]
    assert all(len(line) <= 110 for line in lines)


def test_to_dict_is_json() -> None:
    report = summarize(Residual(), (4, 5, 5), batch_size=2)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain == report.to_dict()
    assert plain["rows"][0] == {
        "name": "conv",
        "kind": "Conv2d",
        "output_shape": [2, 4, 5, 5],
        "parameters": 148,
        "trainable": 148,
        "macs": 7200,
        "activation_bytes": 800,
    }
    assert plain["rows"][-1]["output_shape"] is None
    assert plain["not_trainable"] == 0


@pytest.mark.parametrize("shape", [(), (1, 0, 28), (1, 28.0, 28), (1, -28, 28), "abc", None])
def test_bad_input_shapes(shape: object) -> None:
    with pytest.raises(ValueError, match="summarize: input_shape must be positive integers"):
        summarize(lenet5(), shape)


@pytest.mark.parametrize("batch", [0, -2, 1.5, True])
def test_bad_batch_sizes(batch: object) -> None:
    with pytest.raises(ValueError, match="summarize: batch_size must be a positive integer, but is"):
        summarize(lenet5(), (1, 28, 28), batch)


def test_a_model_must_be_a_module() -> None:
    with pytest.raises(TypeError, match="summarize: model must be a Module, but is str"):
        summarize("lenet5", (1, 28, 28))


def test_a_network_that_needs_an_image_for_its_shapes():
    class Reshaping(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.dense = nn.Conv2d(1, 2, 3), nn.Linear(2 * 4 * 4, 5)

        def forward(self, x):
            return self.dense(self.conv(x).reshape(len(x), -1))

    report = summarize(Reshaping(), (1, 6, 6), batch_size=3)
    assert [row.output_shape for row in report.rows] == [(3, 2, 4, 4), (3, 5)]
    assert report.macs == 3 * (2 * 16 * 9 + 5 * 32)


def test_an_image_that_does_not_fit_is_named_as_one():
    with pytest.raises(ValueError, match=r"lenet5: x has shape \(1, 1, 32, 32\)"):
        summarize(lenet5(), (1, 32, 32))
