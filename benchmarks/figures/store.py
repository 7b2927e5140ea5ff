"""The store of measured figures: one file a table, benchmarks/results/NAME.json.

    title        what was measured, in a line
    command      what makes it (a list where it takes several); the words RUN, RUNS, FILE, A, B, C stand for files
    measured     a date, or "transcribed from the page of DATE"
    stepsmith    {"version": ..., "commit": ...}; several commits in one text
    machine      processor and cores, in general words; no names of hosts, no paths
    other_jobs   whether other jobs ran beside it: true, false, or null where nobody wrote it down
    columns      [{"key": ..., "title": ..., and where wanted "printed", "digits", "merge", "from", "labels"}, ..]
                 "printed" is the title that the program prints, or the place of the column there (0, 1, ...)
                 "digits" the digits behind the point on the page
                 "merge" true: a cell that is the same as the one above it is shown as empty
                 "from" the place in a report's rows (report.py)
                 "labels" {cell as the program prints it: cell as the page shows it}
    rows         [{key: cell, ...}, ...]; a row with "hidden": true stands in no table, but figures may refer to it
    keys         where wanted, the columns by which a row is found when `--save NAME+` replaces it (default: the first)
    figures      {name: {"row": ..., "column": ..., and where wanted "digits", "part", "over", "as"}}

A figure is one cell.  "row" is the text in the first column, or {key: text, ...} where that is not enough.  "over" is
another {"row", "column"} by whose value it is divided; "as" is "percent_above" (1.04 is shown as 4) or "percent_below".
Cells are described in cells.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .cells import Number, number, parts, shown

RESULTS = Path(__file__).resolve().parents[1] / "results"
FIELDS = {
    "title": str, "command": (str, list), "measured": str, "stepsmith": dict, "machine": str,
    "other_jobs": (bool, type(None)), "columns": list, "rows": list,
}  # fmt: skip
OPTIONAL = {"figures", "note", "keys"}
PARTS = ("all", "value", "bracketed", "interval", "low", "high", "aside")
AS = ("percent_above", "percent_below")


def names() -> list[str]:
    """The names of all stored tables."""
    return sorted(path.stem for path in RESULTS.glob("*.json"))


def load(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """A stored table, its fields checked; ValueError names what is wrong."""
    path = folder / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"there is no benchmarks/results/{name}.json")
    with path.open(encoding="utf-8") as file:
        found = json.load(file, parse_float=Number, parse_int=Number)
    check(name, found)
    return found


def check(name: str, table: dict[str, Any]) -> None:
    """ValueError if a field is missing, unknown or of the wrong kind, or if a row has a key that no column has."""
    for field, kind in FIELDS.items():
        if not isinstance(table.get(field, ...), kind) or (kind is str and not table[field]):
            raise ValueError(f"benchmarks/results/{name}.json: the field {field!r} is missing or of the wrong kind")
    if unknown := table.keys() - FIELDS.keys() - OPTIONAL:
        raise ValueError(f"benchmarks/results/{name}.json: unknown fields {sorted(unknown)}")
    if table["stepsmith"].keys() != {"version", "commit"}:
        raise ValueError(f"benchmarks/results/{name}.json: 'stepsmith' has to hold 'version' and 'commit'")
    keys = [column["key"] for column in table["columns"]]
    if len(set(keys)) < len(keys):
        raise ValueError(f"benchmarks/results/{name}.json: two columns have one key")
    for column in table["columns"]:
        if unknown := column.keys() - {"key", "title", "printed", "digits", "merge", "from", "labels"}:
            raise ValueError(f"benchmarks/results/{name}.json: a column has unknown fields {sorted(unknown)}")
    for row in table["rows"]:
        if unknown := row.keys() - {*keys, "hidden"}:
            raise ValueError(f"benchmarks/results/{name}.json: a row has keys {sorted(unknown)} that no column has")


def markdown(table: dict[str, Any]) -> str:
    """The rows of a stored table that are not hidden, as a Markdown table."""
    columns = table["columns"]
    lines = ["| " + " | ".join(column["title"] for column in columns) + " |", "|" + "---|" * len(columns)]
    above: dict[str, Any] = {}
    for row in table["rows"]:
        if not row.get("hidden"):
            new = [not c.get("merge") or row.get(c["key"]) != above.get(c["key"]) for c in columns]
            cells = [shown(row.get(c["key"]), digits(c)) if n else "" for n, c in zip(new, columns, strict=True)]
            lines.append("| " + " | ".join(cells) + " |")
            above = row
    return "\n".join(re.sub(r"\|  (?=\|)", "| ", line) for line in lines)


def digits(column: dict[str, Any]) -> int | None:
    """The digits that are asked for, of a column or a figure."""
    return int(column["digits"]) if "digits" in column else None


def cell(table: dict[str, Any], row: Any, column: str) -> Any:
    """The cell of one row and column; ValueError if there is no such row or column, or more than one row."""
    if column not in [c["key"] for c in table["columns"]]:
        raise ValueError(f"there is no column {column!r} in {table['title']!r}")
    wanted = row if isinstance(row, dict) else {table["columns"][0]["key"]: row}
    found = [r for r in table["rows"] if all(shown(r.get(k)) == text for k, text in wanted.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows are {wanted} in {table['title']!r}, where one is meant")
    return found[0].get(column)


def figure(table: dict[str, Any], name: str) -> str:
    """A single figure of a stored table, as it stands on a page."""
    if name not in table.get("figures", {}):
        raise ValueError(f"there is no figure {name!r} in {table['title']!r}")
    asked = table["figures"][name]
    if unknown := asked.keys() - {"row", "column", "digits", "part", "over", "as"}:
        raise ValueError(f"the figure {name!r} of {table['title']!r} has unknown fields {sorted(unknown)}")
    found, places, part = cell(table, asked["row"], asked["column"]), digits(asked), asked.get("part", "all")
    if part not in PARTS:
        raise ValueError(f"the figure {name!r}: 'part' is {part!r}, and has to be one of {PARTS}")
    if "over" not in asked and "as" not in asked:
        return shown(found, places, part)
    value = parts(found)["value"].decimal
    if "over" in asked:
        value /= parts(cell(table, asked["over"]["row"], asked["over"]["column"]))["value"].decimal
    if "as" in asked:
        if asked["as"] not in AS:
            raise ValueError(f"the figure {name!r}: 'as' is {asked['as']!r}, and has to be one of {AS}")
        value = (value - 1) * (100 if asked["as"] == "percent_above" else -100)
    return number(Number(value), places or 0)


def dumped(table: dict[str, Any]) -> str:
    """The text of the file: a row, a column or a figure a line."""
    lines = []
    for field, content in table.items():
        if isinstance(content, (list, dict)) and field in ("columns", "rows"):
            inner = ",\n  ".join(_json(item) for item in content)
            lines.append(f' "{field}": [\n  {inner}\n ]')
        elif field == "figures":
            inner = ",\n  ".join(f"{_json(key)}: {_json(item)}" for key, item in content.items())
            lines.append(f' "{field}": {{\n  {inner}\n }}')
        else:
            lines.append(f' "{field}": {_json(content)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _json(content: Any) -> str:
    """JSON in one line, numbers with the digits that they have."""
    if isinstance(content, Number):
        return str(content)
    if isinstance(content, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {_json(v)}" for k, v in content.items()) + "}"
    if isinstance(content, list):
        return "[" + ", ".join(map(_json, content)) + "]"
    return json.dumps(content, ensure_ascii=False)


def write(name: str, table: dict[str, Any]) -> Path:
    """Check a table and write its file."""
    check(name, table)
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(dumped(table), encoding="utf-8")
    return path
