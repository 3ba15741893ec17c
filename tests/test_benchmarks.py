"""The benchmarks' own machinery: statistics, reports, workers, refusals. Nothing here measures a time."""

import doctest
import importlib
import importlib.metadata
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import conv, machine, measure, networks, options, problem, report, results, scaling
from benchmarks.contenders import KINDS
from benchmarks.contenders.with_minicnn import Contender
from benchmarks.layers import LAYERS, PARTS, Layer, arrays
from benchmarks.problem import Problem
from benchmarks.workers import Worker

ROOT = Path(__file__).resolve().parents[1]
TINY = {"task": "train", "network": "stack", "batch": 2, "options": {"channels": 2, "depth": 1, "size": 5}}
MACHINE = {
    **{"cpu": "A Processor", "cores": 2, "threads": 2, "backend": "numba", "python": "3.11.0"},
    **{"libraries": {"numpy": "2.0", "torch": "2.13"}, "vectors": "AVX2", "caches": {"L2": 1 << 20}},
}


@pytest.mark.parametrize("name", ["measure", "report"])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.{name}")).failed == 0


def test_ratios_are_formed_within_a_round():
    found = measure.ratio([1.0, 20.0, 3.0], [2.0, 40.0, 3.0])  # the second round was slow for both
    assert found == (0.5, 0.5, 1.0)
    assert measure.better({"a": [5.0, 1.0, 5.0], "b": [4.0, 4.0, 9.0]}) == "b"
    with pytest.raises(ValueError, match="no values"):
        measure.spread([])


def test_turns_alternate_and_each_begins_once():
    said = []
    turns = {name: (lambda name=name: said.append(name) or len(said)) for name in "abc"}
    found = measure.alternate(turns, rounds=3, pause=0)
    assert "".join(said) == "abcbcacab"
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_layers_count_products_as_the_kernels_do():
    layer = Layer(2, 4, 9, 6, 3, stride=2, padding=1, groups=2)
    given = arrays(layer)
    y = mc.functional.conv2d(given["x"], given["w"], stride=2, padding=1, groups=2)
    assert y.shape == given["gy"].shape
    assert layer.macs == y.data.size * given["w"][0].size
    few = arrays(layer._replace(N=1))
    assert np.array_equal(few["x"], given["x"][:1])


def test_slow_algorithms_are_kept_from_large_layers():
    assert conv.is_slow("naive", LAYERS["vgg-conv1_2"])
    assert conv.is_slow("toeplitz", LAYERS["vgg-conv1_2"])
    assert not conv.is_slow("toeplitz", LAYERS["lenet-c3"])
    assert not conv.is_slow("an algorithm to come", LAYERS["vgg-conv1_2"])


# A contender in this process, and one in a process of its own.


@pytest.fixture
def contender():
    return Contender("numpy")


def checked(contender, **changes):
    contender.build(**TINY | changes)
    return contender.check()


@pytest.mark.parametrize("task", ["train", "inference"])
def test_equal_networks_agree(contender, task):
    one = json.loads(json.dumps(checked(contender, task=task)))
    assert networks.disagreement(one, checked(Contender("numpy"), task=task)) is None
    assert math.isfinite(one["loss"])
    assert all(np.any(array["entries"]) for array in one["arrays"].values())


def sabotaged(nn, channels, depth, size):
    """The stack with a convolution that does not see the last row and column."""
    network = networks.stack(nn, channels, depth, size)
    network[0].padding, network[0].stride = 0, 1
    return network


@pytest.mark.parametrize("task", ["train", "inference"])
def test_a_sabotaged_network_is_refused(contender, task, monkeypatch):
    right = checked(contender, task=task)
    monkeypatch.setattr(networks, "STACK", networks.STACK._replace(ours=lambda **o: sabotaged(nn, **o)))
    wrong = checked(Contender("numpy"), task=task)
    with pytest.raises(Problem, match=r"^stack: minicnn and PyTorch disagree, so nothing is timed: the loss"):
        networks.refuse_unequal("stack", wrong, right, "PyTorch")


def test_a_wrong_gradient_is_refused(contender):
    right = checked(contender)
    for name in right["arrays"]:
        wrong = json.loads(json.dumps(right))
        wrong["arrays"][name]["entries"] = [-entry for entry in right["arrays"][name]["entries"]]
        assert networks.disagreement(wrong, right).startswith(name)
    wrong["arrays"]["another"] = wrong["arrays"].pop(name)
    assert "differ in name" in networks.disagreement(wrong, right)
    assert "the loss" in networks.disagreement(right | {"loss": math.nan}, right)


def test_a_layer_is_compared_with_float64(contender, tmp_path):
    layer, truth = Layer(3, 2, 5, 3, 3, padding=1), str(tmp_path / "truth.npz")
    contender.reference(layer, truth)
    contender.layer(layer, truth)
    assert {"im2col", "naive", "taps", "toeplitz"} <= set(contender.algorithms())
    for part in PARTS:
        for algorithm in ("auto", "taps"):
            found = contender.choose(part, algorithm)
            assert 0 < found["error"] < 1e-5
            assert contender.works[f"{part} {algorithm}"]().shape[0] == 3
        assert found["ran"] == "numpy:taps"
    with np.load(truth) as true:
        spoiled = {part: true[part] * 1.5 for part in PARTS}
    np.savez(truth, **spoiled)
    assert contender.choose("forward", "taps")["error"] > conv.WRONG


