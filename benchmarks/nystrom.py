"""Runge-Kutta-Nystrom methods against explicit pairs at equal error: evaluations, and time in single solves and lanes.

    python benchmarks/nystrom.py [--only planets] [--lanes 128] [--repeats 3] [--no-clock]

Orbit: two bodies, eccentricity 1/2, three revolutions, after which the state is that of the start.  Henon-Heiles and
Pleiades: the families' published instances.  Planets: the sun, the four outer planets and Pluto over 200,000 days
(E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration, 2006, I.2.3).  The error is the largest one of a
position at the end over the largest position, against `vern9` at a relative tolerance of 3e-14 where there is no
formula.  Every method runs under the law that `solve` takes where none is named, at relative tolerances from 1e-3 down,
absolute ones a thousandth of them; work at an error is interpolated between tolerances, both in logarithms.

In lanes: instances whose starts differ by up to 1 % from the published one's (and from each other), the median error
over them, and the time of the whole over their number.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from explicit_pairs import LEVELS, TOLERANCES, at_levels, orbit
from figures.save import parsed

import stepsmith as ss

METHODS = ("dprkn6", "dprkn12", "dop853", "vern9")
G_SUN = 2.95912208286e-4
#: mass, position (AU), velocity (AU/day) of Jupiter, Saturn, Uranus, Neptune and Pluto; the sun holds the inner planets
BODIES = (
    (0.000954786104043, -3.5023653, -3.8169847, -1.5507963, 0.00565429, -0.00412490, -0.00190589),
    (0.000285583733151, 9.0755314, -3.0458353, -1.6483708, 0.00168318, 0.00483525, 0.00192462),
    (0.0000437273164546, 8.3101420, -16.2901086, -7.2521278, 0.00354178, 0.00137102, 0.00055029),
    (0.0000517759138449, 11.4707666, -25.7294829, -10.8169456, 0.00288930, 0.00114527, 0.00039677),
    (1.0 / 1.3e8, -15.5387357, -25.2225594, -3.1902382, 0.00276725, -0.00170702, -0.00136504),
)


def pull(t, y, p, a):
    """Accelerations of `explicit_pairs.orbit`."""
    r2 = y[0] * y[0] + y[1] * y[1]
    w = 1.0 / (r2 * np.sqrt(r2))
    a[0] = -w * y[0]
    a[1] = -w * y[1]


def planets() -> ss.Problem:
    """The outer solar system."""
    from stepsmith.integrators.problems.nbody.newtonian import looped_rhs

    rows = np.array([(1.00000597682, *[0.0] * 6), *BODIES])
    start = np.concatenate([rows[:, 1:4].ravel(), rows[:, 4:].ravel()])
    return ss.Problem(looped_rhs(6, 3), start, (0.0, 2e5), [G_SUN, *rows[:, 0]], name="planets", nbody=(6, 3))


def problems() -> dict[str, ss.Problem]:
    """By the names of the table."""
    start = [0.5, 0.0, 0.0, np.sqrt(3.0)]
    return {
        "orbit": ss.Problem(orbit, start, (0.0, 6.0 * np.pi), name="orbit", accel=pull),
        "Henon-Heiles": ss.problems.family("henon_heiles").published(),
        "Pleiades": ss.problems.family("pleiades").published(),
        "planets": planets(),
    }


def off_by(y: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors (B,) of states (B, n)."""
    half = y.shape[-1] // 2
    return np.abs(y - exact)[:, :half].max(axis=1) / np.abs(exact[:, :half]).max(axis=1)


def timed(run: Callable[[], object], repeats: int) -> float:
    """The least seconds of some runs."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def single(problem: ss.Problem, method: str, exact: np.ndarray, repeats: int) -> tuple[list[float], list[float]]:
    """Evaluations and microseconds at the error levels."""
    errors, work, times = [], [], []
    for rtol in TOLERANCES:
        more = {"method": method, "rtol": rtol, "atol": 1e-3 * rtol}
        sol = ss.solve(problem, **more)
        errors.append(float(off_by(sol.y[-1:], exact[None])[0]) if sol.success else np.inf)
        work.append(float(sol.stats.nfev))
        times.append(1e6 * timed(lambda more=more: ss.solve(problem, **more), repeats) if repeats else np.nan)
    return at_levels(errors, work), at_levels(errors, times)


def in_lanes(batch: ss.Batch, method: str, exact: np.ndarray, repeats: int) -> list[float]:
    """Microseconds a trajectory at the error levels."""
    errors, times = [], []
    for rtol in TOLERANCES:
        more = {"method": method, "rtol": rtol, "atol": 1e-3 * rtol}
        sol = ss.solve_ensemble(batch, **more)
        errors.append(float(np.median(off_by(sol.y, exact))) if sol.success.all() else np.inf)
        times.append(1e6 * timed(lambda more=more: ss.solve_ensemble(batch, **more), repeats) / len(batch))
    return at_levels(errors, times)


def row(name: str, *values: list[float]) -> str:
    """A row of the table."""
    cells = ["not reached" if np.isnan(w) else f"{w:.4g}" for some in values for w in some]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables of `docs/methods.md` and `benchmarks/README.md`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="one problem of the table")
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-clock", action="store_true")
    given = parsed(parser)
    repeats = 0 if given.no_clock else given.repeats
    kinds = ("evaluations",) if given.no_clock else ("evaluations", "single, us", "lanes, us")
    heads = [f"{kind}, {level:.0e}" if k == 0 else f"{level:.0e}" for kind in kinds for k, level in enumerate(LEVELS)]
    print(f"| problem, method | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    tight = {"method": "vern9", "rtol": 3e-14, "atol": 1e-16}
    for name, problem in problems().items():
        if given.only not in (None, name):
            continue
        exact = problem.y0 if name == "orbit" else ss.solve(problem, **tight).y[-1]
        if repeats:
            rng = np.random.default_rng(1)
            batch = problem.batch(y0=problem.y0 * (1.0 + 0.01 * rng.uniform(-1.0, 1.0, (given.lanes, problem.n))))
            ends = ss.solve_ensemble(batch, **tight).y
        for method in METHODS:
            work, times = single(problem, method, exact, repeats)
            more = [times, in_lanes(batch, method, ends, repeats)] if repeats else []
            print(row(f"{name}, `{method}`", work, *more), flush=True)


if __name__ == "__main__":
    main()
