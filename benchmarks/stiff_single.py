"""Stiff problems, one solve at a time: seconds at matched error against SciPy, CVODE (scikit-sundae), CyRK and diffrax.

    python benchmarks/stiff_single.py [--problems rober hires ...] [--repeats 5] [--json]

The published instances. dop853, an explicit method, stands beside our implicit ones: LSODA too may take explicit
formulas where a problem is not stiff. Every solver runs at rtol 1e-2 ... 1e-10 (half decades), atol = rtol times the
family's factor, with the analytic Jacobian where it takes one (SciPy, CVODE), as a band where it is one and the solver
takes that (SciPy, CVODE), right-hand sides compiled by Numba or XLA. CPU time of one call from Python, compiled before,
best of the repeats; the error is the relative one of the family at the end of the span, against its reference. Figures
are geometric means over the error levels 1e-3 ... 1e-7 (8 a decade) of the time on the lower-left envelope; a solver
that does not get tight enough is marked. A call that takes longer than `--patience` seconds is not repeated, and ends
its solver's tolerances. Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numba
import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.integrators import problems
from stepsmith.train.evaluate.curves import log_work_at

NAMES = ("vdpol_stiff", "rober", "hires", "orego", "pollu", "e5", "medical_akzo_20", "medical_akzo")
LEVELS = np.logspace(-7, -3, 33)
TOLERANCES = 10.0 ** np.arange(-2.0, -10.01, -0.5)
Run = Callable[[], np.ndarray]


class Case:
    """A published instance: the problem, its reference at the end, components of the error, factor of atol, compiled
    functions.
    """

    def __init__(self, name: str) -> None:
        self.name, self.family = name, problems.family(name)
        self.problem = self.family.published()
        self.end = self.family.reference(self.problem.batch()).y[0, -1]
        self.pick = np.arange(self.problem.n) if self.family.components is None else np.array(self.family.components)
        self.f, self.j = numba.njit(self.problem.rhs), numba.njit(self.problem.jac)
        self.band = self.problem.sparsity
        self.span, self.y0, self.p = self.problem.t_span, self.problem.y0, self.problem.p

    def error(self, y: np.ndarray) -> float:
        d = np.linalg.norm(y[self.pick] - self.end[self.pick]) / np.linalg.norm(self.end[self.pick])
        return float(d) if np.isfinite(d) else np.inf

    def atol(self, rtol: float) -> float:
        return rtol * self.family.atol_factor


def stepsmith(method: str, law: str) -> Callable[[Case, float], Run]:
    def make(case: Case, rtol: float) -> Run:
        def run() -> np.ndarray:
            sol = ss.solve(case.problem, method=method, controller=law, rtol=rtol, atol=case.atol(rtol))
            return sol.y[-1] if sol.success else np.full(case.problem.n, np.nan)

        return run

    return make


def scipy(method: str) -> Callable[[Case, float], Run]:
    def make(case: Case, rtol: float) -> Run:
        from scipy.integrate import solve_ivp
        from scipy.sparse import csc_array

        def f(t: float, y: np.ndarray) -> np.ndarray:
            dy = np.empty_like(y)
            case.f(t, y, case.p, dy)
            return dy

        # a band is given to everybody that takes one: packed to LSODA, sparse to Radau and BDF
        options: dict[str, int] = {}
        rows = columns = None
        if case.band is not None:
            lower, upper = case.band
            rows, columns = (v.ravel() for v in np.indices((case.y0.size, case.y0.size)))
            inside = (rows - columns <= lower) & (columns - rows <= upper)
            rows, columns = rows[inside], columns[inside]
            if method == "LSODA":
                options = {"lband": lower, "uband": upper}

        def jac(t: float, y: np.ndarray) -> object:
            out = np.zeros((y.size, y.size))
            case.j(t, y, case.p, out)
            if rows is None:
                return out
            if method != "LSODA":
                return csc_array((out[rows, columns], (rows, columns)), shape=out.shape)
            packed = np.zeros((lower + upper + 1, y.size))
            packed[rows - columns + upper, columns] = out[rows, columns]
            return packed

        def run() -> np.ndarray:
            sol = solve_ivp(
                f, case.span, case.y0, method, rtol=max(rtol, 1e-13), atol=case.atol(rtol), jac=jac, **options
            )
            return sol.y[:, -1] if sol.success else np.full(case.y0.size, np.nan)

        return run

    return make


def cvode(case: Case, rtol: float) -> Run:
    from sksundae.cvode import CVODE

    def f(t: float, y: np.ndarray, dy: np.ndarray) -> None:
        case.f(t, y, case.p, dy)

    def jac(t: float, y: np.ndarray, fy: np.ndarray, out: np.ndarray) -> None:
        case.j(t, y, case.p, out)

    def run() -> np.ndarray:
        if case.band is None:
            solver = CVODE(f, rtol=rtol, atol=case.atol(rtol), jacfn=jac, max_num_steps=100_000)
        else:  # by its own differences, which cost it a few evaluations
            band = {"linsolver": "band", "lband": case.band[0], "uband": case.band[1]}
            solver = CVODE(f, rtol=rtol, atol=case.atol(rtol), max_num_steps=100_000, **band)
        sol = solver.solve(np.array(case.span), case.y0)
        return np.asarray(sol.y)[-1] if sol.success else np.full(case.y0.size, np.nan)

    return run


@functools.cache
def cyrk_address(case: Case) -> int:
    """Where CyRK finds the compiled right-hand side, in its own order of arguments."""
    import CyRK

    f = case.f

    def swapped(dy, t, y, p):
        f(t, y, p, dy)

    return CyRK.nb_diffeq_addr(swapped)


def cyrk(method: str) -> Callable[[Case, float], Run]:
    def make(case: Case, rtol: float) -> Run:
        import CyRK

        address, n = cyrk_address(case), case.y0.size

        def run() -> np.ndarray:
            out = CyRK.nbsolve2_ivp(address, case.span, case.y0, method, args=case.p, rtol=rtol, atol=case.atol(rtol))
            y = np.asarray(out.y).reshape(n, -1)[:, -1].copy() if out.success else np.full(n, np.nan)
            out.free()  # or its memory is never given back
            return y

        return run

    return make


class Columns:
    """What a right-hand side writes into, when JAX traces it: scalars by index."""

    def __init__(self, n: int) -> None:
        self.values = [0.0] * n

    def __setitem__(self, i: int, x: object) -> None:
        self.values[i] = x

    def __getitem__(self, i: int) -> object:
        return self.values[i]


def diffrax(case: Case, rtol: float) -> Run:
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    n = case.y0.size

    def f(t: float, y: object, p: object) -> object:
        dy = Columns(n)
        case.problem.rhs(t, y, p, dy)
        return jnp.stack([jnp.asarray(v, dtype=float) for v in dy.values])

    @jax.jit
    def solve(y0, p, rtol, atol):
        control = dfx.PIDController(rtol=rtol, atol=atol)
        out = dfx.diffeqsolve(
            dfx.ODETerm(f),
            dfx.Kvaerno5(),
            case.span[0],
            case.span[1],
            None,
            y0,
            args=p,
            stepsize_controller=control,
            saveat=dfx.SaveAt(t1=True),
            max_steps=100_000,
            throw=False,
        )
        return jnp.where(out.result == dfx.RESULTS.successful, out.ys[-1], jnp.nan)

    y0, p = jnp.asarray(case.y0), jnp.asarray(case.p)
    return lambda: np.asarray(solve(y0, p, rtol, case.atol(rtol)))


SOLVERS: dict[str, Callable[[Case, float], Run]] = {
    "rodas5p": stepsmith("rodas5p", "rodas"), "radau5": stepsmith("radau5", "radau5"),
    "kvaerno5": stepsmith("kvaerno5", "radau5"), "bdf": stepsmith("bdf", "multistep"),
    "dop853": stepsmith("dop853", "auto"),
    "SciPy Radau": scipy("Radau"), "SciPy BDF": scipy("BDF"), "SciPy LSODA": scipy("LSODA"), "CVODE": cvode,
    "CyRK Radau": cyrk("Radau"), "CyRK LSODA": cyrk("LSODA"), "diffrax Kvaerno5": diffrax,
}  # fmt: skip


def seconds(run: Run, fill: float = 0.02) -> float:
    """CPU seconds of one call, over as many calls as fill `fill`."""
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < fill or calls == 0:
        run()
        calls += 1
    return spent / calls


def measure(case: Case, repeats: int, patience: float, wanted: list[str]) -> dict[str, dict[str, float]]:
    """Mean microseconds over the levels and share of levels reached, of every solver."""
    out = {}
    for label in wanted:
        err, work = np.full(TOLERANCES.size, np.inf), np.full(TOLERANCES.size, np.nan)
        for k, rtol in enumerate(TOLERANCES):
            try:
                run = SOLVERS[label](case, float(rtol))
                err[k] = case.error(run())
                work[k] = seconds(run)
            except ImportError:
                break
            except Exception as problem:  # a peer that raises has failed at this tolerance
                warnings.warn(f"{label}, {case.name}, rtol {rtol:.0e}: {problem}", stacklevel=1)
                continue
            if work[k] > patience:
                break
            for _ in range(repeats - 1):
                work[k] = min(work[k], seconds(run))
        if not np.isfinite(err).any():
            continue
        work = np.where(np.isfinite(work), work, np.nanmax(work))
        logs = log_work_at(err[None], work[None], LEVELS, looser=True)[0]
        good = np.isfinite(logs)
        out[label] = {
            "us": float(np.exp(logs[good].mean()) * 1e6) if good.any() else np.nan,
            "reached": float(good.mean()),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", default=list(NAMES))
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    found = {}
    for name in args.problems:
        found[name] = measure(Case(name), args.repeats, args.patience, args.solvers)
        if not args.json:
            cells = [f"{k} {v['us']:.0f} ({100 * v['reached']:.0f} %)" for k, v in found[name].items()]
            print(
                f"{name}: microseconds at matched error (share of the levels reached): " + ", ".join(cells), flush=True
            )
    if args.json:
        print(json.dumps(found, indent=1))
        return
    print(f"\n| problem | {' | '.join(args.solvers)} |\n|{'---|' * (len(args.solvers) + 1)}")
    for name, rows in found.items():
        print(f"| {name} | " + " | ".join(f"{rows[k]['us']:.0f}" if k in rows else "-" for k in args.solvers) + " |")


if __name__ == "__main__":
    main()
