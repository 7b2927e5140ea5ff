"""Stiff systems of many dense unknowns, one solve at a time: time at matched error over that of SciPy's Radau.

    python benchmarks/stiff_dense.py [--unknowns 64 80 128 256] [--jacobian] [--repeats 3] [--json]

Two systems, whose Jacobians nobody is told the zeros of: the Brusselator in one dimension (u and v at n/2 points
between walls where they are 1 and 3; Hairer & Wanner II, IV.10), whose right-hand side takes n operations, and Fisher's
equation with non-local competition, u_t = D u_xx + r u (1 - k * u), on n points with a Gaussian kernel k (N. F.
Britton, J. Theor. Biol. 136 (1989) 57), where every unknown acts on every other and a right-hand side takes n^2.
Jacobians are differences in every solver, or analytic in every one (--jacobian; SciPy's are compiled too).

Every solver runs at rtol 10^-3 ... 10^-8.5 (half decades), atol = rtol/100, right-hand sides compiled by Numba, one
thread. CPU time of one call from Python, compiled before, least of the repeats, which are interleaved over the solvers;
the error is the relative one at the end of the span against LSODA at 1e-12, whose distance to itself at 1e-11 is
printed.
A figure is the geometric mean over the error levels 1e-3 ... 1e-6 (8 a decade) of the time on the lower-left envelope
over that of SciPy's Radau; solvers that do not reach all levels are marked.

rkc and tsit5 are explicit; LSODA may take explicit formulas too. "radau5, large" is the law radau5 with what radau5.f
advises for large full systems and expensive Jacobians: THET = 0.1, QUOT1 = 0.99, QUOT2 = 2.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba
import numpy as np
from figures.save import parsed
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.train.evaluate.curves import log_work_at

TOLERANCES = 10.0 ** np.arange(-3.0, -8.51, -0.5)
LEVELS = np.logspace(-6, -3, 25)
AGAINST = "SciPy Radau"
Solver = Callable[[float], tuple[np.ndarray, str]]


def brusselator(n: int) -> tuple[Callable, Callable, np.ndarray, tuple[float, float]]:
    m = n // 2
    c = 0.02 * (m + 1) ** 2

    def rhs(t, y, p, dy):
        for i in range(m):
            u, v = y[i], y[m + i]
            left, right = y[i - 1] if i > 0 else 1.0, y[i + 1] if i < m - 1 else 1.0
            below, above = y[m + i - 1] if i > 0 else 3.0, y[m + i + 1] if i < m - 1 else 3.0
            dy[i] = 1.0 + u * u * v - 4.0 * u + c * (left - 2.0 * u + right)
            dy[m + i] = 3.0 * u - u * u * v + c * (below - 2.0 * v + above)

    def jac(t, y, p, J):
        for i in range(n):
            for j in range(n):
                J[i, j] = c if (i - j == 1 or j - i == 1) and (i < m) == (j < m) else 0.0
        for i in range(m):
            u, v = y[i], y[m + i]
            J[i, i] = 2.0 * u * v - 4.0 - 2.0 * c
            J[i, m + i] = u * u
            J[m + i, i] = 3.0 - 2.0 * u * v
            J[m + i, m + i] = -u * u - 2.0 * c

    x = np.arange(1, m + 1) / (m + 1)
    return rhs, jac, np.r_[1.0 + np.sin(2.0 * np.pi * x), np.full(m, 3.0)], (0.0, 10.0)


def competition(n: int) -> tuple[Callable, Callable, np.ndarray, tuple[float, float]]:
    x = (np.arange(n) + 0.5) / n
    K = np.exp(-(((x[:, None] - x) / 0.2) ** 2)) / n
    d, r = 0.01 * n * n, 50.0

    def rhs(t, y, p, dy):
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += K[i, j] * y[j]
            left, right = y[i - 1] if i > 0 else y[0], y[i + 1] if i < n - 1 else y[n - 1]
            dy[i] = d * (left - 2.0 * y[i] + right) + r * y[i] * (1.0 - s)

    def jac(t, y, p, J):
        for i in range(n):
            s = 0.0
            for j in range(n):
                s += K[i, j] * y[j]
                J[i, j] = -r * y[i] * K[i, j]
            J[i, i] += r * (1.0 - s) - (d if i in (0, n - 1) else 2.0 * d)
            if i > 0:
                J[i, i - 1] += d
            if i < n - 1:
                J[i, i + 1] += d

    return rhs, jac, 0.1 + 0.05 * np.cos(3.0 * np.pi * x) + np.where(x > 0.7, 0.1, 0.0), (0.0, 0.3)


SYSTEMS = {"brusselator": brusselator, "competition": competition}


def stepsmith(problem: ss.Problem, method: str, law: Any) -> Solver:
    def run(rtol: float) -> tuple[np.ndarray, str]:
        sol = ss.solve(problem, method, law, rtol=rtol, atol=rtol / 100)
        s = sol.stats
        y = sol.y[-1] if sol.success else np.full(problem.n, np.nan)
        return y, f"{s.naccept + s.nreject} attempts, {s.nfev} f, {s.njev} J, {s.nlu} LU"

    return run


def scipy(f: Callable, jac: Callable | None, y0: np.ndarray, span: tuple[float, float], method: str) -> Solver:
    nothing = np.zeros(1)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        dy = np.empty_like(y)
        f(t, y, nothing, dy)
        return dy

    def matrix(t: float, y: np.ndarray) -> np.ndarray:
        out = np.empty((y.size, y.size))
        assert jac is not None
        jac(t, y, nothing, out)
        return out

    def run(rtol: float) -> tuple[np.ndarray, str]:
        sol = solve_ivp(slope, span, y0, method, rtol=rtol, atol=rtol / 100, jac=matrix if jac else None)
        y = sol.y[:, -1] if sol.success else np.full(y0.size, np.nan)
        return y, f"{sol.t.size - 1} steps, {sol.nfev} f, {sol.njev} J, {sol.nlu} LU"

    return run


def measure(name: str, n: int, given: bool, repeats: int) -> dict[str, Any]:
    """Distance of the reference to itself, and of every solver ratio, share of the levels, counts at 1e-6."""
    rhs, jac, y0, span = SYSTEMS[name](n)
    f, j = numba.njit(rhs), numba.njit(jac) if given else None
    problem = ss.Problem(rhs, y0, span, jac=jac if given else None)
    large = registry.get("radau5", jac_rate=0.1, band_rate=0.1, band_lo=0.99, band_hi=2.0)
    solvers = {
        "radau5": stepsmith(problem, "radau5", "radau5"), "radau5, large": stepsmith(problem, "radau5", large),
        "rodas5p": stepsmith(problem, "rodas5p", "rodas"),
        **{m: stepsmith(problem, m, "auto") for m in ("bdf", "rkc", "tsit5")},
        **{f"SciPy {m}": scipy(f, j, y0, span, m) for m in ("Radau", "BDF", "LSODA")},
    }  # fmt: skip
    exact, second = (scipy(f, j, y0, span, "LSODA")(tol)[0] for tol in (1e-12, 1e-11))

    def error(y: np.ndarray) -> float:
        d = float(np.linalg.norm(y - exact) / np.linalg.norm(exact))
        return d if np.isfinite(d) else np.inf

    errors, work = ({k: np.full(TOLERANCES.size, np.inf) for k in solvers} for _ in range(2))
    counts = {}
    for run in solvers.values():
        run(1e-3)  # compiled before the clock
    for i, rtol in enumerate(TOLERANCES):
        for _ in range(repeats):
            for label, run in solvers.items():
                start = time.process_time()
                y, text = run(float(rtol))
                work[label][i] = min(work[label][i], time.process_time() - start)
                errors[label][i] = error(y)
                if abs(rtol / 1e-6 - 1.0) < 1e-9:
                    counts[label] = text
    logs = {k: log_work_at(errors[k][None], work[k][None], LEVELS, looser=True)[0] for k in solvers}
    rows = {}
    for label, own in logs.items():
        both = np.isfinite(own) & np.isfinite(logs[AGAINST])
        ratio = float(np.exp((own - logs[AGAINST])[both].mean())) if both.any() else np.nan
        ms = float(np.exp(own[both].mean()) * 1e3) if both.any() else np.nan
        rows[label] = {"ratio": ratio, "ms": ms, "reached": float(np.isfinite(own).mean()), "at 1e-6": counts[label]}
    return {"reference": error(second), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--unknowns", nargs="+", type=int, default=[64, 80, 128, 256])
    parser.add_argument("--jacobian", action="store_true", help="analytic Jacobians, in every solver")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    found = {}
    for name in args.systems:
        for n in args.unknowns:
            result = found[f"{name} {n}"] = measure(name, n, args.jacobian, args.repeats)
            if not args.json:
                print(f"{name}, {n} unknowns (reference to itself {result['reference']:.0e})")
                for label, row in result["rows"].items():
                    reached = "" if row["reached"] == 1.0 else f", {100 * row['reached']:.0f} % of the levels"
                    cells = f"  {label:14s} {row['ratio']:6.3f}  {row['ms']:8.2f} ms{reached}"
                    print(f"{cells}  (at 1e-6: {row['at 1e-6']})", flush=True)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    labels = list(next(iter(found.values()))["rows"])
    print(f"\n| system, unknowns | {' | '.join(labels)} | {AGAINST}, ms |\n|{'---|' * (len(labels) + 2)}")
    for name, result in found.items():
        cells = " | ".join(f"{result['rows'][k]['ratio']:.3f}" if k in result["rows"] else "-" for k in labels)
        print(f"| {name} | {cells} | {result['rows'][AGAINST]['ms']:.2f} |")


if __name__ == "__main__":
    main()
