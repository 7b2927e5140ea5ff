"""Source of the drivers: an ensemble over a queue of trajectories, and a single solve that keeps its steps.

A driver returns after a given number of attempts, finished or not, and goes on from there when it is called again:
between the calls Python answers an interrupt.
"""

from __future__ import annotations

from .layout import N_STATS, PACK
from .pieces import ensemble, single
from .templates import constants, text

#: arguments of `load` behind the lane and the instance
ARGS = "y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps"

#: places in the `place` of an ensemble's driver, int64
PLACE = ("cursor", "free", "stored", "entered")


def ensemble_source(wide: bool) -> str:
    """`run(A, params, ..., yend, stat, first, last, place, most)` (see `pieces.ensemble`).  wide: the processor has
    512-bit vectors.
    """
    places = {f"PLACE_{name.upper()}": i for i, name in enumerate(PLACE)}
    return constants(WIDE=wide, **places) + "\n\n" + text(ensemble)


def single_source(wide: bool = False) -> str:
    """`run_single(A, params, pack, tgrid, yout, ts, ys, rows)` (see `pieces.single`)."""
    places = {f"PACK_{name.upper()}": i for i, name in enumerate(PACK)}
    sizes = {"N_PACK": len(PACK), "PACK_HEAD": len(PACK) + N_STATS, "NSTATS": N_STATS}
    return constants(**places, **sizes) + "\n\n" + text(single)
