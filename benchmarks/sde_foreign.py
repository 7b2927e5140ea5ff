"""diffrax and torchsde on the problems of `sde_peers.py`: paths, their ends, and the exact or finely solved ends.

    Run = (y (paths, n), ref (paths, n), drift evaluations a path, seconds)

diffrax's solvers are of Stratonovich's kind (Heun) or for additive noise (ShARK, SRA1), so the drifts here are those of
Stratonovich's form.  torchsde's `srk` is of Ito's kind.  References without an exact solution are solves with small
equal steps on the same Brownian motion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Run = tuple[np.ndarray, np.ndarray, float, float]
FINE = 4096


def drifts(xp: Any, name: str, ito: bool) -> tuple[Callable, Callable]:
    """(f, g) of a problem over the last axis of y, f(t, y, p) of Ito's or Stratonovich's form."""

    def stack(*parts: Any) -> Any:
        return xp.stack(parts, -1)

    def gbm(t: Any, y: Any, p: Any) -> Any:
        return (p[0] - (0.0 if ito else 0.5 * p[1] ** 2)) * y

    def bounded(t: Any, y: Any, p: Any) -> Any:
        return -(p[0] + (p[1] ** 2 * y if ito else 0.0)) * (1.0 - y * y)

    def decay(t: Any, y: Any, p: Any) -> Any:
        return p[1] / (1.0 + t) ** 0.5 - y / (2.0 * (1.0 + t))

    def volterra(t: Any, y: Any, p: Any) -> Any:
        u, v = y[..., 0], y[..., 1]
        half = 0.0 if ito else 0.5
        return stack(u * (p[0] - p[1] * v - half * p[4] ** 2), v * (p[2] * u - p[3] - half * p[5] ** 2))

    def nagumo(t: Any, y: Any, p: Any) -> Any:
        v, u = y[..., 0], y[..., 1]
        return stack((v - v * v * v / 3.0 - u + p[2]) / p[3], v + p[0] - p[1] * u)

    def g_decay(t: Any, y: Any, p: Any) -> Any:
        return p[0] * p[1] / (1.0 + t) ** 0.5 * xp.ones_like(y)  # diffrax looks for a use of y

    def g_volterra(t: Any, y: Any, p: Any) -> Any:
        return stack(p[4] * y[..., 0], p[5] * y[..., 1])

    def g_nagumo(t: Any, y: Any, p: Any) -> Any:
        one = xp.ones_like(y[..., 0])
        return stack(p[4] / p[3] ** 0.5 * one, 0.0 * one)

    return {
        "gbm": (gbm, lambda t, y, p: p[1] * y), "bounded": (bounded, lambda t, y, p: p[1] * (1.0 - y * y)),
        "additive_decay": (decay, g_decay), "lotka_volterra": (volterra, g_volterra),
        "fitzhugh_nagumo": (nagumo, g_nagumo),
    }[name]  # fmt: skip


def diffrax_runs(problem: Any, solver_name: str, tolerances: Any, paths: int) -> Iterator[tuple[str, Run]]:
    """Adaptive solves under diffrax's PID controller with the coefficients that its documentation advises for SDEs."""
    import diffrax as dfx
    import jax
    import lineax as lx

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    f, g = drifts(jnp, problem.name, ito=False)
    (t0, t1), n, p, y0 = problem.t_span, problem.n, jnp.asarray(problem.p), jnp.asarray(problem.y0)
    solver = getattr(dfx, solver_name)()
    area = dfx.BrownianIncrement if solver_name == "Heun" else dfx.SpaceTimeLevyArea

    def terms(key: Any) -> Any:
        tree = dfx.VirtualBrownianTree(t0, t1, tol=(t1 - t0) * 2.0**-16, shape=(n,), key=key, levy_area=area)
        noise = dfx.ControlTerm(lambda t, y, a: lx.DiagonalLinearOperator(g(t, y, p)), tree)
        return dfx.MultiTerm(dfx.ODETerm(lambda t, y, a: f(t, y, p)), noise), tree

    @jax.jit
    @jax.vmap
    def ends(key: Any) -> Any:
        both, tree = terms(key)
        given = {"saveat": dfx.SaveAt(t1=True), "max_steps": 2 * FINE}
        return dfx.diffeqsolve(both, solver, t0, t1, (t1 - t0) / FINE, y0, **given).ys[0], tree.evaluate(t0, t1)

    def one(key: Any, tol: Any) -> Any:
        control = dfx.PIDController(tol, tol, pcoeff=0.1, icoeff=0.3)
        sol = dfx.diffeqsolve(
            terms(key)[0], solver, t0, t1, (t1 - t0) / 50, y0, stepsize_controller=control, saveat=dfx.SaveAt(t1=True),
            max_steps=100_000, throw=False,
        )  # fmt: skip
        return sol.ys[0], sol.stats["num_steps"]

    solve = jax.jit(jax.vmap(one, (0, None)))
    keys = jax.random.split(jax.random.PRNGKey(0), paths)
    fine, w = (np.asarray(a) for a in ends(keys))
    ref = fine if problem.exact is None else problem.exact(np.array([t1]), w[:, None], 0 * w[:, None], y0, p)[:, 0]
    jax.block_until_ready(solve(keys, 1.0))  # compiled
    for tol in tolerances:
        start = time.perf_counter()
        y, steps = jax.block_until_ready(solve(keys, tol))
        seconds = time.perf_counter() - start
        yield f"{tol:.2g}", (np.asarray(y), np.asarray(ref), 2.0 * float(np.mean(steps)), seconds)


def torchsde_runs(problem: Any, steps: Any, tolerances: Any, paths: int) -> Iterator[tuple[str, Run]]:
    """torchsde's `srk`: equal steps, and adaptive ones, one size for the whole batch."""
    import torch
    import torchsde

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    f, g = drifts(torch, problem.name, ito=True)
    p, (t0, t1) = [float(v) for v in problem.p], problem.t_span
    calls = [0]

    class Equation(torch.nn.Module):
        noise_type = "additive" if problem.noise == "additive" and problem.n == 1 else "diagonal"
        sde_type = "ito"

        def f(self, t: Any, y: Any) -> Any:
            calls[0] += 1
            return f(t, y, p)

        def g(self, t: Any, y: Any) -> Any:
            found = g(t, y, p)
            return found[..., None] if self.noise_type == "additive" else found

    start, span = torch.tensor(problem.y0).expand(paths, -1), torch.tensor([t0, t1])

    def solved(motion: Any, **given: Any) -> tuple[np.ndarray, float, float]:
        calls[0], began = 0, time.perf_counter()
        with torch.no_grad():
            y = torchsde.sdeint(Equation(), start, span, bm=motion, method="srk", **given)[-1]
        return y.numpy(), float(calls[0]), time.perf_counter() - began

    def run(**given: Any) -> Run:
        motion = torchsde.BrownianInterval(
            t0, t1, size=(paths, problem.n), entropy=1, levy_area_approximation="space-time", dtype=torch.float64
        )
        y, work, seconds = solved(motion, **given)
        w = motion(t0, t1).numpy()
        if problem.exact is None:
            ref = solved(motion, dt=(t1 - t0) / FINE)[0]
        else:
            ref = problem.exact(np.array([t1]), w[:, None], 0 * w[:, None], problem.y0, problem.p)[:, 0]
        return y, ref, work, seconds

    for count in steps:
        yield f"{count} steps", run(dt=(t1 - t0) / count)
    for tol in tolerances:
        yield f"{tol:.2g}", run(dt=(t1 - t0) / 50, adaptive=True, rtol=tol, atol=tol, dt_min=1e-6)
