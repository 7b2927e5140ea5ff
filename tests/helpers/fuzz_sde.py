"""Fuzzed solves of stochastic equations that are linear and have exact solutions, by `solve_sde` and `neural.sdeint`.

A seed stands for its paths: the same numbers again, whatever the number of paths, the threads or the company of other
samples.  Along the paths of a tree all methods and tolerances see one Brownian motion, and errors against the exact
solution are bounded and fall with the steps.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch

import stepsmith as ss
from fuzz_case import laws
from fuzz_ode import Report
from stepsmith.integrators.methods import sde as methods

F64 = torch.float64
#: adaptive solves at the tolerances drawn here, and 16 equal steps or more, are this near, relative to the size
NEAR = 0.5
VARIANTS = 8
STRATONOVICH = ("euler_heun", "milstein_stratonovich", "stochastic_heun")


def drift(t, y, p, dy):
    dy[0] = p[0] * y[0]
    dy[1] = p[1] * y[1]


def diffusion(t, y, p, g):
    g[0] = p[2] * y[0]
    g[1] = p[3] * y[1]


def drift_of_additive(t, y, p, dy):
    dy[0] = p[0] / np.sqrt(1.0 + t) - y[0] / (2.0 * (1.0 + t))
    dy[1] = p[1] / np.sqrt(1.0 + t) - y[1] / (2.0 * (1.0 + t))


def diffusion_of_additive(t, y, p, g):
    g[0] = p[2] / np.sqrt(1.0 + t)
    g[1] = p[3] / np.sqrt(1.0 + t)


def exact(kind: str, t: Any, w: Any, y0: Any, p: Any, ito: bool) -> Any:
    """The solution (..., k, 2) at times t (k,) with the motion w (..., k, d): Kloeden and Platen (1992), 4.4."""
    a, s = np.asarray(p[:2]), np.asarray(p[2:])
    time = np.asarray(t)[:, None]
    if kind == "additive":
        return (y0 + a * time + s * w) / np.sqrt(1.0 + time)
    return y0 * np.exp((a - 0.5 * s**2 * ito) * time + s * w)


def kind_of(rng: random.Random) -> tuple[dict[str, Any], str]:
    """What a kernel depends on: a method, a law and an estimate, or none of both with equal steps; the noise."""
    known = methods.get(rng.choice(methods.NAMES))
    noise = rng.choice(known.noises)
    given: dict[str, Any] = {"method": known.name}
    if noise in known.adaptive and rng.random() < 0.6:
        given["controller"] = rng.choice(["pi34", "pi34", "i", rng.choice(laws())])
        if rng.random() < 0.2:
            given["estimate"] = "difference"
    return given, noise


def drawn(
    rng: random.Random, kind: dict[str, Any], tightest: float
) -> tuple[dict[str, Any], list[float], list[float], list[float]]:
    """Options of this kind that both solvers take, times, start and parameters."""
    given = {**kind, "seed": rng.randrange(1000)}
    if "controller" in kind:
        # a range in which the kinds of estimate come to like errors
        given["rtol"] = given["atol"] = 10.0 ** rng.uniform(tightest, -1.3)
        if rng.random() < 0.2:
            given["first_step"] = rng.choice([1e-3, 0.1])
    else:
        given["step_size"] = rng.choice([1 / 16, 0.03, 1 / 64])
    t = [0.0, *sorted(round(rng.uniform(0.05, 0.95), 3) for _ in range(rng.choice([0, 0, 2]))), 1.0]
    y0 = [rng.choice([1.0, -0.5]), rng.uniform(0.2, 1.0)]
    p = [rng.uniform(-1.0, 0.5), rng.uniform(-1.0, 0.5), rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.8)]
    return given, t, y0, p


def check_paths(rng: random.Random) -> Report:
    """Solves by the compiled engine, several of a kernel."""
    (kind, noise), report = kind_of(rng), Report()
    for _ in range(VARIANTS):
        report.add(_paths(rng, kind, noise))
    return report


def _paths(rng: random.Random, kind: dict[str, Any], noise: str) -> Report:
    report = Report(cases=1)
    given, t, y0, p = drawn(rng, kind, -3.0)
    if noise == "additive":
        parts = drift_of_additive, diffusion_of_additive
    else:
        parts = drift, diffusion
    ito = given["method"] not in STRATONOVICH
    given |= {"t_eval": t, "source": rng.choice(["memory", "tree"]), "threads": rng.choice([1, 2, None])}
    what = f"solve_sde {noise} y0={y0} p={p} {given}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = ss.SDEProblem(*parts, y0, (0.0, 1.0), p, noise=noise)
            sol = ss.solve_sde(problem, 40, **given)
            fewer = ss.solve_sde(problem, 7, **{**given, "threads": 1})
            other = ss.solve_sde(problem, 7, **{**given, "seed": given["seed"] + 1})
            few = ss.solve_sde(problem, 7, **{**given, "max_steps": 2})
    except (ValueError, TypeError) as error:
        report.refused[str(error)[:60]] += 1
        return report
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    for name in ("y", "W", "H"):
        if not np.array_equal(getattr(sol, name)[:7], getattr(fewer, name), equal_nan=True):
            report.findings.append(f"{name}: paths of 7 are not those of 40\n{what}")
    if np.array_equal(sol.W[:7], other.W):
        report.findings.append(f"two seeds have one motion\n{what}")
    if few.success.any() or not np.isnan(few.y[:, -1]).all() or not all(few.message(i) for i in range(7)):
        report.findings.append(f"two attempts were enough, or gave numbers: {few.status}\n{what}")
    _judge(report, what, noise, np.array(t), sol.W, sol.y, sol.success, np.array(y0), p, ito)
    return report


def _judge(report: Report, what: str, noise: str, t: Any, w: Any, y: Any, ok: Any, y0: Any, p: Any, ito: bool) -> None:
    """Errors against the exact solution, (paths, times, 2), and the motion's moments."""
    if not ok.all():
        report.failed += 1
        if not np.isnan(y[~ok][:, -1]).all():
            report.findings.append(f"a failed path has an end\n{what}")
        if not ok.any():
            return
    report.compared += 1
    y, w = y[ok], w[ok]
    want = exact(noise, t, w, y0, p, ito)
    error = np.abs(y - want).mean(0).max() / max(1.0, np.abs(want).mean(0).max())
    if not error <= NEAR:
        report.findings.append(f"error {error:.3g}\n{what}")
    if len(w) > 30 and (abs(w[:, -1].mean(0)) > 6 / np.sqrt(len(w))).any():
        report.findings.append(f"mean of the motion {w[:, -1].mean(0)}\n{what}")


