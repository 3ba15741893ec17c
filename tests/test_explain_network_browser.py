"""The page of a network in a real browser: what is read from it is what the engine computed."""

import re

import numpy as np
import pytest
from browser import Chromium, find

import minicnn as mc
from minicnn import nn

pytestmark = pytest.mark.skipif(find() is None, reason="there is no Chromium here")

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    with Chromium() as started:
        yield started


@pytest.fixture(scope="module")
def explained():
    mc.manual_seed(2)
    branches = nn.Concat(nn.Conv2d(6, 3, 1), nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()))
    layers = {"conv": nn.Conv2d(3, 6, 5, stride=2), "relu": nn.ReLU(), "mixed": branches}
    layers |= {NASTY: nn.MaxPool2d(2), "flat": nn.Flatten(), "head": nn.Linear(8 * 36, 4)}
    x = np.random.default_rng(0).normal(size=(1, 3, 28, 28)).astype(np.float32)
    with mc.use("numpy"):
        return mc.explain(
            nn.Sequential(layers), x=x, label=1, name=NASTY, class_names=("ant", "bee", NASTY, "dog")
        )


@pytest.fixture(scope="module")
def path(explained, tmp_path_factory):
    return explained.save(tmp_path_factory.mktemp("network") / "page.html")


def node(name):
    """JavaScript for the module of this name."""
    modules = "[...document.querySelectorAll('.module')]"
    return f"{modules}.find(m => m.querySelector('summary b').textContent === {name!r})"


def numbers(text):
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace("−", "-"))]


def layer(explained, path):
    return next(one for one in explained.layers if one.path == path)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (320, "light")])
