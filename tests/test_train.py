"""The training loop, the trainer around it, what it shows and draws."""

import io
import math
import signal

import numpy as np
import pytest
from cases import on_host
from PIL import Image
from rich.console import Console

import minicnn as mc
from minicnn import data, kernels, models, nn, optim, train
from minicnn.optim import lr_scheduler
from minicnn.train import metrics, plots
from minicnn.train.display import Display, counted
from minicnn.train.interrupt import Interrupted, Interruptible
from minicnn.train.options import complete, resumed
from minicnn.train.recipes import OPTIMIZERS, RECIPES, SCHEDULES, make_optimizer, make_schedule


def tiny():
    """A network with everything that has a state: batch norm's buffers, and dropout's random numbers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8)


def trainer_for(model, lr=0.05, **settings):
    return train.Trainer(model, optim.SGD(model.parameters(), lr=lr, momentum=0.9), **settings)


# -------------------------------------------------------------------------------------------------- loop


GOLDEN = [2.30752, 2.32253, 2.27925, 2.30034, 2.24052, 2.21237, 2.19581, 2.14459, 2.14673, 2.05901]


def test_ten_steps_of_lenet5_have_their_known_losses():
    """Any change of initialisation, shuffling, layers, loss or optimiser shows here."""
    digits = data.load("digits")
    model = models.create("lenet5")
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    batches = data.DataLoader(digits.train, 64, shuffle=True, seed=0).epoch(0)
    steps = train.train(model, batches, nn.CrossEntropyLoss(), optimizer)
    losses = [next(steps).loss for _ in range(10)]
    np.testing.assert_allclose(losses, GOLDEN, rtol=1e-4)


def test_the_loop_does_what_the_equations_say():
    """One step of softmax regression, by hand."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((6, 1, 2, 2)).astype(np.float32), np.array([0, 2, 1, 1, 0, 2])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    w, b = (on_host(p.data).astype(np.float64) for p in model.parameters())
    flat = x.reshape(6, 4).astype(np.float64)
    logits = flat @ w.T + b
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (p - np.eye(3)[labels]) / 6
    (step,) = train.train(model, [(x, labels)], nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.5))
    assert step.loss == pytest.approx(-np.log(p[np.arange(6), labels]).mean(), rel=1e-5)
    assert step.images == 6
    assert step.correct == (p.argmax(axis=1) == labels).sum()
    np.testing.assert_allclose(on_host(model[1].weight.data), w - 0.5 * gradient.T @ flat, atol=1e-6)
    np.testing.assert_allclose(on_host(model[1].bias.data), b - 0.5 * gradient.sum(axis=0), atol=1e-6)


