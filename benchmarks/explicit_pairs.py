"""Evaluations of explicit pairs and of extrapolation at equal error: no clock, so that a busy machine prints the same.

    python benchmarks/explicit_pairs.py [--trajectories 4000]

Lorenz: the family's instances over one unit of time, in lanes; the error is the median over them of the largest
relative error of a component at the end, against `vern9` at a relative tolerance of 3e-14.  Orbit: two bodies,
eccentricity 1/2, three revolutions, after which the position is that of the start.  Every method runs under the law
that `solve` takes where none is named, at relative tolerances from 1e-3 down, absolute ones a thousandth of them;
evaluations at an error are interpolated between tolerances, both in logarithms.
"""

from __future__ import annotations

import argparse

import numpy as np
from figures.save import parsed

import stepsmith as ss

METHODS = ("tsit5", "bs54", "dop853", "vern6", "vern7", "vern8", "vern9", "gbs")
LEVELS = (1e-6, 1e-9, 1e-12)
TOLERANCES = 10.0 ** -np.arange(3.0, 13.6, 0.5)


def orbit(t, y, p, dy):
    """Position and velocity in the plane; p holds nothing."""
    r2 = y[0] * y[0] + y[1] * y[1]
    w = 1.0 / (r2 * np.sqrt(r2))
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -w * y[0]
    dy[3] = -w * y[1]


def at_levels(errors: list[float], work: list[float]) -> list[float]:
    """Work at the error levels, NaN where they are not reached."""
    e, w = np.array(errors), np.array(work)
    best = np.minimum.accumulate(e)
    keep = np.flatnonzero((e == best) & (e > 0.0))
    x, y = -np.log(e[keep]), np.log(w[keep])
    return [float(np.exp(np.interp(-np.log(level), x, y, left=np.nan, right=np.nan))) for level in LEVELS]


def lorenz(method: str, batch: ss.Batch, exact: np.ndarray) -> list[float]:
    """Mean evaluations a trajectory at the error levels."""
    errors, work = [], []
    for rtol in TOLERANCES:
        sol = ss.solve_ensemble(batch, method=method, rtol=rtol, atol=1e-3 * rtol)
        errors.append(float(np.median(np.abs(sol.y / exact - 1.0).max(axis=1))))
        work.append(float(sol.stats.nfev.mean()))
    return at_levels(errors, work)


def kepler(method: str) -> list[float]:
    """Evaluations of the orbit at the error levels."""
    start = [0.5, 0.0, 0.0, np.sqrt(3.0)]
    problem = ss.Problem(orbit, start, (0.0, 6.0 * np.pi))
    errors, work = [], []
    for rtol in TOLERANCES:
        sol = ss.solve(problem, method=method, rtol=rtol, atol=1e-3 * rtol)
        errors.append(float(np.hypot(*(sol.y[-1, :2] - start[:2]))))
        work.append(float(sol.stats.nfev))
    return at_levels(errors, work)


def main() -> None:
    """Print the table of `docs/methods.md`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trajectories", type=int, default=4000)
    count = parsed(parser).trajectories
    drawn = ss.problems.sample("lorenz", n=count, seed=1)
    batch = ss.Batch(drawn.rhs, drawn.y0, drawn.p, drawn.t0, drawn.t0 + 1.0, name="lorenz")
    exact = ss.solve_ensemble(batch, method="vern9", rtol=3e-14, atol=1e-16).y
    print("| method | Lorenz, 1e-6 | 1e-9 | 1e-12 | orbit, 1e-6 | 1e-9 | 1e-12 |\n|---|---|---|---|---|---|---|")
    for method in METHODS:
        row = [*lorenz(method, batch, exact), *kepler(method)]
        cells = ["not reached" if np.isnan(w) else f"{w:.0f}" for w in row]
        print(f"| `{method}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
