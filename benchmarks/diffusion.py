"""Diffusion on a grid: the stabilised explicit method against implicit and plain explicit ones, at matched error.

    python benchmarks/diffusion.py [--sides 16 32] [--repeats 3] [--json]

The problem is that of `stiff_grid.py`: the two-dimensional Brusselator on side by side points, 2 side^2 unknowns, to
t = 1. The spectral radius of its Jacobian is about 0.8 side^2. Implicit methods take Jacobians by differences over
the pattern: ours, and SciPy's BDF (SuperLU); LSODA takes full matrices, and is left out above 512 unknowns. `rkc`
needs neither a Jacobian nor a pattern; with "given" it has 0.8 side^2 + 60, a bound from above, in place of its own
estimate. All of ours choose their steps by the method's own law.

CPU time of one call, compiled before, best of the repeats; geometric means over the error levels 1e-5 ... 1e-3 of the
time on the lower envelope (a level looser than a solver's loosest run counts as that run), the error being relative, in
the 2-norm, at the end, against SciPy's Radau at 1e-10.  The ratio is over the first row's time; evaluations are those
of the run whose error is nearest to 1e-4.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp
from stiff_grid import END, _compiled, brusselator

import stepsmith as ss
from stepsmith.train.evaluate.curves import log_work_at

LEVELS = np.logspace(-5, -3, 17)
TOLERANCES = 10.0 ** np.arange(-1.0, -7.01, -0.5)
METHODS = ("rkc", "tsit5", "bdf", "rodas5p")

Run = Callable[[float], tuple[np.ndarray, int]]


def contestants(side: int, patience: int) -> dict[str, Run]:
    """Name -> (rtol -> end state, evaluations)."""
    rhs, y0, pattern = brusselator(side)
    problem = ss.Problem(rhs, y0, (0.0, END), sparsity=pattern)
    bounded = ss.Problem(rhs, y0, (0.0, END), spectral_radius=0.8 * side * side + 60.0)
    f, csc = _compiled(side), pattern.tocsc()

    def ours(method: str, given: ss.Problem) -> Run:
        def run(rtol: float) -> tuple[np.ndarray, int]:
            sol = ss.solve(given, method=method, rtol=rtol, atol=rtol)
            return sol.y[-1], sol.stats.nfev

        return run

    def theirs(method: str, **more) -> Run:
        def run(rtol: float) -> tuple[np.ndarray, int]:
            sol = solve_ivp(f, (0.0, END), y0, method=method, rtol=rtol, atol=rtol, **more)
            return sol.y[:, -1], sol.nfev

        return run

    found = {f"stepsmith {m}": ours(m, problem) for m in METHODS}
    found["stepsmith rkc, radius given"] = ours("rkc", bounded)
    found["SciPy BDF"] = theirs("BDF", jac_sparsity=csc)
    if len(y0) <= patience:
        found["SciPy LSODA (full)"] = theirs("LSODA")
    return found


def measure(run: Run, end: np.ndarray, repeats: int) -> tuple[float, int]:
    """Seconds over the error levels, NaN where they are not reached, and evaluations near 1e-4."""
    shape = (1, len(TOLERANCES))
    err, seconds, count = np.full(shape, np.inf), np.full(shape, np.inf), np.zeros(shape, int)
    run(1e-3)  # compile
    for k, rtol in enumerate(TOLERANCES):
        for _ in range(repeats):
            began = time.process_time()
            y, count[0, k] = run(rtol)
            seconds[0, k] = min(seconds[0, k], time.process_time() - began)
        err[0, k] = np.linalg.norm(y - end) / np.linalg.norm(end)
    level = log_work_at(err, seconds, LEVELS, looser=True)[0]
    mean = float(np.exp(level.mean())) if np.isfinite(level).all() else float("nan")
    return mean, int(count[0, np.abs(np.log(err[0] / 1e-4)).argmin()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", type=int, default=512, help="most unknowns for solvers with full matrices")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    for side in args.sides:
        _, y0, pattern = brusselator(side)
        ref = solve_ivp(
            _compiled(side), (0.0, END), y0, method="Radau", rtol=1e-10, atol=1e-10, jac_sparsity=pattern.tocsc()
        ).y[:, -1]
        row = table[f"{2 * side * side} unknowns"] = {}
        first = None
        for name, run in contestants(side, args.full).items():
            seconds, count = measure(run, ref, args.repeats)
            first = first or seconds
            row[name] = {"ms": 1e3 * seconds, "ratio": seconds / first, "evaluations": count}
            if not args.json:
                print(f"{2 * side * side:6d} unknowns  {name:28s} {1e3 * seconds:9.2f} ms  {seconds / first:7.2f}  "
                      f"{count:7d} evaluations", flush=True)  # fmt: skip
    if args.json:
        print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
