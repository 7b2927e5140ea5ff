"""Rows of a stored table from what `stepsmith compare FAMILY --json` printed.

    python benchmarks/pages.py --store NAME REPORT.json --command "stepsmith compare ..." [--other-jobs yes|no]

Each column of the stored table whose rows are to be taken has "from", a place in the report's rows: "nfev", "work",
"wall" or "single" (a ratio with its interval), "nfev.matched.gmean", "worst_1pct" and so on, with dots between.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from . import save, store
from .cells import Number

DIGITS = 3


def stored(name: str, file: Path, command: str, other_jobs: bool | None) -> Path:
    """Replace the rows of the stored table `name` by those of a report; hidden rows are those of figures alone."""
    table, report = store.load(name), json.loads(file.read_text(encoding="utf-8"))
    if missing := [c["key"] for c in table["columns"] if "from" not in c]:
        raise ValueError(f'benchmarks/results/{name}.json: the columns {missing} have no "from", a place in the report')
    first = table["columns"][0]["key"]
    shown = [store.shown(row[first]) for row in table["rows"] if not row.get("hidden")]
    hidden = {store.shown(row[first]) for row in table["rows"] if row.get("hidden")}
    best_first = sorted(report["rows"], key=lambda row: row["nfev"]["ratio"])
    rows = [{c["key"]: cell(row, c["from"]) for c in table["columns"]} for row in best_first]
    kept = rows[: len(shown)] + [{**row, "hidden": True} for row in rows[len(shown) :] if row[first] in hidden]
    table |= {
        "command": command, "measured": datetime.date.today().isoformat(), "machine": save.machine(),
        "stepsmith": {**save.version(), "commit": str(report["commit"])[:12]}, "other_jobs": other_jobs, "rows": kept,
    }  # fmt: skip
    for figure in table.get("figures", {}):
        store.figure(table, figure)
    return store.write(name, table)


def cell(row: dict[str, Any], place: str) -> Any:
    """The cell at a place of a report's row; null where it was not measured."""
    if place == "failures":
        return f"{row['failures']}/{row['runs']}"
    found: Any = row
    for key in place.split("."):
        if not isinstance(found, dict) or key not in found:
            if found is None:
                return "-"
            raise ValueError(f"a row of the report has no {place!r}")
        found = found[key]
    if isinstance(found, dict):
        found = [found[key] for key in ("ratio", "low", "high")]
        return "-" if None in found else [number(value) for value in found]
    if place.endswith("_share"):
        return {"value": number(100 * found, 1), "after": " %"}
    if isinstance(found, (int, float)):
        return number(found, 2)
    return "-" if found is None else found


def number(value: float, digits: int = DIGITS) -> Number:
    """A number with as many digits as pages show."""
    return Number(f"{value:.{digits}f}")
