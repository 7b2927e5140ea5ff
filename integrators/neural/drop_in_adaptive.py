"""A call of torchdiffeq's solved by an adaptive method, with gradient.

torchdiffeq's step_t are times that a step ends at, and its jump_t are those where the field jumps besides (`stops`);
its max_num_steps counts the attempts between two outputs, and those up to an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
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
from .solving import Problem, Solved
from .solving import solve as solve_problem
from .stops import Stops
from .time_gradient import moved

Tensor = torch.Tensor
#: the end of a solve that ends with an event
NEVER = 1e300


def solve(
    call: Any,
    start: Tensor,
    asked: Adaptive,
    told: Told,
    state: Callable[[Tensor], Any] | None = None,
    rest: Mapping[str, Any] | None = None,
    back: Mapping[str, Any] | None = None,
) -> Tensor:
    """The outputs (T, D) of `call` (`drop_in_forward.Call`) from the vector `start`, with gradient in it; with an event
    (2, D), the start and the state there.

    told   the callbacks; `state` makes what they get of a vector, None: the state.
    rest   options of the solver that a continuous adjoint brings, and `back`, settings of its backward solve.

    Raises SolveFailed where the solve does not reach its end, RuntimeError where there is no event.
    """
    layout, event = call.layout, call.event
    times, stops = checks.times(call.t.detach()), Stops.of(asked.step_t, asked.jump_t)
    scale = tolerance_scale.of(asked.controller)
    rtol, atol, each = drop_in_options.tolerances(call.rtol, call.atol, layout, scale)
    hooks = drop_in_options.hooks_of(asked, told, state or layout.state, layout.norm(asked.norm))
    hooks = replace(hooks, each=each_floored(each, layout.dtype, asked.tableau.order, scale))
    if asked.even_steps is None:
        asked = replace(asked, even_steps=event is None and stops is None)
    limit = asked.steps or (MOST if event is None else MOST_TO_EVENT)
    checked = drop_in_options.scaled(asked, layout.dtype, rtol, atol, max_steps=limit, **(rest or {}))
    if event is not None:
        _refuse_with_event(asked)
        if event.at_start[0]:
            return torch.stack([start, start])
        times = np.array([times[0], NEVER if times[1] > times[0] else -NEVER])
    moves = call.t.requires_grad and torch.is_grad_enabled() and rest is None and event is None
    solved = solve_problem(
        Problem(
            call.slope,
            start,
            times,
            asked.tableau,
            asked.controller,
            False,
            checked,
            hooks,
            back or {},
            stops=stops,
            event=event,
            slopes=moves,
            between=True,
        )
    )
    _refuse_failure(solved.done, limit, event)
    y = solved.y[:, 0]
    if event is not None:
        return torch.stack([start, y[-1]])
    return torch.cat([start[None], _moved(call, solved) if moves else y[1:]])


def _moved(call: Any, solved: Solved) -> Tensor:
    """The outputs (T - 1, D) but the first, with their gradient in their times."""
    again = solved.again
    assert again is not None and again.slopes is not None  # a discrete adjoint
    return moved(call.t[1:], solved.y[1:, 0], again.slopes, call.slope_in_time(at_end=True))


def _refuse_with_event(asked: Adaptive) -> None:
    """ValueError for what needs to know where the solve ends."""
    for name, given in (("even_steps", asked.even_steps), ("step_t", asked.step_t), ("jump_t", asked.jump_t)):
        if given:
            raise ValueError(f"{name} does not go with event_fn: where the solve ends is not known before")
    needs = frozenset(getattr(asked.controller, "needs", ()))
    unknown = ", ".join(sorted(rec.NAMES[i] for i in needs & {rec.T_LEFT, rec.SPAN}))
    if unknown:
        raise ValueError(f"the controller needs {unknown}, and with event_fn the time left is not known")


def _refuse_failure(done: Any, limit: int, event: Any) -> None:
    """SolveFailed where the solve did not reach its end, RuntimeError where it did without an event."""
    status, at = int(done.status[0]), f"t = {float(done.t_last[0]):.6g}"
    if status != SUCCESS:
        reason, helps = MESSAGES[status].partition(";")[0], "a field that stays bounded, a shorter span"
        if status == MAX_STEPS:
            reason, helps = f"{reason} ({limit} attempts)", "looser tolerances, or a larger options['max_num_steps']"
        raise SolveFailed(f"the solve failed at {at}: {reason}. What helps: {helps}")
    if event is not None and not np.isfinite(event.times[0]):
        raise RuntimeError(f"no event: event_fn keeps its sign up to {at}")
