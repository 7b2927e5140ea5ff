"""What a tuner has learned: as a report, and as a JSON file with which a sweep goes on."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...integrators.core import options
from ...integrators.core.errors import OptionError, refuse
from ...integrators.core.reading import read_json
from .. import in_place
from .arms import label

if TYPE_CHECKING:
    from .online import Tuner

SCHEMA = 1
#: bytes of a file: some tens of millions of rounds
LARGEST_FILE = 2**31


def report(tuner: Tuner) -> dict[str, Any]:
    """Plays and costs, as JSON values.

    "bandit": its name; "rounds"; "failures": rounds that failed; "too_large": those whose error was above
    `wanted_error`; "mean_cost": of the rounds that did not fail (None without any).  "arms", a list in the order of the
    arms: "arm" (in words), "plays", "share" of all plays, "failures", "too_large", "mean_cost", and "told", the mean of
    what the bandit was told, penalties included.  "best": the index of the arm with the least "told" among those with
    at least a quarter of an even share of the plays, None before the first cost.  "outside": contexts out of range, of
    a bandit that reads them.
    """
    history = np.array(tuner.history, dtype=np.float64).reshape(-1, 4)
    played, cost, told, large = history.T
    rows: list[dict[str, Any]] = []
    for i, arm in enumerate(tuner.arms):
        mine = played == i
        plays = int(mine.sum())
        rows.append({
            "arm": label(arm), "plays": plays, "share": plays / len(history) if len(history) else 0.0,
            "failures": int(np.isnan(cost[mine]).sum()), "too_large": int(large[mine].sum()),
            "mean_cost": _mean(cost[mine]), "told": _mean(told[mine]),
        })  # fmt: skip
    enough = [
        (row["told"], i)
        for i, row in enumerate(rows)
        if row["told"] is not None and 4 * len(rows) * row["plays"] >= len(history)
    ]
    outside = {"outside": tuner.bandit.outside} if hasattr(tuner.bandit, "outside") else {}
    return {
        "bandit": tuner.bandit.name, "rounds": len(history), "failures": int(np.isnan(cost).sum()),
        "too_large": int(large.sum()), "mean_cost": _mean(cost), "best": min(enough)[1] if enough else None,
        "arms": rows, **outside,
    }  # fmt: skip


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def save(tuner: Tuner, path: str | os.PathLike[str]) -> None:
    """Write the tuner's state to `path`, JSON, in one move; OptionError while an arm is out."""
    if tuner.out:
        raise OptionError("an arm is out: tell its cost before the tuner is saved")
    history = [[i, _null(cost), _null(told), int(large)] for i, cost, told, large in tuner.history]
    data = {
        "schema": SCHEMA, "arms": [label(arm) for arm in tuner.arms], "wanted_error": tuner.wanted_error,
        "bandit": tuner.bandit.state(), "history": history,
    }  # fmt: skip
    in_place.write(Path(path), (json.dumps(data, allow_nan=False) + "\n").encode())


def load(tuner: Tuner, path: str | os.PathLike[str]) -> None:
    """Give the tuner the state that `save` wrote.

    Raises FileNotFoundError where there is no file, and ValueError that names it, with nothing changed, where it is
    damaged or of a tuner with other arms, another bandit or another wanted_error.
    """
    if tuner.out:
        raise OptionError("an arm is out: tell its cost before a file is loaded")
    data = read_json(path, "tuner's state", LARGEST_FILE)
    try:
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise OptionError(f"it is no tuner's state of schema {SCHEMA}")
        if data.get("arms") != [label(arm) for arm in tuner.arms]:
            raise OptionError("its arms are not those of this tuner")
        if data.get("wanted_error") != tuner.wanted_error:
            raise OptionError(f"its wanted_error is {data.get('wanted_error')!r}, this tuner's {tuner.wanted_error!r}")
        history = _history(data.get("history"), len(tuner.arms))
        if not isinstance(data.get("bandit"), dict):
            raise refuse("bandit", "a mapping", data.get("bandit"))
        tuner.bandit.restore(data["bandit"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    tuner.take(history)


def _history(rows: Any, arms: int) -> list[tuple[int, float, float, bool]]:
    if not isinstance(rows, list):
        raise refuse("history", "a list", rows)
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 4:
            raise refuse("a round of the history", "four values", row)
        arm = options.count("arm", row[0], low=0, high=arms - 1)
        cost, told = (math.nan if x is None else options.number("cost", x) for x in row[1:3])
        found.append((arm, cost, told, bool(options.count("too_large", row[3], low=0, high=1))))
    return found


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