def check_sdeint(rng: random.Random) -> Report:
    """Solves in torch, with gradients in the start."""
    report = Report(cases=1)
    kind, noise = kind_of(rng)
    given, t, start, p = drawn(rng, kind, -1.8)
    ito = given["method"] not in STRATONOVICH
    dtype = rng.choice([F64, F64, torch.float32])
    given |= {"noise": noise, "brownian": rng.choice(["memory", "tree"])}
    if "step_size" not in given:
        given["per_sample"] = rng.choice([True, False, None])
        given["revisit"] = rng.random() < 0.9
    coupled = "step_size" in given or given["per_sample"] is False
    batch = rng.choice([1, 3, 5])
    y0 = torch.tensor(start, dtype=dtype).repeat(batch, 1).requires_grad_()
    a, s = (torch.tensor(x, dtype=dtype) for x in (p[:2], p[2:]))

    def f(t: Any, y: Any) -> Any:
        return a * torch.rsqrt(1.0 + t) - y / (2.0 * (1.0 + t)) if noise == "additive" else a * y

    def g(t: Any, y: Any) -> Any:
        return (s * torch.rsqrt(1.0 + t)).expand_as(y) if noise == "additive" else s * y

    what = f"sdeint {noise} {dtype} batch={batch} t={t} y0={start} p={p} {given}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sol = ss.neural.sdeint(f, g, y0, t, **given)
            again = ss.neural.sdeint(f, g, y0, t, **given)
            one = None
            if not coupled or "step_size" in given:  # a sample keeps its path and its steps alone
                one = ss.neural.sdeint(f, g, y0[-1:].detach(), t, sample_ids=[batch - 1], **given)
            few = ss.neural.sdeint(f, g, y0, t, **{**given, "max_steps": 2})
    except (ValueError, TypeError) as error:
        report.refused[str(error)[:60]] += 1
        return report
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    if not torch.equal(sol.y.nan_to_num(), again.y.nan_to_num()) or not torch.equal(sol.W, again.W):
        report.findings.append(f"the same seed, other numbers\n{what}")
    close = 1e-9 if dtype == F64 else 1e-4
    if one is not None and sol.success and not torch.allclose(one.y[:, 0], sol.y[:, -1], rtol=close, atol=close):
        report.findings.append(f"a sample alone is another\n{what}")
    if few.success or bool(torch.isfinite(few.y[-1]).all()):
        report.findings.append(f"two attempts were enough, or gave numbers\n{what}")
    ok = np.asarray(sol.status) == 1
    y = sol.y.detach().double().numpy().swapaxes(0, 1)
    _judge(report, what, noise, np.array(t), sol.W.numpy().swapaxes(0, 1), y, ok, np.array(start), p, ito)
    if sol.success and sol.y.requires_grad:
        (slope,) = torch.autograd.grad(sol.y[-1].sum(), y0)
        # linear in the start
        wanted = (sol.y[-1] / y0 if noise != "additive" else torch.full_like(y0, 2.0**-0.5)).detach()
        error = float((slope - wanted).abs().max() / wanted.abs().max())
        # exact for the numbers where the solution is the start times a factor; else that of a few rough steps
        bound = NEAR if noise == "additive" else 1e-6 if dtype == F64 else 1e-2
        if not error <= bound:
            report.findings.append(f"gradient {error:.3g} off\n{what}")
    return report
