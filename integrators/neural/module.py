"""`NeuralODE`: a field, a solver and a regulariser as one torch module.

    loss = task_loss(out.y[-1]) + strength * out.penalty,    out = ode(y0, t)

In training mode the regulariser plans the solve and reads its penalty off it (`regularisers/plan.py`).  In eval mode, and without
gradients, the problem is solved as it stands and the penalty is zero: predictions pay nothing for the regulariser.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..names import unknown
from ..tableaus import get as get_tableau
from . import api
from .adjoint import CONTINUOUS, parameters_of
from .api import odeint
from .controller import check
from .regularisers import Regulariser, Solver
from .regularisers import regulariser as by_name
from .solution import NeuralSolution

Tensor = torch.Tensor


@dataclass(frozen=True)
class NeuralOutput:
    """What a NeuralODE gives.

    y           (T, B, *features) at the times asked for; with STEER in training mode the last one is at the drawn end time.
    penalty     0-d, y0's dtype, not multiplied by any strength; zero without a regulariser, in eval mode, and without gradients.
    solution    NeuralSolution of what was solved: in training mode the regulariser may have added times to `solution.t` and columns to
                `solution.y`.  Counts are in `solution.stats`.
    """

    y: Tensor
    penalty: Tensor
    solution: NeuralSolution


class NeuralODE(torch.nn.Module):
    """y' = func(t, y) solved from y0 through the times t, with a penalty on the way.

    Parameters
        func        func(t, y) -> dy/dt; a Module's parameters become this one's.  See `odeint` for the shapes of t and y.
        method, controller, rtol, atol, adjoint, per_sample, options   as for `odeint`, with one step for the whole batch by default, as in
                    the papers on regularised neural ODEs, and heuristics with gradient only where the regulariser needs it.
        regulariser one of `regularisers.REGULARISERS`, a Regulariser, or None.
        warm_start  begin a solve in training mode with the size that suited the last one's first step (`stats.first_step`): no
                    automatic choice, which takes an evaluation more, and no small steps to recover from it.  Needs one step for the
                    whole batch.  The size is kept in the buffer `first_step_size`, so that a training run that goes on from a
                    state_dict is the same.

    Raises ValueError, TypeError for a controller, for whatever `odeint` would refuse at the first solve: names, tolerances, options; and
    where regulariser and solver do not fit: error and stiffness estimates of all steps need adjoint="discrete" and heuristics; columns
    with a random probe do not go with compact=True; with adjoint="none" only local regularisers have a gradient.
    """

    first_step_size: Tensor

    def __init__(
        self,
        func: Callable[[Tensor, Tensor], Tensor],
        method: str = "tsit5",
        controller: Any = "pi34",
        rtol: float = 1e-6,
        atol: float = 1e-9,
        *,
        adjoint: str = "discrete",
        per_sample: bool = False,
        regulariser: Regulariser | str | None = None,
        warm_start: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        if not callable(func):
            raise ValueError(f"func must be callable, got {type(func).__name__}")
        if isinstance(regulariser, str):
            regulariser = by_name(regulariser)
        if regulariser is not None and not isinstance(regulariser, Regulariser):
            raise ValueError(f"regulariser must be a name, a Regulariser or None; got {type(regulariser).__name__}")
        _check_solver(func, method, controller, rtol, atol, adjoint, per_sample, options)
        if regulariser is not None:
            _check_fit(regulariser, adjoint, options)
        api._graph(options.get("heuristics", _heuristics(regulariser)), get_tableau(method))
        if warm_start:
            if per_sample:
                raise ValueError("warm_start needs per_sample=False: the samples of a new batch are not those of the last one")
            if options.get("first_step") is not None:
                raise ValueError("warm_start chooses the first step, and first_step was given too")
            self.register_buffer("first_step_size", torch.tensor(math.nan, dtype=torch.float64))
        self.warm_start = bool(warm_start)
        self.func = func
        self.regulariser = regulariser
        self.solver = Solver(method, rtol, atol, per_sample)
        self.controller = controller
        self.options = {"adjoint": adjoint, "heuristics": _heuristics(regulariser), **options}

    def forward(self, y0: Tensor, t: Any, generator: torch.Generator | None = None) -> NeuralOutput:
        """Solve from y0 (B, *features) through t (T,); `generator` draws what the regulariser draws, None being torch's own."""
        if self.regulariser is None or not self.training or not torch.is_grad_enabled():
            solution = self._solve(self.func, y0, t)
            return NeuralOutput(solution.y, solution.y.new_zeros(()), solution)
        plan = self.regulariser.plan(self.func, y0, t, generator, self.solver)
        solution = self._solve(plan.func, plan.y0, plan.t)
        y, penalty = plan.read(solution)
        return NeuralOutput(y, penalty, solution)

    def _solve(self, func: Callable[[Tensor, Tensor], Tensor], y0: Tensor, t: Any) -> NeuralSolution:
        s, options = self.solver, self.options
        warm = self.warm_start and self.training
        if warm and math.isfinite(size := float(self.first_step_size)) and size > 0:
            options = {**options, "first_step": size}
        solution = odeint(func, y0, t, s.method, self.controller, s.rtol, s.atol, per_sample=s.per_sample, **options)
        if warm:
            # a solve that failed, or took a field that is not finite, is no example to follow: the next one chooses for itself
            self.first_step_size.fill_(float(solution.stats.first_step[0]) if solution.success else math.nan)
        return solution

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # the size of a warm start is no weight: a model loads into one that has none, and from one
        key = f"{prefix}first_step_size"
        if self.warm_start and key not in state_dict:
            state_dict[key] = torch.tensor(math.nan, dtype=torch.float64)
        elif not self.warm_start:
            state_dict.pop(key, None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __deepcopy__(self, memo: dict[int, Any]) -> NeuralODE:
        # controllers are immutable, and not all of them can be copied
        memo[id(self.controller)] = self.controller
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    def extra_repr(self) -> str:
        s = self.solver
        return f"method={s.method!r}, rtol={s.rtol:g}, atol={s.atol:g}, per_sample={s.per_sample}, regulariser={self.regulariser!r}"


def _check_solver(
    func: Any, method: str, controller: Any, rtol: float, atol: float, adjoint: str, per_sample: bool, options: dict[str, Any]
) -> None:
    """What the first solve would refuse, whatever y0 and t are."""
    signature = inspect.signature(odeint).parameters
    defaults = {name: p.default for name, p in signature.items() if p.kind is p.KEYWORD_ONLY and name != "per_sample"}
    for name in options:
        if name not in defaults:
            raise unknown("option of NeuralODE", name, defaults)
    o = {**defaults, **options}
    numbers = {"rtol": rtol, "atol": atol}
    numbers |= {name: o[name] for name in ("first_step", "max_steps", "checkpoint_every", "adjoint_rtol", "adjoint_atol")}
    for name, value in numbers.items():
        try:
            float(0 if value is None and name not in ("rtol", "atol", "max_steps") else value)
        except (TypeError, ValueError):
            fits = False
        else:
            fits = not isinstance(value, str)
        if not fits:
            raise ValueError(f"{name} must be a number, got {value!r}")
    tableau = get_tableau(method)
    rest = (o[name] for name in ("first_step", "max_steps", "checkpoint_every", "compact", "even_steps"))
    api._check_options(rtol, atol, adjoint, per_sample, *rest)
    api._check_adjoint(adjoint, o["adjoint_params"], o["adjoint_rtol"], o["adjoint_atol"], o["checkpoint_every"], rtol, atol)
    if adjoint in CONTINUOUS and o["adjoint_params"] is None:
        parameters_of(func, None)
    if isinstance(controller, str) and o["resolve"] is None:
        raise ValueError(f"controller {controller!r} is a name: use stepsmith.neural.NeuralODE, or pass resolve=")
    found = o["resolve"](controller) if isinstance(controller, str) else controller
    check(found)
    api._check_needs(found, tableau)


def _check_fit(regulariser: Regulariser, adjoint: str, options: dict[str, Any]) -> None:
    if regulariser.estimates and adjoint != "discrete":
        raise ValueError(
            f'{regulariser!r} needs gradients through every step, adjoint="discrete"; got {adjoint!r} '
            "(local regularisers work with every adjoint)"
        )
    if adjoint == "none" and not regulariser.own_gradient:
        raise ValueError(
            f'adjoint="none" leaves the penalty of {regulariser!r} without gradient; use adjoint="discrete" or a continuous one '
            "(local regularisers work with every adjoint)"
        )
    wanted, given = _heuristics(regulariser), options.get("heuristics", True)
    if given is not True and given != wanted and (regulariser.estimates or (regulariser.needs_steps and not given)):
        raise ValueError(f"{regulariser!r} needs heuristics={wanted!r} or True, got {given!r}")
    if regulariser.fixed_rows and options.get("compact"):
        raise ValueError(f"{regulariser!r} draws a probe a sample, which compact=True would mix up")


def _heuristics(regulariser: Regulariser | None) -> bool | str:
    """`odeint`'s heuristics that a regulariser needs, at least numbers."""
    estimates = "" if regulariser is None else regulariser.estimates
    return True if estimates == "ES" else estimates or "values"
