"""Fuzzed samplers of the flow of one Gaussian, whose solution is known: x_t = a m + r(t)/r(t_0) (x_{t_0} - a_0 m) with
r^2 = a^2 S + s^2 in every component.  Its velocity is linear in x.

Rules on a grid are compared with their own formulas in NumPy and with the exact flow; chosen steps with the exact flow
at their tolerance; log densities with those of Gaussian mixtures; learned samplers with their own file.
"""

from __future__ import annotations

import math
import os
import random
import tempfile
import warnings
from typing import Any

import numpy as np
import torch

import stepsmith as ss
from fuzz_ode import Report
from stepsmith.flows.sampling import ADAPTIVE, ON_GRID, REVERSE

F64 = torch.float64
KINDS = ("bns", "grid", "dp", "ays", "solver_search", "bespoke", "evolution", "usf", "hypersolver")
QUICK = {
    "bns": {"iterations": 3}, "grid": {"iterations": 3}, "solver_search": {"iterations": 3},
    "bespoke": {"iterations": 3}, "dp": {}, "ays": {"nodes": 40},
    "evolution": {"population": 4, "generations": 1, "parents": 2, "samples": 8},
    "usf": {"first": 8, "rounds": 1, "tried": 2, "offspring": 4, "samples": 8},
    "hypersolver": {"iterations": 3, "through": 2, "width": 4},
}  # fmt: skip


def process(rng: random.Random) -> Any:
    return rng.choice([ss.flows.FlowMatching(), ss.flows.FlowMatching(), ss.flows.VP(), ss.flows.VE(), ss.flows.EDM()])


def gaussian(rng: random.Random, of: Any, guided: bool) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A model that predicts one of the four, the exact one, the mean and the variance.

    guided: two networks of the same variance are put together, as guidance does: (1 + w) u_1 - w u_2, which is the
    Gaussian's with the mean (1 + w) m_1 - w m_2.
    """
    mean, deviation = [rng.uniform(-1, 1) for _ in range(2)], [rng.uniform(0.3, 1.2) for _ in range(2)]
    exact = ss.flows.mixture([mean], [deviation], process=of)
    predicts = rng.choice(["velocity", "denoised", "noise", "score"])
    net = getattr(exact, predicts)
    if guided:
        w = rng.uniform(0.0, 2.0)
        far = ss.flows.mixture([[2.0 * mean[0] + 0.3, 0.1]], [deviation], process=of)
        apart = (np.array(mean) + w * far.means[0].numpy()) / (1.0 + w)
        near, exact = exact, ss.flows.mixture([apart.tolist()], [deviation], process=of)

        def net(x: Any, t: Any) -> Any:
            one, two = getattr(near, predicts)(x, t), getattr(far, predicts)(x, t)
            return (one + w * two) / (1.0 + w)

        mean = apart
    return ss.flows.Model(net, of, predicts), exact, np.array(mean), np.array(deviation) ** 2


def flow(of: Any, mean: np.ndarray, variance: np.ndarray, x: np.ndarray, t0: float, t1: float) -> np.ndarray:
    """The exact flow of x from t0 to t1."""
    (a0, s0), (a1, s1) = ((float(of.a(t)), float(of.s(t))) for t in (t0, t1))
    spread = np.sqrt((a1**2 * variance + s1**2) / (a0**2 * variance + s0**2))
    return a1 * mean + spread * (x - a0 * mean)


def by_formula(method: str, velocity: Any, x: np.ndarray, t: list[float]) -> np.ndarray:
    """Euler's, Heun's, the midpoint and Adams and Bashforth's rule of two slopes on any grid."""
    last = None
    for i, (now, end) in enumerate(zip(t[:-1], t[1:], strict=True)):
        h, u = end - now, velocity(x, now)
        if method == "euler" or (method == "ab2" and i == 0):
            x_next = x + h * u
        elif method == "heun":
            x_next = x + 0.5 * h * (u + velocity(x + h * u, end))
        elif method == "midpoint":
            x_next = x + h * velocity(x + 0.5 * h * u, now + 0.5 * h)
        else:
            ratio = h / (now - t[i - 1])
            x_next = x + h * ((1.0 + 0.5 * ratio) * u - 0.5 * ratio * last)
        x, last = x_next, u
    return x