def test_a_worker_obeys_answers_and_ends():
    with Worker("minicnn", threads=1, backend="numpy") as worker:
        worker.call("build", **TINY)
        assert networks.disagreement(worker.call("check"), checked(Contender("numpy"))) is None
        assert worker.call("warm_up")["later"] > 0
        assert worker.call("run", work="step", repetitions=2) > 0
        assert worker.call("memory").keys() == {"peak", "growth"}
        with pytest.raises(Problem, match=r"^minicnn: build: KeyError: 'no such network'$"):
            worker.call("build", **TINY | {"network": "no such network"})
        with pytest.raises(Problem, match="there is no command 'exec'"):
            worker.call("exec")
        process = worker.process
    assert process.poll() is not None


def test_a_worker_that_dies_is_one_line():
    said = r"^minicnn: the process ended during 'check': ValueError: backend"
    with (
        Worker("minicnn", threads=1, backend="no such backend") as worker,
        pytest.raises(Problem, match=said),
    ):
        worker.call("check")


def test_a_worker_ends_when_its_input_does():
    asked = [sys.executable, "-m", "benchmarks.worker", "minicnn", "numpy", ""]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.oracle
def test_pytorch_agrees_with_minicnn(contender, tmp_path):
    pytest.importorskip("torch")
    layer, truth = Layer(2, 4, 6, 4, 3, stride=2, padding=1, groups=2), str(tmp_path / "truth.npz")
    contender.reference(layer, truth)
    with Worker("torch_channels_last", threads=1, backend="numpy") as worker:
        worker.call("layer", layer=layer, truth=truth)
        for part in PARTS:
            assert worker.call("choose", part=part, algorithm="its own")["error"] < 1e-5
        for changes in ({}, {"network": "lenet5", "options": {}}, {"task": "inference"}):
            worker.call("build", **TINY | changes)
            assert networks.disagreement(checked(contender, **changes), worker.call("check")) is None


# What is kept, and what is made of it.


def row(network, contender, ms, against=None):
    ratios = dict.fromkeys(("ratio", "ratio_low", "ratio_high"), 0.5 if against else None)
    times = {"batch": 8, "images_per_s": 8e3 / ms, "ms": ms, "ms_low": ms, "ms_high": ms}
    memory = {"peak_mb": 321.5, "growth_mb": None, "date": "2026-01-02", "commit": "abc"}
    return {"network": network, "contender": contender} | times | ratios | {"against": against} | memory


def kept(folder):
    rows = [row("lenet5", "minicnn", 2.0, "torch"), row("lenet5", "torch", 4.0)]
    results.save("train_step", rows, MACHINE, ("network", "contender"), folder)
    points = [
        {"axis": "batch", "value": 2**i, "contender": "minicnn", "ms": 1.0 + 4.0**i}
        | {
            "batch": 2**i,
            "channels": 32,
            "size": 32,
            "depth": 4,
            "gflops": 5.0 / (i + 1),
            "date": "2026-01-02",
        }
        for i in range(5)
    ]
    results.save("scaling", points, MACHINE, ("axis", "value", "contender"), folder)
    rungs = [
        {"rung": name, "label": name, "idea": "", "timed_share": 1, "ms": 1 / speed, "gflops": speed}
        | {"of_peak": speed / 100, "times_naive": speed, "error": 1e-6, "date": "2026-01-02"}
        for name, speed in (("naive", 0.01), ("im2col", 50.0))
    ]
    results.save("ladder", rungs, MACHINE, ("rung",), folder)
    layers = [
        {
            "layer": "lenet-c1",
            "shape": "a shape",
            "pass": part,
            "contender": kind,
            "algorithm": "auto",
            "ran": "numba:direct",
        }
        | {"ms": 1.0, "gflops": 12.0, "ratio": 0.8 if kind == "minicnn" else None, "date": "2026-01-02"}
        for part in PARTS
        for kind in ("minicnn", "torch")
    ]
    results.save("conv", layers, MACHINE, ("layer", "pass", "contender", "algorithm"), folder)


def test_results_come_back_as_they_were(tmp_path):
    kept(tmp_path)
    found = results.load("train_step", tmp_path)
    assert found.rows[0] == row("lenet5", "minicnn", 2.0, "torch")
    assert found.machine == MACHINE
    assert results.load("inference", tmp_path) is None


def test_new_rows_take_the_place_of_old_ones(tmp_path):
    kept(tmp_path)
    new = [row("lenet5", "torch", 3.0), row("vgg16", "minicnn", 9.0)]
    results.save("train_step", new, MACHINE, ("network", "contender"), tmp_path)
    rows = results.load("train_step", tmp_path).rows
    assert [(r["network"], r["contender"], r["ms"]) for r in rows] == [
        ("lenet5", "minicnn", 2.0),
        ("lenet5", "torch", 3.0),
        ("vgg16", "minicnn", 9.0),
    ]


