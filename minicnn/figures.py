"""Matplotlib's figures as files, and other people's words in them."""

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MISSING = re.compile(r"Glyph (\d+) .*missing from font\(s\) (.+?)\.?$")


class FigureWarning(UserWarning):
    """Something about a picture that whoever looks at it should know."""


def plain(text: str) -> str:
    """A name that others chose, of a file or a class, as it can be drawn.

    What is no character or cannot be seen is replaced, and a dollar sign, between two of which Matplotlib
    reads mathematics, stands for itself.

    >>> plain("a\\tb.png"), plain("$HOME$")
    ('a�b.png', '\\\\$HOME\\\\$')
    """
    seen = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return seen.replace("$", r"\$")


def png(figure: "Figure") -> bytes:
    """A figure as a file's content.

    Warns (:class:`FigureWarning`), once, of letters that its font has not.
    """
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(content, format="png")
    missing: dict[str, str] = {}
    for warning in caught:
        if found := _MISSING.match(str(warning.message)):
            missing[chr(int(found[1]))] = found[2]
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        letters, font = "".join(missing), next(iter(missing.values()))
        words = f"the font {font} has no {letters}: boxes are drawn for them in pictures"
        warnings.warn(FigureWarning(words), stacklevel=2)
    return content.getvalue()
