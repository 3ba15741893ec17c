"""What a trainer can be told beyond the plain loop: clipping, pieces, averages, mixed batches, callbacks."""

import csv
import json
import math

import numpy as np
import pytest
from cases import on_host
from test_train import tiny as network

import minicnn as mc
from minicnn import data, kernels, models, nn, optim, train
from minicnn.random import Generator
from minicnn.train import callbacks, loop, metrics, mixing
from minicnn.train.averaging import WeightAverage


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8)


def plain():
    """A network in which no image influences another."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))


def trainer_for(model, lr=0.05, **settings):
    return train.Trainer(model, optim.SGD(model.parameters(), lr=lr, momentum=0.9), **settings)


def arrays(model):
    return {name: on_host(array).copy() for name, array in model.state_dict().items()}


# --------------------------------------------------------------------------------------------- clipping


def parameters_with_gradients(*gradients):
    made = [nn.Parameter(mc.zeros(*np.shape(g))) for g in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = mc.tensor(np.asarray(gradient, np.float32)).data
    return made


def test_clipping_by_norm_scales_all_gradients_together():
    a, b = parameters_with_gradients([3.0, 0.0], [[0.0], [4.0]])
    still = nn.Parameter(mc.zeros(3))
    assert nn.utils.clip_grad_norm_([a, still, b], 0.5).item() == pytest.approx(5.0)
    np.testing.assert_allclose(on_host(a.grad), [0.3, 0.0], rtol=1e-5)
    np.testing.assert_allclose(on_host(b.grad), [[0.0], [0.4]], rtol=1e-5)
    assert still.grad is None
    assert nn.utils.clip_grad_norm_([a, b], 10.0).item() == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(on_host(a.grad), [0.3, 0.0], rtol=1e-5)
    assert nn.utils.clip_grad_norm_([still], 1.0).item() == 0


def test_clipping_by_value():
    (a,) = parameters_with_gradients([[-3.0, 0.25], [0.5, 9.0]])
    nn.utils.clip_grad_value_(a, 0.5)
    assert on_host(a.grad).tolist() == [[-0.5, 0.25], [0.5, 0.5]]


@pytest.mark.oracle
def test_clipping_is_pytorchs():
    torch = pytest.importorskip("torch")
    generator = Generator(3)
    gradients = [generator.normal((4, 5)), generator.normal(7, std=3.0)]
    mine = parameters_with_gradients(*gradients)
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in gradients]
    for parameter, gradient in zip(theirs, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    norm = torch.nn.utils.clip_grad_norm_(theirs, 2.0)
    assert nn.utils.clip_grad_norm_(mine, 2.0).item() == pytest.approx(float(norm), rel=1e-5)
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    nn.utils.clip_grad_value_(mine, 0.3)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(on_host(a.grad), b.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("bound", [0, -1.0, math.inf, math.nan])
def test_bounds_that_cannot_be(bound):
    for clip in (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_):
        with pytest.raises(ValueError, match=r"a finite number above 0 is expected"):
            clip([], bound)
    with pytest.raises(TypeError, match="max_norm is '1'"):
        nn.utils.clip_grad_norm_([], "1")
    with pytest.raises(TypeError, match="holds int"):
        nn.utils.clip_grad_norm_([3], 1.0)


def test_a_clipped_step_is_as_long_as_the_bound_allows(digits):
    """One step of plain SGD from the same start: w − w' has the length lr · max_norm."""
    model = plain()
    before = arrays(model)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    train.Trainer(model, optimizer, clip_norm=0.01, batch_size=2000).fit(digits.train, epochs=1)
    step = np.concatenate([(before[name] - a).ravel() for name, a in arrays(model).items()])
    assert np.linalg.norm(step) == pytest.approx(0.5 * 0.01, rel=1e-3)


# ----------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize("pieces", [2, 3, 7, 400])
def test_pieces_of_a_batch_give_the_batchs_gradient(digits, pieces):
    model = plain()
    images, labels = digits.train.images[:100], digits.train.labels[:100]
    found = {}
    for way in (loop.find_gradients, loop.in_pieces(loop.find_gradients, pieces)):
        for parameter in model.parameters():
            parameter.grad = None
        loss, correct = way(model, nn.CrossEntropyLoss(), images, labels)
        found[way] = loss, correct, [on_host(p.grad).copy() for p in model.parameters()]
    (loss, correct, gradients), (other_loss, other_correct, others) = found.values()
    assert (other_loss, other_correct) == (pytest.approx(loss, rel=1e-5), correct)
    for a, b in zip(others, gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_a_training_in_pieces_is_that_of_whole_batches(digits):
    ends = []
    for pieces in (1, 4):
        mc.manual_seed(2)
        model = plain()
        trainer_for(model, accumulate=pieces).fit(digits.train, digits.validation, epochs=2)
        ends.append(arrays(model))
    for name, array in ends[0].items():
        np.testing.assert_allclose(ends[1][name], array, atol=2e-4)


# ---------------------------------------------------------------------------------------------- average


def test_the_average_follows_the_equation():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, 0.3)
    expected = arrays(model)
    generator = Generator(0)
    for t in range(1, 6):
        for array in model.state_dict().values():
            array[...] = mc.tensor(generator.normal(array.shape)).data if array.dtype.kind == "f" else t
        average.update(model)
        d = min(0.3, (1 + t) / (10 + t))
        for name, w in arrays(model).items():
            expected[name] = d * expected[name] + (1 - d) * w if w.dtype.kind == "f" else w
    for name, a in arrays(average.model).items():
        np.testing.assert_allclose(a, expected[name], rtol=1e-5)
    assert average.model[1].num_batches_tracked.item() == 5
    assert not any(p.requires_grad for p in average.model.parameters())


