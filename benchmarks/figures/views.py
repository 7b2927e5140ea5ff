"""Views: short tables whose cells come from stored tables.  A page names a view as it names a stored table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import store
from .cells import parts, shown


def hosts_short() -> str:
    """Evaluations and time in every host, without intervals: the table of README.md."""
    head = ["host", "family", "the host's default", "best published law", "tuned", "learned"]
    lines = [head, ["---"] * len(head)]
    for name in SOURCES["hosts_short"]:
        table, family = store.load(name), name.removeprefix("hosts_")
        rows = [row for row in table["rows"] if row["controller"] != "universal_law"]
        for host in dict.fromkeys(row["host"] for row in rows):
            mine = [row for row in rows if row["host"] == host]
            pairs = [", ".join(shown(row[k], part="value") for k in ("work", "time")) for row in mine]
            label = {"scipy": "SciPy"}.get(host, host)
            lines.append([label, family, "1, 1", *pairs[1:]])
    return _joined(lines)


def trainings_short() -> str:
    """Whole trainings by torchdiffeq's examples under the one line: the table of README.md."""
    head = ["training", "torchdiffeq's law", "error", "`universal`", "error", "quality: default, its law, `universal`"]
    lines = [head, ["---"] * len(head)]
    table = store.load("foreign_training")
    labels = {
        "MNIST-5k": "ODE-net, MNIST-5k, 1e-3", "spirals": "latent ODE, spirals, 1e-7",
        "pbcseq": "latent ODE, pbcseq, 1e-7",
    }  # fmt: skip
    for task, label in labels.items():
        row = {c: {"task": task, "host": "torchdiffeq", "controller": c} for c in (DEFAULT, OWN, UNIVERSAL)}
        cells = [label]
        for c in (OWN, UNIVERSAL):
            cells += [shown(store.cell(table, row[c], "work"), 2), shown(store.cell(table, row[c], "error"))]
        first = store.cell(table, row[DEFAULT], "quality")
        places = 3 if parts(first)["value"].decimal < 1 else 2
        rest = [shown(store.cell(table, row[c], "quality"), places) for c in (OWN, UNIVERSAL)]
        lines.append([*cells, ", ".join([shown(first, places), *rest])])
    return _joined(lines)


DEFAULT, OWN, UNIVERSAL = "default", "its own law, options", "universal, options"


def readme_sources() -> str:
    """When, at which commit and in what company every stored table behind README.md was measured, newest first."""
    head = ["file", "measured", "commit", "other jobs ran beside it"]
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    marked = [found.partition(".")[0] for found in re.findall(r"<!-- (?:table|figure) (\S+) -->", text)]
    tables = {name: store.load(name) for found in dict.fromkeys(marked) for name in SOURCES.get(found, (found,))}
    company = {True: "yes", False: "no", None: "not written down"}
    lines = [
        [f"`{name}`", t["measured"], t["stepsmith"]["commit"], company[t["other_jobs"]]]
        for name, t in sorted(tables.items(), key=lambda item: item[1]["measured"].startswith("transcribed"))
    ]
    return _joined([head, ["---"] * len(head), *lines])


VIEWS: dict[str, Callable[[], str]] = {
    "hosts_short": hosts_short, "trainings_short": trainings_short, "readme_sources": readme_sources,
}  # fmt: skip
SOURCES = {"hosts_short": ("hosts_species", "hosts_kuramoto"), "trainings_short": ("foreign_training",)}
"""The stored tables of the views that are short forms of some."""


def _joined(lines: list[Any]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|")
