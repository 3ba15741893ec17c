"""Exercises: what is right is told to be right, and each known mistake is called by its name."""

import itertools
import re

import numpy as np
import pytest

import minicnn as mc
from minicnn import cli, exercises
from minicnn import functional as F
from minicnn.exercises import EXERCISES
from minicnn.exercises.checking import _close

SLIPS = [(name, slip) for name, exercise in EXERCISES.items() for slip in exercise.slips]


def slipping(exercise, *slips):
    """A student's function that makes these mistakes."""

    def function(*arguments):
        named = dict(zip(exercise.cases[0].arguments, arguments, strict=True))
        outputs = exercise.attempt(**named, slips=frozenset(slips))
        return outputs[exercise.outputs[0]] if len(outputs) == 1 else tuple(outputs.values())

    return function


def named(verdict):
    """The words with which a verdict explains its outputs."""
    return re.findall(r"It is what you get when (.*)\.$", str(verdict), re.MULTILINE)


def test_there_is_enough_to_do():
    assert len(EXERCISES) >= 8
    assert len(SLIPS) >= 15


@pytest.mark.parametrize("name", EXERCISES)
def test_what_is_right_is_right(name):
    verdict = exercises.check(name, slipping(EXERCISES[name]))
    assert verdict, str(verdict)
    assert str(verdict) == f"{name}: right in all cases"


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_each_slip_is_called_by_its_name(name, slip):
    verdict = exercises.check(name, slipping(EXERCISES[name], slip))
    assert not verdict
    assert set(named(verdict)) == {EXERCISES[name].slips[slip]}


@pytest.mark.parametrize("name", EXERCISES)
def test_two_slips_at_once(name):
    """Both are named for each output that both spoil; else the one that does; never a third."""
    exercise = EXERCISES[name]
    for pair in itertools.combinations(exercise.slips, 2):
        verdict = exercises.check(name, slipping(exercise, *pair))
        if not verdict:
            allowed = {
                "; and when ".join(exercise.slips[s] for s in pair),
                *(exercise.slips[s] for s in pair),
            }
            explained = named(verdict)
            assert len(explained) == len(verdict.faults), (pair, str(verdict))
            assert set(explained) <= allowed or _alike(exercise, pair, explained), (pair, str(verdict))


def _alike(exercise, pair, explained):
    """Whether the slips that are named, though others, give the same numbers as the pair on every case."""
    for words in explained:
        others = frozenset(s for s, w in exercise.slips.items() if w in words)
        for case in exercise.cases:
            a = exercise.attempt(**case.arguments, slips=frozenset(pair))
            b = exercise.attempt(**case.arguments, slips=others)
            if not any(_close(a[key], b[key]) for key in a):
                return False
    return True


# The truth


def engine_gradients(exercise, case):
    """What the engine's own backward gives."""
    a = case.arguments
    t = {key: mc.tensor(value, requires_grad=True) for key, value in a.items() if key in ("x", "w", "logits")}
    if exercise.name.startswith("conv2d"):
        b = mc.zeros(a["w"].shape[0], dtype="float64", requires_grad=True)
        F.conv2d(t["x"], t["w"], b, a["stride"], a["padding"]).backward(a["gy"])
        return t["x"].grad, t["w"].grad, b.grad
    if exercise.name == "linear_backward":
        b = mc.zeros(a["w"].shape[0], dtype="float64", requires_grad=True)
        F.linear(t["x"], t["w"], b).backward(a["gy"])
        return t["x"].grad, t["w"].grad, b.grad
    if exercise.name == "batch_norm_backward":
        b = mc.zeros(a["w"].shape[0], dtype="float64", requires_grad=True)
        F.batch_norm(t["x"], None, None, t["w"], b, training=True, eps=a["eps"]).backward(a["gy"])
        return t["x"].grad, t["w"].grad, b.grad
    if exercise.name == "max_pool2d_backward":
        F.max_pool2d(t["x"], a["kernel_size"], a["stride"]).backward(a["gy"])
        return (t["x"].grad,)
    if exercise.name == "avg_pool2d_backward":
        x = mc.zeros(*a["x_shape"], dtype="float64", requires_grad=True)
        F.avg_pool2d(x, a["kernel_size"], a["stride"], a["padding"]).backward(a["gy"])
        return (x.grad,)
    if exercise.name == "relu_backward":
        F.relu(t["x"]).backward(a["gy"])
        return (t["x"].grad,)
    F.cross_entropy(t["logits"], mc.tensor(a["labels"])).backward()
    return (t["logits"].grad,)