def test_validation_sees_the_average_and_so_do_the_best_weights(digits):
    model = network()
    trainer = trainer_for(model, ema=0.99)
    trainer.fit(digits.train, digits.validation, epochs=2)
    with kernels.use():
        found = train.evaluate(trainer.average.model, digits.validation, batch_size=64)
    assert found.accuracy == trainer.history[-1].validation_accuracy
    last = arrays(model)
    assert (last["6.weight"] != on_host(trainer.average.model[6].weight)).any()
    trainer.restore_best()
    assert all((a == trainer.best_weights[name]).all() for name, a in arrays(model).items())


def test_without_validation_the_average_is_what_remains(digits):
    model = network()
    trainer = trainer_for(model, ema=0.9)
    trainer.fit(digits.train.take(slice(200)), epochs=1)
    trainer.restore_best()
    assert all((a == arrays(trainer.average.model)[name]).all() for name, a in arrays(model).items())


# ------------------------------------------------------------------------------------------ mixed batches


@pytest.mark.parametrize("kind", [mixing.MixUp, mixing.CutMix])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixed_targets_are_shares_of_two_labels(kind, alpha):
    """Images that are constant, each with a value of its own, show how much of which image there is."""
    labels = np.arange(6)
    images = np.zeros((6, 2, 16, 16), np.float32) + labels.astype(np.float32)[:, None, None, None]
    before = images.copy()
    seen = set()
    for seed in range(20):
        x, t = kind(6, alpha)(images, labels, Generator(seed))
        assert (x.shape, x.dtype, t.shape, t.dtype) == (images.shape, np.float32, (6, 6), np.float32)
        np.testing.assert_allclose(t.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), t @ labels, atol=1e-5)
        seen.add(round(float(t.max(axis=1).min()), 4))
    assert (images == before).all()
    assert len(seen) > 5


def test_shares_are_distributed_as_beta():
    generator = Generator(1)
    for alpha in (0.3, 1.0, 2.0):
        drawn = np.array([mixing.beta(alpha, generator) for _ in range(1000)])
        assert 0 <= drawn.min() <= drawn.max() <= 1
        assert drawn.mean() == pytest.approx(0.5, abs=0.05)
        assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


@pytest.mark.parametrize("alpha", [0, -1, 5, math.nan, "1", True])
def test_alphas_that_cannot_be(alpha):
    with pytest.raises(ValueError, match="MixUp: alpha is"):
        mixing.MixUp(10, alpha)
    with pytest.raises(ValueError, match="CutMix: num_classes is 1"):
        mixing.CutMix(1)


def test_a_training_on_mixed_batches_learns(digits):
    model = plain()
    mix = mixing.Either(mixing.MixUp(10, 0.4), mixing.CutMix(10, 1.0))
    trainer = trainer_for(model, mix=mix, lr=0.1)
    trainer.fit(digits.train, digits.validation, epochs=4)
    assert trainer.history[-1].validation_accuracy > 0.85
    assert repr(mix) == "Either(MixUp(num_classes=10, alpha=0.4), CutMix(num_classes=10, alpha=1))"


# -------------------------------------------------------------------------------------------- callbacks


class Dictated(train.Trainer):
    """Validates to what it is told."""

    def __init__(self, model, found, **settings):
        super().__init__(model, optim.SGD(model.parameters(), lr=0.01), batch_size=700, **settings)
        self.found = iter(found)

    def _validate(self, validation, callbacks):
        return next(self.found)


def test_early_stopping_restores_the_best(digits):
    found = [(1.0, 0.5), (0.9, 0.6), (0.8, 0.6), (0.9, 0.6), (0.9, 0.4), (0.7, 0.9)]
    model = plain()
    seen = {}

    class Note(train.Callback):
        def on_epoch(self, trainer):
            seen[trainer.epoch] = arrays(trainer.model)

    trainer = Dictated(model, found)
    trainer.fit(digits.train, digits.validation, epochs=9, callbacks=[Note(), train.EarlyStopping(2)])
    assert trainer.epoch == 5
    assert trainer.stopped == "no better validation in 2 epochs"
    assert trainer.best.number == 3
    assert all((a == seen[3][name]).all() for name, a in arrays(model).items())
    again = Dictated(plain(), [])
    again.history, again.best, again.epoch = trainer.history, trainer.best, 5
    again.best_weights = trainer.best_weights
    again.fit(digits.train, digits.validation, epochs=9, callbacks=[train.EarlyStopping(2)])
    assert again.epoch == 5


