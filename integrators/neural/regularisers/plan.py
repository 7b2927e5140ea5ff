"""How a regulariser meets a solver: it plans what is to be solved, and reads its penalty off what the solver gave.

    plan = regulariser.plan(func, y0, t)
    y, penalty = plan.read(odeint(plan.func, plan.y0, plan.t))      # ours, torchdiffeq's, torchode's: any solver
    loss = task_loss(y) + strength * penalty

A plan may differ from the problem in three ways: the end time is drawn anew (STEER), times are added at which the state
is wanted (a local step), columns are added to the state that integrate a quantity along the trajectory (kinetic energy,
Taylor terms).  A sum of regularisers makes one plan with all of it, in this order, so that no term sees another's
columns.

Penalties are means over the samples that the solver brought to the end.  A failed sample is left out by selection: zero
times NaN would be NaN.  Without any healthy sample the penalty is zero, without gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...core import options
from ...kernels.layout import SUCCESS
from ...methods.tableaus import ExplicitTableau
from .. import checks
from ..hooks import NO_HOOKS, Hooks
from ..solution import NeuralSolution
from .augment import Integrand, augment, batch_of_one

Tensor = torch.Tensor
Func = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Solver:
    """The main solve's method, tolerances and kind of steps, for regularisers that take a step of their own.

    hooks: its error norm and tolerances of components, over the rows that the solver works on.
    """

    method: str | ExplicitTableau
    rtol: Any
    atol: Any
    per_sample: bool | None = False
    hooks: Hooks = NO_HOOKS


@dataclass(frozen=True)
class Reading:
    """What a solve left for one term.

    y           (T, B, *features) at the times of the plan, columns removed.
    t           (T,) those times, float64 on the CPU.
    extra       (B, *features) at the term's own time, or None.
    integral    (B,) the term's integral over the interval, or None.
    solution    NeuralSolution, or None where another solver ran.
    ok          (B,) bool on y's device: samples that reached the end.
    """

    y: Tensor
    t: Tensor
    extra: Tensor | None
    integral: Tensor | None
    solution: NeuralSolution | None
    ok: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Mean of `values` (B,) over the samples that reached the end, 0-d."""
        if bool(self.ok.all()):
            return values.mean()
        if not bool(self.ok.any()):
            return values.new_zeros(())
        return values[self.ok].mean()


@dataclass(frozen=True)
class Term:
    """One regulariser's part in a plan.

    penalty     reads the penalty, 0-d, off what the solve left.
    time        a time at which the term wants the state, or None.
    integrand   what the term wants integrated along the trajectory, or None.
    """

    penalty: Callable[[Reading], Tensor]
    time: float | None = None
    integrand: Integrand | None = None


class Regulariser(ABC):
    """A penalty on a solve.  Sums and positive multiples are regularisers too: `er + 0.1 * sr`.

    name          its name in the registry.
    estimates     which of E and S of every step it needs with gradient: "", "E", "S" or "ES".  If any, it needs our
                  solver with adjoint="discrete".
    needs_steps   whether it needs the steps that the solver took, without gradient, and so our solver.
    own_gradient  whether its penalty has a gradient whatever the main solve's adjoint is, none included.
    fixed_rows    whether it holds numbers that belong to rows of the batch, so that no row may be taken out during the
                  solve.
    integrates    whether it adds a column to the state, the integral of a quantity.
    adds_time     whether it wants the state at a time of its own.
    ends_early    whether its penalty is right where events end solves before the last time.
    """

    name: str = ""
    estimates: str = ""
    needs_steps: bool = False
    own_gradient: bool = False
    fixed_rows: bool = False
    integrates: bool = False
    adds_time: bool = False
    ends_early: bool = False

    @abstractmethod
    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        """This regulariser's part in a plan.

        t: (T,) float64 on the CPU; its last entry is already the one that is solved to.  The others as for `plan`.
        """

    def end(self, t: Tensor, generator: torch.Generator | None) -> Tensor:
        """The times to solve for, from the user's; t (T,) float64 on the CPU."""
        return t

    def parts(self) -> list[tuple[float, Regulariser]]:
        """(weight, regulariser) of every part; a single one is its own part."""
        return [(1.0, self)]

    def describe(self) -> dict[str, Any]:
        """Name and options, in plain numbers and strings, for logs and provenance."""
        return {"name": self.name}

    def plan(
        self, func: Func, y0: Tensor, t: Any, generator: torch.Generator | None = None, solver: Solver | None = None
    ) -> Plan:
        """What is to be solved instead of (func, y0, t).

        func        func(t, y) -> dy/dt as `odeint` takes it: t 0-d, or (B, 1, ..., 1) where the solver has steps per
                    sample.
        y0, t       (B, *features) or (D,), and (T,), as `odeint` takes them.
        generator   of the random draws; None: torch's own.
        solver      method and tolerances, which a regulariser with a step of its own needs.

        Raises ValueError for arguments that `odeint` would refuse, or that this regulariser cannot work with.
        """
        return Plan(self.parts(), func, y0, t, generator, solver)

    def __add__(self, other: object) -> Sum:
        return Sum(self, other) if isinstance(other, Regulariser) else NotImplemented

    def __mul__(self, weight: object) -> Sum:
        return Sum((weight, self)) if isinstance(weight, (int, float)) else NotImplemented

    __rmul__ = __mul__

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.describe().items() if k != "name")
        return f"{self.name}({options})"


