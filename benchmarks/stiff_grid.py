"""A large sparse system, one solve at a time: the Brusselator with diffusion on a periodic grid, at matched error
against SciPy and CVODE.

    python benchmarks/stiff_grid.py [--sides 8 16 32] [--repeats 3] [--json]

Equations and data of the two-dimensional Brusselator of Hairer & Wanner II (IV.10, problem BRUSS-2D): u' = 1 + u^2 v -
4.4 u + a lap u, v' = 3.4 u - u^2 v + a lap v, a = 0.1, u(0) = 22 y (1 - y)^1.5, v(0) = 27 x (1 - x)^1.5, integrated to
t = 1, before the problem's source sets in, on side by side points, so that there are 2 side^2 unknowns.  Everybody
takes Jacobians by differences over the same pattern: ours by coloured differences and sparse factors compiled with the
solver, SciPy's Radau and BDF with `jac_sparsity` (SuperLU), LSODA without (it knows no sparse matrices and is left out
above 512 unknowns).  CPU time of one call, compiled before, best of the repeats; geometric means over the error levels
1e-7 ... 1e-4 of the time on the lower envelope (a level looser than a solver's loosest run counts as that run), the
error being relative, in the 2-norm, at the end, against SciPy's Radau at 1e-11.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from figures.save import parsed
from scipy.integrate import solve_ivp
from scipy.sparse import coo_array

import stepsmith as ss
from stepsmith.train.evaluate.curves import log_work_at

LEVELS = np.logspace(-7, -4, 25)
TOLERANCES = 10.0 ** np.arange(-1.0, -8.01, -0.5)
END = 1.0
IMPLICIT = (("rodas5p", "rodas"), ("esdirk43", "radau5"), ("radau5", "radau5"))
EXPLICIT = ("rkc", "tsit5", "dop853")


def brusselator(side: int) -> tuple[Callable[..., None], np.ndarray, coo_array]:
    """Right-hand side, initial values and pattern on side by side points."""
    strength = 0.1 * side * side

    def rhs(t, y, p, dy):
        for a in range(side):
            for b in range(side):
                i = 2 * (side * a + b)
                north, south = 2 * (side * ((a + 1) % side) + b), 2 * (side * ((a + side - 1) % side) + b)
                east, west = 2 * (side * a + (b + 1) % side), 2 * (side * a + (b + side - 1) % side)
                u, v = y[i], y[i + 1]
                dy[i] = strength * (y[north] + y[south] + y[east] + y[west] - 4.0 * u) + 1.0 + u * u * v - 4.4 * u
                dy[i + 1] = (
                    strength * (y[north + 1] + y[south + 1] + y[east + 1] + y[west + 1] - 4.0 * v) + 3.4 * u - u * u * v
                )

    x = np.arange(side) / side
    y0 = np.empty((side, side, 2))
    y0[..., 0], y0[..., 1] = 22.0 * (x * (1.0 - x) ** 1.5)[:, None], 27.0 * (x * (1.0 - x) ** 1.5)[None]
    number = np.arange(2 * side * side).reshape(side, side, 2)
    pairs = [(number, number), (number, number[..., ::-1])]
    pairs += [(number, np.roll(number, shift, axis)) for axis in (0, 1) for shift in (1, -1)]
    i, j = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    return rhs, y0.ravel(), coo_array((np.ones(len(i)), (i, j)), shape=(y0.size, y0.size))


@cache
def _compiled(side: int) -> Callable[[float, np.ndarray], np.ndarray]:
    rhs = numba.njit(brusselator(side)[0])
    nothing = np.zeros(0)

    def f(t: float, y: np.ndarray) -> np.ndarray:
        dy = np.empty_like(y)
        rhs(t, y, nothing, dy)
        return dy

    return f


def contestants(side: int, patience: int) -> dict[str, Callable[[float], np.ndarray]]:
    """Name -> (rtol -> end state)."""
    rhs, y0, pattern = brusselator(side)
    problem = ss.Problem(rhs, y0, (0.0, END), sparsity=pattern)
    f, csc = _compiled(side), pattern.tocsc()

    def ours(method: str, law: str) -> Callable[[float], np.ndarray]:
        return lambda rtol: ss.solve(problem, method=method, controller=law, rtol=rtol, atol=rtol).y[-1]

    def theirs(method: str, **more) -> Callable[[float], np.ndarray]:
        return lambda rtol: solve_ivp(f, (0.0, END), y0, method=method, rtol=rtol, atol=rtol, **more).y[:, -1]

    found = {
        f"stepsmith {m} {law}": ours(m, law)
        for m, law in (*IMPLICIT, *((m, "auto") for m in EXPLICIT))
    }
    found |= {f"SciPy {m}": theirs(m, jac_sparsity=csc) for m in ("Radau", "BDF")}
    if len(y0) <= patience:
        found["SciPy LSODA (full)"] = theirs("LSODA")
    return found


def measure(run: Callable[[float], np.ndarray], end: np.ndarray, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors and least CPU seconds over the tolerances."""
    err, seconds = np.full((1, len(TOLERANCES)), np.inf), np.full((1, len(TOLERANCES)), np.inf)
    run(1e-3)  # compile
    for k, rtol in enumerate(TOLERANCES):
        for _ in range(repeats):
            began = time.process_time()
            y = run(rtol)
            seconds[0, k] = min(seconds[0, k], time.process_time() - began)
        err[0, k] = np.linalg.norm(y - end) / np.linalg.norm(end)
    return err, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", type=int, default=512, help="most unknowns for solvers with full matrices")
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    table: dict[str, dict[str, float]] = {}
    for side in args.sides:
        rhs, y0, pattern = brusselator(side)
        ref = solve_ivp(
            _compiled(side), (0.0, END), y0, method="Radau", rtol=1e-11, atol=1e-11, jac_sparsity=pattern.tocsc()
        )
        row = table[f"{2 * side * side} unknowns"] = {}
        for name, run in contestants(side, args.full).items():
            err, seconds = measure(run, ref.y[:, -1], args.repeats)
            level = log_work_at(err, seconds, LEVELS, looser=True)[0]
            row[name] = float(np.exp(np.nanmean(level))) if np.isfinite(level).all() else float("nan")
            if not args.json:
                print(f"{2 * side * side:6d} unknowns  {name:28s} {1e3 * row[name]:9.2f} ms", flush=True)
    if args.json:
        print(json.dumps(table, indent=1))
        return
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    print(f"\n| unknowns | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for unknowns, row in table.items():
        cells = " | ".join(f"{1e3 * row[name]:.2f}" if name in row else "-" for name in names)
        print(f"| {unknowns.split()[0]} | {cells} |")


if __name__ == "__main__":
    main()