@pytest.mark.parametrize("name", [n for n in EXERCISES if n not in ("conv2d_forward", "dropout_backward")])
def test_truth_is_what_the_engine_computes(name):
    exercise = EXERCISES[name]
    for case in exercise.cases:
        truth = exercise.truth(case)
        for key, gradient in zip(exercise.outputs, engine_gradients(exercise, case), strict=True):
            np.testing.assert_allclose(truth[key], gradient, rtol=0, atol=1e-7)


def test_another_way_to_be_right():
    """The gradient to x as a convolution of the dilated gy with the flipped filters, as textbooks have it."""

    def conv2d_backward(gy, x, w, stride, padding):
        N, OC, OH, OW = gy.shape
        KH, KW = w.shape[2:]
        H, W = x.shape[2] + 2 * padding, x.shape[3] + 2 * padding
        spread = np.zeros((N, OC, H + KH - 1, W + KW - 1))
        spread[:, :, KH - 1 :: stride, KW - 1 :: stride][:, :, :OH, :OW] = gy
        gx = np.zeros((N, x.shape[1], H, W))
        for i, j in np.ndindex(KH, KW):
            flipped = w[:, :, KH - 1 - i, KW - 1 - j]
            gx += np.einsum("nohw,oc->nchw", spread[:, :, i : i + H, j : j + W], flipped)
        gx = gx[:, :, padding : H - padding, padding : W - padding]
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        gw = np.zeros(w.shape)
        for i, j in np.ndindex(KH, KW):
            seen = padded[:, :, i::stride, j::stride][:, :, :OH, :OW]
            gw[:, :, i, j] = np.einsum("nohw,nchw->oc", gy, seen)
        return gx, gw, gy.sum((0, 2, 3))

    assert exercises.check("conv2d_backward", conv2d_backward)


# What a student reads


def test_an_unknown_mistake_is_located():
    def relu_backward(gy, x):
        return gy * (x > 0) + 0.125 * (x > 1.5)

    text = str(exercises.check("relu_backward", relu_backward))
    assert "It is what you get" not in text
    assert (
        'First difference, case "a row of numbers": at [1] yours is -1.125, finite differences say -1.25'
        in text
    )
    assert "Right cases: exactly zero" in text


def conv2d_backward(gy, x, w, stride, padding, spoil=lambda *gradients: gradients, plus=True):
    """Every product by itself, in loops."""
    sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded, gw = np.pad(x, sides), np.zeros_like(w)
    gx = np.zeros_like(padded)
    KH, KW = w.shape[2:]
    for n, oc, oh, ow in np.ndindex(*gy.shape):
        at = np.s_[n, :, oh * stride : oh * stride + KH, ow * stride : ow * stride + KW]
        back, weights = gy[n, oc, oh, ow] * w[oc], gy[n, oc, oh, ow] * padded[at]
        gx[at], gw[oc] = (gx[at] + back, gw[oc] + weights) if plus else (back, weights)
    cut = gx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
    return spoil(cut, gw, gy.sum((0, 2, 3)))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda gx, gw, gb: (-gx, gw, gb), "It is -1 times what is right, in every case."),
        (lambda gx, gw, gb: (gx * 1.01, gw, gb), "It is 1.01 times what is right, in every case."),
        (lambda gx, gw, gb: (gx, gw * 0, gb), "gw is wrong in 6 of 6 cases\n  It is 0 everywhere."),
        (
            lambda gx, gw, gb: (gx / len(gx), gw, gb),
            "In each case it is a number times what is right: 1 (3×3); 1 (3×3, padding 1); 0.5 (1×1, two im",
        ),
        (
            lambda gx, gw, gb: (gw, gx, gb),
            "gx has shape (1, 1, 3, 3), expected (1, 1, 5, 5): is it gw? gx, gw and gb expected, in this",
        ),
        (lambda gx, gw, gb: (gx, gw, [[1], [2, 3]]), "gb is a list of unequal rows; an array expected"),
        (lambda gx, gw, gb: (gx, gw, gb[None]), "gb has shape (1, 1), expected (1,)"),
    ],
)
def test_mistakes_of_any_exercise(spoil, words):
    verdict = exercises.check("conv2d_backward", lambda *given: conv2d_backward(*given, spoil))
    assert words in str(verdict)
    assert len(verdict.faults) == 1