def test_evaluate_counts_every_image_and_leaves_the_model_alone(digits):
    model = tiny()
    model[1].eval()  # as a frozen layer would be
    before = {name: array.copy() for name, array in model.state_dict().items()}
    random_before = mc.random.default_generator.get_state()
    whole = train.evaluate(model, digits.test, batch_size=270)
    told = []
    pieces = train.evaluate(model, digits.test, batch_size=64, on_batch=told.append)
    assert told == [64, 128, 192, 256, 270]
    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert pieces.accuracy == whole.accuracy == (whole.predictions == digits.test.labels).mean()
    assert pieces.probabilities.shape == (270, 10)
    np.testing.assert_allclose(pieces.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (pieces.probabilities.argmax(axis=1) == pieces.predictions).all()
    picked = whole.probabilities[np.arange(270), digits.test.labels]
    assert whole.loss == pytest.approx(-np.log(picked).mean(), rel=1e-4)
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert mc.random.default_generator.get_state() == random_before
    assert model.training
    assert not model[1].training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_bar_counts_the_images_on_a_terminal_only():
    for terminal in (True, False):
        screen = Console(file=io.StringIO(), width=60, force_terminal=terminal)
        with counted("looking", 200, screen) as on_batch:
            on_batch(50)
        shown = screen.file.getvalue()
        assert ("looking" in shown and "25%" in shown) == terminal
        assert bool(shown) == terminal


def test_evaluate_of_nothing(digits):
    with pytest.raises(ValueError, match="split has no images"):
        train.evaluate(tiny(), digits.test.take([]))


# ----------------------------------------------------------------------------------------------- trainer


def test_training_learns_and_keeps_a_history(digits):
    model = tiny()
    trainer = trainer_for(model)
    trainer.fit(digits.train, digits.validation, epochs=6)
    assert [epoch.number for epoch in trainer.history] == [1, 2, 3, 4, 5, 6]
    assert trainer.history[-1].loss < trainer.history[0].loss / 3
    assert trainer.best.validation_accuracy == max(e.validation_accuracy for e in trainer.history) > 0.93
    trainer.restore_best()
    found = train.evaluate(model, digits.validation, batch_size=64)
    assert found.accuracy == trainer.best.validation_accuracy
    assert found.loss == trainer.best.validation_loss


def test_the_history_is_the_mean_over_the_epochs_images(digits):
    """With a learning rate of 0 nothing changes, so the epoch's means are those of an evaluation."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = trainer_for(model, lr=0.0, batch_size=100)  # 1,257 images: the last batch is smaller
    trainer.fit(digits.train, epochs=1)
    found = train.evaluate(model, digits.train)
    assert trainer.history[0].loss == pytest.approx(found.loss, rel=1e-5)
    assert trainer.history[0].accuracy == found.accuracy
    assert trainer.history[0].validation_loss is None
    assert trainer.best is None
    trainer.restore_best()


def test_of_equally_accurate_epochs_the_one_with_less_loss_is_best(digits):
    found = iter([(0.5, 0.8), (0.4, 0.8), (0.6, 0.8), (0.1, 0.7)])

    class Dictated(train.Trainer):
        def _validate(self, validation, callbacks):
            return next(found)

    model = tiny()
    trainer = Dictated(model, optim.SGD(model.parameters(), lr=0.01), batch_size=400)
    trainer.fit(digits.train, digits.validation, epochs=4)
    assert trainer.best is trainer.history[1]


def test_one_seed_is_one_training(digits):
    def run(seed):
        mc.manual_seed(5)
        model = tiny()
        trainer_for(model, seed=seed).fit(digits.train, digits.validation, epochs=2)
        return model.state_dict()

    first, second, other = run(1), run(1), run(2)
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_schedules_step_once_an_epoch(digits):
    model = tiny()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 2, 0.5)
    trainer = train.Trainer(model, optimizer, scheduler, batch_size=400)
    trainer.fit(digits.train, epochs=5)
    assert [epoch.lr for epoch in trainer.history] == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_a_precision_holds_while_the_trainer_trains(digits):
    model, seen = tiny(), []

    class Watch(train.Callback):
        def on_step(self, trainer):
            seen.append(kernels.precision())

        on_epoch = on_validation_batch = on_step

    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for precision in ("bf16", None):
        trainer = train.Trainer(model, optimizer, batch_size=1000, precision=precision)
        trainer.fit(digits.train, digits.validation, epochs=1, callbacks=[Watch()])
    assert seen == 4 * ["bf16"] + 4 * ["fp32"]
    assert kernels.precision() == "fp32"
    with pytest.raises(ValueError, match="Trainer: precision 'half' is unknown"):
        train.Trainer(model, optimizer, precision="half")


def test_a_plateau_is_measured_on_the_validation_loss(digits):
    model = tiny()
    optimizer = optim.SGD(model.parameters(), lr=0.0)  # so that the loss stays where it is
    optimizer.param_groups[0]["lr"] = 1e-30
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, eps=0.0)
    trainer = train.Trainer(model.eval(), optimizer, scheduler, batch_size=400)
    trainer.fit(digits.train, digits.validation, epochs=1)
    assert scheduler.best == trainer.history[0].validation_loss
    with pytest.raises(ValueError, match="needs a validation split"):
        trainer.fit(digits.train, epochs=2)


def test_training_turns_training_mode_on(digits):
    model = tiny().eval()
    trainer_for(model, batch_size=400).fit(digits.train, epochs=1)
    assert model[1].num_batches_tracked.item() == 4


def test_wrong_arguments(digits):
    model = tiny()
    with pytest.raises(TypeError, match="model is function, but Module is expected"):
        train.Trainer(tiny, optim.SGD(model.parameters()))
    with pytest.raises(TypeError, match="optimizer is str"):
        train.Trainer(model, "sgd")
    with pytest.raises(TypeError, match="epochs is 1.5"):
        trainer_for(model).fit(digits.train, epochs=1.5)
    with pytest.raises(ValueError, match="epochs is 0"):
        trainer_for(model).fit(digits.train, epochs=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        trainer_for(model, batch_size=0).fit(digits.train, epochs=1)
    assert model.training


class Poison(train.Callback):
    """Spoils the images or parameters once a step has been taken."""

    def __init__(self, step, spoil):
        self.step, self.spoil = step, spoil

    def on_step(self, trainer):
        if (trainer.epoch, trainer.sums.steps) == self.step:
            self.spoil(trainer.model)


def test_a_loss_that_is_not_finite_stops_training(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = trainer_for(model, batch_size=100)

    def spoil(model):
        model[1].weight.data[0, 0] = np.inf

    with pytest.raises(train.DivergedError, match=r"epoch 2: step 6, the loss is inf; .*learning rate"):
        trainer.fit(digits.train, epochs=3, callbacks=[Poison((1, 5), spoil)])
    assert len(trainer.history) == 1


def test_too_large_a_learning_rate_is_found_out_without_warnings(digits):
    trainer = trainer_for(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), lr=1e38)
    with pytest.raises(train.DivergedError, match="epoch 1: step"):
        trainer.fit(digits.train, epochs=2)


def test_parameters_that_are_not_finite_after_the_last_step_stop_training(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    trainer = trainer_for(model, batch_size=400)

    def spoil(model):
        model[1].bias.data[3] = np.nan

    with pytest.raises(train.DivergedError, match=r"epoch 1: 1\.bias holds NaN or infinity"):
        trainer.fit(digits.train, digits.validation, epochs=1, callbacks=[Poison((0, 4), spoil)])
    assert trainer.history == []


def test_callbacks_see_every_step_batch_and_epoch(digits):
    seen = []

    class Note(train.Callback):
        def on_start(self, trainer, epochs, steps):
            seen.append(("start", epochs, steps))

        def on_step(self, trainer):
            seen.append((trainer.epoch, trainer.sums.steps, trainer.sums.images))

        def on_validation_batch(self, trainer):
            seen.append("validation")

        def on_epoch(self, trainer):
            seen.append(("epoch", trainer.epoch))

    trainer_for(tiny(), batch_size=700).fit(digits.train, digits.validation, epochs=2, callbacks=[Note()])
    once = ["validation"]
    assert seen == [
        ("start", 2, 2),
        *[(0, 1, 700), (0, 2, 1257), *once, ("epoch", 1)],
        *[(1, 1, 700), (1, 2, 1257), *once, ("epoch", 2)],
    ]


# ------------------------------------------------------------------------------- interruptions and display


def test_a_signal_waits_for_the_end_of_the_step(digits):
    before = signal.getsignal(signal.SIGINT)
    trainer = trainer_for(tiny())
    strike = Poison((0, 3), lambda model: signal.raise_signal(signal.SIGINT))
    with Interruptible() as interruptible, pytest.raises(Interrupted):
        trainer.fit(digits.train, epochs=1, callbacks=[strike, interruptible])
    assert trainer.sums.steps == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_does_not_wait():
    with Interruptible():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def shown(digits, **console):
    screen = Console(file=io.StringIO(), width=120, **console)
    with Display(screen) as display:
        trainer_for(tiny(), batch_size=200).fit(
            digits.train, digits.validation, epochs=2, callbacks=[display]
        )
    return screen.file.getvalue()


def test_without_a_terminal_each_epoch_is_one_plain_line(digits):
    lines = shown(digits).splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "\x1b" not in "".join(lines)
    assert lines[0].endswith("best")


def test_on_a_terminal_there_is_a_bar_too(digits):
    text = shown(digits, force_terminal=True)
    for expected in ("epoch 1/2", "batch 0/7", "images/s", "left", "━"):
        assert expected in text


# ------------------------------------------------------------------------------------------------- plots


def picture(content):
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def has_colour(image, code):
    rgb = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(image.astype(int) - rgb).max(axis=-1) < 8).any())


def history(*epochs, validation=True):
    measured = (0.7, 0.9) if validation else (None, None)
    return [train.Epoch(n, 1 / n, 1 - 0.5 / n, *measured, lr=0.1, seconds=1.0) for n in epochs]


@pytest.mark.parametrize("epochs", [[1], [1, 2, 3]])
@pytest.mark.parametrize("validation", [True, False])
def test_curves(epochs, validation):
    image = picture(plots.curves(history(*epochs, validation=validation), "a title"))
    assert has_colour(image, plots.BLUE)
    assert has_colour(image, plots.VERMILION) == validation


def test_confusion_matrix_counts_true_down_and_predicted_across():
    labels, predictions = np.array([0, 1, 2, 2, 2]), np.array([0, 2, 2, 2, 0])
    assert metrics.confusion_matrix(labels, predictions, 3).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 2]]


@pytest.mark.parametrize("names", [list("012"), ["airplane", "automobile"], list(map(str, range(25)))])
def test_confusion_is_drawn(names):
    matrix = np.diag(np.arange(len(names)))
    spotless = picture(plots.confusion(matrix, names, "a title"))
    matrix[0, 1] = 3
    assert (picture(plots.confusion(matrix, names, "a title")) != spotless).any()


def evaluation(labels, predictions, sureness):
    p = np.full((len(labels), 10), 0.01)
    p[np.arange(len(labels)), predictions] = sureness
    accuracy = float((labels == predictions).mean())
    return train.Evaluation(0.1, accuracy, predictions, p)


def test_examples_always_include_mistakes_the_surest_first():
    labels = np.arange(200) % 10
    predictions, sureness = labels.copy(), np.full(200, 0.9)
    predictions[[20, 50, 80]] += 1
    sureness[[20, 50, 80]] = [0.5, 0.8, 0.7]
    chosen = plots.choose_examples(labels, evaluation(labels, predictions, sureness), 48)
    assert len(set(chosen)) == 48
    assert chosen[:3].tolist() == [50, 80, 20]
    assert (predictions[chosen[3:]] == labels[chosen[3:]]).all()


@pytest.mark.parametrize(("wrong", "expected"), [(0, 0), (100, 16), (170, 18), (200, 48)])
def test_examples_when_few_or_many_are_wrong(wrong, expected):
    labels = np.arange(200) % 10
    predictions = labels.copy()
    predictions[:wrong] = (labels[:wrong] + 1) % 10
    chosen = plots.choose_examples(labels, evaluation(labels, predictions, np.full(200, 0.9)), 48)
    assert len(set(chosen)) == 48
    assert (predictions[chosen] != labels[chosen]).sum() == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_frame_the_mistakes(channels):
    images = np.random.default_rng(0).uniform(size=(5, channels, 8, 8)).astype(np.float32)
    split = data.Split(images, np.arange(5))
    dataset = data.Dataset("squares", split, split.take([]), split, tuple("abcde"))
    right = evaluation(split.labels, np.arange(5), 0.9)
    wrong = evaluation(split.labels, np.array([0, 1, 2, 3, 3]), 0.9)
    assert not has_colour(picture(plots.predictions(dataset, split, right, "a title")), plots.VERMILION)
    assert has_colour(picture(plots.predictions(dataset, split, wrong, "a title")), plots.VERMILION)


# ----------------------------------------------------------------------------------- recipes and options


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_by_name(name):
    kind = OPTIMIZERS[name]
    w = nn.Parameter(np.ones(3, np.float32))
    optimizer = make_optimizer(name, [w], lr=kind.lr, momentum=kind.momentum, weight_decay=kind.weight_decay)
    w.grad = np.ones(3, np.float32)
    optimizer.step()
    assert (w.data < 1).all()


def rates(name, epochs, lr=1.0):
    optimizer = optim.SGD([nn.Parameter(np.ones(1))], lr=lr)
    schedule = make_schedule(name, optimizer, epochs)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        if schedule is not None:
            schedule.step(1.0) if name == "plateau" else schedule.step()
    return seen


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1] * 6),
        ("step", [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("cosine", [(1 + math.cos(math.pi * e / 6)) / 2 for e in range(6)]),
        ("exponential", [0.9**e for e in range(6)]),
        ("plateau", [1, 1, 1, 1, 0.1, 0.1]),
        ("lenet", [1, 1, 0.4, 0.4, 0.4, 0.2]),
    ],
)
def test_schedules_by_name(name, expected):
    assert rates(name, 6) == pytest.approx(expected)


@pytest.mark.parametrize("name", [name for name, kind in SCHEDULES.items() if not kind.fixed_length])
def test_schedules_that_may_be_extended_do_not_depend_on_the_number_of_epochs(name):
    assert rates(name, 8)[:5] == rates(name, 5)


def test_names_that_are_unknown():
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        make_optimizer("adm", [], lr=0.1, momentum=None, weight_decay=0.0)
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        make_schedule("cosin", optim.SGD([nn.Parameter(np.ones(1))]), 3)
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        complete({"model": "lenet5", "data": "digit"})
    with pytest.raises(ValueError, match="precision: 'b16' is unknown; did you mean 'bf16'"):
        complete({"model": "lenet5", "precision": "b16"})


def test_every_data_set_has_a_recipe():
    assert set(RECIPES) == set(data.NAMES)


def test_every_contradiction_is_named():
    saved = vars(complete({"model": "lenet5"}))
    assert resumed(saved, {"model": "lenet5", "seed": 0}, 3) == complete({"model": "lenet5"})
    with pytest.raises(ValueError, match="--lr 0.3 contradicts .*--seed 4 .*--epochs 99, but the"):
        resumed(saved, {"lr": 0.3, "seed": 4, "epochs": 99}, 3)
    with pytest.raises(ValueError, match="does not say with which options"):
        resumed({"model": "lenet5"}, {}, 3)
