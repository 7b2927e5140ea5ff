"""`NeuralODE`: a field, a solver and a regulariser as one torch module.

    loss = task_loss(out.y[-1]) + strength * out.penalty,    out = ode(y0, t)

In training mode the regulariser plans the solve and reads its penalty off it (`regularisers/plan.py`).  In eval mode,
and without gradients, the problem is solved as it stands and the penalty is zero: predictions pay nothing for the
regulariser.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..core import options
from ..core.errors import outside
from ..kernels.layout import SUCCESS
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import checks
from .adjoint import CONTINUOUS, parameters_of
from .api import odeint
from .failures import filled, told
from .field import check_callable
from .fit import check_fit, heuristics_for
from .fixed import RULES
from .graphs import outside_graphs
from .regularisers import Regulariser, Solver, checked_regulariser
from .shaping import Shaping
from .solution import NeuralSolution
from .step_choice import EVEN, PLAIN, StepChoice

Tensor = torch.Tensor
#: what a NeuralODE does where samples fail
ON_FAILURE = ("raise", "warn", "mask")
#: how it comes to the sizes of its steps
STEPS = ("plain", "auto")


def refuse_grid(method: Any) -> None:
    """ValueError for a method on a grid."""
    if isinstance(method, str) and method in RULES:
        raise ValueError(
            f"method {method!r} takes the steps of a grid, and NeuralODE takes methods that choose their steps, such "
            f'as "tsit5": use odeint(..., method={method!r})'
        )


@dataclass(frozen=True)
class NeuralOutput:
    """What a NeuralODE gives.

    y           (T, B, *features), or (T, D) of one system: the states at the times asked for.  With STEER in training
                mode the last one is at the drawn end time.
    penalty     0-d, of y0's dtype, not multiplied by any strength; zero without a regulariser, in eval mode, and
                without gradients.
    solution    the NeuralSolution of what was solved: in training mode the regulariser may have added times to
                `solution.t` and columns to `solution.y`.  Counts are in `solution.stats`.  Its heuristics have no
                gradient, and can be kept without keeping a graph: the penalty has it.  Where `heuristics` was given to
                the module they have what was asked for.
    mask        (B,) bool on y's device, B = 1 for one system: the samples that reached the end.
    """

    y: Tensor
    penalty: Tensor
    solution: NeuralSolution
    mask: Tensor


class NeuralODE(torch.nn.Module):
    """y' = func(t, y) solved from y0 through the times t, with a penalty on the way.

    Parameters
        func        func(t, y) -> dy/dt.  The parameters of a Module become this one's.  See `odeint` for the shapes of
                    t and y.
        method, controller, rtol, atol, adjoint, first_step, max_steps, checkpoint_every, checkpoint, checkpoint_mb,
        compact, even_steps, adjoint_params, adjoint_rtol, adjoint_atol, min_step, max_step, step_t, jump_t, resolve
                    as for `odeint`, methods on a grid aside; rtol and atol are single numbers.
        per_sample  False, the default, as in the papers on regularised neural ODEs: one step size for the whole batch;
                    func gets a 0-d t.  True: steps per sample, the default of `odeint`, and t of shape (B, 1, ..., 1).
                    None: True for a batch, and False for one system of shape (D,), where compact=True has nothing to
                    take out and does nothing.
        heuristics  as for `odeint`.  None: the numbers; gradient is made where the regulariser needs it, and is in
                    `penalty` alone.
        on_failure  what happens where samples do not reach the end.
                    "raise": a RuntimeError.
                    "mask": a warning.  `out.mask` is False for the samples that failed, they are left out of the
                    penalty, and what they did not reach is filled with their y0, a constant, so that a loss over all
                    samples stays finite and of ordinary size (`out.solution.y` keeps its NaN).
                    "warn": a warning that says which samples failed and why; outputs are NaN, as those of `odeint`
                    are.
        regulariser one of `regularisers.REGULARISERS`, a Regulariser, or None.
        warm_start  True: a solve in training mode begins with the size that suited the last one's first step
                    (`stats.first_step`).  There is then no automatic choice, which takes an evaluation more, and there
                    are no small steps to recover from it.  Needs one step size for the whole batch.  The size is kept
                    in the buffer `first_step_size`, so that a training run that goes on from a state_dict is the same.
        steps       "auto": decide in training, by the evaluations that solves take, whether they begin warm and take
                    even steps; never more than two per cent more evaluations than plain steps (`step_choice`).  What is
                    known is in the buffers `first_step_size` and `step_record`.  "plain": as warm_start and even_steps
                    say.

    Raises ValueError (TypeError for a controller) for whatever `odeint` would refuse at the first solve: func's
    arguments, names, tolerances, options; and where regulariser and solver do not fit: error and stiffness estimates of
    all steps need adjoint="discrete" and heuristics; columns with a random probe do not go with compact=True; with
    adjoint="none" only local regularisers have a gradient.  A call raises RuntimeError where samples fail, unless
    on_failure says otherwise.
    """

    first_step_size: Tensor
    step_record: Tensor

    @options.named
    def __init__(
        self,
        func: Callable[[Tensor, Tensor], Tensor],
        method: str | ExplicitTableau = "tsit5",
        controller: Any = "pi34",
        rtol: float = 1e-6,
        atol: float = 1e-9,
        *,
        adjoint: str = "discrete",
        per_sample: bool | None = False,
        regulariser: Regulariser | str | None = None,
        warm_start: bool = False,
        steps: str = "plain",
        on_failure: str = "raise",
        first_step: float | str | None = None,
        max_steps: int = 10_000,
        checkpoint_every: int | None = None,
        checkpoint: str | None = None,
        checkpoint_mb: float | None = None,
        heuristics: bool | str | None = None,
        compact: bool = False,
        even_steps: bool = False,
        adjoint_params: Iterable[Tensor] | None = None,
        adjoint_rtol: float | None = None,
        adjoint_atol: float | None = None,
        min_step: float | None = None,
        max_step: float | None = None,
        step_t: Any = None,
        jump_t: Any = None,
        resolve: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        check_callable(func)
        self.regulariser = checked_regulariser(regulariser)
        refuse_grid(method)
        tableau = get_tableau(method)
        per_sample = checks.per_sample(per_sample)
        given: dict[str, Any] = {
            "adjoint": adjoint,
            "first_step": first_step,
            "max_steps": max_steps,
            "checkpoint_every": checkpoint_every,
            "checkpoint": checkpoint,
            "checkpoint_mb": checkpoint_mb,
            "heuristics": heuristics_for(self.regulariser) if heuristics is None else heuristics,
            "compact": compact,
            "even_steps": even_steps,
            "adjoint_params": adjoint_params,
            "adjoint_rtol": adjoint_rtol,
            "adjoint_atol": adjoint_atol,
        }
        asked = checks.solver_options(tableau, per_sample, None, rtol=rtol, atol=atol, **given)
        #: whether `out.solution.heuristics` keep their gradient
        self.open_heuristics = heuristics is not None
        if adjoint in CONTINUOUS:
            parameters_of(func, asked.adjoint_params)
        checks.controller(controller, resolve, tableau, "NeuralODE")
        if self.regulariser is not None:
            check_fit(self.regulariser, adjoint, given["heuristics"], asked.compact)
        #: keywords for `odeint`, as they were checked
        self.options: dict[str, Any] = given | {
            "first_step": first_step if asked.first_step is None else asked.first_step,
            "max_steps": asked.max_steps,
            "checkpoint_every": asked.checkpoint_every,
            "compact": asked.compact,
            "even_steps": asked.even_steps,
            "adjoint_params": asked.adjoint_params,
            "resolve": resolve,
            **Shaping(min_step=min_step, max_step=max_step, step_t=step_t, jump_t=jump_t).checked(),
        }
        self.warm_start = options.flag("warm_start", warm_start)
        self.steps = options.choice("steps", steps, STEPS)
        if self.steps == "auto" and (self.warm_start or asked.even_steps):
            raise ValueError('steps="auto" decides on warm_start and even_steps, which were given too: leave them out')
        if self.warm_start or self.steps == "auto":
            self._begin_warm(per_sample, first_step)
        self.on_failure = options.choice("on_failure", on_failure, ON_FAILURE)
        self.func, self.controller = func, controller
        self.solver = Solver(method, asked.rtol, asked.atol, per_sample)

    def _begin_warm(self, per_sample: bool | None, first_step: float | str | None) -> None:
        """Make the buffer of a warm start; ValueError where the options leave it nothing to do."""
        name = "warm_start" if self.warm_start else 'steps="auto"'
        if per_sample is not False:
            raise ValueError(f"{name} needs per_sample=False: the samples of a new batch are not those of the last one")
        if first_step is not None and first_step != "bold":
            raise ValueError(f"{name} chooses the first step, and first_step was given too")
        for buffer, value in self._memory().items():
            self.register_buffer(buffer, value)

    def _memory(self) -> dict[str, Tensor]:
        """The buffers that training solves leave for later ones, as they begin; they are no weights."""
        found = {"first_step_size": torch.tensor(math.nan, dtype=torch.float64)}
        if self.steps == "auto":
            found["step_record"] = torch.zeros(StepChoice.NUMBERS, dtype=torch.float64)
        return found

    @outside_graphs
    def forward(self, y0: Tensor, t: Any, generator: torch.Generator | None = None) -> NeuralOutput:
        """Solve from y0, (B, *features) or (D,), through the times t, (T,).

        generator: draws what the regulariser draws; None: torch's own generator.  Raises RuntimeError where
        samples fail and on_failure is "raise", and ValueError as `odeint` does.
        """
        if generator is not None and not isinstance(generator, torch.Generator):
            raise options.refuse("generator", "a torch.Generator or None", generator)
        checks.state(y0)
        per_sample = bool(checks.per_sample(self.solver.per_sample, y0))
        if self.regulariser is None or not self.training or not torch.is_grad_enabled():
            solution = self._solve(self.func, y0, t, per_sample)
            mask = self._mask(solution, not per_sample)
            y, penalty = solution.y, solution.y.new_zeros(())
        else:
            if getattr(t, "requires_grad", False) or getattr(t, "ndim", 1) > 1:
                raise ValueError(
                    f"{self.regulariser!r} takes t as (T,) constants: pass t.detach(), or regulariser=None"
                )
            plan = self.regulariser.plan(self.func, y0, t, generator, replace(self.solver, per_sample=per_sample))
            solution = self._solve(plan.func, plan.y0, plan.t, per_sample)
            mask = self._mask(solution, not per_sample)
            y, penalty = plan.read(solution)
        if self.on_failure == "mask" and not solution.success:
            y = filled(y, y0)
        if solution.heuristics is not None and not self.open_heuristics:
            solution = replace(solution, heuristics=solution.heuristics.detach())
        return NeuralOutput(y, penalty, solution, mask)

    def _solve(self, func: Callable[[Tensor, Tensor], Tensor], y0: Tensor, t: Any, per_sample: bool) -> NeuralSolution:
        s, given = self.solver, self.options
        choice = StepChoice(self.step_record) if self.steps == "auto" and self.training else None
        way = PLAIN if choice is None else choice.next()
        keeps = choice is not None or (self.warm_start and self.training)
        warm = keeps and (choice is None or way != PLAIN)
        if warm and math.isfinite(size := float(self.first_step_size)) and size > 0:
            times = checks.times(t)
            given = {**given, "first_step": min(size, abs(float(times[-1] - times[0])))}
        if way == EVEN:
            given = {**given, "even_steps": True}
        # columns that a plan adds to one system make a batch of one of it, which goes on having one step size
        solution = odeint(
            func, y0, t, s.method, self.controller, s.rtol, s.atol, per_sample=per_sample and y0.dim() > 1, **given
        )
        # the size after the cautious first step of a plain solve is small: one that is grown already outlives a probe
        probe = way == PLAIN and choice is not None and choice.way != PLAIN and solution.success
        if keeps and not probe:
            # a solve that failed is no example to follow: the next one chooses for itself
            self.first_step_size.fill_(float(solution.stats.first_step[0]) if solution.success else math.nan)
        if choice is not None:
            stats = solution.stats
            if solution.success:
                choice.solved(way, stats.nfev - stats.nfev_check, stats.naccept)
            else:
                choice.failed()
        return solution

    def _mask(self, solution: NeuralSolution, coupled: bool) -> Tensor:
        """Which samples reached the end (B,); coupled: they had one step size.  Raises or warns because of the others
        as `on_failure` says."""
        if not solution.success:
            text = told(solution, coupled)
            if self.on_failure == "raise":
                raise RuntimeError(f'{text}; on_failure="mask" goes on without what failed')
            rest = {
                "mask": "masked: out.mask is False for what failed, and its unreached outputs are its y0",
                "warn": "out.mask is False for what failed, and its unreached outputs are NaN",
            }
            warnings.warn(f"{text}; {rest[self.on_failure]}", stacklevel=outside())
        return torch.from_numpy(solution.status == SUCCESS).to(solution.y.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NeuralODE:
        # counts and sizes stay float64 where weights become half: bfloat16 cannot count beyond 256
        memory = [name for name in ("first_step_size", "step_record") if name in self._buffers]
        before = {name: getattr(self, name) for name in memory}
        super()._apply(fn, recurse)
        for name, exact in before.items():
            setattr(self, name, exact.to(getattr(self, name).device))
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # what training solves leave for later ones is no weight: a model loads into one that has none, and from one
        memory = self._memory() if self.warm_start or self.steps == "auto" else {}
        for name in ("first_step_size", "step_record"):
            if name in memory:
                state_dict.setdefault(f"{prefix}{name}", memory[name])
            else:
                state_dict.pop(f"{prefix}{name}", None)
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
        return (
            f"method={s.method!r}, rtol={s.rtol:g}, atol={s.atol:g}, per_sample={s.per_sample}, "
            f"regulariser={self.regulariser!r}"
        )