def test_loops_that_forget_to_add():
    """With a loop for every axis, what overwrites are not windows alone but filters and images, too."""
    text = str(exercises.check("conv2d_backward", lambda *given: conv2d_backward(*given, plus=False)))
    words = EXERCISES["conv2d_backward"].slips["all overwritten"]
    assert named(text) == [words, words]
    assert text.count(" is wrong in 6 of 6 cases") == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda gx, gw, gb: (gx.astype("f4"), gw.astype("f4"), gb.astype("f4")),
        lambda gx, gw, gb: [np.asfortranarray(gx), gw[::-1].copy()[::-1], gb.tolist()],
        lambda gx, gw, gb: (mc.tensor(gx), mc.tensor(gw), mc.tensor(gb)),
    ],
)
def test_right_in_other_clothes(change):
    assert exercises.check("conv2d_backward", lambda *given: conv2d_backward(*given, change))


def test_convention_where_differences_say_nothing():
    verdict = exercises.check("relu_backward", lambda gy, x: gy * (x >= 0))
    assert "wrong in 1 of 3" in str(verdict)
    assert "the convention says 0" in str(verdict)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda gy, x: None, r"returns nothing; gx expected"),
        (lambda gy, x: (gy, x), r"gx has shape \(2, 4\), expected \(4,\)"),
        (lambda gy, x: gy[:2], r"gx has shape \(2,\), expected \(4,\)"),
        (lambda gy, x: gy / 0 * np.nan, r"gx has values that are not finite, the first at \[0\]"),
        (lambda gy, x: np.array(["a"] * 4), r"gx is of type <U1; an array of numbers expected"),
        (lambda gy, x: np.multiply(gy, x > 0, out=gy), r"changes its argument gy; work on a copy"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_cannot_be_judged(function, message):
    verdict = exercises.check("relu_backward", function)
    assert re.search(message, str(verdict))


def test_too_few_values():
    text = str(exercises.check("linear_backward", lambda gy, x, w: (gy, x)))
    assert "returns 2 values; gx, gw and gb expected" in text
    assert "returns one value; gx, gw and gb" in str(exercises.check("linear_backward", lambda gy, x, w: gy))


def test_arguments():
    with pytest.raises(ValueError, match=r"check: there is no exercise 'conv' \(known: relu_backward, "):
        exercises.check("conv", lambda: None)
    with pytest.raises(TypeError, match="check: function must be callable, but is int"):
        exercises.check("relu_backward", 5)


# Files


@pytest.mark.parametrize("name", EXERCISES)
def test_the_file_to_begin_with(name, tmp_path):
    """It runs, its forward is the engine's, and what is missing is said."""
    path = tmp_path / "mine.py"
    path.write_text(exercises.start_text(name), encoding="utf-8")
    verdict = exercises.run_file(EXERCISES[name], path)
    assert re.search(r"still to be written\n  at line \d+: raise NotImplementedError", str(verdict))
    assert f"minicnn exercise {name}" in path.read_text(encoding="utf-8")


def forward_of(name):
    space = {}
    exec(exercises.start_text(name), space)
    return space[name.removesuffix("_backward")]


def test_forwards_to_begin_with_are_the_engines():
    for case in EXERCISES["conv2d_backward"].cases:
        a = case.arguments
        b = np.arange(1.0, 1 + len(a["w"]))
        expected = F.conv2d(mc.tensor(a["x"]), mc.tensor(a["w"]), mc.tensor(b), a["stride"], a["padding"])
        y = forward_of("conv2d_backward")(a["x"], a["w"], b, a["stride"], a["padding"])
        np.testing.assert_allclose(y, expected.numpy(), atol=1e-12)
    for case in EXERCISES["max_pool2d_backward"].cases:
        _, x, kernel_size, stride = case.arguments.values()
        expected = F.max_pool2d(mc.tensor(x), kernel_size, stride).numpy()
        np.testing.assert_array_equal(forward_of("max_pool2d_backward")(x, kernel_size, stride), expected)
    x = np.random.default_rng(3).normal(size=(2, 3, 5, 6))
    y = forward_of("avg_pool2d_backward")(x, 3, 2, 1)
    np.testing.assert_allclose(y, F.avg_pool2d(mc.tensor(x), 3, 2, 1).numpy(), atol=1e-12)
    w, b = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 1.0])
    y = forward_of("batch_norm_backward")(x, w, b, 1e-3)
    expected = F.batch_norm(mc.tensor(x), None, None, mc.tensor(w), mc.tensor(b), training=True, eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), atol=1e-12)
    logits, labels = np.random.default_rng(4).normal(size=(4, 3)), np.array([0, 2, 1, 1])
    expected = F.cross_entropy(mc.tensor(logits), mc.tensor(labels)).numpy()
    np.testing.assert_allclose(forward_of("cross_entropy_backward")(logits, labels), expected)


