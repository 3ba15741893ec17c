"""Explanations in a real browser: what is read from the page is what the engine computed."""

import io

import numpy as np
import pytest
from browser import Chromium, find
from PIL import Image

import minicnn as mc
from minicnn import functional as F
from minicnn.explain.operations import OPERATIONS

pytestmark = pytest.mark.skipif(find() is None, reason="there is no Chromium here")

GEOMETRY = {"input": "2x4x5", "kernel": 3, "stride": 2, "padding": 1, "outputs": 2}
STEP = 1e-5


@pytest.fixture(autouse=True)
def _on_the_cpu():
    """Explanations are made there, whichever device the other tests are on."""
    with mc.use("numpy"):
        yield


@pytest.fixture(scope="module")
def browser():
    with Chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The file with an operation's page."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(operation, **given):
        key = operation, *given.items()
        if key not in made:
            made[key] = mc.explain(operation, **given).save(folder / f"{len(made)}.html")
        return made[key]

    return page


class Reader:
    """Reads and operates one scene of the page that is open."""

    def __init__(self, browser, scene):
        self.browser, self.scene = browser, f"document.getElementById({scene!r})"

    def grid(self, caption):
        """JavaScript for the cells of the grid with this caption."""
        figure = (
            f"[...{self.scene}.querySelectorAll('figure')].find(f => f.textContent.startsWith({caption!r}))"
        )
        return f"[...{figure}.querySelectorAll('td')]"

    def numbers(self, caption, kind=None):
        """The numbers in a grid, or in its cells of one class."""
        chosen = f".filter(c => c.classList.contains({kind!r}))" if kind else ""
        texts = self.browser.run(f"{self.grid(caption)}{chosen}.map(c => c.textContent)")
        return [float(text.replace("−", "-")) for text in texts]

    def marked(self, caption, kind):
        """Which cells of a grid are of one class."""
        cells = f"{self.grid(caption)}.map((c, k) => c.classList.contains({kind!r}) ? k : -1)"
        return self.browser.run(f"{cells}.filter(k => k >= 0)")

    def text(self, selector):
        return self.browser.run(f"{self.scene}.querySelector({selector!r}).textContent")

    def press(self, name):
        """Click on a button, by its accessible name."""
        self.browser.run(f"{self.scene}.querySelector('button[aria-label=\"{name}\"]').click()")

    def mouse(self, caption, cell, click=False):
        """Move the mouse to a cell, and perhaps click there."""
        at = f"{self.grid(caption)}[{cell}]"
        self.browser.run(f"{at}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.browser.run(
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])({at}.getBoundingClientRect())"
        )
        self.browser.mouse(*box, click)


def rounded(array):
    """As cells show numbers: three digits that count."""
    return [float(f"{value:.3g}") for value in np.asarray(array).reshape(-1)]


def convolution(e):
    """The engine's arrays, computed anew: a function y(x, w), its inputs and gy."""
    grids = e.grids
    x, w, b, gy = (grids[key].values for key in ("x", "w", "b", "gy"))
    return lambda x, w: F.conv2d(mc.tensor(x), mc.tensor(w), mc.tensor(b), stride=2).numpy(), x, w, b, gy


# ---------------------------------------------------------------------------------- every page, every width


@pytest.mark.parametrize("operation", OPERATIONS)
def test_pages_load_and_fit(browser, pages, operation):
    e = mc.explain(operation)
    for width, scheme in ((1280, "light"), (390, "dark"), (320, "light")):
        browser.open(pages(operation), width, 800, scheme)
        assert browser.problems() == []
        assert browser.run("document.querySelector('h1').textContent") == operation
        assert browser.run("[...document.querySelectorAll('section')].map(s => s.id)") == [
            s.key for s in e.scenes
        ]
        assert browser.run("document.documentElement.scrollWidth") <= width
        parts = "[...document.querySelectorAll('figure, .readout, .player')]"
        assert browser.run(f"Math.max(...{parts}.map(p => p.getBoundingClientRect().right))") <= width
        wide = "[...document.querySelectorAll('.equation')].filter(e => e.scrollWidth > e.clientWidth)"
        assert browser.run(f"{wide}.map(e => e.textContent)") == []  # a phone shows no scroll bar
        if width == 1280:  # the first scene begins in sight
            assert browser.run("document.querySelector('.player').getBoundingClientRect().bottom") < 900
        marks = e.scenes and any(step.chosen for scene in e.scenes for step in scene.steps)
        assert bool(browser.run("document.querySelectorAll('.key.chosen').length")) == marks


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_step_shows_its_note_and_the_engine_s_numbers(browser, pages, operation):
    e = mc.explain(operation)
    browser.open(pages(operation))
    for scene in e.scenes:
        read = Reader(browser, scene.key)
        for number, step in enumerate(scene.steps):
            assert read.text(".note") == step.note
            assert read.text("output") == f"{number + 1} of {len(scene.steps)}"
            if number in (0, len(scene.steps) - 1):
                for key in scene.layout:
                    grid = e.grids.get(key)
                    if grid is not None and not (grid.outside and np.any(grid.border)):
                        assert read.numbers(grid.caption) == rounded(grid.frame(number)), (scene.key, key)
            read.press("one step forward")
        assert read.text("output") == f"{number + 1} of {number + 1}"  # there is nothing after the last
    assert browser.problems() == []


