"""`NeuralSDE`: drift, diffusion, a solver and a regulariser as one torch module.

    loss = task_loss(out.y[-1]) + strength * out.penalty,    out = sde(y0, t)

or, where the module has the strength itself, `loss = out.total(task_loss(out.y[-1]))`.  In training mode every call has
a new path; in eval mode, and without gradients, the penalty is zero.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ...core import options
from ...core.errors import outside
from ...core.solver_options import checked_limit
from ...kernels.layout import SUCCESS
from .. import checks
from ..failures import filled, told
from ..graphs import outside_graphs
from ..module import NeuralOutput
from ..module_options import ON_FAILURE, checked_strength
from ..regularisers import Local, Regulariser, StepRegulariser, checked_regulariser
from ..regularisers.plan import Reading
from ..strength import Strength
from . import fields, local
from .api import sdeint
from .solution import SDESolution

Tensor = torch.Tensor
#: what a call gives itself
_OWN = ("drift", "diffusion", "y0", "t", "seed", "heuristics", "adjoint", "sample_ids", "keep_states")
#: keywords of `sdeint` that the module takes, with their defaults
DEFAULTS = {name: p.default for name, p in inspect.signature(sdeint).parameters.items() if name not in _OWN}


class NeuralSDE(torch.nn.Module):
    """dY = drift(t, Y) dt + diffusion(t, Y) dW solved from y0 through the times t, with a penalty on the way.

    Parameters
        drift, diffusion
                    functions (t, y) as for `sdeint`.  The parameters of Modules become this one's.
        per_sample  False, the default, as in the papers: one step size for the whole batch, whose gradient needs no
                    replay.  True: steps per sample.
        regulariser None, or one of "er_sum", "er_mean", "er_max", "er2_sum", "er2_mean", of the scaled error E of the
                    accepted steps; "sr_sum", "sr_mean", "sr_max", of the stiffness estimate S (sosri);
                    "local_unbiased", "local_biased", E of one extra step (`local`); or a sum of such Regularisers.
        strength    what `out.total` multiplies the penalty by: a `strength.Strength`, a number, or None.
        on_failure  "raise": a RuntimeError where samples do not reach the end.  "mask": a warning, `out.mask`, and y0
                    in the place of what they did not reach.  "warn": a warning, and NaN.
        options     method, controller, rtol, atol, noise, interpretation, first_step, min_step, max_step, step_size,
                    max_steps, brownian, revisit, estimate and resolve as for `sdeint`.

    Raises ValueError for what `sdeint` would refuse at the first solve of its names and numbers, for other
    regularisers, and for a regulariser with fixed steps (step_size), which have no estimates.
    """

    def __init__(
        self,
        drift: Callable[[Tensor, Tensor], Tensor],
        diffusion: Callable[[Tensor, Tensor], Tensor],
        *,
        per_sample: bool | None = False,
        regulariser: Regulariser | str | None = None,
        strength: Strength | float | None = None,
        on_failure: str = "raise",
        **given: Any,
    ) -> None:
        super().__init__()
        options.check_names("NeuralSDE()", given, [*DEFAULTS, "regulariser", "strength", "on_failure"])
        for name, field in (("drift", drift), ("diffusion", diffusion)):
            fields.checked(name, field)
        self.per_sample = checks.per_sample(per_sample)
        #: keywords for `sdeint`
        self.options: dict[str, Any] = {**DEFAULTS, **given, "per_sample": self.per_sample}
        self._try(self.options)
        self.regulariser = checked_regulariser(regulariser)
        self.strength = checked_strength(strength, self.regulariser)
        self.on_failure = options.choice("on_failure", on_failure, ON_FAILURE)
        self._check_fit()
        self.drift, self.diffusion = drift, diffusion

    @staticmethod
    def _try(given: dict[str, Any]) -> None:
        """What `sdeint` would refuse of the options, by a solve of nothing."""
        if not isinstance(given["brownian"], str):
            given = {**given, "brownian": "memory"}
        still = torch.zeros(1, 1, dtype=torch.float64)
        first = {"first_step": None, "min_step": None, "max_step": None, "max_steps": 1}
        checked_limit(given["max_steps"])
        for name in ("first_step", "min_step", "max_step"):
            options.positive(name, given[name], none=True)
        sdeint(
            lambda t, y: torch.zeros_like(y), lambda t, y: torch.zeros_like(y), still, [0.0, 1.0], adjoint="none",
            **{**given, **first, "per_sample": True},
        )  # fmt: skip

    def _check_fit(self) -> None:
        method = self.options["method"]
        for _, part in self._parts():
            if isinstance(part, Local):
                local.checked(part, method)
            elif not isinstance(part, StepRegulariser):
                raise ValueError(f"{part!r} is no regulariser of an SDE: use er_*, er2_*, sr_* or local_*")
            elif part.quantity == "sr" and method != "sosri":
                raise ValueError(f"{part.name}: method {method!r} has no stiffness estimate: use sosri")
        if self.regulariser is not None and self.options["step_size"] is not None:
            raise ValueError("a regulariser needs error estimates, which fixed steps have not: leave step_size out")

    def _parts(self) -> list[tuple[float, Regulariser]]:
        return [] if self.regulariser is None else self.regulariser.parts()

    @outside_graphs
    def forward(self, y0: Tensor, t: Any, seed: int | None = None, generator: Any = None) -> NeuralOutput:
        """Solve from y0, (B, *features) or (D,), through the times t (T,).

        seed: names the path; None: drawn anew in every call.  generator: draws the seed and what regularisers draw;
        None: torch's own.  Raises RuntimeError where samples fail and on_failure is "raise", and ValueError as
        `sdeint` does.
        """
        if generator is not None and not isinstance(generator, torch.Generator):
            raise options.refuse("generator", "a torch.Generator or None", generator)
        checks.state(y0)
        if seed is None:
            seed = _drawn(generator)
        regular = self.regulariser is not None and self.training and torch.is_grad_enabled()
        parts = self._parts() if regular else []
        times = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        wanted = {part: local.time_of(part, times, generator) for _, part in parts if isinstance(part, Local)}
        added = sorted({at for at in wanted.values() if at is not None and not bool((times == at).any())})
        every = torch.cat([times, torch.tensor(added, dtype=torch.float64)]).sort().values if added else t
        estimates = "".join(sorted({part.estimates for _, part in parts if isinstance(part, StepRegulariser)}))
        graph: Any = {"": "values", "ES": True}.get(estimates, estimates)
        solution = sdeint(
            self.drift, self.diffusion, y0, every, seed=seed, heuristics=graph,
            keep_states=any(at is None for at in wanted.values()),
            **{**self.options, "per_sample": self.per_sample if y0.dim() > 1 else None},
        )  # fmt: skip
        mask, y = self._mask(solution, y0), solution.y
        place = [int((torch.as_tensor(every) == at).nonzero()[0]) for at in times] if added else None
        penalty = self._penalty(parts, solution, wanted, every, mask, generator)
        y = y if place is None else y[torch.tensor(place, device=y.device)]
        if self.on_failure == "mask" and not solution.success:
            y = filled(y, y0, mask if y0.dim() > 1 else None)
        weigh = self._weighed if self.strength is not None or self.regulariser is None else None
        return NeuralOutput(y, penalty, _closed(solution), mask, weigh)

    def _weighed(self, loss: Tensor, penalty: Tensor, parameters: Any, **seen: Any) -> Tensor:
        if self.strength is None:  # there is no regulariser
            return loss
        return self.strength.total(loss, penalty, self if parameters is None else parameters, **seen)

    def _penalty(
        self,
        parts: list[tuple[float, Regulariser]],
        solution: SDESolution,
        wanted: dict[Local, float | None],
        every: Any,
        ok: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The weighted sum of the parts' penalties, 0-d."""
        total = solution.y.new_zeros(())
        times = torch.as_tensor(every, dtype=torch.float64, device="cpu")
        for weight, part in parts:
            if isinstance(part, Local):
                at = wanted[part]
                state = None if at is None else solution.y[int((times == at).nonzero()[0])]
                value = local.penalty(
                    part, solution, (self.drift, self.diffusion), self.options, at, state, _drawn(generator), generator
                )
            else:
                term = part.term(self.drift, solution.y[0], times, None, generator)
                value = term.penalty(Reading(solution.y, times, None, None, solution, ok))
            total = total + weight * value
        return total

    def _mask(self, solution: SDESolution, y0: Tensor) -> Tensor:
        """Which samples reached the end (B,).  Raises or warns because of the others as `on_failure` says."""
        if not solution.success:
            text = told(solution, not self.per_sample)
            if self.on_failure == "raise":
                raise RuntimeError(f'{text}; on_failure="mask" goes on without what failed')
            warnings.warn(f"{text}; out.mask is False for what failed", stacklevel=outside())
        return torch.from_numpy(solution.status == SUCCESS).to(y0.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> NeuralSDE:
        # controllers are immutable, and not all of them can be copied
        memo[id(self.options["controller"])] = self.options["controller"]
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    def extra_repr(self) -> str:
        given = self.options
        return (
            f"method={given['method']!r}, rtol={given['rtol']:g}, atol={given['atol']:g}, noise={given['noise']!r}, "
            f"per_sample={self.per_sample}, regulariser={self.regulariser!r}"
        )


def _drawn(generator: torch.Generator | None) -> int:
    """A new seed."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**53, (), generator=generator, device=device))


def _closed(solution: SDESolution) -> SDESolution:
    """The solution whose heuristics hold no graph: the penalty has it."""
    if solution.heuristics is None:
        return solution
    return replace(solution, heuristics=solution.heuristics.detach())
