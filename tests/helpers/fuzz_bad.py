"""Arguments that do not fit, one at a time, in calls that are otherwise good.

The rule: one clear error that names what is wrong, or the right answer, or a status that is not success; never a hang,
never an error of the insides, never a success with numbers that are not finite.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import stepsmith as ss
from fuzz_ode import Report

F64 = torch.float64
#: words of errors that speak of the insides and not of the argument
INSIDE = (
    "not supported between", "positional argument", "object has no attribute", "object is not", "unsupported operand",
    "can't convert", "cannot convert", "could not broadcast", "must match the size", "out of bounds for",
    "not subscriptable", "must be real number", "expected Tensor as", "invalid literal",
)  # fmt: skip


class Field(torch.nn.Module):
    """y' = -rate y."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t: Any, y: Any) -> Any:
        return -self.rate.to(y.dtype) * y


def decay(t, y, p, dy):
    dy[0] = -p[0] * y[0]


def noise(t, y, p, g):
    g[0] = 0.2 * y[0]


def velocity(x: Any, t: Any) -> Any:
    return -x


def good_state() -> torch.Tensor:
    return torch.tensor([[1.0, 0.5], [-0.3, 0.2], [0.7, 1.1]], dtype=F64)


@dataclass(frozen=True)
class Face:
    """A function of the library with good arguments, each of which is spoiled in its turn.

    call        (**arguments) -> (success flags, numbers), both arrays or tensors.
    good        makes good arguments.
    spoiled     names that may be spoiled beside those of `good`.
    changing    names whose good values may change the answer.
    huge        names for which a large number is a large amount of work or memory, and so not tried.
    named       other words that an error may have for a name.
    """

    call: Callable[..., tuple[Any, Any]]
    good: Callable[[], dict[str, Any]]
    spoiled: tuple[str, ...] = ()
    changing: frozenset[str] = frozenset()
    huge: frozenset[str] = frozenset()
    named: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _solved(sol: Any) -> tuple[Any, Any]:
    return sol.success, sol.y


def _module(y0: Any, t: Any, **options: Any) -> tuple[Any, Any]:
    out = ss.neural.NeuralODE(Field(), **options)(y0, t)
    return out.solution.success and bool(torch.isfinite(out.penalty)), out.y


def _flow(velocity: Any, x: Any, **options: Any) -> tuple[Any, Any]:
    out = ss.flows.CNF(velocity, **options)(x)
    return out.success, out.log_prob


def _paths(drift: Any, diffusion: Any, y0: Any, t_span: Any, p: Any, noise: Any, interpretation: Any, **rest: Any):
    problem = ss.SDEProblem(drift, diffusion, y0, t_span, p, noise=noise, interpretation=interpretation)
    sol = ss.solve_sde(problem, **rest)
    return sol.success.all(), sol.y


def _like_torchdiffeq(**arguments: Any) -> tuple[Any, Any]:
    from stepsmith.neural.torchdiffeq import odeint

    return True, odeint(**arguments)


def _steady(**arguments: Any) -> tuple[Any, Any]:
    sol = ss.neural.steady_state(**arguments)
    return sol.success, sol.z


ODE_OPTIONS = (
    "method", "controller", "rtol", "atol", "adjoint", "per_sample", "first_step", "max_steps", "checkpoint_every",
    "checkpoint", "checkpoint_mb", "heuristics", "compact", "even_steps", "tolerance", "adjoint_params",
    "adjoint_rtol", "adjoint_atol", "norm", "min_step", "max_step", "step_t", "jump_t", "event_fn", "step_size",
)  # fmt: skip
SDE_OPTIONS = (
    "method", "controller", "rtol", "atol", "seed", "noise", "interpretation", "adjoint", "per_sample", "first_step",
    "min_step", "max_step", "step_size", "max_steps", "brownian", "revisit", "sample_ids", "heuristics", "keep_states",
    "estimate",
)  # fmt: skip
SAMPLE_OPTIONS = (
    "method", "steps", "grid", "schedule", "controller", "rtol", "atol", "seed", "denoise", "trajectory", "per_sample",
    "first_step", "max_steps",
)  # fmt: skip
LEARN_OPTIONS = (
    "kind", "steps", "seed", "n_train", "minutes", "shape", "n_validate", "batch", "dtype", "device", "progress",
    "iterations", "rate", "solver", "loss", "fit_last", "width",
)  # fmt: skip
ODE_CHANGING = frozenset(
    {"func", "y0", "t", "rtol", "atol", "method", "event_fn", "min_step", "step_size", "norm", "adjoint_params"}
)


