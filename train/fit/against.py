"""The recommended solver beside the default one and beside SciPy, on the same instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..evaluate.splits import Split
from . import clock
from .candidates import Candidate
from .report import Row


def against_default(chosen: Candidate, plain: Candidate, mine: Split, theirs: Split, error: float) -> dict[str, Any]:
    """The recommended solver over the default one, each at its tolerance for the wanted error.

    mine, theirs: the test instances under the method of each.
    """
    point, ours = plain.at(error), chosen.at(error)
    said: dict[str, Any] = {"method": plain.method, "controller": plain.name}
    if point is None or ours is None:
        return {**said, "reached": False}
    times = clock.seconds({
        "ours": clock.ours(mine, chosen.controller, ours.rtol),
        "theirs": clock.ours(theirs, plain.controller, point.rtol),
    })  # fmt: skip
    pairs = ((mine, chosen.controller, ours.rtol), (theirs, plain.controller, point.rtol))
    runs = [split.sweep(controller, np.array([rtol])) for split, controller, rtol in pairs]
    counts = [clock.counts(run.err[:, 0], run.nfev[:, 0]) for run in runs]
    return {
        **said, "reached": True, "rtol": point.rtol,
        "error": float(np.quantile(runs[1].err, 0.9, method="higher")),
        "nfev": clock.ratio(counts[0], counts[1]).to_json(),
        "wall": clock.ratio(times["ours"], times["theirs"]).to_json(),
        "seconds": float(np.exp(np.log(times["theirs"]).mean())),
    }  # fmt: skip


def against_row(rows: Sequence[Row], default: tuple[str, str]) -> dict[str, Any] | None:
    """As `against_default`, from the row of the `default` method and law in the table, None where there is none: one
    measurement, told once as this ratio and once as its inverse.
    """
    row = next((row for row in rows if (row.method, row.controller) == default), None)
    if row is None:
        return None
    return {
        "method": row.method, "controller": row.controller, "reached": True, "rtol": row.rtol, "error": row.error,
        "nfev": row.nfev_ratio.inverse().to_json(), "wall": row.wall_ratio.inverse().to_json(), "seconds": row.seconds,
    }  # fmt: skip


def against_scipy(
    base: tuple[str, float | None, float | None],
    chosen: Candidate,
    valid: Split,
    test: Split,
    wanted: float,
    tight: float,
) -> dict[str, Any]:
    """The recommended solver over SciPy, both at the error that SciPy has at its tolerance; where that is open, each
    at its tolerance for the wanted error.

    SciPy's is then the loosest of a grid of eight a decade, down to `tight`, at which nine of ten of 16 validation
    instances have the error, a milder rule than the recommended solver's.  Its absolute tolerance stands to the
    relative one as the family says, as the recommended solver's does, unless the baseline names one.
    """
    method, rtol, factor = base
    factor = valid.family.atol_factor if factor is None else factor
    host = clock.SciPy(test, method)
    some = list(range(min(16, len(test.batch))))
    said: dict[str, Any] = {"rtol": rtol}
    if rtol is None:
        rtol = _tolerance(clock.SciPy(valid, method), factor, wanted, max(30.0 * wanted, chosen.rtols[0]), tight)
        if rtol is None:
            return {**said, "error": None, "reached": False}
        error, point = host.error(rtol, factor * rtol, some), chosen.at(wanted)
    else:
        error = host.error(rtol, factor * rtol, some)
        point = chosen.at(error) if np.isfinite(error) else None
    said = {"rtol": rtol, "atol": factor * rtol, "error": error if np.isfinite(error) else None}
    if point is None:
        return {**said, "reached": False}
    mine = clock.ours(test, chosen.controller, point.rtol)
    sides = {"ours": [mine[i] for i in some], "theirs": [host.call(i, rtol, factor * rtol) for i in some]}
    times = clock.seconds(sides, rounds=3)
    return {
        **said, "reached": True, "our_rtol": point.rtol,
        "wall": clock.ratio(times["ours"], times["theirs"]).to_json(),
        "seconds": float(np.exp(np.log(times["theirs"]).mean())),
    }  # fmt: skip


def _tolerance(host: clock.SciPy, factor: float, wanted: float, loose: float, tight: float) -> float | None:
    """The loosest of a grid of tolerances from `loose` to `tight` at which nine of ten validation instances have the
    wanted error; None where none has.
    """
    some = list(range(min(16, len(host.split.batch))))
    for k in range(8, 8 * 14):
        rtol = 10.0 ** (-k / 8.0)
        if rtol < tight:
            return None
        if rtol <= loose and host.error(rtol, factor * rtol, some) <= wanted:
            return rtol
    return None
