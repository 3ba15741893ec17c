"""Explanations: every number on a page is the engine's, every part adds up, every derivative agrees."""

import fractions
import html
import json
import re

import numpy as np
import pytest
from rich.cells import cell_len

import minicnn as mc
from minicnn import backend, cli
from minicnn import functional as F
from minicnn.explain import document, operations, options, page, point
from minicnn.explain.convolution_backward import spread_out
from minicnn.random import default_generator

CASES = {
    "conv2d": ("conv2d", {}),
    "conv2d, batch and groups": (
        "conv2d",
        {"input": "2x4x4x3", "kernel": "2x3", "stride": 1, "padding": (1, 0), "groups": 2, "outputs": 4},
    ),
    "conv2d, dilation": ("conv2d", {"input": "2x6x5", "kernel": 2, "stride": "1x2", "dilation": 3}),
    "conv2d, stride above the kernel": ("conv2d", {"input": "1x7x6", "kernel": 2, "stride": 3, "padding": 0}),
    "conv2d, padding above the kernel": (
        "conv2d",
        {"input": "1x3x3", "kernel": 2, "padding": 3, "outputs": 2},
    ),
    "depthwise_conv2d": ("depthwise_conv2d", {}),
    "conv1x1": ("conv1x1", {}),
    "conv1x1, stride": ("conv1x1", {"input": "2x3x4", "stride": 2}),
    "max_pool2d": ("max_pool2d", {}),
    "max_pool2d, padding and remainder": ("max_pool2d", {"input": "2x2x6x5", "stride": 2, "padding": 1}),
    "max_pool2d, ceil": ("max_pool2d", {"input": "1x5x5", "kernel": 2, "stride": 2, "ceil_mode": True}),
    "avg_pool2d": ("avg_pool2d", {}),
    "avg_pool2d, ceil, without padding": (
        "avg_pool2d",
        {"input": "2x6x5", "ceil_mode": True, "count_include_pad": False},
    ),
    "batch_norm": ("batch_norm", {}),
    "batch_norm, (N, C)": ("batch_norm", {"input": "5x3", "eps": 0.1}),
    "local_response_norm": ("local_response_norm", {}),
    "local_response_norm, even": (
        "local_response_norm",
        {"input": "2x6x1x2", "size": 4, "alpha": 0.5, "k": 2},
    ),
    "relu": ("relu", {}),
    "dropout": ("dropout", {}),
    "dropout, none left": ("dropout", {"p": 1}),
    "linear": ("linear", {}),
    "cross_entropy": ("cross_entropy", {}),
    "cross_entropy, smooth": ("cross_entropy", {"input": "3x5", "label_smoothing": 0.2}),
    "cat": ("cat", {}),
    "add": ("add", {}),
}


@pytest.fixture(autouse=True)
def _on_the_cpu():
    """Explanations are made there, whichever device the other tests are on."""
    with mc.use("numpy"):
        yield


@pytest.fixture(scope="module")
def explained():
    """Every case's explanation, made once."""
    return {name: mc.explain(operation, **given) for name, (operation, given) in CASES.items()}


@pytest.fixture(params=CASES)
def case(request, explained):
    return explained[request.param]


def inside(grid):
    """A grid's values without its border."""
    if not np.any(grid.border):
        return grid.values
    (top, bottom), (left, right) = grid.border
    return grid.values[..., top : grid.values.shape[-2] - bottom, left : grid.values.shape[-1] - right]


def frames(grid):
    return range(len(grid.values)) if grid.frames else range(1)