def check_sample(rng: random.Random) -> Report:
    """One case of `sample`."""
    report = Report(cases=1)
    of = process(rng)
    model, exact, mean, variance = gaussian(rng, of, rng.random() < 0.3)
    if rng.random() < 0.2:
        other = process(rng)
        model, exact, of = model.as_process(other), exact.as_process(other), other
    dtype = rng.choice([F64, F64, torch.float32])
    draws = torch.Generator().manual_seed(rng.randrange(2**31))
    x = torch.randn(rng.choice([1, 4]), 2, dtype=F64, generator=draws).to(dtype)
    given: dict[str, Any] = {"method": rng.choice([*ON_GRID, *ON_GRID, *ADAPTIVE]), "seed": rng.randrange(100)}
    chosen = given["method"] in ADAPTIVE
    if chosen:
        given["rtol"] = given["atol"] = 10.0 ** rng.uniform(-2.0 if given["method"] in REVERSE else -6.0, -1.0)
        given["per_sample"] = rng.choice([True, False, None])
        given["controller"] = rng.choice(["pi34", None, "torchdiffeq", "i"])
    else:
        given["steps"] = rng.randint(1, 16)
        given["grid"] = rng.choice(["uniform", "cosine", "edm", "log_snr", None])
    if rng.random() < 0.3:
        given["denoise"] = rng.choice([True, False])
    given["trajectory"] = rng.random() < 0.3
    what = f"sample {of} predicts={model.predicts} {dtype} mean={mean} variance={variance} {given}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, again = ss.flows.sample(model, x, **given), ss.flows.sample(model, x, **given)
    except (ValueError, TypeError) as error:
        report.refused[str(error)[:60]] += 1
        return report
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    if out.y.shape != x.shape or out.y.dtype != dtype or not torch.equal(out.y.nan_to_num(), again.y.nan_to_num()):
        report.findings.append(f"{tuple(out.y.shape)} of {out.y.dtype}, or not the same again\n{what}")
    if not out.success:
        report.failed += 1
        if not out.message or not bool(out.failed.any()):
            report.findings.append(f"no success: {out.message!r} {out.failed}\n{what}")
        return report
    report.compared += 1
    if not bool(torch.isfinite(out.y).all()):
        report.findings.append(f"success with {out.y}\n{what}")
        return report
    if given["trajectory"] and out.trajectory.shape != (len(out.t), *x.shape):
        report.findings.append(f"trajectory {tuple(out.trajectory.shape)} at {len(out.t)} times\n{what}")
    begin = float(of.s(float(out.t[0]))) * x.double().numpy()
    want = flow(of, mean, variance, begin, float(out.t[0]), float(out.t[-1]))
    size = max(1.0, np.abs(want).max())
    if chosen and given["method"] not in REVERSE and not out.denoised:
        # states of a process that ends with a large or begins with a large deviation count as they are
        bound = 1e3 * given["rtol"] * max(size, np.abs(begin).max()) + (1e-3 if dtype == torch.float32 else 0.0)
        error = np.abs(out.y.double().numpy() - want).max()
        if not error <= bound:
            report.findings.append(f"{error:.3g} off, allowed {bound:.3g}\n{what}")
    if not chosen and given["method"] in ("euler", "heun", "midpoint", "ab2") and not out.denoised and dtype == F64:
        ends = [t for t in (float(out.t[0]), float(out.t[-1])) if model.singular(t)]
        if not ends:

            def slope(y: np.ndarray, t: float) -> np.ndarray:
                return exact.velocity(torch.from_numpy(y), t).numpy()

            own = by_formula(given["method"], slope, begin, out.t.tolist())
            error = np.abs(out.y.numpy() - own).max() / max(1.0, np.abs(own).max())
            if not error <= 1e-7:
                report.findings.append(f"{error:.3g} off its formula\n{what}")
    return report


