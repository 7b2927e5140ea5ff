"""One fuzzed solve in torch, by `odeint` or `NeuralODE`, with random options, against torchdiffeq at tight tolerance in
float64; methods on a grid against torchdiffeq's own, to rounding.

A success must be within 1,000 tolerances of the reference, its gradient within 10,000.  Options that do not go together
are refused by one error.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
import torchdiffeq

import stepsmith as ss
from fuzz_case import laws
from stepsmith.integrators.methods.tableaus import NAMES as PAIRS
from stepsmith.integrators.neural.fixed import RULES

F64 = torch.float64
LIMIT, GRADIENT_LIMIT = 1e3, 1e4
LEARNED = ("neural-field", "neural-field-tier1", "universal")


@dataclass
class Report:
    """What ran: cases, those compared, failures that said so, refusals by their first words, and findings."""

    cases: int = 0
    compared: int = 0
    failed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.cases += other.cases
        self.compared += other.compared
        self.failed += other.failed
        self.refused += other.refused
        self.findings += other.findings


class Smooth(torch.nn.Module):
    """A network of one hidden layer over the last axis, forced in time, beside a decay."""

    def __init__(self, rng: random.Random, features: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(rng.randrange(2**31))

        def normal(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(0.7 * torch.randn(*shape, dtype=F64, generator=draws))

        self.inner, self.outer, self.bias = normal(4, features), normal(features, 4), normal(4)
        self.decay, self.speed = rng.choice([0.0, 0.5, 2.0]), rng.choice([0.0, 1.0, 3.0])

    def forward(self, t: torch.Tensor, y: Any) -> Any:
        if isinstance(y, tuple):
            return self(t, y[0]), 0.3 * y[0].square().mean(-1) - 0.5 * y[1]
        if isinstance(y, dict):
            return {"b": 0.3 * y["a"].square().mean(-1) - 0.5 * y["b"], "a": self(t, y["a"])}
        if y.dim() == 0:
            return self.bias[0] * torch.cos(self.speed * t) - self.decay * y
        inside = y @ self.inner.T + self.bias + torch.sin(self.speed * t)
        return torch.tanh(inside) @ self.outer.T - self.decay * y


def parts(y: Any) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(y)


def mapped(call: Any, y: Any) -> Any:
    return torch.utils._pytree.tree_map(call, y)


def start(rng: random.Random, features: int, dtype: torch.dtype) -> tuple[Any, str]:
    """y0 and what kind it is."""
    draws = torch.Generator().manual_seed(rng.randrange(2**31))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=F64, generator=draws).to(dtype).requires_grad_()

    batch = rng.choice([1, 2, 5])
    kind = rng.choice(["batch", "batch", "batch", "system", "images", "scalar", "tuple", "dict"])
    made = {
        "batch": lambda: normal(batch, features), "system": lambda: normal(features), "scalar": lambda: normal(),
        "images": lambda: normal(batch, 2, features),
        "tuple": lambda: (normal(batch, features), normal(batch)),
        "dict": lambda: {"a": normal(batch, features), "b": normal(batch)},
    }  # fmt: skip
    return made[kind](), kind


def times(rng: random.Random) -> list[float]:
    inner = sorted(rng.uniform(0.05, 0.95) for _ in range(rng.choice([0, 1, 1, 3])))
    begin, span = rng.choice([0.0, -1.0, 2.5]), rng.choice([0.1, 1.0, 2.0]) * rng.choice([1.0, -1.0])
    return [begin + span * u for u in (0.0, *inner, 1.0)]


def drawn(rng: random.Random, kind: str, dtype: torch.dtype, span: float, field: Smooth) -> dict[str, Any]:
    """Options of `odeint`, most of them left alone."""
    tight = 1e-5 if dtype == torch.float32 else 1e-8
    rtol = 10.0 ** rng.uniform(torch.log10(torch.tensor(tight)).item(), -3)
    given: dict[str, Any] = {"rtol": rtol, "atol": rtol * rng.choice([1.0, 0.1])}

    def maybe(name: str, chance: float, *values: Any) -> None:
        if rng.random() < chance:
            given[name] = rng.choice(values)

    maybe("method", 0.7, *PAIRS)
    if given.get("method") in ("fehlberg2", "adaptive_heun", "bs32"):
        given["rtol"] = max(rtol, 1e-5)
    maybe("controller", 0.5, *laws(), *LEARNED)
    maybe("adjoint", 0.5, "discrete", "backsolve", "interpolating", "none")
    maybe("per_sample", 0.5, True, False, None)
    maybe("first_step", 0.3, "bold", 0.01 * span, span, 3 * span)
    maybe("max_steps", 0.1, 1, 3, 20)
    maybe("even_steps", 0.2, True)
    maybe("compact", 0.15, True)
    maybe("heuristics", 0.3, True, False, "E", "values")
    maybe("max_step", 0.1, 0.2 * span)
    maybe("min_step", 0.05, 1e-7 * span)
    maybe("step_t", 0.1, [0.3, -0.5, 2.9], [2.0])
    maybe("jump_t", 0.05, [0.31, -0.51, 2.91])
    maybe("tolerance", 0.05, "torchdiffeq")
    maybe("norm", 0.05, lambda y: torch.stack([part.abs().max() for part in parts(y)]).max())
    if given.get("adjoint", "discrete") == "discrete":
        maybe("checkpoint_every", 0.15, 1, 3)
        if "checkpoint_every" not in given:
            maybe("checkpoint", 0.15, "auto")
        if "checkpoint" in given:
            maybe("checkpoint_mb", 0.5, 0.01, 1.0)
    if given.get("adjoint") in ("backsolve", "interpolating"):
        maybe("adjoint_params", 0.2, tuple(field.parameters()))
    return given


def reference(field: Smooth, y0: Any, t: torch.Tensor, rows: bool, weights: list[torch.Tensor]) -> tuple[Any, Any]:
    """States at t, by torchdiffeq, and the gradients of their weighted sum in the field's parameters and y0."""
    begin = mapped(lambda part: part.detach().double().requires_grad_(), y0)

    def solved(own: Any, at: torch.Tensor) -> Any:
        if isinstance(own, dict):
            return dict(zip(own, solved(tuple(own.values()), at), strict=True))
        return torchdiffeq.odeint(field, own, at, rtol=1e-10, atol=1e-11, method="dopri8")

    if t.dim() == 1:
        y = solved(begin, t)
    else:
        each = [solved(mapped(lambda part, i=i: part[i : i + 1], begin), t[:, i]) for i in range(t.shape[1])]
        y = torch.utils._pytree.tree_map(lambda *of: torch.cat(of, 1), *each)
    return y, gradients(field, begin, y, weights)