def _model() -> Any:
    return ss.flows.mixture([[0.5, -0.5]], [0.7])


def _net() -> Any:
    return ss.flows.Model(velocity, ss.flows.FlowMatching())


FACES: dict[str, Face] = {
    "neural.odeint": Face(
        lambda **k: _solved(ss.neural.odeint(**k)),
        lambda: {"func": Field(), "y0": good_state(), "t": [0.0, 0.4, 1.0]},
        ODE_OPTIONS, ODE_CHANGING, named={"func": ("drift",), "t": ("time",), "y0": ("state",)},
    ),
    "neural.odeint on a grid": Face(
        lambda **k: _solved(ss.neural.odeint(**k)),
        lambda: {"func": Field(), "y0": good_state(), "t": [0.0, 0.4, 1.0], "method": "rk4"},
        ODE_OPTIONS, ODE_CHANGING, huge=frozenset({"step_size"}),
    ),
    "NeuralODE": Face(
        _module, lambda: {"y0": good_state(), "t": [0.0, 0.4, 1.0]},
        (*ODE_OPTIONS, "regulariser", "strength", "warm_start", "steps", "on_failure"),
        ODE_CHANGING | {"regulariser"},
    ),
    "torchdiffeq": Face(
        _like_torchdiffeq, lambda: {"func": Field(), "y0": good_state(), "t": torch.tensor([0.0, 0.4, 1.0])},
        ("rtol", "atol", "method", "options", "event_fn"), frozenset({"func", "y0", "t", "rtol", "atol", "method"}),
    ),
    "steady_state": Face(
        _steady, lambda: {"func": lambda z, x=None: 0.5 * torch.cos(z), "z0": good_state()},
        ("x", "tol", "rtol", "atol", "max_steps", "method", "controller", "solver_rtol", "solver_atol", "first_step",
         "compact", "gradient", "gradient_tol", "gradient_max_iter", "on_failure"),
        frozenset({"func", "z0", "tol", "rtol", "atol", "x", "first_step", "solver_rtol", "solver_atol"}),
    ),
    "neural.sdeint": Face(
        lambda **k: _solved(ss.neural.sdeint(**k)),
        lambda: {"drift": Field(), "diffusion": lambda t, y: 0.2 * y, "y0": good_state(), "t": [0.0, 0.4, 1.0]},
        SDE_OPTIONS,
        frozenset(SDE_OPTIONS) | {"drift", "diffusion", "y0", "t"},
    ),
    "solve_sde": Face(
        _paths,
        lambda: {"drift": decay, "diffusion": noise, "y0": [1.0], "t_span": (0.0, 1.0), "p": [0.5],
                 "noise": "diagonal", "interpretation": None, "paths": 20},
        ("method", "controller", "rtol", "atol", "seed", "t_eval", "step_size", "max_steps", "source", "first_step",
         "threads", "estimate"),
        frozenset({"drift", "diffusion", "y0", "t_span", "p", "noise", "paths", "method", "controller", "rtol", "atol",
                   "seed", "t_eval", "step_size", "source", "first_step", "estimate"}),
        huge=frozenset({"paths", "threads"}), named={"y0": ("drift",)},
    ),
    "flows.sample": Face(
        lambda **k: _solved(ss.flows.sample(**k)),
        lambda: {"model": _model(), "x": good_state(), "steps": 4},
        SAMPLE_OPTIONS, frozenset(SAMPLE_OPTIONS) | {"model", "x"}, huge=frozenset({"steps"}),
        named={"method": ("steps",), "schedule": ("file",)},
    ),
    "flows.sample, chosen steps": Face(
        lambda **k: _solved(ss.flows.sample(**k)),
        lambda: {"model": _model(), "x": good_state(), "method": "bs32"},
        SAMPLE_OPTIONS, frozenset(SAMPLE_OPTIONS) | {"model", "x"}, huge=frozenset({"steps"}),
        named={"schedule": ("file",)},
    ),
    "flows.learn": Face(
        lambda **k: (True, ss.flows.sample(_model(), good_state(), schedule=ss.flows.learn(**k)).y),
        lambda: {"model": _model(), "kind": "bns", "steps": 3, "n_train": 16, "n_validate": 8, "batch": 8,
                 "iterations": 3},
        LEARN_OPTIONS, frozenset(LEARN_OPTIONS) | {"model"},
        huge=frozenset({"steps", "n_train", "n_validate", "batch", "iterations", "width", "shape"}),
    ),
    "flows.CNF": Face(
        _flow, lambda: {"velocity": velocity, "x": good_state()},
        ("t", "trace", "probes", "base", "method", "controller", "rtol", "atol", "per_sample", "regulariser",
         "strength", "max_steps", "on_failure"),
        frozenset({"velocity", "x", "t", "base", "rtol", "atol", "method"}), huge=frozenset({"probes"}),
    ),
}  # fmt: skip


