"""Trajectories a CPU-second of an ensemble of Lorenz systems, beside heyoka and diffrax, at stated errors.

    python benchmarks/lorenz_ensemble.py [--count 10000] [--repeats 15] [--tolerances 1e-6 1e-8 1e-10]
      [--start point|box]

sigma = 10, rho = 28, beta = 8/3, t in [0, 1], rtol = atol = tolerance; starts: (1, 0, 0) plus normal noise of .1
("point"), or uniform in the box about the attractor that the family `lorenz` draws from ("box").  stepsmith: Tsit5
under PI34, through the public API. heyoka: Taylor series in batches of 16.  diffrax: Tsit5 under the same PI gains, map
over vmap of 512, jitted.  One thread each, CPU time, best of the repeats, the libraries taking turns so that a change
of the machine's load hits all.  The error is the median over trajectories of |y - y_ref|/|y_ref| at t = 1 against
SciPy's DOP853 at 1e-13, on the first 50.  Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import numpy as np
from figures.save import parsed
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.integrators.problems.nonstiff import lorenz

P = np.array([10.0, 28.0, 8.0 / 3.0])
Run = Callable[[], np.ndarray]


def starts(kind: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    if kind == "box":
        return lorenz.sampler(rng, count).y0
    return np.array([1.0, 0.0, 0.0]) + 0.1 * rng.standard_normal((count, 3))


def stepsmith(y0: np.ndarray, tol: float) -> Run:
    count = len(y0)
    batch = ss.Batch(lorenz.rhs, y0, np.tile(P, (count, 1)), 0.0, 1.0)
    return lambda: ss.solve_ensemble(batch, method="tsit5", controller="pi34", rtol=tol, atol=tol, threads=1).y


def heyoka(y0: np.ndarray, tol: float, width: int = 16) -> Run:
    import heyoka as hy

    x, y, z = hy.make_vars("x", "y", "z")
    system = [(x, P[0] * (y - x)), (y, x * (P[1] - z) - y), (z, x * y - P[2] * z)]
    integrator = hy.taylor_adaptive_batch(system, np.zeros((3, width)), tol=tol)
    padded = np.concatenate([y0, np.tile(y0[:1], (-len(y0) % width, 1))])
    zeros, ones = np.zeros(width), np.ones(width)

    def run() -> np.ndarray:
        out = np.empty_like(padded)
        for i in range(0, len(padded), width):
            integrator.set_time(zeros)
            integrator.state[:] = padded[i : i + width].T
            integrator.propagate_until(ones)
            out[i : i + width] = integrator.state.T
        return out[: len(y0)]

    return run


def diffrax(y0: np.ndarray, tol: float, width: int = 512) -> Run:
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def rhs(t, y, p):
        return jnp.stack([p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - p[2] * y[2]])

    def one(start):
        control = dfx.PIDController(rtol=tol, atol=tol, pcoeff=0.4, icoeff=0.3)
        solution = dfx.diffeqsolve(
            dfx.ODETerm(rhs),
            dfx.Tsit5(),
            0.0,
            1.0,
            None,
            start,
            args=jnp.asarray(P),
            stepsize_controller=control,
            saveat=dfx.SaveAt(t1=True),
        )
        return solution.ys[-1]

    many = jax.jit(lambda y: jax.lax.map(jax.vmap(one), y))
    padded = np.concatenate([y0, np.tile(y0[:1], (-len(y0) % width, 1))]).reshape(-1, width, 3)
    return lambda: np.asarray(many(padded)).reshape(-1, 3)[: len(y0)]


def reference(y0: np.ndarray) -> np.ndarray:
    def rhs(t, y):
        return [P[0] * (y[1] - y[0]), y[0] * (P[1] - y[2]) - y[1], y[0] * y[1] - P[2] * y[2]]

    return np.array([solve_ivp(rhs, (0.0, 1.0), start, "DOP853", rtol=1e-13, atol=1e-13).y[:, -1] for start in y0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="trajectories (default 10000)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-6, 1e-8, 1e-10])
    parser.add_argument("--start", choices=("point", "box"), default="point")
    args = parsed(parser)
    y0 = starts(args.start, args.count)
    exact = reference(y0[:50])
    print(f"{args.count} Lorenz trajectories, t in [0, 1], starts: {args.start}")
    print("\n| tolerance | library | median error | us a trajectory | million a CPU-second |\n|---|---|---|---|---|")
    for tol in args.tolerances:
        runs: dict[str, Run] = {}
        for make in (stepsmith, heyoka, diffrax):
            try:
                runs[make.__name__] = make(y0, tol)
            except ImportError:
                print(f"{make.__name__}: not installed", file=sys.stderr)
        error, best = {}, dict.fromkeys(runs, np.inf)
        for name, run in runs.items():  # compiles
            error[name] = np.median(np.linalg.norm(run()[:50] - exact, axis=1) / np.linalg.norm(exact, axis=1))
        for repeat in range(args.repeats):
            for name, run in runs.items():
                if name == "diffrax" and repeat >= 3:
                    continue
                start = time.process_time()
                run()
                best[name] = min(best[name], time.process_time() - start)
        for name in runs:
            each = best[name] / args.count
            print(f"| {tol:.0e} | {name} | {error[name]:.1e} | {each * 1e6:.3f} | {1e-6 / each:.3f} |", flush=True)


if __name__ == "__main__":
    main()
