"""A family's tuned law: the general linear law that `stepsmith tune` found for a family and a method.

Each is a small JSON file, `<family>-<method>.json`: the law's coefficients, and what the search was (seed, budget,
versions, measured ratios).  Files of one's own, in `$STEPSMITH_DATA_DIR/tuned` (by default
`~/.local/share/stepsmith/tuned`), come before those that are shipped in `zoo/tuned`.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...integrators.core.contract import ACCEPT_MAX
from ...integrators.core.errors import outside, shown
from ...integrators.core.reading import parse_json, read_bytes
from .. import in_place
from .coefficients import SPECS
from .law import Law
from .values import json_values

SCHEMA = 1
SHIPPED = Path(__file__).resolve().parents[1] / "zoo" / "tuned"


def user_folder() -> Path:
    """Folder of the laws tuned by this user; it need not exist."""
    base = os.environ.get("STEPSMITH_DATA_DIR")
    if base is None:
        base = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "stepsmith")
    return Path(base) / "tuned"


def file_name(family: str, method: str) -> str:
    """Name of the file of a family and method."""
    return f"{family}-{method}.json"


def find(family: str, method: str) -> Path | None:
    """The file of a family and method, the user's own first; None where there is none."""
    for folder in (user_folder(), SHIPPED):
        path = folder / file_name(family, method)
        if path.is_file():
            return path
    return None


def names() -> list[str]:
    """Every family and method that has a tuned law, as "family-method", sorted."""
    return sorted(
        {path.stem for folder in (user_folder(), SHIPPED) if folder.is_dir() for path in folder.glob("*-*.json")}
    )


def tuned(family: str, method: Any = None) -> Law:
    """The tuned law of a family, or a suite, and a method (default: its own).

    Raises ValueError for an unknown family, a damaged file, and where nothing was tuned yet, naming the command that
    does it.
    """
    from ...integrators import problems
    from ...integrators.problems import suites

    family, method = suites.called(family), suites.members(family, method)[1]
    path = find(family, method)
    if path is None:
        command = f"stepsmith tune {family} --method {method}"
        raise ValueError(f"no tuned law for family {family!r} with method {method!r}: make one with `{command}`")
    law, data = read(path)
    if not suites.is_suite(family) and not problems.ships(family):
        _check_same(family, path, data.get("fingerprint"))
    return law


_WARNED: set[tuple[str, str]] = set()


def _check_same(name: str, path: Path, made_for: Any) -> None:
    """A warning, once, where a law was tuned on another family of this name, or on this one before it changed."""
    from ...integrators import problems
    from ...integrators.problems.fingerprint import fingerprint

    found = fingerprint(problems.family(name))
    if made_for in (None, found) or (str(path), found) in _WARNED:
        return
    _WARNED.add((str(path), found))
    warnings.warn(
        f"{path} was tuned on another family called {name!r}, or on this one before it changed: the law is valid, and "
        f"may be slow; tune again with `stepsmith tune`",
        UserWarning,
        stacklevel=outside(),
    )


def write(path: Path, law: Law, facts: Mapping[str, Any]) -> None:
    """Write a linear law and the facts of its search (JSON values), replacing the file in one move.

    What the law accepts is written as at most `ACCEPT_MAX`, which is what `read` takes.
    """
    if law.kind != "linear":
        raise ValueError(f"law {law.name!r} is of kind {law.kind!r}; only linear laws are tuned")
    values = json_values({**law.values, "accept_err": bounded(law)})
    data = {"schema": SCHEMA, "law": {"rules": law.rules, "values": values}, **facts}
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    in_place.write(path, text.encode())


def bounded(law: Law) -> float:
    """The scaled error up to which a file may let a law accept: its own, at most `ACCEPT_MAX`."""
    return min(law["accept_err"], ACCEPT_MAX)


def read(path: str | Path) -> tuple[Law, dict[str, Any]]:
    """(the law, named "tuned"; everything in the file), a regular file of at most `reading.MAX_JSON` bytes.

    Raises ValueError naming the file and what is wrong with it, and FileNotFoundError where there is none.
    """
    path = Path(path)
    raw = read_bytes(path, "tuned law")
    try:
        data = parse_json(raw, "file")
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(
                f"schema {shown(data.get('schema') if isinstance(data, dict) else None)}, expected {SCHEMA}"
            )
        stored = data["law"]
        missing = [k for k in SPECS["linear"] if k in ("safety", "b1", "accept_err") and k not in stored["values"]]
        if missing:
            raise ValueError(f"coefficients {', '.join(missing)} are missing")
        values = {k: math.inf if v == "inf" else v for k, v in stored["values"].items()}  # JSON has no infinity
        law = Law(
            "tuned", "linear", values, str(stored["rules"]), str(data.get("doc", "")), str(data.get("source", ""))
        )
        # what ships was measured where it is used
        if law["accept_err"] > ACCEPT_MAX and path.resolve().parent != SHIPPED:
            raise ValueError(f"it accepts errors far above the tolerance: accept_err must be at most {ACCEPT_MAX:g}")
    except KeyError as error:
        raise ValueError(f"{path}: not a tuned law: {error.args[0]!r} is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a tuned law: {error}") from None
    method = data.get("method")
    law = law.specialised()
    object.__setattr__(law, "trained_method", method if isinstance(method, str) and method else None)
    return law, data
