"""The paths that `stepsmith/SDE-v0` plays: starts, parameters, Brownian motions, ends, and what the baseline makes of
them.

An instance is a start and parameters, and has several paths.  A path's motion comes from the tree, so that every
controller meets the same one, and its end is known: from the exact solution where there is one, else by equal steps,
`REFERENCE_STEPS` of them.  Instances of which a path's end differs by more than `SELF_ERROR` from that with half as
many steps, relative to the size of the components, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...controllers.laws.law import Law
from ...integrators.engine.sde import run_paths
from ...integrators.kernels.sde.build import OPTIONS
from ...integrators.methods import sde as methods
from ...integrators.noise.normal import keys
from ...integrators.problems.sde.family import SPLITS, SDEFamily
from ..pool import LARGEST, envelope_table

REFERENCE_STEPS, SELF_ERROR = 4096, 1e-2
#: attempts of a baseline's path
MAX_STEPS = 50_000


@dataclass(frozen=True, eq=False)
class SDEPool:
    """I instances of K paths each; path k of instance i stands in row i K + k.

    y0 (I K, n), p (I K, m), path_keys (I K,) int64; ref (I K, n): the states at the end.  size (I, n): root mean square
    of these over an instance's paths.  table, log_rtol, at_tol: as in `envs.pool.Pool`, of the geometric means over an
    instance's paths.  dropped: number of instances that are left out.
    """

    family: SDEFamily
    method: methods.SDEMethod
    y0: np.ndarray
    p: np.ndarray
    path_keys: np.ndarray
    ref: np.ndarray
    size: np.ndarray
    table: np.ndarray
    log_rtol: np.ndarray
    at_tol: np.ndarray
    dropped: int

    def span(self, rtol: tuple[float, float]) -> np.ndarray:
        """Log tolerances (I, 2) that episodes on each instance are drawn between: those of `rtol` = (loose, tight)."""
        return np.tile([np.log(rtol[1]), np.log(rtol[0])], (len(self.size), 1))


def make_pool(
    family: SDEFamily, method: methods.SDEMethod, baseline: Law, size: int, paths: int, split: str, seed: int,
    rtol: tuple[float, float], points: int = 12,
) -> SDEPool:  # fmt: skip
    """Draw `size` instances of a split with `paths` paths each, and solve their ends and the baseline at `points`
    tolerances around `rtol` = (loose, tight), a factor of three beyond it at both ends.

    ValueError where no instance is left.
    """
    y0, p = (np.repeat(a, paths, axis=0) for a in family.draw(size, seed, split))
    path_keys = keys(4 * seed + SPLITS[split], np.arange(size * paths))
    log_rtol = np.linspace(np.log(rtol[1] / 3.0), np.log(min(3.0 * rtol[0], 1.0)), points)
    runs = [_solved(family, method, baseline, np.exp(lr), y0, p, path_keys) for lr in log_rtol]
    ref, good = _ends(family, method, runs[0], y0, p, path_keys)
    scale = np.sqrt((ref.reshape(size, paths, -1) ** 2).mean(1))
    scale = np.maximum(scale, 1e-12)
    good = good & (runs[0].success | np.any([run.success for run in runs], axis=0))
    with np.errstate(all="ignore"):
        off = [np.sqrt((((run.y_end - ref) / np.repeat(scale, paths, 0)) ** 2).mean(1)) for run in runs]
        errors = np.array([np.where(run.success, e, np.nan) for run, e in zip(runs, off, strict=True)])
        log_err = _means(np.log(np.clip(errors, 1e-300, LARGEST)), size, paths)
        log_work = _means(np.log([run.stats.nfev + run.stats.ngev for run in runs]), size, paths)
    keep = good.reshape(size, paths).all(1) & np.isfinite(log_err).any(1)
    if not keep.any():
        raise ValueError(f"no instance of family {family.name!r} has ends that pass their self-check")
    rows = np.repeat(keep, paths)
    log_err, log_work = log_err[keep], log_work[keep]
    slope = 1.0 / method.order(family.noise)
    table = envelope_table(log_err, log_work, slope)
    at_tol = np.stack([log_work, np.where(np.isfinite(log_err), log_err, np.log(LARGEST))])
    return SDEPool(
        family, method, y0[rows], p[rows], path_keys[rows], ref[rows], scale[keep], table, log_rtol, at_tol,
        int(size - keep.sum()),
    )  # fmt: skip


def _means(values: np.ndarray, size: int, paths: int) -> np.ndarray:
    """(points, size*paths) -> (size, points): means over an instance's paths."""
    return np.asarray(values).reshape(len(values), size, paths).mean(2).T


def _solved(
    family: SDEFamily, method: methods.SDEMethod, law: Law | None, value: float, y0: np.ndarray, p: np.ndarray,
    path_keys: np.ndarray,
):  # fmt: skip
    """The paths from the tree: by a law at a relative tolerance, or, law None, by equal steps."""
    problem = family.at(y0[0], p[0])
    t0, t1 = problem.t_span
    adaptive = law is not None
    given = {
        "t0": t0, "t1": t1, "rtol": value if adaptive else 1.0, "first": np.nan, "fixed": np.nan if adaptive else value,
        "max_steps": MAX_STEPS, "tree": 1.0, "redraw": 0.0,
    }  # fmt: skip
    opts = np.array([given[name] for name in OPTIONS])
    atol = np.full(family.n, value if adaptive else 1.0)
    one = law.general() if law is not None else None
    return run_paths(
        problem, method, one, opts, atol, path_keys, np.array([t1]), None, 1.0, y0, p
    )  # fmt: skip


def _ends(
    family: SDEFamily, method: methods.SDEMethod, solved, y0: np.ndarray, p: np.ndarray, path_keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States at the end of the span (paths, n), and which of them are known.  solved: any solution of these paths."""
    if family.exact is not None and np.isfinite(solved.W).all():
        t = np.array([family.t_span[1]])
        ends = [
            family.exact(t, w, h, a, b)[0] for w, h, a, b in zip(solved.W, solved.H, y0, p, strict=True)
        ]
        return np.array(ends), np.ones(len(y0), bool)
    span = family.t_span[1] - family.t_span[0]
    both = (REFERENCE_STEPS, REFERENCE_STEPS // 2)
    fine, coarse = (_solved(family, method, None, span / steps, y0, p, path_keys) for steps in both)
    with np.errstate(all="ignore"):
        size = np.sqrt(np.mean(fine.y_end**2, axis=0))
        good = fine.success & coarse.success
        good &= np.sqrt((((fine.y_end - coarse.y_end) / size) ** 2).mean(1)) < SELF_ERROR
    return fine.y_end, good
