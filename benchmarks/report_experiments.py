"""The section on experiments: for each that results are kept of, what it showed, and where its page is."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

from benchmarks import results
from benchmarks.experiments.all import ALL
from benchmarks.experiments.experiment import Experiment, Found
from benchmarks.experiments.harness import conclusions
from benchmarks.results import Results


def section(folder: Path, page: Path) -> str:
    """One item for each experiment, in the order in which all.py runs them; empty where nothing is kept."""
    place, items = folder / "experiments", []
    for name, experiment in ALL.items():
        if found := results.load(name, place):
            link = Path(os.path.relpath(place / f"{name}.md", page.parent)).as_posix()
            items.append(item(experiment, found, link))
    return "".join(items)


def item(experiment: Experiment, measured: Results, link: str) -> str:
    """A question, and the sentences that answer it."""
    found = Found(measured.rows)
    runs = min(found.count(name) for name in experiment.variants if found.has(name))
    text = f"**[{experiment.question}]({link})** ({runs} {'run' if runs == 1 else 'runs'} of each). "
    text += " ".join(conclusions(experiment, found))
    lines = textwrap.wrap(text, 104, break_long_words=False, break_on_hyphens=False)
    return "- " + "\n  ".join(lines) + "\n"
