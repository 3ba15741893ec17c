"""The experiments: each runs in its quick form, goes on where it was, and says what its numbers say."""

import csv
import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import report_experiments
from benchmarks.experiments import all, batch_norm, harness, networks, reduction, relu, words
from benchmarks.experiments.experiment import Found
from benchmarks.measure import Spread
from benchmarks.problem import Problem, ended
from minicnn import nn

QUICK = ["--quick", "--backend", "numpy", "--seeds", "1"]
INITIALISATION = all.ALL["initialisation"]


@pytest.mark.parametrize("name", ["experiment", "words"])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.experiments.{name}")).failed == 0


def rows(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", all.ALL)
def test_every_experiment_runs(name, tmp_path):
    experiment = all.ALL[name]
    harness.main(experiment, [*QUICK, "--out", str(tmp_path)])
    page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
    for variant in experiment.variants:
        assert f"\n| {variant} | {experiment.published.get(variant, '–')} | " in page
    assert "the figures mean nothing" in page
    assert "a hint, and no more" in page
    assert "nan" not in page
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found = rows(tmp_path, name)
    assert len(found) == len(experiment.variants) * experiment.quick.get("epochs", 1)
    assert list(dict.fromkeys(row["variant"] for row in found)) == list(experiment.variants)


def test_a_published_figure_belongs_to_a_variant():
    for experiment in all.ALL.values():
        assert set(experiment.published) <= set(experiment.variants)


# Keeping and going on.


@pytest.fixture
def counted():
    """An experiment that trains nothing: its runs are written down, and those in ``breaks`` interrupted."""
    runs, breaks = [], []

    def measure(variant, seed, setting, tell):
        if (variant, seed) in breaks:
            raise KeyboardInterrupt
        runs.append((variant, seed))
        return [
            {"epoch": epoch, "loss": 1.0, "train_accuracy": variant, "test_accuracy": variant, "seconds": 9.0}
            for epoch in (1, 2)
        ]

    experiment = INITIALISATION._replace(
        variants={"zeros": 0.1, "normal, σ = 0.01": 0.1, "Xavier": 0.5, "He": 0.9}, measure=measure
    )
    return experiment, runs, breaks


def test_an_interrupted_experiment_goes_on_where_it_was(counted, tmp_path, capsys):
    experiment, runs, breaks = counted
    arguments = ["--quick", "--backend", "numpy", "--out", str(tmp_path)]
    breaks.append((0.5, 1))

    def main(arguments):
        harness.main(experiment, arguments)

    assert ended(main, arguments) == 130
    assert len(rows(tmp_path, "initialisation")) == 2 * len(runs) == 12
    assert not (tmp_path / "initialisation.md").exists()
    breaks.clear()
    assert ended(main, arguments) == 0
    assert runs == [(v, seed) for seed in (0, 1) for v in experiment.variants.values()]  # none of them twice
    assert "so this was reproduced" in (tmp_path / "initialisation.md").read_text(encoding="utf-8")
    assert ended(main, [*arguments, "--seeds", "3"]) == 0
    assert len(runs) == 12
    capsys.readouterr()
    assert ended(main, [*arguments, "--epochs", "3"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds results with settings" in error
    assert ended(main, [*arguments, "--epochs", "3", "--anew"]) == 0
    assert len(runs) == 20


def test_the_page_of_all_benchmarks_says_what_each_showed(counted, tmp_path, monkeypatch):
    experiment, _, _ = counted
    page, place = tmp_path / "README.md", tmp_path / "results" / "experiments"
    assert report_experiments.section(place.parent, page) == ""
    harness.main(experiment, ["--quick", "--backend", "numpy", "--out", str(place)])
    monkeypatch.setattr(report_experiments, "ALL", {"relu": all.ALL["relu"], "initialisation": experiment})
    text = " ".join(report_experiments.section(place.parent, page).split())
    assert text.startswith(f"- **[{experiment.question}](results/experiments/initialisation.md)** (2 runs of")
    assert text.count("- **") == 1
    assert "so this was reproduced" in text


def test_nothing_is_begun_that_the_time_does_not_suffice_for(counted, tmp_path, capsys):
    experiment, runs, _ = counted
    arguments = ["--quick", "--backend", "numpy", "--out", str(tmp_path), "--hours", "0.004"]  # 14 seconds
    harness.main(experiment, arguments)
    assert [seed for _, seed in runs] == [0] * 4  # a second run of a variant would take 18
    assert "no time for “zeros” with seed 1" in capsys.readouterr().out


def test_without_all_variants_nothing_is_concluded(counted, tmp_path, capsys):
    experiment, runs, _ = counted
    harness.main(experiment, [*QUICK, "--only", "He"])
    assert runs == [(0.9, 0)]
    assert "nothing is concluded" in capsys.readouterr().out


def test_all_experiments_take_turns_seed_by_seed(counted, tmp_path, monkeypatch, capsys):
    experiment, runs, _ = counted
    monkeypatch.setattr(all, "ALL", {"one": experiment, "two": experiment._replace(name="two")})
    monkeypatch.setattr(harness, "FOLDER", tmp_path)
    all.main(["--seeds", "2", "--backend", "numpy"])
    first = [(variant, 0) for variant in experiment.variants.values()]
    second = [(variant, 1) for variant in experiment.variants.values()]
    assert runs == [*first, *first, *second, *second]
    asked = []
    monkeypatch.setattr(all, "run", lambda experiment, given, variants, seeds: asked.append(given.data))
    monkeypatch.setattr(all, "ALL", {"one": experiment, "relu": relu.EXPERIMENT})
    all.main(["--data", "photos.zip", "--only", "relu"])
    all.main(["--data", "photos.zip", "--only", "one"])
    assert asked == ["photos.zip", None]  # the one on digits keeps them
    with pytest.raises(Problem, match="--epochs is for one experiment"):
        all.main(["--epochs", "2"])


@pytest.mark.parametrize(
    ("experiment", "arguments", "says"),
    [
        ("relu", ["--data", "cifr10"], "data cifr10: load: there is no data set 'cifr10', did you mean"),
        ("relu", ["--data", "digits", "--images", "90000"], "has 1,527 images for training, but 90,000"),
        ("reduction", ["--epochs", "3"], "--epochs: reduction measures layers and trains nothing"),
        ("relu", ["--only", "ReLU, rat 0.03"], "'ReLU, rat 0.03' is unknown; did you mean 'ReLU, rate 0.03'"),
    ],
)
def test_what_cannot_be_is_one_line(experiment, arguments, says, capsys):
    assert ended(lambda given: harness.main(all.ALL[experiment], given), [*QUICK, *arguments]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


# What the numbers say.


def found_with(accuracies, column="test_accuracy"):
    """What would be found with these accuracies: variant -> for each seed, epoch by epoch; None diverges."""
    columns = {"train_accuracy": 0.5, "test_accuracy": 0.5, "seconds": 1.0}
    return Found(
        [
            {"variant": variant, "seed": seed, "epoch": epoch, "loss": value and 1.0}
            | columns
            | {column: value}
            for variant, runs in accuracies.items()
            for seed, run in enumerate(runs)
            for epoch, value in enumerate(run, 1)
        ]
    )


def test_runs_are_gathered_over_the_seeds_without_those_that_diverged():
    found = found_with({"a": [[0.1, 0.2], [0.3, None], [0.2, 0.5], [0.3, 0.4]]})
    assert found.last("a", "test_accuracy") == Spread(0.4, 0.2, 0.5)
    assert found.curve("a", "test_accuracy") == [Spread(0.2, 0.1, 0.3), Spread(0.4, 0.2, 0.5)]
    assert found.epochs_until("a", "test_accuracy", 0.3) == [None, 2, 1]
    assert words.last("test_accuracy")(found, "a") == "40.0 % (20.0 to 50.0), 1 of 4 diverged"
    assert found_with({"a": [[None]]}).last("a", "test_accuracy") is None
    assert words.last("test_accuracy")(found_with({"a": [[None]]}), "a") == "1 of 1 diverged"


@pytest.mark.parametrize(
    ("better", "worse", "says"),
    [
        ([0.6, 0.7], [0.4, 0.5], "so this was reproduced"),
        ([0.4, 0.5], [0.6, 0.7], "so this was not reproduced"),
        ([0.4, 0.7], [0.5, 0.6], "neither show it nor refute it"),
        ([0.7], [0.4], "no more than a hint"),
        ([None, None], [0.4, 0.5], "every run of “a” diverged"),
    ],
)
def test_a_claim_is_judged_by_the_ranges(better, worse, says):
    found = found_with({"a": [[end] for end in better], "b": [[end] for end in worse]})
    text = words.against("It is said that a beats b.", found, better="a", worse="b")
    assert says in text
    assert text.startswith("It is said that a beats b. ")


def relu_found(soonest):
    """Every rate never reaches the target, but 0.01 does after so many epochs."""
    accuracies = {name: [[0.1] * 20] * 2 for name in relu.EXPERIMENT.variants}
    for name, epoch in soonest.items():
        accuracies[f"{name}, rate 0.01"] = [[0.1] * (epoch - 1) + [0.8] * (21 - epoch)] * 2
    return found_with(accuracies, "train_accuracy")


def test_rectifiers_are_compared_at_the_best_rate_of_each():
    (text,) = relu.conclude(relu_found({"ReLU": 2, "tanh": 10}))
    assert "“ReLU, rate 0.01” (epochs: 2) and “tanh, rate 0.01” (10): 5.0 times as soon" in text
    assert "was not reproduced" in relu.conclude(relu_found({"ReLU": 10, "tanh": 5}))[0]
    assert "there is no factor" in relu.conclude(relu_found({"ReLU": 2}))[0]


def test_batch_norm_is_compared_by_the_epochs_to_the_accuracy_without():
    slow, fast = [[0.1, 0.2, 0.3, 0.5]] * 2, [[0.2, 0.6, 0.7, 0.7]] * 2
    found = found_with(dict(zip(batch_norm.EXPERIMENT.variants, (slow, slow, fast, slow), strict=True)))
    said = batch_norm.conclude(found)
    assert "50.0 %, which its median first has after epoch 4 of 4" in said[0]
    assert "“with” has it after epoch 2, 2.0 times as soon (the paper: 2.3 times): sooner" in said[1]
    assert "after epoch 4, 1.0 times as soon (the paper: 14 times): no sooner" in said[2]


def test_layers_are_counted_as_the_course_does():
    macs = {
        name: reduction.measure(layers, 0, {"batch": 1, "seconds": 1e-9, "divide": 1}, print)[0]["macs"]
        for name, layers in reduction.VARIANTS.items()
        if name.startswith("5×5")
    }
    assert macs == {"5×5, directly": 120_422_400, "5×5, reduced": 12_443_648}


def test_weights_begin_with_the_size_that_keeps_the_signal():
    network = networks.begun(nn.Sequential(nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Linear(512, 256)))
    assert np.isclose(network[0].weight.data.std(), (2 / 576) ** 0.5, rtol=0.02)
    assert np.isclose(network[2].weight.data.std(), (2 / 512) ** 0.5, rtol=0.02)
    assert not network[0].bias.data.any()
