"""``minicnn models``: the networks that there are, or everything about one of them."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import minicnn
from minicnn.commands.arguments import one_of

if TYPE_CHECKING:
    from rich.console import Console

    from minicnn.models import ModelInfo, Published


def run(given: argparse.Namespace) -> int:
    """List the networks, or tell all about one."""
    from rich.console import Console

    names = [given.model] if given.model else minicnn.models.list()
    if given.json:
        print(json.dumps([_plain(minicnn.models.info(name)) for name in names], indent=1))
    elif given.model:
        _tell(Console(), minicnn.models.info(given.model))
    else:
        _list(Console(), names)
    return 0


def _list(console: Console, names: list[str]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)  # in 80 columns
    table.add_column("name", no_wrap=True, style="bold")
    table.add_column("year", no_wrap=True)
    table.add_column("input", no_wrap=True)
    for heading in ("parameters", "GMACs", "top-1", "top-5"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_column("weights", no_wrap=True)
    for name in names:
        about, best = minicnn.models.info(name), minicnn.models.get_model_weights(name)[-1:]
        table.add_row(
            name,
            str(about.year or ""),
            "×".join(map(str, about.input_shape)),
            f"{about.parameters:,}" if about.parameters is not None else "",
            _giga(about.macs),
            *([f"{best[0].top1:.1f}", f"{best[0].top5:.1f}", best[0].publisher] if best else ["", "", ""]),
        )
    console.print(table, highlight=False)
    console.print(
        "GMACs: billions of multiply-accumulates for one image. top-1, top-5: accuracy\n"
        "on ImageNet in %, as published, of the best weights.\n"
        "`minicnn models NAME` says more of one network.",
        highlight=False,
    )


def _giga(macs: int | None) -> str:
    """Multiply-accumulates in billions, in three digits.

    >>> _giga(4_089_184_256), _giga(568_740_352), _giga(416_520), _giga(None)
    ('4.09', '0.57', '<0.01', '')
    """
    if macs is None:
        return ""
    return "<0.01" if macs < 1e7 else f"{macs / 1e9:.{2 if macs < 1e10 else 1}f}"


def _tell(console: Console, about: ModelInfo) -> None:
    rows = {
        "": about.description,
        "year": about.year,
        "input": "×".join(map(str, about.input_shape)),
        "parameters": about.parameters and f"{about.parameters:,}",
        "buffers": about.buffers and f"{about.buffers:,} values: running means and variances",
        "work": about.macs and f"{about.macs:,} multiply-accumulates for one image",
        "options": ", ".join(f"{name}={value!r}" for name, value in about.options.items()),
    }
    console.print(about.name, style="bold", highlight=False)
    for name, text in rows.items():
        if text:
            console.print(
                f"  {name:<12}{text}" if name else f"  {text}", highlight=False, soft_wrap=True, markup=False
            )
    weights = minicnn.models.get_model_weights(about.name)
    console.print(f"  {'weights':<12}{'' if weights else 'none published'}", highlight=False)
    for row in weights:
        best = ", the DEFAULT" if row is weights[-1] else ""
        size = f", {row.size * 1.048576:.0f} MB" if row.size else ""
        console.print(
            f"    {row.name} of {row.publisher}{best}: top-1 {row.top1:.2f} %, top-5 {row.top5:.2f} %{size}\n"
            f"      {row.url}\n"
            f"      {_words(row)}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


def _words(row: Published) -> str:
    how = row.preprocessing
    return (
        f"images: shorter side to {how.resize} ({how.interpolation}), middle {how.crop}×{how.crop}, "
        f"mean {how.mean}, std {how.std}"
    )


def _plain(about: ModelInfo) -> dict[str, Any]:
    """All that is known of a network as dictionaries, lists and numbers."""
    from dataclasses import asdict

    weights = minicnn.models.get_model_weights(about.name)
    return {**asdict(about), "weights": [asdict(row) for row in weights]}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    known = minicnn.models.list()
    parser.add_argument(
        "model", metavar="NAME", nargs="?", type=one_of(known), help="tell all about this one"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
