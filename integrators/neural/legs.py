"""A solve by an adaptive method from one time at which steps must end to the next, with gradient.

torchdiffeq's step_t are times that a step ends at, and its jump_t are those where the field jumps besides.  Between
them the problem is one leg, solved as any other, and the next leg goes on from the state and the size that the last one
has left.  A field that jumps is asked a little inside its leg, so that neither leg sees the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..core import record as rec
from ..core import tolerance_scale
from ..kernels.layout import MAX_STEPS, MESSAGES, SUCCESS
from . import checks, drop_in_options
from .drop_in_options import MOST, MOST_TO_EVENT, Adaptive, Told
from .failures import SolveFailed
from .resolution import each_floored
from .solving import Problem
from .solving import solve as solve_problem
from .time_gradient import moved

Tensor = torch.Tensor
Slope = Callable[[Tensor, Tensor], Tensor]
#: the end of a solve that ends with an event
NEVER = 1e300


@dataclass(frozen=True)
class Leg:
    """A part of the solve.

    times   its start, the outputs within, and its end.
    last    whether its end is an output of the solve.
    jumps   whether the field jumps at its start, and at its end.
    """

    times: np.ndarray
    last: bool
    jumps: tuple[bool, bool]


def legs_of(times: np.ndarray, step_t: tuple[float, ...], jump_t: tuple[float, ...]) -> list[Leg]:
    """The legs of a solve through `times` (T,), monotone."""
    low, high = min(times[0], times[-1]), max(times[0], times[-1])
    if set(step_t) & set(jump_t) or len(set(step_t)) < len(step_t) or len(set(jump_t)) < len(jump_t):
        raise ValueError("step_t and jump_t must not hold a time twice")
    inner = sorted({x for x in (*step_t, *jump_t) if low < x < high}, reverse=bool(times[0] > times[-1]))
    ends = [times[0], *inner, times[-1]]
    sign = 1.0 if times[-1] > times[0] else -1.0
    found = []
    for a, b in zip(ends, ends[1:], strict=False):
        within = times[(sign * times > sign * a) & (sign * times < sign * b)]
        found.append(Leg(np.array([a, *within, b]), bool((times == b).any()), (a in jump_t, b in jump_t)))
    return found


def solve(
    call: Any,
    start: Tensor,
    asked: Adaptive,
    told: Told,
    state: Callable[[Tensor], Any] | None = None,
    rest: Mapping[str, Any] | None = None,
    back: Mapping[str, Any] | None = None,
) -> Tensor:
    """The outputs (T, D) of `call` (`drop_in_forward.Call`) from the vector `start`, with gradient in it.

    told   the callbacks; `state` makes what they get of a vector, None: the state.
    rest   options of the solver that a continuous adjoint brings, and `back`, settings of its backward solve.

    Raises SolveFailed where the solve does not reach its end, RuntimeError where there is no event.
    """
    layout, event = call.layout, call.crossing
    times = checks.times(call.t.detach())
    scale = tolerance_scale.of(asked.controller)
    rtol, atol, each = drop_in_options.tolerances(call.rtol, call.atol, layout, scale)
    hooks = drop_in_options.hooks_of(asked, told, state or layout.state, layout.norm(asked.norm), event)
    hooks = replace(hooks, each=each_floored(each, layout.dtype, asked.tableau.order, scale))
    if asked.even_steps is None:
        asked = replace(asked, even_steps=event is None and not asked.step_t and not asked.jump_t)
    checked = drop_in_options.scaled(asked, layout.dtype, rtol, atol, max_steps=MOST, **(rest or {}))
    if event is not None:
        _refuse_with_event(asked)
        if event.start:
            return torch.stack([start, start])
        times = np.array([times[0], NEVER if times[1] > times[0] else -NEVER])
    rows, y, size, count = [start[None]], start, checked.first_step, 1
    moves = call.t.requires_grad and torch.is_grad_enabled() and rest is None and event is None
    for leg in legs_of(times, asked.step_t, asked.jump_t):
        limit = asked.steps or (MOST if event is None else MOST_TO_EVENT)
        now = replace(checked, first_step=size, max_steps=min(limit * (len(leg.times) - 1), MOST))
        slope = _inside(call.slope, leg)
        solved = solve_problem(
            Problem(
                slope, y, leg.times, asked.tableau, asked.controller, False, now, hooks, back or {}, slopes=moves
            )
        )
        _refuse_failure(solved.done, limit, event)
        found = solved.y[:, 0]
        outputs = found[1:] if leg.last or event is not None else found[1:-1]
        if moves and len(outputs):
            assert solved.again is not None and solved.again.slopes is not None  # a discrete adjoint
            known = solved.again.slopes[: len(outputs)]
            rows.append(moved(call.t[count : count + len(outputs)], outputs, known, slope))
        else:
            rows.append(outputs)
        count += len(outputs)
        y, size = found[-1], float(solved.done.h_next[0])
        size = size if np.isfinite(size) and size > 0.0 else None
    return torch.cat(rows)


def _refuse_with_event(asked: Adaptive) -> None:
    """ValueError for what needs to know where the solve ends."""
    for name, given in (("even_steps", asked.even_steps), ("step_t", asked.step_t), ("jump_t", asked.jump_t)):
        if given:
            raise ValueError(f"{name} does not go with event_fn: where the solve ends is not known before")
    needs = frozenset(getattr(asked.controller, "needs", ()))
    unknown = ", ".join(sorted(rec.NAMES[i] for i in needs & {rec.T_LEFT, rec.SPAN}))
    if unknown:
        raise ValueError(f"the controller needs {unknown}, and with event_fn the time left is not known")


def _inside(slope: Slope, leg: Leg) -> Slope:
    """The slope asked a little inside the leg where the field jumps at its ends."""
    if not any(leg.jumps):
        return slope
    begin, end = float(leg.times[0]), float(leg.times[-1])
    sign = 1.0 if end > begin else -1.0

    def inside(t: Tensor, y: Tensor) -> Tensor:
        for edge, other, jumps in ((begin, end, leg.jumps[0]), (end, begin, leg.jumps[1])):
            at, to = t.new_tensor(edge), t.new_tensor(other)
            # times are rounded to t's dtype, and must not round across the jump
            if jumps and bool(sign * (t - at) <= 0.0 if edge == begin else sign * (t - at) >= 0.0):
                t = torch.nextafter(at, to)
        return slope(t, y)

    return inside


def _refuse_failure(done: Any, limit: int, event: Any) -> None:
    """SolveFailed where the solve did not reach its end, RuntimeError where it did without an event."""
    status, at = int(done.status[0]), f"t = {float(done.t_last[0]):.6g}"
    if status != SUCCESS:
        reason, helps = MESSAGES[status].partition(";")[0], "a field that stays bounded, a shorter span"
        if status == MAX_STEPS:
            reason, helps = f"{reason} ({limit} attempts)", "looser tolerances, or a larger options['max_num_steps']"
        raise SolveFailed(f"the solve failed at {at}: {reason}. What helps: {helps}")
    if event is not None and np.isnan(event.t):
        raise RuntimeError(f"no event: event_fn keeps its sign up to {at}")
