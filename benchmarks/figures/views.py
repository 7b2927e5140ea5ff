"""Views: short tables whose cells come from stored tables.  A page names a view as it names a stored table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import store
from .cells import parts, shown


def hosts_short() -> str:
    """Evaluations and time in every host, without intervals: the table of README.md."""
    head = ["host", "family", "the host's default", "best published law", "tuned", "learned"]
    lines = [head, ["---"] * len(head)]
    for family in ("species", "kuramoto"):
        table = store.load(f"hosts_{family}")
        rows = [row for row in table["rows"] if row["controller"] != "universal_law"]
        for host in dict.fromkeys(row["host"] for row in rows):
            mine = [row for row in rows if row["host"] == host]
            pairs = [", ".join(shown(row[k], part="value") for k in ("work", "time")) for row in mine]
            name = {"scipy": "SciPy"}.get(host, host)
            lines.append([name, family, "1, 1", *pairs[1:]])
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

VIEWS: dict[str, Callable[[], str]] = {"hosts_short": hosts_short, "trainings_short": trainings_short}


def _joined(lines: list[Any]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|")
