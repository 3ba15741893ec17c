"""What is kept: results/NAME.csv, one row for each thing measured, and results/NAME.json, the machine.

Every row says when it was measured and on which commit, so that rows can be measured anew one by one. Two
machines, or two versions of a library, never share a file.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.problem import Problem, write_whole

FOLDER = Path(__file__).parent / "results"

Row = dict[str, Any]


class Results(NamedTuple):
    """The rows of one benchmark, numbers as numbers, and the machine they were taken on."""

    rows: list[Row]
    machine: dict[str, Any]


def load(name: str, folder: Path = FOLDER) -> Results | None:
    """The kept results of a benchmark, or None; Problem where the files are not what save writes."""
    table, about = folder / f"{name}.csv", folder / f"{name}.json"
    if not table.exists() or not about.exists():
        return None
    try:
        described = json.loads(about.read_text(encoding="utf-8"))
        with table.open(encoding="utf-8", newline="") as file:
            rows = [{key: _parsed(key, text) for key, text in row.items()} for row in csv.DictReader(file)]
    except ValueError as error:
        raise Problem(f"{about}: {error}") from None
    if not rows:
        raise Problem(f"{table}: there are no rows in it")
    return Results(rows, described)


def kept(name: str, described: dict[str, Any], folder: Path | None) -> list[Row]:
    """The rows of before, to go on from; Problem where they are of another machine or other settings."""
    found = load(name, folder) if folder else None
    if folder is None or found is None:
        return []
    check_same(name, found.machine, described, folder)
    return found.rows


def save(name: str, rows: list[Row], described: dict[str, Any], key: tuple[str, ...], folder: Path) -> None:
    """Keep rows: new ones in place of those that agree in ``key``, and of the rest in their old order.

    Raises Problem if the rows that are there were taken on another machine or with other versions.
    """
    before = load(name, folder)
    old = before.rows if before else []
    replaced = {tuple(row[part] for part in key) for row in rows}
    left = [row for row in old if tuple(row[part] for part in key) not in replaced]
    if before and left:
        check_same(name, before.machine, described, folder)
    merged = []
    for row in old:  # in the old order, as far as there is one
        same = tuple(row[part] for part in key)
        if same in replaced:
            merged += [new for new in rows if tuple(new[part] for part in key) == same]
            replaced.discard(same)
        elif row in left:
            merged.append(row)
    merged += [row for row in rows if row not in merged]
    text = io.StringIO()
    columns = list(dict.fromkeys(column for row in merged for column in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{name: _written(value) for name, value in row.items()} for row in merged])
    write_whole(folder / f"{name}.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    write_whole(folder / f"{name}.csv", text.getvalue())


def check_same(name: str, kept: dict[str, Any], described: dict[str, Any], folder: Path) -> None:
    """Raise Problem unless two descriptions are of the same machine, versions and settings."""
    described = json.loads(json.dumps(described))
    for what in machine.SAME:
        if kept.get(what) != described.get(what):
            raise Problem(
                f"{folder / name}.csv holds results with {what} {kept.get(what)!r}, but this is "
                f"{described.get(what)!r}; measure everything anew, or choose another folder with --out"
            )


def stamp() -> Row:
    """The columns that say when a row was measured, and what."""
    return {"date": machine.today(), "commit": machine.commit()}


def _written(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


TEXT = ("date", "commit", "ran")


def _parsed(key: str, text: str) -> Any:
    """A number where it is one; None where nothing was measured."""
    if key in TEXT:
        return text
    if text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
