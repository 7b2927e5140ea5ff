"""`--save NAME` for every script that prints a Markdown table: the printed rows go into benchmarks/results/NAME.json.

    args = parsed(parser)              # in the place of parser.parse_args()

What is printed is read along, and stored when the program ends without an error: one name a table, in the order in
which they are printed, `-` for a table that is not wanted.  Of a file that is there title, columns and figures stay;
its rows, command, date, commit and machine are replaced.  `NAME+` keeps the rows that were not printed.  Printed
columns are found by their titles, or by "printed" of the stored column (a title, or a place from 0 on).
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import cells, store

ROOT = store.RESULTS.parents[1]
TABLE = re.compile(r"^\|.*\|\n\|(?:\s*:?-+:?\s*\|)+\n(?:\|.*\|\n?)*", re.MULTILINE)
BUSY = 1.5
"""A load average (of the last minute, as the program begins) from which on other jobs are said to run beside it."""


class Tee:
    """Standard output that is kept too."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.text = stream, ""

    def write(self, text: str) -> int:
        self.text += text
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments of the command line, with `--save` among the options."""
    parser.add_argument("--save", metavar="NAME[,NAME]", help="store the tables in benchmarks/results/NAME.json")
    args = parser.parse_args()
    if args.save:
        for name in args.save.split(","):
            if name != "-" and not re.fullmatch(r"[a-z]\w*\+?", name):
                parser.error(f"--save: {name!r} is no name: letters, digits and underscores, a letter first")
        tee, beside = Tee(sys.stdout), os.getloadavg()[0] > BUSY
        sys.stdout = tee
        atexit.register(_at_end, tee, args.save.split(","), beside)
    return args


def _at_end(tee: Tee, names: list[str], beside: bool) -> None:
    """Store what was printed, unless the program was ended by an error."""
    sys.stdout = tee.stream
    if isinstance(getattr(sys, "last_exc", None) or getattr(sys, "last_value", None), BaseException):
        print("--save: nothing is stored after an error", file=sys.stderr)
        return
    try:
        for path in stored(tee.text, names, beside):
            print(f"stored in {path.relative_to(ROOT)}; make pages writes the pages anew", file=sys.stderr)
    except ValueError as error:
        print(f"--save: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)


def stored(text: str, names: list[str], beside: bool | None) -> list[Path]:
    """Store the Markdown tables of a text under the names given."""
    found = [table[0] for table in TABLE.finditer(text)]
    if len(found) != len(names):
        raise ValueError(f"{len(found)} tables were printed, and {len(names)} names given")
    wanted = {name: block for name, block in zip(names, found, strict=True) if name != "-"}
    made = {n.rstrip("+"): _table(n.rstrip("+"), b, beside, n.endswith("+")) for n, b in wanted.items()}
    return [store.write(name, table) for name, table in made.items()]


def rows_of(block: str) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of a Markdown table."""
    lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.strip().splitlines()]
    uneven = [line for line in lines if len(line) != len(lines[0])]
    if uneven:
        raise ValueError(f"a row has {len(uneven[0])} cells where {len(lines[0])} columns are: {uneven[0]}")
    return lines[0], lines[2:]


def _table(name: str, block: str, beside: bool | None, add: bool) -> dict[str, Any]:
    """The stored table that a printed one becomes; `add` keeps the stored rows whose keys were not printed."""
    titles, rows = rows_of(block)
    known = store.load(name) if (store.RESULTS / f"{name}.json").is_file() else {}
    columns = known.get("columns") or [{"key": _key(title, i), "title": title} for i, title in enumerate(titles)]
    places = _places(name, columns, titles)
    made = [
        {c["key"]: c.get("labels", {}).get(row[i], cells.parsed(row[i])) for c, i in zip(columns, places, strict=True)}
        for row in rows
    ]
    if add:
        keys = known.get("keys", [columns[0]["key"]])
        place = {tuple(row.get(k) for k in keys): i for i, row in enumerate(known.get("rows", []))}
        stored_rows = list(known.get("rows", []))
        for row in made:
            at = place.get(tuple(row.get(k) for k in keys))
            stored_rows = [*stored_rows, row] if at is None else [*stored_rows[:at], row, *stored_rows[at + 1 :]]
        made = stored_rows
    before = known.get("command") if add else None
    commands = [before] if isinstance(before, str) else list(before or [])
    commands = [*(c for c in commands if c != command(sys.argv)), command(sys.argv)]
    return {
        "title": known.get("title", name.replace("_", " ")),
        "command": commands if len(commands) > 1 else commands[0],
        "measured": datetime.date.today().isoformat(),
        "stepsmith": version(),
        "machine": machine(),
        "other_jobs": beside,
        **{field: known[field] for field in ("note", "keys") if field in known},
        "columns": columns,
        "rows": made,
        **{field: known[field] for field in ("figures",) if field in known},
    }


def _places(name: str, columns: list[dict[str, Any]], titles: list[str]) -> list[int]:
    """For every stored column the place of the printed one; printed columns that nobody stores are left out."""
    places = []
    for column in columns:
        wanted = column.get("printed", column["title"])
        if isinstance(wanted, cells.Number) and int(wanted) < len(titles):
            places.append(int(wanted))
        elif titles.count(wanted) == 1:
            places.append(titles.index(wanted))
        elif titles.count(wanted) > 1 and [c["title"] for c in columns] == titles:
            places.append(len(places))
        else:
            raise ValueError(f"{name}: the columns {titles} were printed, and none of them, or several, are {wanted!r}")
    return places


def _key(title: str, place: int) -> str:
    """The key of a column with this title."""
    return re.sub(r"\W+", "_", title.lower()).strip("_") or f"column_{place}"


def command(argv: list[str]) -> str:
    """The command that is running, without `--save`."""
    words, skip = [], False
    for word in argv[1:]:
        if not skip and not word.startswith("--save"):
            words.append(word)
        skip = word == "--save"
    path = Path(argv[0]).resolve()
    script = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return shlex.join(["python", script, *words])


def version() -> dict[str, str]:
    """Stepsmith's version and commit."""
    text = (ROOT / "stepsmith" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    asked = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {"version": found[1] if found else "unknown", "commit": asked.stdout.strip() or "unknown"}


def machine() -> str:
    """Processor and cores, in general words."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    found = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    return f"{os.cpu_count()} cores, {found[1].strip() if found else 'processor unknown'}"