def test_two_machines_never_share_a_file(tmp_path):
    kept(tmp_path)
    with pytest.raises(Problem, match="with cpu 'A Processor', but this is 'Another'"):
        results.save(
            "train_step",
            [row("vgg16", "minicnn", 9.0)],
            MACHINE | {"cpu": "Another"},
            ("network", "contender"),
            tmp_path,
        )


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    problem.write_whole(path, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        problem.write_whole(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


EMPTY = re.compile(r"(<!-- benchmark:(\w+) -->\n).*?(<!-- /benchmark:\2 -->)", flags=re.DOTALL)
"""A benchmark's place in a page."""


def test_the_pages_are_written_from_results(tmp_path, capsys):
    folder, empty = tmp_path / "benchmarks" / "results", {}
    for page, names in report.PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert {name for _, name, _ in EMPTY.findall(text)} == set(names)
        empty[tmp_path / page] = EMPTY.sub(r"\1\3", text)
    kept(folder)
    for path, text in empty.items():
        path.write_text(text, encoding="utf-8")
    report.write(tmp_path, folder)
    assert "inference: nothing is kept" in capsys.readouterr().out
    first, second = (path.read_text(encoding="utf-8") for path in empty)
    assert "| lenet5 (8) | 4,000 | 2,000 | 0.50 (0.50 to 0.50) | 322 (–) | 322 (–) |" in first
    assert "A Processor with AVX2, 2 of 2 cores; Python 3.11.0, NumPy 2.0, PyTorch 2.13; 2026-01-02." in first
    assert "![train_step](benchmarks/results/train_step.png)" in first
    assert "direct 12, 12, 0.80" in second
    assert "![conv](results/conv.png)" in second
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    report.write(tmp_path, folder)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == files
    for path, text in empty.items():
        assert EMPTY.sub(r"\1\3", path.read_text(encoding="utf-8")) == text, "only between the markers"


def test_markers_that_are_missing_are_named():
    with pytest.raises(Problem, match="A.md needs the two lines <!-- benchmark:conv -->"):
        report.put("no markers", "conv", "text", "A.md")


def test_a_bend_is_found_where_the_points_have_one():
    def points(times):
        base = {"axis": "batch", "contender": "minicnn", "channels": 32, "size": 32, "depth": 4}
        return [base | {"value": n, "batch": n, "ms": ms, "gflops": n / ms} for n, ms in times.items()]

    bent = " ".join(scaling.explained(points({1: 1.0, 2: 1.01, 4: 1.02, 8: 1.9, 16: 3.8}), {}))
    assert "batch: it bends near 4." in bent
    assert "like batch^0.0 at first and like batch^1.0 at the end" in bent
    slower = scaling.explained(points({1: 1.0, 2: 2.0, 4: 4.0, 64: 128.0}), {"L1": 1, "L2": 2**20})
    assert "past the L2 cache of 1 MiB" in slower[-1]
    assert "past no cache's size" in scaling.explained(points({1: 1.0, 2: 2.0, 4: 8.0}), {"L1": 1})[-1]


def test_mistakes_are_one_line(capsys):
    from benchmarks import train_step

    assert problem.ended(train_step.main, ["--quick", "--only", "lenet"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("benchmarks: --only: 'lenet' is unknown; did you mean 'lenet5'?")
    assert said.count("\n") == 1
    cores = len(machine.cores())
    assert problem.ended(train_step.main, ["--threads", str(cores + 1)]) == 1
    assert f"this process may use {cores} cores" in capsys.readouterr().err


def test_an_absent_peer_is_left_out_visibly(capsys, monkeypatch):
    monkeypatch.setattr(options, "is_installed", lambda library: library != "jax")
    assert options.peers("torch", "jax") == ["torch"]
    assert capsys.readouterr().out == "jax is not installed: left out\n"
    assert {kind.library for kind in KINDS.values()} == {"minicnn", "torch", "jax", "cupy"}


@pytest.mark.parametrize("folder", ["benchmarks", "benchmarks/experiments", "examples", "tests"])
def test_no_file_hides_a_package(folder):
    """Python looks beside a script first: a cuda.py there would be what CuPy gets for ``import cuda``."""
    packages = {"cuda", "cupy", "jax", "nvidia", "torch"} | set(importlib.metadata.packages_distributions())
    ours = {path.stem for path in (ROOT / folder).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not ours & (packages | sys.stdlib_module_names)


SCRIPTS = ("all", "train_step", "inference", "ladder", "conv", "scaling", "report")
SCRIPTS += ("accuracy", "accuracy_torch", "frozen", "loading", "transfer")
SCRIPTS += ("all_cuda", "cuda_compile", "cuda_layers", "cuda_resources", "cuda_steps")


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_runs_as_a_file(name, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