def check_density(rng: random.Random) -> Report:
    """One case of `CNF`."""
    report = Report(cases=1)
    of = rng.choice([ss.flows.FlowMatching(), ss.flows.VP(), ss.flows.VE(sigma_max=5.0), ss.flows.EDM(sigma_max=5.0)])
    parts, size = rng.choice([1, 2, 3]), rng.choice([1, 2, 3])
    means = [[rng.uniform(-1, 1) for _ in range(size)] for _ in range(parts)]
    model = ss.flows.mixture(means, [rng.uniform(0.4, 1.0) for _ in range(parts)], process=of)
    dtype = rng.choice([F64, F64, torch.float32])
    draws = torch.Generator().manual_seed(rng.randrange(2**31))
    x = model.draw(rng.choice([1, 4]), draws).to(dtype).requires_grad_()
    tol = 10.0 ** rng.uniform(-5.0 if dtype == torch.float32 else -7.0, -3.0)
    given = {"method": rng.choice(["tsit5", "dopri5", "bs32"]), "per_sample": rng.choice([True, False])}
    what = f"CNF {of} means={means} {dtype} tol={tol:.2g} {given}"
    # where the base is wide its law and the noised data's differ by what is left of the data
    t0, t1 = of.t_data, of.t_noise

    def base(z: Any) -> Any:
        return model.log_density(z, t1)

    try:
        cnf = ss.flows.CNF(model, rtol=tol, atol=tol, base=base, **given)
        out = cnf(x)
        found = torch.autograd.grad(out.log_prob.sum(), x)[0].double()
        back = cnf.sample(out.z.detach())
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    report.compared += 1
    own = x.detach().double().requires_grad_()
    want = model.log_density(own, t0)
    (slope,) = torch.autograd.grad(want.sum(), own)
    rough = tol * 1e3 + (1e-3 if dtype == torch.float32 else 1e-6)
    for name, a, b, bound in (
        ("log_prob", out.log_prob.double(), want, rough), ("there and back", back.double(), x.double(), rough),
        ("gradient", found, slope, 10 * rough * (1 + float(slope.abs().max()))),
    ):  # fmt: skip
        error = float((a - b).detach().abs().max())
        if not error <= bound * (1.0 + float(b.detach().abs().max())):
            report.findings.append(f"{name} {error:.3g} off, allowed {bound:.3g}\n{what}")
    return report


def check_learned(rng: random.Random) -> Report:
    """One case of `learn`: what is learned in a few iterations is used, kept and brought back."""
    report = Report(cases=1)
    of = process(rng)
    model, _, mean, variance = gaussian(rng, of, False)
    kind, dtype = rng.choice(KINDS), rng.choice([F64, torch.float32])
    given = {"kind": kind, "steps": rng.randint(2, 16), "seed": rng.randrange(100), "n_train": 16, "n_validate": 8}
    given |= {"batch": 8, "shape": (2,), "dtype": dtype, **QUICK[kind]}
    what = f"learn {of} predicts={model.predicts} mean={mean} variance={variance} {given}"
    x = torch.randn(3, 2, dtype=dtype, generator=torch.Generator().manual_seed(rng.randrange(2**31)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = ss.flows.learn(model, **given)
            out = ss.flows.sample(model, x, schedule=made)
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "made.safetensors")
                made.save(path)
                kept = ss.flows.sample(model, x, schedule=path)
    except (ValueError, TypeError) as error:
        report.refused[f"{kind}: {str(error)[:60]}"] += 1
        return report
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
        return report
    report.compared += 1
    if not torch.equal(out.y, kept.y):
        report.findings.append(f"what was kept gives other samples\n{what}")
    if out.y.shape != x.shape or out.y.dtype != dtype or not bool(torch.isfinite(out.y).all()) or not out.success:
        report.findings.append(f"{out.y} {out.message}\n{what}")
    if out.nfe != given["steps"] and kind != "usf":
        report.findings.append(f"{out.nfe} evaluations for {given['steps']}\n{what}")
    if not math.isfinite(made.measured.get("error_percent", math.nan)):
        report.findings.append(f"measured {made.measured}\n{what}")
    return report