def test_early_stopping_needs_something_to_look_at(digits):
    with pytest.raises(ValueError, match="there is no validation split"):
        trainer_for(plain()).fit(digits.train, epochs=1, callbacks=[train.EarlyStopping(1)])
    with pytest.raises(ValueError, match="patience is 0"):
        train.EarlyStopping(0)
    with pytest.raises(TypeError, match="patience is 1.5"):
        train.EarlyStopping(1.5)


def test_files_of_the_history_and_of_the_best_weights(digits, tmp_path):
    found = [(1.0, 0.5), (0.9, 0.6), (0.9, 0.5)]
    model = plain()
    kept = [
        train.HistoryFile(tmp_path / "h.csv"),
        train.HistoryFile(tmp_path / "h.json"),
        train.SaveBest(tmp_path / "best.safetensors"),
    ]
    trainer = Dictated(model, found)
    trainer.fit(digits.train, digits.validation, epochs=3, callbacks=kept)
    with (tmp_path / "h.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validation_accuracy"] for row in rows] == ["0.5", "0.6", "0.5"]
    assert [float(row["loss"]) for row in rows] == [epoch.loss for epoch in trainer.history]
    assert json.loads((tmp_path / "h.json").read_text())[2]["number"] == 3
    train.load_weights(model, tmp_path / "best.safetensors")
    assert all((a == trainer.best_weights[name]).all() for name, a in arrays(model).items())


def test_callbacks_are_told_of_the_end(digits):
    seen = []

    class Note(train.Callback):
        def on_epoch(self, trainer):
            trainer.stop("enough")

        def on_end(self, trainer):
            seen.append((trainer.epoch, trainer.stopped))

    trainer = trainer_for(plain(), batch_size=700)
    trainer.fit(digits.train, epochs=5, callbacks=[Note()])
    assert seen == [(1, "enough")]
    trainer.fit(digits.train, epochs=2)
    assert (trainer.epoch, trainer.stopped) == (2, "")


def test_any_object_with_the_methods_is_a_callback(digits):
    calls = []

    class Own:
        def __getattr__(self, name):
            return lambda *_: calls.append(name)

    trainer_for(plain(), batch_size=2000).fit(digits.train, digits.validation, epochs=1, callbacks=[Own()])
    assert calls == ["on_start", "on_step", "on_validation_batch", "on_epoch", "on_end"]
    assert {name for name in vars(callbacks.Callback) if name.startswith("on_")} == set(calls)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"accumulate": 0}, ValueError, "accumulate is 0"),
        ({"accumulate": 1.5}, TypeError, "accumulate is 1.5"),
        ({"clip_norm": 0}, ValueError, "max_norm is 0"),
        ({"clip_value": -1}, ValueError, "clip_value is -1"),
        ({"ema": 1.0}, ValueError, "decay is 1.0"),
        ({"ema": "0.9"}, TypeError, "decay is '0.9'"),
    ],
)
def test_settings_that_cannot_be(settings, error, match):
    with pytest.raises(error, match=match):
        trainer_for(plain(), **settings)


def test_labels_beyond_the_classes_are_named(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
    with pytest.raises(ValueError, match="9"):
        trainer_for(model).fit(digits.train, epochs=1)


# ---------------------------------------------------------------------------------------------- groups


def test_groups_with_rates_of_their_own_and_without_decay():
    model = network()
    groups = optim.param_groups(model, {"0": {"lr": 0.5}, "6.weight": {"momentum": 0.0}}, decay_all=False)
    optimizer = optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01)
    found = {
        name: group
        for group in optimizer.param_groups
        for name, p in model.named_parameters()
        if any(p is q for q in group["params"])
    }
    assert {name: (g["lr"], g["momentum"], g["weight_decay"]) for name, g in found.items()} == {
        "0.weight": (0.5, 0.9, 0.01),
        "0.bias": (0.5, 0.9, 0.0),
        "1.weight": (0.1, 0.9, 0.0),
        "1.bias": (0.1, 0.9, 0.0),
        "6.weight": (0.1, 0.0, 0.01),
        "6.bias": (0.1, 0.9, 0.0),
    }


def test_patterns_that_fit_nothing():
    model = network()
    with pytest.raises(ValueError, match="'conv1' fits no trainable parameter"):
        optim.param_groups(model, {"conv1": {"lr": 1.0}})
    models.freeze(model)
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        optim.param_groups(model)


# --------------------------------------------------------------------------------------------- metrics


def test_top_k_counts_what_ties_against_the_label():
    p = np.array([[0.1, 0.2, 0.7], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    assert [metrics.top_k(p, np.array([1, 0, 2]), k) for k in (1, 2, 3)] == [0, 2 / 3, 1]
    with pytest.raises(ValueError, match="k is 0"):
        metrics.top_k(p, np.array([1, 0, 2]), 0)


def test_figures_of_classes_by_hand():
    matrix = np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]])
    rows = metrics.class_figures(matrix)
    assert rows[0] == pytest.approx((5 / 7, 5 / 6, 10 / 13, 6))
    assert rows[1] == pytest.approx((2 / 3, 1 / 2, 4 / 7, 4))
    assert rows[2] == (0, 0, 0, 0)