def gradients(field: Smooth, y0: Any, y: Any, weights: list[torch.Tensor]) -> list[torch.Tensor]:
    loss = sum((part.double() * w).sum() for part, w in zip(parts(y), weights, strict=True))
    wanted = [*field.parameters(), *parts(y0)]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [torch.zeros_like(w).double() if g is None else g.double() for g, w in zip(found, wanted, strict=True)]


def check_ode(rng: random.Random) -> Report:
    """One case."""
    report = Report(cases=1)
    features, dtype = rng.choice([1, 2, 3]), rng.choice([F64, F64, torch.float32])
    field = Smooth(rng, features)
    y0, kind = start(rng, features, dtype)
    own = field if dtype == F64 else _cast(field)
    t = torch.tensor(times(rng), dtype=F64)
    span = float(abs(t[-1] - t[0]))
    on_grid = rng.random() < 0.2
    if on_grid:
        given: dict[str, Any] = {"method": rng.choice(list(RULES))}
        if rng.random() < 0.7:
            given["step_size"] = span * rng.choice([0.05, 0.13, 0.5])
        if rng.random() < 0.3:
            given["adjoint"] = rng.choice(["backsolve", "none"])
    else:
        given = drawn(rng, kind, dtype, span, own)
    batch = len(parts(y0)[0]) if kind not in ("system", "scalar") else 1
    if kind == "batch" and given.get("per_sample") is not False and not on_grid and rng.random() < 0.2:
        t = t[:, None] * torch.tensor([rng.choice([1.0, -1.0, 0.5]) for _ in range(batch)], dtype=F64) + 0.0
    wrong = rng.random() < 0.05
    if wrong:
        t[1] = t[0]
    module = t.dim() == 1 and rng.random() < 0.35
    extra: dict[str, Any] = {}
    if module:
        extra = {
            name: value for name, chance, value in (
                ("warm_start", 0.3, True), ("steps", 0.2, "auto"), ("on_failure", 0.3, rng.choice(["mask", "warn"])),
                ("regulariser", 0.4, rng.choice(ss.neural.REGULARISERS)),
            ) if rng.random() < chance
        }  # fmt: skip
        if extra.get("regulariser") == "steer":
            extra["regulariser"] = ss.neural.regulariser("steer", b=0.4 * float(abs(t[-1] - t[-2])))
    what = f"{'NeuralODE' if module else 'odeint'} {kind} {dtype} t={t.tolist()} {_told({**given, **extra})}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _compare(report, rng, field, own, y0, t, given, extra, module, on_grid, wrong, what)
    except (ValueError, TypeError) as error:
        text = str(error)
        report.refused[text[:60]] += 1
        if len(text) > 700:
            report.findings.append(f"{type(error).__name__}: {text}\n{what}")
    except RuntimeError as error:
        text = str(error)
        report.failed += 1
        if not any(word in text for word in ("failed", "backward", "on_failure", "solve")):
            report.findings.append(f"RuntimeError: {text[:400]}\n{what}")
    except Exception as error:
        report.findings.append(f"{type(error).__name__}: {str(error)[:400]}\n{what}")
    return report


def _cast(field: Smooth) -> Smooth:
    import copy

    return copy.deepcopy(field).float()


