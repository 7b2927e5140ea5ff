"""The recommended solver beside SciPy, on the same instances."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..evaluate.splits import Split
from . import clock
from .candidates import Candidate


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