# ------------------------------------------------------------------------------------------------ convolution


def test_a_window_its_products_and_their_sum(browser, pages):
    e = mc.explain("conv2d", **GEOMETRY)
    y, x, w, b, _ = convolution(e)
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "windows")
    for _ in range(8):
        read.press("one step forward")
    oc, oh, ow = np.unravel_index(8, (2, 2, 3))
    window = x[0, :, 2 * oh : 2 * oh + 3, 2 * ow : 2 * ow + 3]
    assert read.numbers("x, the image", "lit") == rounded(window)
    assert read.numbers("w, the filters", "lit") == rounded(w[oc])
    assert read.numbers("x · w") == rounded(window * w[oc])
    assert read.numbers("y, the result", "now") == rounded(y(x, w)[0, oc, oh, ow])
    assert (window * w[oc]).sum() + b[oc] == y(x, w)[0, oc, oh, ow]


def test_a_chosen_output_and_what_it_sends_back(browser, pages):
    e = mc.explain("conv2d", **GEOMETRY)
    _, x, w, b, gy = convolution(e)
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "one-output")
    read.mouse("gy, the upstream", 7, click=True)
    assert read.marked("gy, the upstream", "now") == [7]
    alone = np.zeros_like(gy)
    alone.flat[7] = gy.flat[7]
    x, w = mc.tensor(x, requires_grad=True), mc.tensor(w, requires_grad=True)
    F.conv2d(x, w, mc.tensor(b), stride=2).backward(alone)
    assert read.numbers("gx, from this output") == rounded(x.grad[:, :, 1:-1, 1:-1])
    assert read.numbers("gw, from this output") == rounded(w.grad)


def test_finite_differences_beside_the_number_pointed_at(browser, pages):
    e = mc.explain("conv2d", **GEOMETRY)
    y, x, w, _, gy = convolution(e)
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "gw")
    read.mouse("gw, the gradient", 10)
    step = np.zeros(w.size)
    step[10] = STEP
    step = step.reshape(w.shape)
    slope = ((y(x, w + step) - y(x, w - step)) * gy).sum() / (2 * STEP)
    assert f"By finite differences: {slope:.6f}.".replace("-", "−") in read.text(".differences")
    assert read.text(".result") == f"{e.grids['gw'].values.flat[10]:g}".replace("-", "−")
    assert read.text(".terms b") == "gw[0, 1, 0, 1]"
    assert read.marked("gw, the gradient", "pointed") == [10]
    assert read.text(".note") == "The number in the dashed frame:"
    # Without the mouse, the step is back.
    browser.mouse(1, 1)
    assert read.text(".note") == e.scenes[5].steps[0].note
    assert read.marked("gw, the gradient", "pointed") == []
    assert read.text(".terms b") == "gw[0, 0, 0, 0]"


def test_a_wrong_gradient_would_show(browser, tmp_path):
    """Differences are not the gradients shown once more."""
    e = mc.explain("relu", input="1x1x2")
    right = e.grids["gx"].values.reshape(-1)
    e.grids["gx"].values = e.grids["gx"].values + 1
    browser.open(e.save(tmp_path / "wrong.html"))
    read = Reader(browser, "backward")
    assert read.numbers("gx") == rounded(right + 1)
    assert f"By finite differences: {right[0]:.6f}. ".replace("-", "−") in read.text(".differences")
    assert "at most 1 apart" in read.text(".differences")


def test_a_weight_s_gradient_lights_what_it_is_made_of(browser, pages):
    e = mc.explain("conv2d", **GEOMETRY)
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "gw")
    x, gy = e.grids["x"].values, e.grids["gy"].values
    assert read.numbers("x, the image", "lit") == rounded(x[0, 0, 0:3:2, 0:5:2])
    assert read.numbers("gy, the upstream", "lit") == rounded(gy[0, 0])
    assert len(read.browser.run(f"[...{read.scene}.querySelectorAll('.term')].map(t => t.textContent)")) == 6