def pool() -> list[Any]:
    """Values of many kinds, made anew."""
    nan, inf = math.nan, math.inf
    return [
        None, True, False, "x", "", "tsit5", b"x", 0, 1, -1, 2, 7, 1.5, 0.1, -1e-3, 1e-3, nan, inf, -inf, 1e300,
        1e-300, 5e-324, 10**30, -(10**30), 1j, [], {}, (), [1, 2], [nan], [0.0, 0.0, 1.0], [1.0, 0.0], [0.0, nan, 1.0],
        [0.0, inf], ["a", "b"], [None, None], [[0.0], [1.0]], [0.0, 1e-320], [0.0, 1e308], [-1e308, 1e308],
        (0.0, 1.0), (1.0, 0.0), (0.5, 0.5), {"a": 1}, {1, 2}, range(3), range(0), object(), Field, Field(),
        np.array([]), np.zeros((2, 2)), np.array(["a"]), np.array([nan, 1.0]), np.array(0.1), np.array([1], "M8[s]"),
        np.float32(0.1), np.int64(3), np.bool_(True), np.array([None]), np.arange(3), np.ones(3),
        torch.zeros(3), torch.tensor(nan), torch.tensor([]), torch.ones(2, 2, dtype=torch.complex128),
        torch.zeros(3, 2),
        torch.tensor(0.1), torch.ones(3, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.float16),
        torch.ones(3, 2, dtype=torch.bool), torch.full((3, 2), nan, dtype=F64), torch.full((3, 2), inf, dtype=F64),
        torch.ones(0, 2, dtype=F64), torch.ones(3, 0, dtype=F64), torch.ones(3, 1, 2, dtype=F64),
        torch.ones(4, 2, dtype=F64), torch.ones(3, 2).to_sparse(), torch.ones(3, 2, device="meta"),
        torch.full((3, 2), 1e300, dtype=F64), torch.tensor([[1.0, nan], [0.3, 0.2], [0.1, 0.1]], dtype=F64),
        (torch.ones(3, 2), torch.ones(3)), {"a": torch.ones(3, 2), "b": None}, [torch.ones(2), "x"],
        torch.linspace(0, 1, 3, requires_grad=True), torch.ones(3, 2, dtype=F64, requires_grad=True),
        lambda: 0, lambda t, y: None, lambda t, y: y[:1], lambda t, y: y.float(), lambda t, y: 1.0,
        lambda t, y: y * nan, lambda t, y: y.detach().numpy(), lambda t, y: [y], lambda t, y: y.sum(),
        lambda t, y: y.mul_(2.0), lambda t, y: y * 1j, lambda y: y, lambda t, y: y > 0, lambda t, y, p: y, lambda x: 0,
        lambda t, y: y[..., None], lambda t, y: (y - y).to(torch.int64), lambda t, y: y / 0.0, lambda t, y: "x",
        torch.nn.Linear(2, 2), torch.float32, torch.device("cpu"), "cpu", "nowhere", ss, slice(2), NotImplemented,
        np.ma.masked_array([1.0, 2.0], [0, 1]), np.random.default_rng(0), torch.Generator(), ValueError("x"), 3**40,
    ]  # fmt: skip