def content(text):
    """The data in a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])


# ---------------------------------------------------------------------------------------------- the numbers


def test_every_operation_has_a_case():
    assert {operation for operation, _ in CASES.values()} == set(operations.OPERATIONS)


def test_derivatives_agree_with_finite_differences(case):
    measured = [grid for grid in case.grids.values() if grid.differences is not None]
    assert measured
    for grid in measured:
        np.testing.assert_allclose(grid.values, grid.differences, atol=2e-8, err_msg=grid.key)


def test_not_all_derivatives_are_zero(case):
    if case.grids.get("mask") is None or case.grids["mask"].values.any():
        assert all(g.values.any() for g in case.grids.values() if g.differences is not None)


def numeric(explanation, factor, step):
    """The value of one factor, or None for a text that is no number."""
    if not isinstance(factor, str):
        return explanation.grids[factor[0]].frame(step)[factor[1]]
    try:
        return float(fractions.Fraction(factor.replace("−", "-")))
    except ValueError:
        return None


def test_parts_make_their_number(case):
    checked = 0
    for grid in case.grids.values():
        for step in frames(grid):
            for cell, value in enumerate(grid.frame(step)):
                parts = [term[0] for term in grid.made_of(cell, step)]
                if parts and grid.how:
                    made = max(parts) if grid.how == "max" else sum(parts)
                    assert made == pytest.approx(value, abs=1e-9), grid.label(cell)
                    checked += 1
    assert checked


def test_factors_make_their_part(case):
    checked = 0
    for grid in case.grids.values():
        if not grid.how:
            continue
        for step in frames(grid):
            for cell in range(grid.frame(step).size):
                for value, *factors in grid.made_of(cell, step):
                    numbers = [numeric(case, factor, step) for factor in factors]
                    if None not in numbers:
                        # Texts are rounded to four digits.
                        assert np.prod(numbers) == pytest.approx(value, rel=1e-3), grid.label(cell)
                        checked += 1
    assert checked


def test_frames_add_up_to_the_whole(case):
    for key, grid in case.grids.items():
        name, _, which = key.partition(".")
        if which == "alone":
            whole = case.grids[name].values
            np.testing.assert_allclose(grid.values.sum(axis=0), whole, atol=1e-9, err_msg=key)
        elif which == "so_far":
            np.testing.assert_allclose(grid.values[-1], case.grids[name].values, atol=1e-9, err_msg=key)


def test_scenes_refer_to_what_is_there(case):
    for scene in case.scenes:
        shown = [case.grids[key] for key in scene.layout if key in case.grids]
        assert case.grids[scene.subject] in shown
        for number, step in enumerate(scene.steps):
            assert step.note.strip()
            assert step.cells
            marks = [*document.lit(case, scene, number).items(), *step.chosen.items()]
            for key, cells in marks:
                assert all(0 <= cell < case.grids[key].frame(number).size for cell in cells), (scene.key, key)
        for grid in shown:
            assert not grid.frames or len(grid.values) == len(scene.steps)


@pytest.mark.parametrize("name", [name for name in CASES if "conv" in name])
def test_convolution_is_the_engine_s(explained, name):
    grids = explained[name].grids
    x, w, b, gy = (mc.tensor(inside(grids[key]), requires_grad=True) for key in ("x", "w", "b", "gy"))
    operation, given = CASES[name]
    about = {**operations.OPERATIONS[operation].options, **given}
    settings = {key: options.pair(0)(about.get(key, default)) for key, default in PLAIN.items()}
    groups = x.shape[1] if operation == "depthwise_conv2d" else about.get("groups", 1)
    with mc.use("numpy", conv2d="naive"):
        y = F.conv2d(x, w, b, groups=groups, **settings)
        y.backward(gy.data)
    for key, array in (("y", y.numpy()), ("gx", x.grad), ("gw", w.grad), ("gb", b.grad)):
        np.testing.assert_allclose(grids[key].values, array, atol=1e-9, err_msg=key)


PLAIN = {"stride": 1, "padding": 0, "dilation": 1}


@pytest.mark.parametrize("name", [name for name in CASES if "conv" in name])
def test_convolution_as_matrices(explained, name):
    grids = explained[name].grids
    y, b = grids["y"].values, grids["b"].values
    product = np.matmul(grids["w.rows"].values, grids["columns"].values)
    np.testing.assert_allclose(product.reshape(y.shape) + b[:, None, None], y)
    flat = grids["T"].values @ grids["x.flat"].values
    np.testing.assert_allclose(flat + np.repeat(b, y[0, 0].size)[:, None], grids["y.flat"].values)


def test_gx_is_a_full_convolution(explained):
    grids = explained["conv2d"].grids
    w = np.swapaxes(grids["w.flipped"].values, 0, 1)
    gx = F.conv2d(mc.tensor(grids["gy.spread"].values), mc.tensor(w)).numpy()
    np.testing.assert_allclose(gx, grids["gx"].values)


def test_gw_is_a_convolution_with_gy(explained):
    grids = explained["conv2d"].grids
    x, gy = mc.tensor(grids["x"].values), mc.tensor(grids["gy"].values)
    gw = F.conv2d(x, gy, dilation=2)[:, :, :3, :3].numpy()
    np.testing.assert_allclose(gw, grids["gw"].values)


def test_gradients_that_the_padding_takes_are_cut_off():
    """Where the padding is larger than the filter, some outputs see only padding."""
    from minicnn.explain.convolution import Convolution
    from minicnn.kernels import Window

    c = Convolution((1, 1, 3, 3), Window((2, 2), (1, 1), ((3, 3), (3, 3))), 1, point.Draw(0))
    spread, before = spread_out(c)
    assert before == (-2, -2)
    assert spread.shape == (1, 1, 4, 4)
    np.testing.assert_array_equal(spread, c.gy[:, :, 2:6, 2:6])


@pytest.mark.parametrize("name", ["max_pool2d", "max_pool2d, padding and remainder", "max_pool2d, ceil"])
def test_the_winner_is_marked(explained, name):
    e = explained[name]
    for step in e.scenes[0].steps:
        (winner,) = step.chosen["x"]
        assert winner in step.lit["x"]
        assert e.grids["x"].frame(0)[winner] == e.grids["y"].frame(0)[step.cells[0]]


def test_max_pooling_shows_a_pixel_that_wins_twice(explained):
    assert any("had received before" in step.note for step in explained["max_pool2d"].scenes[1].steps)


@pytest.mark.parametrize("name", ["avg_pool2d", "avg_pool2d, ceil, without padding"])
def test_means_have_the_engine_s_divisors(explained, name):
    grids = explained[name].grids
    given = CASES[name][1]
    x = mc.tensor(inside(grids["x"]))
    y = F.avg_pool2d(x, 3, 2, 1, given.get("ceil_mode", False), given.get("count_include_pad", True))
    np.testing.assert_allclose(grids["y"].values, y.numpy())


def test_batch_norm_has_three_terms(explained):
    grids = explained["batch_norm"].grids
    terms = [grids[f"term{k}"].values for k in (1, 2, 3)]
    assert all(np.abs(term).max() > 0.01 for term in terms)
    np.testing.assert_allclose(sum(terms), grids["gx"].values, atol=1e-12)
    x = mc.tensor(grids["x"].values, requires_grad=True)
    w, b = mc.tensor(grids["w"].values), mc.tensor(grids["b"].values)
    mean, var = mc.tensor(grids["mean"].values), mc.tensor(grids["var"].values)
    F.batch_norm(x, mean, var, w, b, eps=1e-5).backward(grids["gy"].values)
    np.testing.assert_allclose(terms[0], x.grad)  # what inference would send


def test_dropout_s_mask_is_the_engine_s(explained):
    grids = explained["dropout"].grids
    mc.manual_seed(0)
    y = F.dropout(mc.tensor(grids["x"].values), 0.5).numpy()
    np.testing.assert_array_equal(grids["y"].values, y)
    np.testing.assert_array_equal(grids["y"].values, grids["x"].values * grids["mask"].values)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy, smooth"])
def test_cross_entropy_is_p_minus_q(explained, name):
    grids = explained[name].grids
    p, q = grids["p"].values, grids["q"].values
    np.testing.assert_allclose(grids["gx"].values, (p - q) / len(p), atol=1e-12)
    np.testing.assert_allclose(q.sum(axis=1), 1)


def test_a_seed_is_one_page():
    first, again, other = (mc.explain("linear", seed=seed).page() for seed in (1, 1, 2))
    assert first == again != other


def test_nothing_else_changes():
    before = default_generator.get_state(), backend.current_backend()
    with mc.use(conv2d="naive"):
        mc.explain("conv2d")
        mc.explain("dropout")
        with mc.trace() as ran:
            F.conv2d(mc.ones(1, 1, 3, 3), mc.ones(1, 1, 3, 3))
    assert [one.algorithm for one in ran] == ["naive"]
    assert before == (default_generator.get_state(), backend.current_backend())


def test_the_kernels_that_ran_are_named(explained):
    assert explained["conv2d"].kernels == [
        "conv2d.forward[numpy:im2col]",
        "conv2d.grad_input[numpy:im2col]",
        "conv2d.grad_weight[numpy:im2col]",
    ]


# ------------------------------------------------------------------------------------------------- the page


def test_the_page_holds_the_arrays(case):
    shown = content(case.page())
    assert len(shown["grids"]) == len(case.grids)
    for one, grid in zip(shown["grids"], case.grids.values(), strict=True):
        for step in frames(grid):
            values = np.array([np.nan if v is None else v for v in one["values"][step]])
            wanted = np.where(np.isfinite(grid.frame(step)), grid.frame(step), np.nan)
            np.testing.assert_allclose(values, wanted, rtol=1e-8, err_msg=grid.key)
    assert [scene["key"] for scene in shown["scenes"]] == [scene.key for scene in case.scenes]


def test_a_page_needs_nothing_else(case):
    text = case.page()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", text.partition("<script>")[0])
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


LARGE = [
    ("conv2d", {"input": "1x11x11", "stride": 1}),
    ("conv2d", {"input": "1x8x8", "stride": 1, "kernel": 5, "padding": 2, "outputs": 2}),
    ("batch_norm", {"input": "100x1"}),
    ("linear", {"input": "2x40", "outputs": 13}),
    ("conv2d", {"input": "3x8x8", "outputs": 4}),
]
"""Near as many numbers as are let through."""

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028&"


def test_hostile_names_stay_data():
    e = mc.explain("relu")
    e.title = e.words = e.command = e.scenes[0].title = e.scenes[0].steps[0].note = HOSTILE
    e.grids["x"].name = e.grids["x"].caption = HOSTILE
    text = e.page()
    assert "<img" not in text
    assert text.count("</script>") == 2  # of the data and of the programme
    assert content(text)["grids"][0]["name"] == HOSTILE


@pytest.mark.parametrize("given", LARGE)
def test_large_pages_are_below_the_limit(given):
    operation, given = given
    size = len(mc.explain(operation, **given).page().encode())
    assert 100_000 < size < page.LARGEST


def test_a_page_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(page, "LARGEST", 10_000)
    with pytest.raises(ValueError, match=r"^explain relu: the page would have 0\.0 MB"):
        mc.explain("relu").page()


def test_save_writes_the_page_or_nothing(tmp_path):
    e = mc.explain("relu")
    assert e.save(str(tmp_path / "relu.html")).read_text("utf-8") == e.page()
    with pytest.raises(OSError, match="No such file"):
        e.save(tmp_path / "missing" / "relu.html")
    assert [path.name for path in tmp_path.iterdir()] == ["relu.html"]


def test_a_notebook_shows_the_page():
    e = mc.explain("relu")
    source = re.fullmatch(
        r'<iframe sandbox="allow-scripts" style="[^"]*" srcdoc="([^"]*)"></iframe>', e._repr_html_()
    )
    assert html.unescape(source[1]) == e.page()


# --------------------------------------------------------------------------------------------- the terminal


def test_text_has_every_scene(case):
    text = case.text(100)
    assert all(scene.title in text for scene in case.scenes)
    assert "by finite differences" in text
    assert max(map(cell_len, text.splitlines())) <= 100


def test_text_works_one_step_out():
    text = mc.explain("max_pool2d", input="1x2x3", kernel=2).text()
    assert re.search(r"y\[0, 0, 0, 0\] = max\(.*\) = 2", text)


def test_wide_grids_are_cut_off_visibly():
    lines = mc.explain("conv2d", input="1x8x8").text(60).splitlines()
    assert any(line.endswith("…") for line in lines)
    assert max(map(len, lines)) <= 60


# ----------------------------------------------------------------------------------------- the command line


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run `minicnn explain` in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.main(["explain", *arguments])
        return code, *capsys.readouterr()

    return call


def test_command_writes_a_page_and_says_where(run, tmp_path):
    code, out, err = run("conv2d", "--input", "1x5x5", "--kernel", "3", "--stride", "2", "--padding", "1")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"conv2d\.html \(0\.\d\d MB of at most 2\): open it in a browser; .*\n", out)
    shown = content((tmp_path / "conv2d.html").read_text("utf-8"))
    assert shown["command"] == "minicnn explain conv2d --input 1x5x5 --kernel 3 --stride 2 --padding 1"


def test_the_command_on_the_page_makes_the_page(run, tmp_path):
    given = {"input": (2, 6, 5), "ceil_mode": True, "count_include_pad": False, "seed": 3}
    e = mc.explain("avg_pool2d", **given)
    assert run(*e.command.split()[2:], "--out", "a.html")[0] == 0
    assert (tmp_path / "a.html").read_text("utf-8") == e.page()


def test_command_without_an_operation_lists_them(run):
    code, out, _ = run()
    assert code == 0
    assert all(name in out for name in operations.OPERATIONS)


def test_command_text(run, tmp_path):
    code, out, err = run("relu", "--text")
    assert (code, err) == (0, "")
    assert "Forward: a gate for each number" in out
    assert not list(tmp_path.iterdir())


def test_help_states_the_limit(run):
    assert "at most 2 MB" in run("--help")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["conv3d"], "explain: operation 'conv3d' is unknown; did you mean 'conv2d'?"),
        (["softmax"], "explain: softmax is explained as 'cross_entropy'"),
        (["relu", "--kernel", "3"], "explain relu: option 'kernel' is unknown"),
        (["conv2d", "--kernel", "3.5"], "explain conv2d: kernel must be a whole number from 1 to 64, or two"),
        (
            ["conv2d", "--kernel", "1x2x3"],
            "explain conv2d: kernel must be a whole number from 1 to 64, or two",
        ),
        (["conv2d", "--stride", "0"], "explain conv2d: stride must be a whole number from 1 to 64"),
        (["conv2d", "--padding", "-1"], "padding"),
        (["conv2d", "--input", "5x"], "explain conv2d: input must be up to four sizes, as 1x5x5, got '5x'"),
        (["conv2d", "--input", "5x5"], "explain conv2d: input must be C×H×W or N×C×H×W, got 5×5"),
        (["conv2d", "--input", "0x5x5"], "explain conv2d: input must be"),
        (["conv2d", "--kernel", "9"], "explain conv2d: the window covers 9×9 pixels"),
        (["conv2d", "--groups", "2"], "explain conv2d: groups must divide the 1 input"),
        (["conv2d", "--input", "3x64x64"], "has 12,288 numbers; a page shows at most 2,000"),
        (["conv2d", "--input", "1x9999999999x9999999999"], "a page shows at most 2,000"),
        (["conv2d", "--padding", "64"], "at most 16,000 pairs"),
        (
            ["conv2d", "--input", "1x12x12", "--kernel", "8", "--stride", "1"],
            "products x · w, and a page shows",
        ),
        (
            ["max_pool2d", "--padding", "2"],
            "explain max_pool2d: padding (2, 2) is more than half of the window",
        ),
        (["batch_norm", "--input", "1x3"], "explain batch_norm: input 1×3 has one number in each channel"),
        (["batch_norm", "--input", "120x1"], "MB, and may have 2: choose a smaller"),
        (["cat", "--second", "1x3x3"], "explain cat:"),
        (["dropout", "--p", "1.5"], "explain dropout: p must be a number from 0 to 1, got '1.5'"),
        (["relu", "--seed", "-1"], "seed"),
        (["relu", "--text", "--out", "a.html"], "choose one"),
        (["relu", "--out", "."], "--out . is a folder"),
        (["relu", "--out", "missing/a.html"], "missing/a.html: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, arguments, words):
    code, out, err = run(*arguments)
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("minicnn: ")
    assert err.count("\n") == 1
    assert words in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "given", [{"input": None}, {"input": (1, 4, 4)}, {"input": [1, 4, 4]}, {"input": "1×4×4"}]
)
def test_python_takes_what_the_command_takes(given):
    assert dict(mc.explain("relu", **given).facts)["x, y"] == "1×1×4×4"


@pytest.mark.parametrize("given", [{"input": 1.5}, {"input": (1, 2.0)}, {"seed": True}, {"input": object()}])
def test_python_refuses_what_is_no_value(given):
    with pytest.raises(ValueError, match=rf"^explain relu: {next(iter(given))} must be"):
        mc.explain("relu", **given)