def test_everything_opens_and_fits(browser, path, width, scheme):
    browser.open(path, width, 800, scheme)
    assert browser.run("document.querySelector('h1').textContent") == NASTY
    assert browser.run("document.querySelectorAll('img').length") == 0
    names = "[...document.querySelectorAll('#network > .module > summary b')].map(b => b.textContent)"
    assert browser.run(names) == ["conv", "relu", "mixed", NASTY, "flat", "head"]
    assert browser.run("document.querySelectorAll('.map').length") == 0
    while browser.run("document.querySelectorAll('details:not([open])').length"):
        browser.run("document.querySelectorAll('details:not([open])').forEach(d => d.firstChild.click())")
        browser.run("new Promise(done => setTimeout(done, 50))")  # toggle events come later
    assert browser.run("document.querySelectorAll('.module .module').length") == 4
    assert browser.run("document.querySelectorAll('.map').length") > 40
    browser.run("document.querySelectorAll('.map').forEach(m => m.click())")
    assert browser.run("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('.module, .map, .unit, figure, .wide')]"
    assert browser.run(f"Math.max(...{parts}.map(p => p.getBoundingClientRect().right))") <= width
    assert browser.problems() == []


def test_a_unit_by_the_keyboard(browser, path, explained):
    browser.open(path)
    browser.key("Tab")
    assert browser.run("document.activeElement.textContent").startswith("Colours")
    browser.key("Tab")
    browser.key("Enter")
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert browser.run(f"{node('conv')}.open")
    for _ in range(10):
        browser.key("Tab")
        if browser.run("document.activeElement.className") == "map":
            break
    browser.key("Enter")
    assert browser.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    unit = layer(explained, "conv").units[0]
    text = browser.run("document.querySelector('.unit').textContent")
    at = f"y[{', '.join(map(str, unit.unit))}] = "
    assert numbers(text.partition(at)[2])[0] == float(f"{unit.y:.4g}")
    rows = "[...document.querySelectorAll('.unit tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    found = browser.run(rows)
    assert len(found) == 25 < unit.count == 75
    for k, (name, *values) in enumerate(found):
        assert name == f"x[{', '.join(map(str, unit.places[k]))}]"
        columns = unit.x, unit.derivatives, unit.products, unit.sent, unit.to_weights
        assert numbers(" ".join(values)) == pytest.approx([column[k] for column in columns], rel=6e-4)
    assert f"{unit.box.bottom - unit.box.top}×{unit.box.right - unit.box.left} pixels" in text
    frame = browser.run(
        "(f => { const b = f.getBoundingClientRect(), p = f.previousSibling.getBoundingClientRect();"
        " return [(b.top - p.top) / p.height, b.height / p.height] })(document.querySelector('.unit .field'))"
    )
    assert frame == pytest.approx([unit.box.top / 28, 5 / 28], abs=0.02)
    browser.key("Enter")
    assert not browser.run("document.querySelectorAll('.unit').length")
    assert browser.problems() == []


def test_statistics_and_maps_are_the_engine_s(browser, path, explained):
    browser.open(path)
    browser.run(f"{node('mixed')}.firstChild.click()")
    browser.run("new Promise(done => setTimeout(done, 50))")
    own = layer(explained, "mixed")
    y = own.y.astype(float)
    cells = f"[...[...{node('mixed')}.querySelectorAll('.call')].at(-1).querySelectorAll('tbody td')]"
    found = browser.run(f"{cells}.map(c => c.textContent)")
    assert numbers(found[1])[0] == pytest.approx(y.mean(), rel=6e-4)
    assert numbers(found[7])[0] == pytest.approx(own.gy.astype(float).mean(), rel=6e-4)
    # The first map as it is drawn: orange above 0, blue below, stronger where larger.
    canvas = f"[...{node('mixed')}.querySelectorAll('.call')].at(-1).querySelector('.map canvas')"
    pixels = browser.run(
        f"(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])({canvas})"
    )
    red, alpha = np.reshape(pixels, (*y.shape[1:], 4))[..., [0, 3]].transpose(2, 0, 1)
    visible = alpha > 20
    assert np.array_equal((red > 115)[visible], (y[0] > 0)[visible])
    np.testing.assert_allclose(alpha, 254 * np.abs(y[0]) / np.abs(y[0]).max(), atol=1.01)


def test_the_step_is_the_engine_s(browser, path, explained):
    browser.open(path)
    text = browser.run("document.querySelector('#step p').textContent")
    step = explained.step
    before, after = numbers(text.partition("Loss before: ")[2])[:2]
    assert (before, after) == (float(f"{step.loss_before:.4g}"), float(f"{step.loss_after:.4g}"))
    assert "The loss fell." in text
    first = browser.run("[...document.querySelector('#step tbody').rows].map(r => r.cells[0].textContent)")
    names = ("ant", "bee", NASTY, "dog")
    assert first == [names[k] for k in np.argsort(-step.probabilities_before)]
    assert browser.run("document.querySelector('#step .right td').textContent") == "bee"


def test_a_loss_that_stays_did_not_rise(browser, tmp_path):
    """Of a network that is sure, the gradients are 0, and so is the step."""
    sure = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    sure[1].weight.data[...] = [[1000], [-1000]]
    with mc.use("numpy"):
        page = mc.explain(sure, x=np.ones((1, 1, 2, 2), np.float32), label=0).save(tmp_path / "sure.html")
    browser.open(page)
    text = browser.run("document.querySelector('#step p').textContent")
    assert "Loss before: 0; after: 0. The loss stayed: the gradients are too small to change it." in text


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (320, "dark")])
def test_what_the_answer_rests_on(browser, path, explained, width, scheme):
    browser.open(path, width, 800, scheme)
    captions = browser.run("[...document.querySelectorAll('#rests figcaption')].map(c => c.textContent)")
    assert captions == [f"{view.title}: {view.words}" for view in explained.views]
    assert len(captions) == 5
    edge = "[...document.querySelectorAll('#rests figure')].map(f => f.getBoundingClientRect().right)"
    assert max(browser.run(edge)) <= width
    # Grad-CAM, where the page has it: the strength of the orange is the heat
    cam = next(view for view in explained.views if view.title == "Grad-CAM")
    canvas = "document.querySelectorAll('#rests .over')[1]"
    pixels = browser.run(
        f"(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data])({canvas})"
    )
    alpha = np.reshape(pixels, (*cam.values.shape, 4))[..., 3]
    np.testing.assert_allclose(alpha, 254 * cam.values / max(cam.values.max(), 1e-12), atol=1.01)
    assert browser.problems() == []
