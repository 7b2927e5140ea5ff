"""The leaderboard of a folder of records: aggregates over its protocols, and each protocol's ratios, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..run.runfiles import plain, put, write_json
from . import records
from .aggregate import Estimate, estimates
from .protocol import load, names
from .records import Table

#: columns of the first table: the figure's key, and what stands above it
COLUMNS = (
    ("iqm", "interquartile mean"), ("median", "median"), ("mean", "mean"), ("excess", "excess over the law"),
    ("better", "P(cheaper than the law)"),
)  # fmt: skip


def leaderboard(folder: str | Path, partial: bool = False, picture: bool = True) -> tuple[str, list[Path]]:
    """Make the leaderboard of a folder from its records alone; returns its Markdown and the files that were written:
    leaderboard.md, leaderboard.json and, where wanted, leaderboard.png.

    partial: leave incomplete rows out.  BenchError on records that do not belong together (`records.table`).
    """
    table = records.table(folder, partial)
    root = Path(folder)
    text = markdown(table)
    put(root / "leaderboard.md", lambda f: f.write(text.encode()))
    write_json(root / "leaderboard.json", as_json(table))
    files = [root / "leaderboard.md", root / "leaderboard.json"]
    if picture:
        from .picture import draw

        files.append(draw(table, root / "leaderboard.png"))
    return text, files


def by_iqm(table: Table) -> list[tuple[str, dict[str, Estimate]]]:
    """Rows with their aggregates, the cheapest first."""
    found = [(row, estimates(table.ratios(row))) for row in table.rows]
    return sorted(found, key=lambda pair: (pair[1]["iqm"].value, pair[0]))


def markdown(table: Table) -> str:
    """The leaderboard's text: aggregates, ratios by protocol, and what made them."""
    ordered = by_iqm(table)
    seeds = f"{len(table.seeds)} training seed{'s' if len(table.seeds) != 1 else ''}"
    told = "95 % intervals over seeds" if len(table.seeds) > 1 else "too few for intervals"
    lines = [
        "Work at equal error over that of the protocol's law, below 1 is cheaper: "
        f"{', '.join(table.protocols)}; {seeds} a row, {told}.",
        "",
        *_rows(["row", *(title for _, title in COLUMNS)],
               [[row, *(_interval(found[key]) for key, _ in COLUMNS)] for row, found in ordered]),
        "",
        "By protocol: the median seed, and the range over the seeds.",
        "",
        *_rows(["row", *table.protocols], [[row, *_by_protocol(table, row)] for row, _ in ordered]),
        "",
        "Without the charge for lost instances: the median seed, and the most instances that a seed and the law lost.",
        "",
        *_rows(["row", *table.protocols], [[row, *_without_charge(table, row)] for row, _ in ordered]),
        "",
        *(f"- {line}" for line in _made(table)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def as_json(table: Table) -> dict[str, Any]:
    """The same as plain data, with every ratio by row, protocol and seed."""
    rows = {}
    for row, found in by_iqm(table):
        each, fair = table.ratios(row), table.uncharged(row)
        rows[row] = {
            "aggregates": {k: vars(v) for k, v in found.items()},
            "ratios": {p: each[:, k].tolist() for k, p in enumerate(table.protocols)},
            "uncharged": {p: fair[:, k].tolist() for k, p in enumerate(table.protocols)},
        }
    return plain({"protocols": table.protocols, "seeds": table.seeds, "rows": rows, "made": _made(table)})


def _by_protocol(table: Table, row: str) -> list[str]:
    cells = []
    for column in table.ratios(row).T:
        ordered = np.sort(column)
        middle = ordered[(len(ordered) - 1) // 2]
        cells.append(f"{_number(middle)} ({_number(ordered[0])} to {_number(ordered[-1])})")
    return cells


def _without_charge(table: Table, row: str) -> list[str]:
    cells = []
    for p in table.protocols:
        found = [records.uncharged(table.records[p, row, s]) for s in table.seeds]
        ratios = sorted(math.inf if math.isnan(f[0]) else f[0] for f in found)
        lost, by_law = (max(f[k] for f in found) for k in (1, 2))
        middle = ratios[(len(ratios) - 1) // 2]
        cells.append(f"{_number(middle) if math.isfinite(middle) else 'none left'} ({lost}, {by_law})")
    return cells


def _made(table: Table) -> list[str]:
    """What made the records: digests, budgets, versions, commits, training time."""
    lines = []
    for p in table.protocols:
        several = [r for (q, _, _), r in table.records.items() if q == p]
        first = several[0]
        asked = sorted({r["training"]["asked"] for r in several if "training" in r})
        told = f"{asked[0]:,} env steps a trained run" if asked else "nothing trained here"
        if p in names() and asked and (own := load(p)).digest == first["digest"] and asked[0] != own.env_steps:
            told += f" (not the protocol's {own.env_steps:,}: a trial)"
        lines.append(
            f"`{p}`, digest `{first['digest'][:12]}`: {len(first['instances'])} test instances, "
            f"{len(first['no_reference'])} without a reference; {told}"
        )
    submitted = sorted({row for (_, row, _), r in table.records.items() if "training" not in r})
    if submitted:
        lines.append(f"submitted, so that the budget of their training is not known here: {', '.join(submitted)}")
    made = [r for r in table.records.values() if "training" in r]
    spent = sum(r["training"].get("cpu_seconds", 0.0) for r in made)
    lines.append(f"{len(table.records)} records, {spent / 60.0:.0f} minutes of a processor for training and measuring")
    versions = {f"{k} {v}" for r in table.records.values() for k, v in r["versions"].items() if k in _SAID}
    commits = {str(r.get("commit") or "unknown")[:12] for r in table.records.values()}
    lines.append(", ".join([*sorted(versions), f"commit {' and '.join(sorted(commits))}"]))
    return lines


_SAID = ("stepsmith", "numpy", "numba", "torch", "stable_baselines3", "cma", "cpu")


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


def _interval(e: Estimate) -> str:
    if math.isnan(e.low):  # one seed
        return _number(e.value)
    return f"{_number(e.value)} [{_number(e.low)}, {_number(e.high)}]"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "inf"
    return f"{value:.3f}" if abs(value) < 100.0 else f"{value:.3g}"