def _told(given: dict[str, Any]) -> str:
    return ", ".join(f"{k}={'...' if k in ('adjoint_params', 'norm') else repr(v)}" for k, v in given.items())


def _solve(own: Smooth, y0: Any, t: torch.Tensor, given: dict[str, Any], extra: dict[str, Any], module: bool) -> Any:
    """(y, success, penalty)"""
    if not module:
        sol = ss.neural.odeint(own, y0, t, **given)
        return sol.y, sol.success, None, sol
    ode = ss.neural.NeuralODE(own, **given, **extra)
    for _ in range(3 if ode.remembers else 1):
        out = ode(y0, t)
    return out.y, out.solution.success, out.penalty, out.solution


def _compare(report, rng, field, own, y0, t, given, extra, module, on_grid, wrong, what) -> None:
    if on_grid and not module and rng.random() < 0.3:
        given["per_sample"] = rng.choice([True, False])
    y, success, penalty, sol = _solve(own, y0, t, given, extra, module)
    if wrong:
        report.findings.append(f"a time twice, and no error\n{what}")
        return
    if not success:
        report.failed += 1
        if not sol.message or (extra.get("on_failure") != "mask" and all(_finite(y))):
            report.findings.append(f"no success, and no word or no NaN: {sol.message!r}\n{what}")
        return
    report.compared += 1
    for part, begin in zip(parts(y), parts(y0), strict=True):
        if part.shape != (len(t), *begin.shape) or part.dtype != begin.dtype:
            report.findings.append(f"{part.dtype} {tuple(part.shape)} from {tuple(begin.shape)}\n{what}")
            return
    steered = getattr(extra.get("regulariser"), "name", "") == "steer"
    draws = torch.Generator().manual_seed(1)
    weights = [torch.randn(part.shape, dtype=F64, generator=draws) for part in parts(y)]
    graph = any(part.requires_grad for part in parts(y))
    found = gradients(own, y0, y, weights) if graph else None
    if graph != (given.get("adjoint") != "none"):
        report.findings.append(f"a graph: {graph}\n{what}")
    if penalty is not None and not (bool(torch.isfinite(penalty)) and float(penalty) >= 0.0):
        report.findings.append(f"penalty {float(penalty)}\n{what}")
    if penalty is not None and penalty.requires_grad:
        slopes = torch.autograd.grad(penalty, list(own.parameters()), allow_unused=True)
        if not all(bool(torch.isfinite(g).all()) for g in slopes if g is not None):
            report.findings.append(f"a penalty's gradient that is not finite\n{what}")
    if steered:
        return
    if on_grid:
        options = {"step_size": given["step_size"]} if "step_size" in given else {}
        start_ = mapped(lambda part: part.detach().double().requires_grad_(), y0)
        flat = tuple(start_.values()) if isinstance(start_, dict) else start_
        host = torchdiffeq.odeint_adjoint if given.get("adjoint") == "backsolve" else torchdiffeq.odeint
        tree = _Ordered(field) if isinstance(start_, dict) else field
        same = host(tree, flat, t, method=given["method"], options={**options, "interp": "cubic"})
        same = dict(zip(start_, same, strict=True)) if isinstance(start_, dict) else same
        want, slopes = same, gradients(field, start_, same, weights)
        eps = 1e-9 if parts(y)[0].dtype == F64 else 1e-3
        tol = back = eps
    else:
        want, slopes = reference(field, y0, t, t.dim() > 1, weights)
        factor = 20.0 if "tolerance" in given else 1.0
        floor = 3e-6 if parts(y)[0].dtype == torch.float32 else 1e-12
        size = max(float(part.abs().max()) for part in parts(want))
        tol = (factor * (given["atol"] + given["rtol"] * size) * LIMIT) + floor * LIMIT / 10 * size
        back = (factor * (given["atol"] + given["rtol"]) + floor) * GRADIENT_LIMIT
        if sol.stats.naccept_over or "min_step" in given or "jump_t" in given:
            tol, back = 100 * tol, 100 * back
    error = max(float((a.double() - b).abs().max()) for a, b in zip(parts(y), parts(want), strict=True))
    if not error <= tol:
        report.findings.append(f"success {error:.3g} off, allowed {tol:.3g}\n{what}")
    if found is not None:
        scale = max(float(g.abs().max()) for g in slopes)
        worst = max(float((a - b).abs().max()) for a, b in zip(found, slopes, strict=True))
        if not worst <= back * (scale + 1e-3):
            report.findings.append(f"gradient {worst:.3g} off of {scale:.3g}, allowed {back:.3g}\n{what}")


class _Ordered(torch.nn.Module):
    """A field of a dict as one of the tuple of its parts."""

    def __init__(self, field: Smooth) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: torch.Tensor, y: Any) -> Any:
        slope = self.field(t, {"a": y[0], "b": y[1]})
        return slope["a"], slope["b"]


def _finite(y: Any) -> list[bool]:
    return [bool(torch.isfinite(part).all()) for part in parts(y)]