def test_an_input_s_number_says_where_it_is_used(browser, pages):
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "windows")
    read.mouse("w, the filters", 0)
    assert len(read.marked("y, the result", "lit")) == 6  # the places of the first filter
    assert "It is a part of" in read.text(".formula")


def test_gradients_add_up_where_windows_overlap(browser, pages):
    e = mc.explain("conv2d", **GEOMETRY)
    browser.open(pages("conv2d", **GEOMETRY))
    read = Reader(browser, "col2im")
    read.press("one step forward")
    assert read.marked("gx, from the windows", "chosen")
    slider = f"{read.scene}.querySelector('input')"
    browser.run(f"{slider}.value = 5, {slider}.dispatchEvent(new Event('input'))")
    assert read.numbers("gx, from the windows") == rounded(e.grids["gx"].values)


def test_pooling_s_winner(browser, pages):
    e = mc.explain("max_pool2d")
    browser.open(pages("max_pool2d"))
    read = Reader(browser, "windows")
    assert read.numbers("x", "chosen") == rounded(e.grids["y"].values.flat[0])
    assert max(read.numbers("x", "lit")) == e.grids["y"].values.flat[0]


def test_batch_norm_s_terms_add_up(browser, pages):
    browser.open(pages("batch_norm"))
    read = Reader(browser, "three-terms")
    terms = [read.numbers(f"{k}: ") for k in (1, 2, 3)]
    np.testing.assert_allclose(np.sum(terms, axis=0), read.numbers("gx = 1 + 2 + 3"), atol=0.02)


# --------------------------------------------------------------------------------------------- keyboard, ARIA


def focused(browser, what):
    return browser.run(f"document.activeElement.{what}")


def test_keyboard_alone(browser, pages):
    browser.open(pages("conv2d"))
    read = Reader(browser, "windows")
    for _ in range(30):
        browser.key("Tab")
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if focused(browser, "type") == "range":
            break
    browser.key("ArrowRight")
    browser.key("ArrowRight")
    browser.key("ArrowLeft")
    assert read.text("output") == "2 of 9"
    browser.key("End")
    assert read.text("output") == "9 of 9"
    browser.key("Home")
    assert read.text("output") == "1 of 9"
    # The arrows step from the buttons, too.
    browser.run(f"{read.scene}.querySelector('button[aria-label=play]').focus()")
    browser.key("ArrowRight")
    assert read.text("output") == "2 of 9"
    browser.key("Home")
    assert read.text("output") == "1 of 9"
    browser.key(" ")
    assert browser.run(f"{read.scene}.querySelector('button[aria-label=pause]').textContent") == "Pause"
    browser.key(" ")
    assert browser.run(f"{read.scene}.querySelector('button[aria-label=play]').textContent") == "Play"
    # On to the grids, of which each is one stop; in y another number is chosen.
    stops = 0
    while "y, the result" not in (focused(browser, "closest('figure')?.textContent") or ""):
        browser.key("Tab")
        stops += 1
        assert stops < 8
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        browser.key(key)
    assert read.text("output") == "5 of 9"
    assert read.marked("y, the result", "now") == [4]
    browser.key("End")
    assert read.text(".terms b") == "y[0, 0, 1, 2]"


def test_arrow_keys_cross_into_the_next_panel(browser, pages):
    browser.open(pages("batch_norm"))
    read = Reader(browser, "normalise")
    browser.run(f"{read.grid('x')}[1].focus()")
    browser.key("ArrowRight")
    assert read.text(".terms b") == "x[0, 1, 0, 0]"
    browser.key("ArrowLeft")
    assert read.text(".terms b") == "x[0, 0, 0, 1]"


def test_names_for_those_who_do_not_see(browser, pages):
    browser.open(pages("conv2d"))
    nameless = "[...document.querySelectorAll('button, input, table, nav, .player')].filter("
    nameless += "e => !(e.getAttribute('aria-label') || e.textContent.trim())).length"
    assert browser.run(nameless) == 0
    assert browser.run(
        "[...document.querySelectorAll('table')].every(t => t.getAttribute('role') === 'grid')"
    )
    assert browser.run("[...document.querySelectorAll('.readout')].every(r => r.ariaLive === 'polite')")
    assert browser.run("document.documentElement.lang") == "en"
    stops = (
        "[...document.querySelectorAll('figure')].map(f => f.querySelectorAll('td[tabindex=\"0\"]').length)"
    )
    assert set(browser.run(stops)) == {1}


