"""The lessons: each runs to its end, says something, and draws what it says that it draws."""

import re

import numpy as np
import pytest
from PIL import Image

from minicnn import cli, lessons

QUICK = [
    name for name in lessons.LESSONS if name not in ("lenet", "alexnet", "batch_norm", "residual", "transfer")
]
SLOW = [name for name in lessons.LESSONS if name not in QUICK]


def take(name, tmp_path, capsys):
    """What a lesson prints; its pictures are looked at here."""
    number = list(lessons.LESSONS).index(name) + 1
    assert cli.main(["lesson", str(number), "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    pictures = re.findall(r"picture: (.*\.png)$", out, re.MULTILINE)
    assert pictures
    for path in pictures:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert 300 < pixels.shape[1] < 1400, path
        assert pixels.std() > 5, path
    assert "nan" not in out.lower().split()
    assert f"Lesson {number}: {lessons.title(number)}" in out
    assert "Try: " in out
    return out


@pytest.mark.parametrize("name", QUICK)
def test_a_lesson(name, tmp_path, capsys):
    take(name, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_longer_lesson(name, tmp_path, capsys):
    take(name, tmp_path, capsys)


def test_what_the_lessons_claim(tmp_path, capsys):
    """The sentences that would be wrong if the engine were."""
    out = take("three_gradients", tmp_path, capsys)
    assert out.count("True") == 4
    assert "False" not in out
    out = take("inception", tmp_path, capsys)
    assert "163,840,000" in out
    assert "dense layer at each pixel: True" in out
    out = take("chain_rule", tmp_path, capsys)
    assert "by the engine:  to x 54, to w 54" in out
    out = take("finite_differences", tmp_path, capsys)
    assert re.search(r"  right: worst relative error", out)
    assert re.search(r"  gradcheck: .*wrong|  .*wrong: worst relative error", out)
    out = take("vgg", tmp_path, capsys)
    assert re.search(r"three 3×3 +sees 7×7 pixels", out)
    assert "138,357,544" in out


def test_the_list(capsys):
    assert cli.main(["lesson"]) == 0
    out = capsys.readouterr().out
    assert [int(line.split()[0]) for line in out.splitlines()[:-1]] == list(
        range(1, len(lessons.LESSONS) + 1)
    )
    assert "A neuron, and its gradient by hand" in out


def test_numbers_that_are_none(capsys):
    assert cli.main(["lesson", "17"]) == 2
    assert capsys.readouterr().err == "minicnn: lesson: there are lessons 1 to 16, but 17 was asked for\n"
    with pytest.raises(ValueError, match="lesson: number is 0, but there are lessons 1 to 16"):
        lessons.lesson(0)
