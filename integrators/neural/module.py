"""`NeuralODE`: a field, a solver and a regulariser as one torch module.

    loss = task_loss(out.y[-1]) + strength * out.penalty,    out = ode(y0, t)

or, where the module has the strength itself, `loss = out.total(task_loss(out.y[-1]))`.

In training mode the regulariser plans the solve and reads its penalty off it (`regularisers/plan.py`).  In eval mode,
and without gradients, the problem is solved as it stands and the penalty is zero: predictions pay nothing for the
regulariser.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..core import options
from ..core.brief import Brief
from ..core.errors import outside
from ..kernels.layout import SUCCESS
from ..methods.tableaus import ExplicitTableau
from . import checks
from .api import odeint
from .failures import filled, told
from .field import check_callable
from .fit import check_added_time, check_widened
from .forms import Form, form_of
from .graphs import outside_graphs, transforming
from .module_memory import Remembering
from .module_options import ON_FAILURE, STEPS, checked_strength, keywords, shown
from .module_plan import Task, flat_of, solver_of, task_of
from .regularisers import Regulariser, checked_regulariser
from .solution import NeuralSolution
from .strength import Strength
from .transforms import through

Tensor = torch.Tensor


@dataclass(frozen=True, repr=False)
class NeuralOutput(Brief):
    """What a NeuralODE gives.

    y           (T, B, *features), or (T, D) of one system, in y0's form, each part with T first: the states at the
                times asked for.  With STEER in training mode the last one is at the drawn end time.
    penalty     0-d, of y0's dtype, not multiplied by any strength; zero without a regulariser, in eval mode, and
                without gradients.
    solution    the NeuralSolution of what was solved: in training mode the regulariser may have added times to
                `solution.t` and columns to `solution.y`, of a state that is no (B, *features) or (D,) as a second part
                (y, columns).  Counts are in `solution.stats`, events in `solution.event_t` and `solution.event_y`.  Its
                heuristics have no gradient, and can be kept without keeping a graph: the penalty has it.  Where
                `heuristics` was given to the module they have what was asked for.
    mask        (B,) bool on y's device, B = 1 for one system: the samples that reached the end, or their event.
    """

    y: Any
    penalty: Tensor
    solution: NeuralSolution
    mask: Tensor
    _weigh: Callable[..., Tensor] | None = field(default=None, repr=False)

    def total(self, loss: Tensor, parameters: Any = None, context: float | None = None) -> Tensor:
        """loss + lambda * penalty by the module's strength, 0-d; the loss alone in eval mode, without gradient, and
        where the module has no regulariser.

        parameters: what the strength measures gradients in, if it does; None: the module's own.  context: as for
        `Strength.total`.  Call it once for every solve that is trained on: it is an iteration of the strength.
        ValueError where the module has a regulariser and no strength.
        """
        if self._weigh is None:
            raise ValueError("total() needs a strength: NeuralODE(func, regulariser=..., strength=...)")
        return self._weigh(loss, self.penalty, parameters, nfev=self.solution.stats.nfev, context=context)


class NeuralODE(Remembering):
    """y' = func(t, y) solved from y0 through the times t, with a penalty on the way.

    Parameters
        func        func(t, y) -> dy/dt.  The parameters of a Module become this one's.  See `odeint` for the forms and
                    shapes of t and y.
        method, controller, rtol, atol, adjoint, first_step, max_steps, checkpoint_every, checkpoint, checkpoint_mb,
        compact, even_steps, adjoint_params, adjoint_rtol, adjoint_atol, norm, min_step, max_step, step_t, jump_t,
        event_fn, step_size, resolve
                    as for `odeint`; first_step is one number.  The parameters of an event_fn or a norm that is a Module
                    become this one's too.  With a method on a grid the step_size, per_sample, adjoint, adjoint_params,
                    on_failure, and a regulariser that needs no estimates mean something, and all else is refused.
        per_sample  False, the default, as in the papers on regularised neural ODEs: one step size for the whole batch;
                    func gets a 0-d t.  True: steps per sample, the default of `odeint`, and t of shape (B, 1, ..., 1).
                    None: True for a batch (B, *features), and False for any other y0, where compact=True has nothing to
                    take out and does nothing.
        heuristics  as for `odeint`.  None: the numbers; gradient is made where the regulariser needs it, and is in
                    `penalty` alone.
        on_failure  what happens where samples do not reach the end.
                    "raise": a RuntimeError.
                    "mask": a warning.  `out.mask` is False for the samples that failed, they are left out of the
                    penalty, and what they did not reach is filled with their y0, a constant, so that a loss over all
                    samples stays finite and of ordinary size (`out.solution.y` keeps its NaN).  Outputs behind an event
                    are no failure, and stay NaN.
                    "warn": a warning that says which samples failed and why; outputs are NaN, as those of `odeint`
                    are.
        regulariser one of `regularisers.REGULARISERS`, a Regulariser, or None.
        strength    what `out.total` multiplies the penalty by: a `strength.Strength`, a number, or None; in
                    `stepsmith.neural` also "auto" (`strength.auto`), the name of a trained strength, or its file.
                    It remembers the training run; its `state_dict` belongs into a checkpoint, and is not in the
                    module's.
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
    all steps need adjoint="discrete", heuristics, and a method that chooses its steps; columns with a random probe do
    not go with compact=True, and columns not with tolerances of components or a norm; a time that a regulariser adds
    needs the step_size of a method on a grid; with events a penalty must be that of the steps taken (er_*, er2_*, sr_*,
    local_biased) or none (steer); with adjoint="none" only local regularisers have a gradient.  A call raises
    RuntimeError where samples fail, unless on_failure says otherwise.
    """

    @options.named
    def __init__(
        self,
        func: Callable[[Tensor, Any], Any],
        method: str | ExplicitTableau = "tsit5",
        controller: Any = "pi34",
        rtol: Any = 1e-6,
        atol: Any = 1e-9,
        *,
        adjoint: str = "discrete",
        per_sample: bool | None = False,
        regulariser: Regulariser | str | None = None,
        strength: Strength | float | None = None,
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
        norm: Callable[[Any], Any] | None = None,
        min_step: float | None = None,
        max_step: float | None = None,
        step_t: Any = None,
        jump_t: Any = None,
        event_fn: Callable[[Tensor, Any], Tensor] | None = None,
        step_size: float | None = None,
        resolve: Callable[[str], object] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        check_callable(func)
        self.regulariser = checked_regulariser(regulariser)
        self.strength = checked_strength(given.pop("strength"), self.regulariser)
        self.per_sample = given["per_sample"] = checks.per_sample(per_sample)
        self.warm_start = options.flag("warm_start", warm_start)
        self.steps = options.choice("steps", steps, STEPS)
        self.on_failure = options.choice("on_failure", on_failure, ON_FAILURE)
        #: keywords for `odeint`, as they were checked
        self.options: dict[str, Any] = keywords(given, self.regulariser)
        #: whether `out.solution.heuristics` keep their gradient
        self.open_heuristics = heuristics is not None
        self.begin_warm(self.per_sample, first_step)
        self.func, self.norm, self.event_fn = func, norm, event_fn
        if (params := self.options["adjoint_params"]) is not None:
            # by name where they are the module's own: functional_call puts others in their places
            own = {id(p): name for name, p in self.named_parameters()}
            self.options["adjoint_params"] = tuple(own.get(id(p), p) for p in params)

    @property
    def controller(self) -> Any:
        """The controller; None with a method on a grid, which has none."""
        return self.options.get("controller")

    @outside_graphs
    def forward(self, y0: Any, t: Any, generator: torch.Generator | None = None) -> NeuralOutput:
        """Solve from y0, of any form that `odeint` takes, through the times t, (T,) or (T, B).

        generator: draws what the regulariser draws; None: torch's own generator.  Raises RuntimeError where
        samples fail and on_failure is "raise", and ValueError as `odeint` does.
        """
        if generator is not None and not isinstance(generator, torch.Generator):
            raise options.refuse("generator", "a torch.Generator or None", generator)
        if transforming():
            return through(lambda y0, t, _: self.forward(y0, t, generator), (self,), y0, t)
        form = form_of(y0, self.per_sample)
        if self.regulariser is None or not self.training or not torch.is_grad_enabled():
            task = Task(self.func, y0, t, lambda solution: (solution.y, form.y0.new_zeros(())))
        else:
            task = self._planned(y0, t, generator, form)
        solve = functools.partial(self._solved, task, form.per_sample)
        solution = self.remembered(solve, task.t)
        mask = self._mask(solution, not form.per_sample, form.y0.device)
        y, penalty = task.read(solution)
        if self.on_failure == "mask" and not solution.success:
            y = filled(y, y0, mask if form.per_sample else None)
        if solution.heuristics is not None and not self.open_heuristics:
            solution = replace(solution, heuristics=solution.heuristics.detach())
        weigh = self._weighed if self.strength is not None or self.regulariser is None else None
        return NeuralOutput(y, penalty, solution, mask, weigh)

    def _weighed(self, loss: Tensor, penalty: Tensor, parameters: Any, **seen: Any) -> Tensor:
        if self.strength is None:  # there is no regulariser
            return loss
        return self.strength.total(loss, penalty, self if parameters is None else parameters, **seen)

    def _planned(self, y0: Any, t: Any, generator: torch.Generator | None, form: Form) -> Task:
        """What the regulariser makes of the problem; ValueError where it does not fit."""
        regulariser, given = self.regulariser, self.options
        assert regulariser is not None  # the caller's condition
        if getattr(t, "requires_grad", False) or getattr(t, "ndim", 1) > 1:
            raise ValueError(f"{regulariser!r} takes t as (T,) constants: pass t.detach(), or regulariser=None")
        rtol, atol = given.get("rtol", 0.0), given.get("atol", 0.0)
        solver = solver_of(given["method"], rtol, atol, self.norm, form)
        plan = regulariser.plan(flat_of(self.func, form), form.y0, t, generator, solver)
        # a regulariser of one's own may not have said what it does
        if plan.columns:
            check_widened(regulariser, rtol, atol, self.norm)
        if len(plan.t) > len(t) and "controller" not in given:
            check_added_time(regulariser, given["step_size"])
        return task_of(plan, self.func, y0, form)

    def _solved(self, task: Task, per_sample: bool, **more: Any) -> NeuralSolution:
        """The solution of `task`; `more`: options that differ from the module's."""
        held: dict[str, Any] = {"norm": self.norm, "event_fn": self.event_fn}
        if (params := self.options["adjoint_params"]) is not None:
            own = dict(self.named_parameters())
            held["adjoint_params"] = tuple(own[p] if isinstance(p, str) else p for p in params)
        return odeint(task.func, task.y0, task.t, per_sample=per_sample, **{**self.options, **held, **more})

    def _mask(self, solution: NeuralSolution, coupled: bool, device: torch.device) -> Tensor:
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
        return torch.from_numpy(solution.status == SUCCESS).to(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> NeuralODE:
        # controllers are immutable, and not all of them can be copied
        memo[id(self.controller)] = self.controller
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    def extra_repr(self) -> str:
        given = self.options
        own = [f"{name}={shown(given[name])}" for name in ("rtol", "atol", "step_size") if given.get(name) is not None]
        whole = [f"method={given['method']!r}", *own, f"per_sample={self.per_sample}"]
        whole.append(f"regulariser={self.regulariser!r}")
        return ", ".join(whole + ([] if self.strength is None else [f"strength={self.strength.describe()}"]))
