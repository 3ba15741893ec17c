"""The benchmarks of what is learnt, in their quick form: accuracies, transfer, frozen layers."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import accuracy, accuracy_torch, charts, cifar10, frozen, report, results, transfer
from benchmarks.problem import Problem, ended
from minicnn import cli


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Accuracies


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The arguments that train LeNet-5 quickly, and the folder of that training."""
    monkeypatch.setenv("MINICNN_BACKEND", "numpy")
    runs = tmp_path / "runs"
    out = ["--out", str(tmp_path / "out")]
    return ["--quick", "--only", "lenet5", "--runs", str(runs), "--threads", "1", *out], runs / "lenet5"


def test_a_training_is_kept_epoch_by_epoch_and_not_repeated(trained, tmp_path, capfd):
    arguments, folder = trained
    accuracy.main(arguments)
    assert "== minicnn train lenet5 --data digits --epochs 1" in capfd.readouterr().out
    (row,) = rows(tmp_path / "out" / "accuracy.csv")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))["test"]
    assert float(row["test_accuracy"]) == pytest.approx(found["accuracy"], rel=1e-5)
    assert (row["network"], row["epoch"], row["images"], row["published"]) == ("lenet5", "1", "270", "0.9905")
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    accuracy.main(arguments)
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before


def test_a_training_with_other_options_is_not_taken_for_this_one(trained, tmp_path, capsys):
    arguments, folder = trained
    accuracy.main(arguments)
    assert ended(accuracy.main, [a for a in arguments if a != "--quick"]) == 1
    said = capsys.readouterr().err
    assert said == f"benchmarks: {folder}: is a training with --data digits, but here it is mnist\n"


def test_a_training_that_fails_is_said(trained, tmp_path, capfd):
    arguments, folder = trained
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    assert ended(accuracy.main, arguments) == 1
    assert "lenet5: the training did not end well" in capfd.readouterr().err


@pytest.mark.parametrize("name", accuracy.TRAININGS)
def test_the_commands_are_ones_that_minicnn_understands(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path))
    (tmp_path / cifar10.JPEG).touch()
    words = accuracy.command(name)
    given = cli._parser()[0].parse_args(words)
    assert given.model == name
    assert given.validation == 0
    used = {key: value for key, value in vars(given).items() if value is not None}
    accuracy.check_options(name, words, used, tmp_path)
    assert str(tmp_path) not in accuracy.spoken(words)


def test_the_table_has_ours_beside_the_published(tmp_path):
    about = {"network": "cifar_resnet20", "published": 0.9125, "date": "2026-01-02", "commit": "abc"}
    about["command"] = "minicnn train cifar_resnet20 --data cifar10-jpeg.zip --validation 0"
    about["engine"] = "minicnn"
    epochs = [
        about | {"epoch": n, "loss": 1 / n, "accuracy": 0.4 + n / 10, "seconds": 30.0}
        | {"test_accuracy": 0.695 if n == 4 else None, "images": 10000 if n == 4 else None}
        for n in range(1, 5)
    ]  # fmt: skip
    source = accuracy.TRAININGS["cifar_resnet20"].source
    text = report.accuracy(results.Results(epochs, {}))
    assert f"| `{about['command']}` | 69.50 % | – | 91.25 %, {source} | 80.0 % | 2 |" in text
    both = [*epochs, epochs[-1] | {"engine": "PyTorch", "test_accuracy": 0.7}]
    assert f"| 69.50 % | 70.00 % | 91.25 %, {source} | 80.0 % | 2 |" in report.accuracy(
        results.Results(both, {})
    )
    assert "cifar10-jpeg.zip: CIFAR-10 kept as JPEG" in text
    assert charts.accuracy(both) == charts.accuracy(epochs)


@pytest.mark.oracle
def test_pytorch_goes_through_the_same_training(trained, tmp_path, capsys):
    pytest.importorskip("torch")
    arguments, folder = trained
    accuracy.main(arguments)
    accuracy_torch.main(arguments)
    ours, theirs = rows(tmp_path / "out" / "accuracy.csv")
    assert (ours["engine"], theirs["engine"]) == ("minicnn", "PyTorch")
    for column in ("loss", "accuracy", "test_accuracy"):
        assert float(theirs[column]) == pytest.approx(float(ours[column]), rel=2e-3), column
    capsys.readouterr()
    accuracy_torch.main(arguments)  # which is finished
    assert "epoch" not in capsys.readouterr().out
    shutil.rmtree(folder)
    assert ended(accuracy_torch.main, arguments) == 1
    assert "(accuracy.py --only lenet5 makes one)" in capsys.readouterr().err


# Transfer


QUICK = ["--quick", "--model", "lenet5", "--threads", "1"]


def test_transfer_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path)]
    transfer.main([*QUICK, *out])
    first = rows(tmp_path / "transfer.csv")
    assert [row["way"] for row in first] == [*transfer.WAYS] * 2
    capsys.readouterr()
    transfer.main([*QUICK, *out, "--seeds", "2"])
    said = capsys.readouterr().out
    assert "seed 0" not in said
    assert "seed 1: pre-trained" in said
    assert rows(tmp_path / "transfer.csv")[:8] == first
    with pytest.raises(Problem, match="holds results with settings"):
        transfer.main([*QUICK, *out, "--steps", "5"])


def test_transfer_learns_the_other_classes_from_the_right_images():
    first, second = transfer.halves("digits", 28)
    for task in (first, second):
        assert sorted(set(task.train.labels)) == [0, 1, 2, 3, 4]
        assert len(task.test) > 100
    some = transfer.few(second.train, 3, seed=1)
    assert sorted(some.labels) == sorted([0, 1, 2, 3, 4] * 3)
    assert {image.tobytes() for image in some.images} <= {image.tobytes() for image in second.train.images}


def test_transfer_concludes_what_the_figures_say():
    def row(seed, way, accuracy):
        return {"seed": seed, "images": 5, "way": way, "accuracy": accuracy, "date": "2026-01-02"}

    found = [row(s, way, 0.5 + 0.1 * s) for s in range(3) for way in ("start", "head")]
    found += [row(0, "scratch", 0.3), row(1, "scratch", 0.4), row(2, "scratch", 0.5)]
    found += [row(0, "tuned", 0.4), row(1, "tuned", 0.38), row(2, "tuned", 0.8)]
    said = transfer.conclusion(found)
    assert "with 5 images +10.0 points (-2.0 to +30.0; better with 2 of 3 seeds)" in said
    settings = {"data": "cifar10-jpeg.zip", "model": "cifar_model3", "epochs": 10, "steps": 300}
    text = report.transferred(results.Results(found, {"settings": settings}))
    assert "| 5 | 40.0 % (30.0 to 50.0) | 60.0 % (50.0 to 70.0) |" in text
    assert charts.transfer(found).startswith(b"\x89PNG")


# Frozen layers


def test_frozen_layers_cost_less(tmp_path, capsys):
    frozen.main(["--quick", "--threads", "1", "--backend", "numpy", "--out", str(tmp_path)])
    found = results.load("frozen", tmp_path)
    times = {row["way"]: row["ms"] for row in found.rows}
    assert times["everything"] > times["base frozen"] > times["features kept"]
    line = report.frozen(found).splitlines()[2]
    assert line.startswith("| mobilenet_v2 (1) | ")
    assert line.count("×)") == 3
