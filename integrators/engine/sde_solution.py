"""What `solve_sde` returns: the paths of a stochastic differential equation, and how each of them went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..kernels import layout
from ..kernels.sde.build import MESSAGES, STATS


@dataclass(frozen=True)
class SDEStats:
    """Per path, int64 (paths,): nfev, ngev, evaluations of drift and diffusion; naccept, nreject; nfallback, decisions
    that a controller's base law took in its place; naccept_over, accepted attempts whose scaled error estimate exceeded
    1.  wall_s: seconds for all paths, without compilation.
    """

    nfev: np.ndarray
    ngev: np.ndarray
    naccept: np.ndarray
    nreject: np.ndarray
    nfallback: np.ndarray
    naccept_over: np.ndarray
    wall_s: float


@dataclass(frozen=True, repr=False)
class SDESolution:
    """Paths of a stochastic differential equation.

    t (k,): the output times, the end of the span alone without t_eval.
    y (paths, k, n): the states there, NaN where a path did not get that far.
    W, H (paths, k, d): the increments of the d Brownian motions from the start of the span to these times, and their
        space-time Levy areas over it: `problem.exact` takes them; NaN as y.
    status (paths,), success (paths,) bool, `message(i)`: how path i went.
    t_end (paths,), y_end (paths, n): the last good time and state of every path.
    tolerance_scale: what the controller multiplied the tolerances asked for by.
    Printed, it is a summary of some lines.
    """

    t: np.ndarray
    y: np.ndarray
    W: np.ndarray
    H: np.ndarray
    t_end: np.ndarray
    y_end: np.ndarray
    status: np.ndarray
    stats: SDEStats
    tolerance_scale: float = 1.0

    @property
    def success(self) -> np.ndarray:
        """(paths,) bool."""
        return self.status == layout.SUCCESS

    def message(self, i: int) -> str:
        """What happened to path i."""
        status = int(self.status[i])
        if status not in layout.MESSAGES:
            return MESSAGES[status]
        return layout.message(status, int(self.stats.naccept_over[i]), self.tolerance_scale)

    def __repr__(self) -> str:
        return "\n".join(_summary(self))


def counted(stat: np.ndarray, wall: float) -> SDEStats:
    """Statistics from the kernel's columns `STATS` (paths, ...)."""
    by = {name: stat[:, i].astype(np.int64) for i, name in enumerate(STATS) if name.startswith("n")}
    return SDEStats(nfev=by.pop("ndrift"), ngev=by.pop("ndiffusion"), wall_s=wall, **by)


def _summary(sol: SDESolution) -> Iterator[str]:
    count, failed = len(sol.status), int(np.count_nonzero(~sol.success))
    yield f"SDESolution of {count} paths: {count - failed} {layout.MESSAGES[layout.SUCCESS]}" + (
        f", {failed} failed" if failed else ""
    )
    for kind, size in zip(*np.unique(sol.status[~sol.success], return_counts=True), strict=True):
        first = int(np.flatnonzero(sol.status == kind)[0])
        yield f"  failed: {MESSAGES[int(kind)].partition(';')[0]} ({size}, first {first})"
    if count:
        stats = sol.stats
        rejected = stats.nreject.sum() / max(1, stats.naccept.sum() + stats.nreject.sum())
        yield (
            f"  evaluations of the drift: {stats.nfev.mean():.1f} on average, of the diffusion {stats.ngev.mean():.1f}"
            f"; {100 * rejected:.0f} % of the attempts rejected; {stats.wall_s / count:.2g} s a path"
        )
    yield "  " + ", ".join(f"{name} {getattr(sol, name).shape}" for name in ("t", "y", "W", "H"))