def run(capsys, *arguments):
    code = cli.main(["exercise", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys)
    assert code == 0
    assert all(name in out for name in EXERCISES)
    assert run(capsys, "relu_backward", "--start")[:2] == (
        0,
        "wrote relu_backward.py; write relu_backward in it, then: "
        "minicnn exercise relu_backward relu_backward.py\n",
    )
    code, out, _ = run(capsys, "relu_backward")
    assert (code, "still to be written" in out) == (1, True)
    code, _, err = run(capsys, "relu_backward", "--start")
    assert code == 2
    assert err == "minicnn: exercise: relu_backward.py is there already; --start writes a new file only\n"
    (tmp_path / "mine.py").write_text("def relu_backward(gy, x):\n    return gy * (x > 0)\n")
    assert run(capsys, "relu_backward", "mine.py") == (0, "relu_backward: right in all cases\n", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def relu_backward(gy, x:\n", r"mine.py is no Python: .*, line 1$"),
        ("import nothing_like_this\n", r"ModuleNotFoundError: .*\n  at line 1: import nothing_like_this$"),
        ("x = 1\n", r"mine.py defines no function of that name$"),
        (
            "def relu_backward(gy):\n    return gy\n",
            r"cannot be called: .*takes 1 positional argument but 2 were",
        ),
        (
            "def relu_backward(gy, x):\n    z = gy\n    return z @ x[:1]\n",
            r"ValueError: matmul.*\n  at line 3: return z @ x\[:1\]$",
        ),
        ("x = '\\0'\x00", r"mine.py is no Python: "),
        ("exit()\n", r"SystemExit: the program is ended\n  at line 1: exit\(\)$"),
        ("def relu_backward(gy, x):\n    quit(3)\n", r"the program is ended\n  at line 2: quit\(3\)$"),
        ("def relu_backward(gy, x):\n    assert False\n", r"AssertionError\n  at line 2: assert False$"),
        ("def relu_backward(gy, x):\n    raise KeyboardInterrupt\n", r"stopped\n  at line 2: raise Keyb"),
    ],
)
def test_files_that_do_not_run(source, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(source)
    code, out, err = run(capsys, "relu_backward", tmp_path / "mine.py")
    assert (code, err) == (1, "")
    assert re.search(message, out.rstrip("\n")), out


def test_wrong_commands(tmp_path, capsys):
    code, _, err = run(capsys, "relu_backwards")
    assert code == 2
    assert "did you mean 'relu_backward'" in err
    code, _, err = run(capsys, "relu_backward", tmp_path / "none.py")
    assert code == 2
    assert re.search(r"there is no file .*none.py; `minicnn exercise relu_backward --start` makes it", err)


def test_a_loop_without_end_is_spoken_of(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("minicnn.commands.exercise.PATIENCE", 0.05)
    (tmp_path / "slow.py").write_text(
        "import time\ndef relu_backward(gy, x):\n    time.sleep(0.1)\n    return gy * (x > 0)\n"
    )
    code, out, err = run(capsys, "relu_backward", tmp_path / "slow.py")
    assert (code, out) == (0, "relu_backward: right in all cases\n")
    assert err.startswith("minicnn: exercise: your file still runs; is there a loop without end? Ctrl-C ")
