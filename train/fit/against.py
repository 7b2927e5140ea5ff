"""The recommended solver beside the default one and beside SciPy, on the same instances."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evaluate.splits import Split
from . import clock
from .candidates import Candidate


def against_default(chosen: Candidate, plain: Candidate, mine: Split, theirs: Split, error: float) -> dict[str, Any]:
    """The recommended solver over the default one, each at its tolerance for the wanted error.

    mine, theirs: the test instances under the method of each.
    """
    point, ours = plain.at(error), chosen.at(error)
    said: dict[str, Any] = {"method": plain.method, "controller": plain.name}
    if point is None or ours is None:
        return {**said, "reached": False}
    times = clock.seconds({
        "ours": clock.ours(mine, chosen.method, chosen.controller, ours.rtol),
        "theirs": clock.ours(theirs, plain.method, plain.controller, point.rtol),
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


def against_scipy(base: tuple[str, float, float], chosen: Candidate, test: Split) -> dict[str, Any]:
    """The recommended solver over SciPy at SciPy's tolerance, both at the error that SciPy has there."""
    method, rtol, atol = base
    host = clock.SciPy(test, method)
    some = list(range(min(16, len(test.batch))))
    error = host.error(rtol, atol, some)
    said = {"rtol": rtol, "atol": atol, "error": error if np.isfinite(error) else None}
    point = chosen.at(error) if np.isfinite(error) else None
    if point is None:
        return {**said, "reached": False}
    mine = clock.ours(test, chosen.method, chosen.controller, point.rtol)
    sides = {"ours": [mine[i] for i in some], "theirs": [host.call(i, rtol, atol) for i in some]}
    times = clock.seconds(sides, rounds=3)
    return {
        **said, "reached": True, "our_rtol": point.rtol,
        "wall": clock.ratio(times["ours"], times["theirs"]).to_json(),
        "seconds": float(np.exp(np.log(times["theirs"]).mean())),
    }  # fmt: skip
