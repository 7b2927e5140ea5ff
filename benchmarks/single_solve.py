"""One solve at a time: microseconds of Lotka-Volterra and Lorenz, beside CyRK, diffrax under jit and SciPy, at stated
errors.

    python benchmarks/single_solve.py [--repeats 20] [--tolerances 1e-6 1e-8]

LV: p = (1.5, 1, 3, 1), start (1, 1), t in [0, 10].  Lorenz: p = (10, 28, 8/3), start (1, 0, 0), t in [0, 10].  rtol =
tolerance, atol = tolerance/1000, all steps kept by those that keep them.  CPU time of one call from Python, compiled
before, best of the repeats, the libraries taking turns.  The error is |y - y_ref|/|y_ref| at the end, y_ref in
quadruple precision.  Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numba
import numpy as np
from figures.save import parsed

import stepsmith as ss
from stepsmith.integrators.problems.nonstiff import lorenz, lotka_volterra

PROBLEMS = {
    "LV": (lotka_volterra.published(), np.array([1.0263447675750894, 0.9096910781360417])),
    "Lorenz": (lorenz.published(), np.array([-5.85768538242409, -5.831082486426101, 23.93213298702756])),
}
Run = Callable[[], np.ndarray]


def stepsmith_tsit5(name: str, tol: float, method: str = "tsit5") -> Run:
    problem = PROBLEMS[name][0]
    return lambda: ss.solve(problem, method=method, controller="pi34", rtol=tol, atol=tol * 1e-3).y[-1]


def stepsmith_dop853(name: str, tol: float) -> Run:
    return stepsmith_tsit5(name, tol, "dop853")


def cyrk_rk45(name: str, tol: float, method: str = "RK45") -> Run:
    import CyRK

    problem = PROBLEMS[name][0]

    def lv(dy, t, y, p):
        xy = y[0] * y[1]
        dy[0] = p[0] * y[0] - p[1] * xy
        dy[1] = p[3] * xy - p[2] * y[1]

    def lorenz63(dy, t, y, p):
        dy[0] = p[0] * (y[1] - y[0])
        dy[1] = y[0] * (p[1] - y[2]) - y[1]
        dy[2] = y[0] * y[1] - p[2] * y[2]

    address = CyRK.nb_diffeq_addr(lv if name == "LV" else lorenz63)
    n = problem.n

    def run() -> np.ndarray:
        out = CyRK.nbsolve2_ivp(address, problem.t_span, problem.y0, method, args=problem.p, rtol=tol, atol=tol * 1e-3)
        return np.asarray(out.y).reshape(n, -1)[:, -1]

    return run


def cyrk_dop853(name: str, tol: float) -> Run:
    return cyrk_rk45(name, tol, "DOP853")


def diffrax_tsit5(name: str, tol: float) -> Run:
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    problem = PROBLEMS[name][0]

    def lv(t, y, p):
        return jnp.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]])

    def lorenz63(t, y, p):
        return jnp.stack([p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - p[2] * y[2]])

    term = dfx.ODETerm(lv if name == "LV" else lorenz63)
    t0, t1 = problem.t_span

    @jax.jit
    def solve(y0, p):
        control = dfx.PIDController(rtol=tol, atol=tol * 1e-3)
        out = dfx.diffeqsolve(
            term,
            dfx.Tsit5(),
            t0,
            t1,
            None,
            y0,
            args=p,
            stepsize_controller=control,
            saveat=dfx.SaveAt(t1=True),
            max_steps=100_000,
        )
        return out.ys[-1]

    y0, p = jnp.asarray(problem.y0), jnp.asarray(problem.p)
    return lambda: np.asarray(solve(y0, p))


def scipy_rk45(name: str, tol: float) -> Run:
    from scipy.integrate import solve_ivp

    problem = PROBLEMS[name][0]
    jitted = numba.njit(problem.rhs)

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        dy = np.empty_like(y)
        jitted(t, y, problem.p, dy)
        return dy

    return lambda: solve_ivp(rhs, problem.t_span, problem.y0, "RK45", rtol=tol, atol=tol * 1e-3).y[:, -1]


LIBRARIES = (stepsmith_tsit5, stepsmith_dop853, cyrk_rk45, cyrk_dop853, diffrax_tsit5, scipy_rk45)


def timed(run: Run, seconds: float = 0.02) -> float:
    """CPU seconds of one call, over as many calls as fill `seconds`."""
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds or calls == 0:
        run()
        calls += 1
    return spent / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-6, 1e-8])
    args = parsed(parser)
    print("| problem | tolerance | library | error | microseconds |\n|---|---|---|---|---|")
    for name, (_, exact) in PROBLEMS.items():
        for tol in args.tolerances:
            runs: dict[str, Run] = {}
            for make in LIBRARIES:
                try:
                    runs[make.__name__] = make(name, tol)
                except ImportError:
                    print(f"{make.__name__}: not installed", file=sys.stderr)
            # compiles
            error = {
                key: np.linalg.norm(run() - exact) / np.linalg.norm(exact) for key, run in runs.items()
            }
            best = dict.fromkeys(runs, np.inf)
            for _ in range(args.repeats):
                for key, run in runs.items():
                    best[key] = min(best[key], timed(run))
            for key in runs:
                print(f"| {name} | {tol:.0e} | {key} | {error[key]:.1e} | {best[key] * 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
