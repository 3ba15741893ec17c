"""How results are put into words and Markdown: what the README's tables have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import Spread
from benchmarks.results import Results, Row


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A Markdown table, with its first columns, of words, to the left and the others to the right."""
    rule = ["---"] * words + ["--:"] * (len(head) - words)
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *rows])


def paragraph(text: str) -> str:
    """Text below a table, in lines as the README's."""
    return "\n" + textwrap.fill(text, 106, break_long_words=False, break_on_hyphens=False) + "\n"


def machine_line(found: Results) -> str:
    """Where and when it was measured, as a sentence below the table."""
    about = found.machine
    names = {"numpy": "NumPy", "numba": "Numba", "torch": "PyTorch", "jax": "JAX"}
    versions = [f"{names[key]} {value}" for key, value in about["libraries"].items() if key in names]
    dates = sorted({row["date"] for row in found.rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    vectors = f" with {about['vectors']}" if about["vectors"] else ""
    backend = "" if about["backend"] in ("numba", "cuda") else f", minicnn on {about['backend']}"
    return paragraph(
        f"{_gpu(about)}{about['cpu']}{vectors}, {about['threads']} of {about['cores']} cores; "
        f"Python {about['python']}, {', '.join(versions)}{backend}; {when}."
    )


def _gpu(about: dict[str, Any]) -> str:
    if "gpu" not in about:
        return ""
    details = about["gpu_details"]
    driver = f", driver {details['driver_version']}" if "driver_version" in details else ""
    cudnn = f", cuDNN {details['cudnn']}" if "cudnn" in details else ""
    return f"{about['gpu']}{driver}, CuPy {details['cupy']}, NVRTC {details['nvrtc']}{cudnn}; "


def number(value: float | None) -> str:
    """Three digits that count, with commas: 0.0123, 6.2, 35.9, 1,870; a dash for what is not known."""
    if value is None:
        return "–"
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if abs(value) >= 100 else digits


def percent(found: Spread) -> str:
    """The median of shares with their range, in per cent.

    >>> percent(Spread(0.7151, 0.7, 0.731)), percent(Spread(0.5, 0.5, 0.5))
    ('71.5 % (70.0 to 73.1)', '50.0 %')
    """
    middle, low, high = (f"{100 * value:.1f}" for value in found)
    return f"{middle} %" if low == high else f"{middle} % ({low} to {high})"


def spread(row: Row) -> str:
    """A ratio with its range over the rounds."""
    if row["ratio"] is None:
        return "–"
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