def shown(value: Any) -> str:
    return " ".join(repr(value).split())[:100]


def _finite(values: Any) -> bool:
    parts = torch.utils._pytree.tree_leaves(values)
    return all(bool(np.isfinite(np.asarray(x.detach() if isinstance(x, torch.Tensor) else x)).all()) for x in parts)


def _same(one: Any, other: Any) -> bool:
    a, b = (x.detach().numpy() if isinstance(x, torch.Tensor) else np.asarray(x) for x in (one, other))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-4))


_BASE: dict[str, Any] = {}


def check_bad(rng: random.Random) -> Report:
    """One call with one spoiled argument."""
    name = rng.choice(list(FACES))
    given = FACES[name]
    if name not in _BASE:
        _BASE[name] = given.call(**given.good())[1]
    arguments = given.good()
    option = rng.choice(sorted({*arguments, *given.spoiled}))
    values = pool()
    value = rng.choice(values)
    if option in given.huge and isinstance(value, (int, float)) and not isinstance(value, bool):
        large = value > 1000 or 0 < value < 1e-3  # a size of steps makes work where it is small
        value = -1 if large else value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        came, found = judge(name, given, arguments, option, value)
    report = Report(cases=1, compared=came == "answered", failed=came == "failed", findings=found)
    report.refused[came] += came == "refused"
    return report


def _own(error: Exception, value: Any) -> bool:
    """Whether an error is that of a function of the caller's: raised in it, or by its call, which Python words."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    own = at is not None and at.tb_frame.f_code.co_filename in (__file__, torch.nn.modules.linear.__file__)
    return own or (callable(value) and isinstance(error, TypeError) and "positional argument" in str(error))


def judge(name: str, given: Face, arguments: dict[str, Any], option: str, value: Any) -> tuple[str, list[str]]:
    """What came of a call with one argument replaced ("refused", "answered", "failed"), and findings."""
    what = f"{name}({option}={shown(value)})"
    try:
        success, numbers = given.call(**{**arguments, option: value})
    except FileNotFoundError:  # a name that may be that of a file
        return "refused", []
    except Exception as error:
        text, kind = str(error), type(error).__name__
        if "on_failure" in text or kind == "SolveFailed":
            return "failed", []
        if _own(error, value):
            return "refused", []
        if not isinstance(error, (ValueError, TypeError, RuntimeError)):
            return "refused", [f"{kind}: {text[:300]}\n  {what}"]
        words = (option, *given.named.get(option, ()))
        if not any(word in text for word in words):
            return "refused", [f"{kind} does not name it: {text[:300]}\n  {what}"]
        if len(text) > 700 or any(word in text for word in INSIDE) or isinstance(error, RuntimeError):
            return "refused", [f"{kind} of the insides: {text[:700]}\n  {what}"]
        return "refused", []
    if not bool(np.all(np.asarray(success))):
        return "failed", []
    if not _finite(numbers):
        if option == "event_fn":  # outputs behind an event
            return "answered", []
        return "answered", [f"success with numbers that are not finite\n  {what}"]
    if option not in given.changing and not _same(numbers, _BASE[name]):
        return "answered", [f"another answer\n  {what}"]
    return "answered", []