class Sum(Regulariser):
    """sum_i w_i R_i: of regularisers, or pairs (weight, regulariser) with positive weights."""

    name = "sum"

    def __init__(self, *items: Any) -> None:
        self._parts: list[tuple[float, Regulariser]] = []
        for item in items:
            weight, part = item if isinstance(item, tuple) else (1.0, item)
            if not isinstance(part, Regulariser):
                raise TypeError(f"a sum takes regularisers, got {type(part).__name__}")
            weight = options.positive("a regulariser's weight", weight)
            self._parts += [(weight * w, p) for w, p in part.parts()]
        if not self._parts:
            raise ValueError("a sum of regularisers needs at least one")
        self.estimates = "".join(name for name in "ES" if any(name in p.estimates for _, p in self._parts))
        self.needs_steps = any(p.needs_steps for _, p in self._parts)
        self.own_gradient = all(p.own_gradient for _, p in self._parts)
        self.fixed_rows = any(p.fixed_rows for _, p in self._parts)
        self.integrates = any(p.integrates for _, p in self._parts)
        self.adds_time = any(p.adds_time for _, p in self._parts)
        self.ends_early = all(p.ends_early for _, p in self._parts)

    def parts(self) -> list[tuple[float, Regulariser]]:
        return list(self._parts)

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        raise TypeError("a sum has a term for each of its parts, none of its own")

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "parts": [{"weight": w, **p.describe()} for w, p in self._parts]}

    def __repr__(self) -> str:
        return " + ".join(f"{w:g} * {p!r}" for w, p in self._parts)


class Plan:
    """What to solve, `func`, `y0`, `t`, and how to read the answer.

    func        callable like the user's; a torch.nn.Module where that is one, with the same parameters.
    y0          (B, *features), or (B, D + m) with m columns added, D the number of features; one system (D,) becomes a
                batch of one.
    t           (T',) with the user's dtype and device, the times added in their order.
    """

    def __init__(
        self,
        parts: Sequence[tuple[float, Regulariser]],
        func: Func,
        y0: Tensor,
        t: Any,
        generator: torch.Generator | None,
        solver: Solver | None,
    ) -> None:
        checks.state(y0)
        self._single = y0.dim() == 1
        if self._single:
            func, y0 = batch_of_one(func, y0)
        times = torch.from_numpy(checks.times(t).copy())
        kind = t if isinstance(t, Tensor) and t.is_floating_point() else times
        for _, part in parts:
            times = part.end(times, generator)
        # drawn times live in the dtype that the solver will see
        times = times.to(kind.dtype).double()
        self._terms = [(w, part.term(func, y0, times, solver, generator)) for w, part in parts]
        wanted = [_in_dtype(term.time, kind.dtype) for _, term in self._terms if term.time is not None]
        merged = torch.unique(torch.cat([times, torch.tensor(wanted, dtype=torch.float64)]))
        merged = merged if times[-1] > times[0] else merged.flip(0)
        self._user = [_index(merged, float(x)) for x in times]
        self._merged, self._shape, self._like = merged, tuple(y0.shape), y0
        integrands = [term.integrand for _, term in self._terms if term.integrand is not None]
        self._columns = len(integrands)
        self.t = merged.to(dtype=kind.dtype, device=kind.device)
        self.func, self.y0 = augment(func, y0, integrands, 1.0 if times[-1] > times[0] else -1.0)

    @property
    def columns(self) -> int:
        """Number of columns added."""
        return self._columns

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self._shape[0]

    def read(self, result: NeuralSolution | Tensor) -> tuple[Tensor, Tensor]:
        """(y, penalty): y (T, *y0.shape) at the user's times (the last one as drawn anew, with STEER), penalty 0-d.

        result is our solution, or the tensor (T', B, ...) that another solver returned for this plan.  Raises
        ValueError where its shape is not the plan's, and where a regulariser needs what the result does not have.
        """
        solution = result if isinstance(result, NeuralSolution) else None
        raw = result.y if isinstance(result, NeuralSolution) else result
        if not isinstance(raw, Tensor):
            raise ValueError(f"a plan reads a NeuralSolution or a tensor, got {type(result).__name__}")
        expected = (len(self._merged), *self.y0.shape)
        if raw.shape != expected:
            raise ValueError(
                f"the result must have shape {expected}, (times, batch, ...) of the plan; got {tuple(raw.shape)}"
            )
        if solution is not None:
            ok = torch.from_numpy(solution.status == SUCCESS).to(raw.device)
        else:
            ok = torch.isfinite(raw[-1].detach()).reshape(self.batch, -1).all(1)
        y: Tensor = raw
        integrals: Iterator[Tensor] = iter(())
        if self._columns:
            y = raw[..., : -self._columns].reshape(len(self._merged), *self._shape)
            integrals = iter(raw[-1, :, -self._columns :].unbind(1))
        penalty = self._like.new_zeros(())
        for weight, term in self._terms:
            extra = None
            if term.time is not None:
                extra = y[_index(self._merged, _in_dtype(term.time, self.t.dtype))]
            integral = next(integrals) if term.integrand is not None else None
            penalty = penalty + weight * term.penalty(Reading(y, self._merged, extra, integral, solution, ok))
        y = y if len(self._user) == len(self._merged) else y[self._user]
        return y[:, 0] if self._single else y, penalty


def _in_dtype(x: float, dtype: torch.dtype) -> float:
    """x as it is after a rounding to `dtype`."""
    return float(torch.tensor(x, dtype=torch.float64).to(dtype))


def _index(times: Tensor, x: float) -> int:
    """Where the time x stands in `times`."""
    return int(torch.nonzero(times == x)[0])