def test_playing_moves_on_and_ends(browser, pages):
    browser.open(pages("conv1x1", input="1x1x2", outputs=1))
    read = Reader(browser, "windows")
    read.press("play")
    stopped = f"{read.scene}.querySelector('button[aria-label=play]')"
    look = f"const look = () => {stopped} ? done(true) : setTimeout(look, 50); look();"
    assert browser.run(f"new Promise(done => {{ {look} }})")
    assert read.text("output") == "2 of 2"


# --------------------------------------------------------------------------------------------------- colours

CONTRAST = """(() => {
    const channels = (text) => {
        const numbers = text.match(/[\\d.]+/g).map(Number);
        return text.startsWith("color(") ? numbers : numbers.map((n, k) => k < 3 ? n / 255 : n);
    };
    const light = (text) => channels(text).slice(0, 3)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if ((channels(colour)[3] ?? 1) > 0) return colour;
        }
    };
    const all = "td:not(.outside), p, dt, dd, h2, a, button, small, figcaption";
    return Math.min(...[...document.querySelectorAll(all)]
        .map(e => [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a))
        .map(([a, b]) => (a + 0.05) / (b + 0.05)));
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("operation", ["conv2d", "batch_norm", "max_pool2d"])
def test_contrast(browser, pages, operation, scheme):
    browser.open(pages(operation), scheme=scheme)
    assert browser.run(CONTRAST) >= 4.5


def test_light_dark_and_the_switch(browser, pages):
    background = "getComputedStyle(document.body).backgroundColor"
    switch = "document.querySelector('.top button')"
    found = {}
    for scheme in ("light", "dark"):
        browser.open(pages("relu"), scheme=scheme)
        found[scheme] = browser.run(background)
    assert found["light"] != found["dark"]
    for scheme in ("light", "dark"):
        browser.run(f"{switch}.click()")
        assert browser.run(f"{switch}.textContent") == f"Colours: {scheme}"
        assert browser.run(background) == found[scheme]


def test_less_motion_where_it_is_wanted(browser, pages):
    duration = "getComputedStyle(document.querySelector('td')).transitionDuration"
    browser.open(pages("relu"), reduced_motion=True)
    assert browser.run(duration) == "0s"
    browser.open(pages("relu"), reduced_motion=False)
    assert browser.run(duration) != "0s"


def test_sign_is_not_told_by_colour_alone(browser, pages):
    browser.open(pages("conv2d"))
    same = "c => c.classList.contains('minus') === c.textContent.startsWith('−')"
    assert browser.run(f"[...document.querySelectorAll('td')].every({same})")


# ------------------------------------------------------------------------------------------- safe, and inline


def test_hostile_names_are_only_shown(browser, tmp_path):
    hostile = "</script><img src=x onerror='window.hacked = 1'><b>"
    e = mc.explain("relu")
    e.title = e.words = e.command = hostile
    e.scenes[0].title = e.scenes[0].steps[0].note = hostile
    e.grids["x"].name = e.grids["x"].caption = hostile
    browser.open(e.save(tmp_path / "hostile.html"))
    assert browser.problems() == []
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('img, h2 b').length") == 0
    assert browser.run("document.querySelector('h1').textContent") == hostile
    assert Reader(browser, "forward").text(".note") == hostile


def test_a_notebook_shows_it_inline(browser, tmp_path):
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><body>{mc.explain('max_pool2d')._repr_html_()}</body>", "utf-8")
    browser.open(file)
    assert browser.problems() == []
    picture = Image.open(io.BytesIO(browser.screenshot()))
    assert len(picture.convert("RGB").getcolors(1 << 20)) > 50  # text, and cells in their colours


def test_a_list_has_no_brackets(browser, pages):
    """Brackets belong to a factor or a summand, not to one of several that are compared."""
    browser.open(pages("max_pool2d"))
    terms = "[...document.querySelectorAll('section:first-of-type .term')].map(t => t.firstChild.textContent)"
    assert browser.run(terms) == [str(int(v)).replace("-", "−") for v in (-8, -7, 9, -2, 6, -5, 2, -1, -9)]
    browser.open(pages("conv2d"))
    assert "· (−" in browser.run("document.querySelector('.terms').textContent")
    browser.open(pages("cat"))  # nothing is computed there, and one number is not a sum
    assert browser.run("document.querySelector('.term').firstChild.textContent") == "−5"
    made_by = "document.querySelector('.made-by').textContent"
    ran = "cat.backward[numpy:views], cat.forward[numpy:copies]"
    assert browser.run(made_by) == f"Made by: minicnn explain cat. Computed by {ran} in float64."
    browser.open(pages("add"))  # which has no kernel
    assert browser.run(made_by) == "Made by: minicnn explain add. Computed in float64."
