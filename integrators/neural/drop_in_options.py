"""torchdiffeq's options and callbacks in this package's terms; what has none is refused with a reason.

Options that belong to the other kind of method (a step size to an adaptive one) bring a warning, as in torchdiffeq,
since scripts switch methods; those that neither kind has are an OptionError.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..core import options, solver_options, tolerance_scale
from ..core.errors import OptionError
from ..engine import trained_method
from ..methods.explicit.tableau import ExplicitTableau
from . import checks, fixed
from .hooks import Hooks
from .pytree import Layout
from .resolution import floored
from .start import BOLD
from .stops import stop_times

Tensor = torch.Tensor
#: torchdiffeq's own numbers of the law that goes by its name here
_LAW = {"safety": 0.9, "ifactor": 10.0, "dfactor": 0.2}
ADAPTIVE = frozenset({
    "first_step", "max_num_steps", "min_step", "max_step", "step_t", "jump_t", "norm", "dtype", "controller",
    "even_steps", *_LAW,
})  # fmt: skip
FIXED = frozenset({"step_size", "grid_constructor", "interp", "perturb"})
#: the options of all methods
EVERY = ADAPTIVE | FIXED | {"max_iters", "max_order", "implicit", "solver", "grid_points", "eps"}
#: torchdiffeq's default, with which a solve has no limit; a solve up to an event has one
MOST, MOST_TO_EVENT = 2**31 - 1, 100_000
#: of the controller's name, path or object, of the method's name, and of whether steps are even and the start is bold
Resolve = Callable[[Any, str, bool | None], Any]
CALLBACKS = ("callback_step", "callback_accept_step", "callback_reject_step")


@dataclass(frozen=True)
class Adaptive:
    """Options of an adaptive method, checked.

    start    what the automatic first step is multiplied by.
    steps    attempts between two outputs; None where nothing was said.
    norm     error norm of the state, or None.
    step_t, jump_t   times that steps end at, and those of them where the field jumps.
    even_steps   None where nothing was said.
    """

    tableau: ExplicitTableau
    controller: Any
    first_step: float | None = None
    start: float = 1.0
    steps: int | None = None
    min_step: float | None = None
    max_step: float | None = None
    norm: Any = None
    step_t: tuple[float, ...] = ()
    jump_t: tuple[float, ...] = ()
    even_steps: bool | None = False


@dataclass(frozen=True)
class Told:
    """The callbacks of a func by their names; each gets t0, the state there, and the step's size."""

    by_name: Mapping[str, Callable[[Any, Any, Any], Any]] = field(default_factory=dict)

    @staticmethod
    def of(func: Any, known: tuple[str, ...], method: str, suffix: str = "") -> Told:
        """Those that `func` has, `suffix` behind their names; a warning for those that are not `known`."""
        found = {name: getattr(func, name + suffix, None) for name in CALLBACKS}
        here = {name: call for name, call in found.items() if call is not None}
        fixed.warn_unused(method, {name + suffix for name in set(here) - set(known)})
        return Told({name: call for name, call in here.items() if name in known})

    def hook(self, name: str, state: Callable[[Tensor], Any]) -> Callable[[Any, Tensor, Any], None] | None:
        """The callback as the solver calls it, with numbers for times and vectors for states."""
        call = self.by_name.get(name)
        if call is None:
            return None

        def told(t: Any, y: Tensor, h: Any) -> None:
            times = (torch.as_tensor(x, dtype=torch.float64, device=y.device) for x in (t, h))
            call(next(times), state(y), next(times))

        return told


def hooks_of(asked: Adaptive, told: Told, state: Callable[[Tensor], Any], norm: Any) -> Hooks:
    """What the solver is to call: limits, callbacks with the state that `state` makes of a vector, and a norm."""
    step, accept, reject = (told.hook(name, state) for name in CALLBACKS)
    return Hooks(norm, asked.min_step, asked.max_step, step, accept, reject)


def given(name: str, value: Any, mine: Iterable[str], method: str) -> dict[str, Any]:
    """The options in the dict `value` (or None) that are `mine`; a warning for those of other methods."""
    mine = frozenset(mine)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise options.refuse(name, "a dict or None", value)
    if "warm_start" in value:
        raise OptionError(
            f"{name} has no warm_start, since a solve keeps nothing: pass first_step, or use NeuralODE(warm_start=True)"
        )
    options.check_names(name, value, EVERY | mine)
    fixed.warn_unused(method, {f"{name}[{key!r}]" for key in set(value) - mine})
    return {key: item for key, item in value.items() if key in mine and item is not None}


def adaptive(
    tableau: ExplicitTableau, value: Any, span: float | None, resolve: Resolve, name: str = "options"
) -> Adaptive:
    """The options in the dict `value` of an adaptive method.

    span: length of the span, None where it is not known.  resolve: (a controller's name, path or object, the method's
    name) -> the object; None stands for the face's own choice, which goes with a bold start and with even steps.  name:
    what the dict is called in errors.
    """
    found = given(name, value, ADAPTIVE, tableau.name)
    for key, own in _LAW.items():
        if key in found and ("controller" in found or options.number(key, found[key], 0.0) != own):
            raise OptionError(
                f"{name}[{key!r}] is a number of torchdiffeq's law, and a controller has numbers of its own: pass "
                'options={"controller": ...}, a name or an object such as stepsmith.controllers.laws makes'
            )
    if found.get("dtype", torch.float64) != torch.float64:
        raise OptionError(f"{name}['dtype']: times and step sizes are float64 here, got {found['dtype']}")
    own = "controller" in found
    # what keeps `drop_in_adaptive` from even steps, and the caller's own first step, leave one of both
    uneven = any(key in found for key in ("step_t", "jump_t")) or (span is None and name == "options")
    eased = None if uneven or "first_step" in found or found.get("even_steps", True) is not True else True
    controller = checks.controller(
        resolve(found.get("controller"), tableau.name, eased), None, tableau, "torchdiffeq.odeint"
    )
    trained_method.warn_once(controller, tableau.name)
    low = options.number("min_step", found.get("min_step", 0.0), 0.0)
    high = largest(found.get("max_step"), low)
    return Adaptive(
        tableau,
        controller,
        solver_options.checked_step(found.get("first_step"), span, cut=True),
        1.0 if own else BOLD,
        options.count("max_num_steps", found.get("max_num_steps"), none=True),
        low if low > 0.0 else None,
        high,
        _norm(name, found.get("norm")),
        stop_times("step_t", found.get("step_t")),
        stop_times("jump_t", found.get("jump_t")),
        options.flag("even_steps", found["even_steps"]) if "even_steps" in found else (False if own else None),
    )


def largest(value: Any, low: float) -> float | None:
    """The option max_step, at least `low`; None for no limit."""
    if value is None or (isinstance(value, numbers.Real) and value == math.inf):
        return None
    high = options.number("max_step", value, 0.0, above=0.0)
    if high < low:
        raise OptionError(f"max_step must be at least min_step, which is {low:g}; got {high:g}")
    return high


def _norm(name: str, value: Any) -> Any:
    """A norm, checked; None for torchdiffeq's seminorm in the backward solve, which is what is done there."""
    if value is None or (name != "options" and value == "seminorm"):
        return None
    if not callable(value):
        whose = "the state, or None" if name == "options" else '(t, y, adj_y, *adj_params), "seminorm" or None'
        raise options.refuse("norm", f"a function of {whose}", value)
    return value


def tolerances(rtol: Any, atol: Any, layout: Layout, scale: float) -> tuple[Any, Any, tuple[Tensor, Tensor] | None]:
    """rtol and atol as two numbers, and those of every component where one of them is more than a number.

    Such a one broadcasts to the state, or is a sequence with one for each part of it.  scale: what the components'
    tolerances are multiplied by.  Raises OptionError for what is out of range or has another form.
    """
    if not any(isinstance(x, (tuple, list)) or getattr(x, "ndim", 0) > 0 for x in (rtol, atol)):
        return rtol, atol, None
    return checked_each(layout.each("rtol", rtol), layout.each("atol", atol), scale)


def checked_each(r: Tensor, a: Tensor, scale: float) -> tuple[float, float, tuple[Tensor, Tensor]]:
    """The largest rtol, the least atol, and both of every component times `scale`.  OptionError out of range."""
    if not bool((r >= 0).all() and (r * scale <= 1).all() and (a >= 0).all() and torch.isfinite(a).all()):
        raise OptionError("rtol must lie between 0 and 1 and atol be finite and not negative, in every component")
    if bool(((r == 0) & (a == 0)).any()):
        raise OptionError("rtol and atol must not be both zero in a component")
    return float(r.max()), float(a.min()), (r * scale, a * scale)


def scaled(asked: Adaptive, dtype: torch.dtype, rtol: Any, atol: Any, **rest: Any) -> checks.SolverOptions:
    """Tolerances and the rest of `rest` as the solver takes them, times the controller's tolerance scale and at least
    what the state's dtype resolves."""
    given: dict[str, Any] = {
        "adjoint": "discrete", "adjoint_params": None, "adjoint_rtol": None, "adjoint_atol": None,
        "checkpoint_every": None, "heuristics": False, "compact": False,
    }  # fmt: skip
    found = checks.solver_options(
        asked.tableau,
        False,
        None,
        rtol=rtol,
        atol=atol,
        first_step=asked.first_step,
        even_steps=bool(asked.even_steps),
        **{**given, **rest},
    )
    scale = tolerance_scale.of(asked.controller)
    return floored(replace(found, start=asked.start).scaled(scale), dtype, asked.tableau.order, scale)
