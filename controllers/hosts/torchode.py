"""torchode: `AutoDiffAdjoint(step_method, ctrl.for_torchode(atol, rtol))`, and JointBacksolveAdjoint, BacksolveAdjoint.

torchode takes a controller object, and `step_size_controller` makes one: a `StepSizeController` that decides for every
sample apart, in tensors on the samples' device.  Read against torchode 1.0.1.

What is torchode's and stays: the last step of a sample is shortened to land on its end, dense output, the automatic
first size, and the switch `backprop_through_step_size_control`, on by default: step sizes then have gradients, through
the errors that a law has seen.  What is ours: dt_min and dt_max, and no factor is clamped but by the controller.

Samples that fail.  torchode ends a whole batch at the first status that is not 0, and reports success for samples that
it has left halfway.  Here a sample that fails rests where it is (steps of size 0) until every other one has arrived;
then `solution.status` holds one code a sample: REACHED_DT_MIN where the size fell below `dt_min` or what the time
resolves, INFINITE_NORM where func, the state or the error was not finite however short the step, REACHED_MAX_STEPS
after `max_steps` attempts, GENERAL_ERROR else.  What torchode's loop then returns for it:

    without t_eval   NaN
    with t_eval      the outputs that it reached; the rest is memory that torchode never wrote (`stats["n_initialized"]`
                     says from where on).  `controller.solver(step_method)`, an AutoDiffAdjoint, makes NaN of it
    backwards        JointBacksolveAdjoint looks at no status in its backward pass: gradients are NaN there

AutoDiffAdjoint's own `max_steps` ends the whole batch when the first sample has used it up.  Gradients of shared
parameters are NaN where any attempt was not finite, a rejected one included: the graph holds every attempt.

The controller sees the error, the sizes, norms of state and error, and the time left, but no stages.  Under
torch.compile it runs as torchode's own do.  It does not run in TorchScript.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from ...integrators.core import options as options_
from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.binding import bind
from ...integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR, S_STREAK
from ...integrators.core.errors import shown
from ...integrators.core.namespaces import torch_arrays
from ...integrators.core.pure import Decision
from ...integrators.core.runner import slots_read
from .fitting import ENDS, NORMS, TIER0, fit
from .torch_measures import geometric_mean, norms
from .torchode_compiled import Compiled
from .torchode_parts import Isolated, Start, State, even, first_size, left_of, readable, resolved, told, torchode

Tensor = torch.Tensor
_Base: Any = torchode.step_size_controllers.StepSizeController
_codes: Any = torchode.status_codes

#: record slots that torchode fills
SLOTS = TIER0 | NORMS | ENDS
#: rejected attempts in a row, and attempts in a row that are not finite, after which a sample gives up
MOST_REJECTED, MOST_LOST = 1000, 100
#: kinds of solve whose first size a warm start remembers
WARM = 64


class StepSizes(_Base):
    """torchode's StepSizeController under a controller of ours; `step_size_controller` makes it.

    It keeps nothing of a solve but the sizes of a warm start, so that it serves any number of solves.
    """

    params: Tensor
    method: str | None  #: the step method's class, where it is known

    def __init__(
        self, controller: Any, atol: Any, rtol: Any, term: Any, norm: Callable[[Tensor], Tensor], dt_min: float | None,
        dt_max: float | None, max_steps: int | None, warm_start: bool, even_steps: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.controller, self.term, self.norm = controller, term, norm
        self.dt_min, self.dt_max, self.max_steps = dt_min, dt_max, max_steps
        self.warm_start, self.even_steps = warm_start, even_steps
        scale = tolerance_scale.of(controller)
        for name, value in (("atol", atol), ("rtol", rtol)):
            if isinstance(value, Tensor):
                self.register_buffer(name, value.detach().double() * scale)
            else:
                setattr(self, name, value * scale)
        self.rtol_seen = geometric_mean(self.rtol)
        self.register_buffer("params", torch.tensor(controller.params, dtype=torch.float64))
        self.method, self.poison, self.through = None, True, True
        self._warm: OrderedDict[Any, Tensor] = OrderedDict()
        self._bound()

    def _bound(self) -> None:
        self.slots = slots_read(self.controller)
        self._compiled: Compiled | None = None
        decision, first = Decision(self.controller, torch_arrays()), getattr(self.controller, "first", None)
        # a compiler takes these into its graph as they are: it would look for their names where NumPy's stand
        graph = torch.compiler.allow_in_graph
        self._start, self.decide = graph(lambda *a: decision.start(*a)), graph(lambda *a: decision(*a))
        self._first = None if first is None else graph(bind(first, torch_arrays().namespace))

    def reset(self) -> None:
        """Forget the sizes of a warm start: the next solves choose their first step themselves."""
        self._warm.clear()

    def solver(self, step_method: Any, *, backprop_through_step_size_control: bool = False) -> Any:
        """torchode's AutoDiffAdjoint for `step_method` and a copy of this controller, where samples fail alone.

        Outputs that a failed sample did not reach are NaN, without a gradient, and its `stats["n_steps"]` does not
        count the attempts in which it rests.  The last argument is torchode's switch, on in AutoDiffAdjoint itself;
        off, sizes have no gradient and are cheap.
        """
        twin = copy.deepcopy(self)
        twin.poison, twin.through = False, backprop_through_step_size_control
        twin.method = type(step_method).__name__
        twin.term = step_method.term if self.term is None else self.term
        return Isolated(step_method, twin, backprop_through_step_size_control=backprop_through_step_size_control)

    # -- torchode's three methods --------------------------------------------------------------------------------------

    def init(self, term: Any, problem: Any, method_order: int, dt0: Any, *, stats: dict[str, Any], args: Any) -> Any:
        """First sizes (B,), signed; the state; and the slopes at the start, where they were evaluated."""
        told(self.controller, self.method, method_order)
        sign, like = problem.time_direction.to(problem.t_start.dtype), torch.zeros_like(problem.t_start).double()
        span = (sign * (problem.t_end - problem.t_start)).double()
        y0, f0, key, first = problem.y0, None, None, None
        if self.warm_start:
            key = (tuple(y0.shape[1:]), y0.dtype, tuple(sorted(set(problem.t_start.tolist()))), float(sign[0]))
            first = torch.full_like(like, math.nan)
            if dt0 is None:
                dt0 = self._remembered(key, like)
            self._warm[key] = first
            while len(self._warm) > WARM:
                self._warm.popitem(last=False)
        fine = torch.isfinite(y0).all(dim=1)
        rows = self._start(self.params, like)
        if dt0 is None:
            start = Start(self._term(term), self.norm, self._scale(y0.abs()))
            dt0, f0 = first_size(
                start, start.term, problem.t_start, y0, problem.time_direction, span.to(problem.t_start.dtype),
                method_order, stats, args,
            )  # fmt: skip
            fine = fine & torch.isfinite(f0).all(dim=1)
            if self._first is not None:
                own = self._first(self.params, list(rows), [like * math.nan] * rec.N_RECORD) + like
                dt0 = torch.where(own > 0.0, sign * own, dt0)
        want = torch.minimum(dt0.double().abs(), span)
        ended = torch.where(fine, torch.where(torch.isfinite(want), 0, _codes.GENERAL_ERROR), _codes.INFINITE_NORM)
        want = torch.maximum(self._held(torch.where(ended > 0, 0.0, want)), resolved(problem.t_start))
        stats["n_rejected"], stats["n_fallback"] = torch.zeros_like(ended), torch.zeros_like(ended)
        state = State(
            torch.stack(rows, dim=1), want, ended, like, like, problem.t_end, sign, span, float(method_order), first,
            not self.through,
        )  # fmt: skip
        size = torch.where(ended > 0, 0.0, self._size(want, span))
        return sign * size.to(sign.dtype), state, f0

    def adapt_step_size(
        self, t0: Tensor, dt: Tensor, y0: Tensor, step_result: Any, state: State, stats: dict[str, Any]
    ) -> tuple[Tensor, Tensor, State, Tensor]:
        """Which attempts are accepted (B,), the next sizes (B,), signed, the state after that, and the status (B,)."""
        if self._plain(t0, dt, y0, step_result, state):
            with torch.no_grad():
                err, measures = self._measured(y0, step_result)
            limits = self.dt_min, self.dt_max, self.max_steps, MOST_REJECTED, MOST_LOST
            given = self.rtol_seen, limits, self.even_steps, self.poison
            if self._compiled is None or self._compiled.given != given:
                self._compiled = Compiled(self.controller, *given)
            return self._compiled(t0, dt, step_result.y.detach(), err, measures, state.without_graph(dt), stats)
        rows = state.rows if dt.requires_grad else state.rows.detach()  # torchode has detached the sizes
        want = state.want if dt.requires_grad else state.want.detach()
        left, h = left_of(state, t0), dt.double().abs()
        live, cut = (left > 0.0) & (state.ended == 0), want > left
        err, found = self._measured(y0, step_result)
        finite = torch.isfinite(err) & torch.isfinite(step_result.y).all(dim=1)
        found |= {
            rec.ERR: err, rec.FINITE: finite.double(), rec.RTOL: torch.full_like(h, self.rtol_seen), rec.H: h,
            rec.H_FREE: want, rec.TRUNCATED: cut.double(), rec.T_LEFT: left, rec.SPAN: state.span,
            rec.ORDER: torch.full_like(h, state.order),
        }  # fmt: skip
        unknown = torch.full_like(h, math.nan)
        record = [found.get(slot, unknown) for slot in range(rec.N_RECORD)]
        out, after = self.decide(self.params, rows.unbind(dim=1), record)

        accept = live & finite & (out[ACCEPT] > 0.5)
        asked = torch.where(accept & cut, want, h) * torch.exp(out[LOG_FACTOR])
        t = torch.where(accept, t0 + dt, t0)
        running = torch.addcmul(-state.sign * state.t_end, state.sign, t) < 0.0  # as torchode asks
        lost = torch.where(finite, 0.0, state.lost + 1.0)
        code = self._code(accept, finite, asked, t, lost, after[S_STREAK], state.attempts + 1.0)
        ended = torch.where(live & running, code, state.ended)
        stats["n_rejected"].add_(live & ~accept)
        stats["n_fallback"].add_(live & (out[FALLBACK] > 0.5))
        if state.first is not None:
            with torch.no_grad():
                state.first.copy_(torch.where(accept & torch.isnan(state.first), asked, state.first))

        asked = torch.maximum(self._held(asked), resolved(t))
        size = self._size(asked, left_of(state, t))
        # a sample that has failed rests; once all others have arrived, NaN ends it and is what it returns
        others = (running & (ended == 0)).any()
        rest = torch.where(others, 0.0, math.nan if self.poison else 0.0)
        dt_next = torch.where(ended > 0, rest, state.sign * size.to(dt.dtype)).to(dt.dtype)
        status = torch.where(torch.isnan(dt) if self.poison else ~others, ended, 0)
        now = State(
            torch.where(live[:, None], torch.stack(after, dim=1), rows), torch.where(live, asked, want), ended, lost,
            state.attempts + live, state.t_end, state.sign, state.span, state.order, state.first,
            state.off_graph(dt),
        )  # fmt: skip
        return accept, dt_next, now, status

    def merge_states(self, running: Tensor, current: State, previous: State) -> State:
        """The state after an attempt: that of samples which do not run any more stays as it was."""
        return current._replace(
            rows=torch.where(running[:, None], current.rows, previous.rows),
            want=torch.where(running, current.want, previous.want),
        )

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _plain(self, t0: Tensor, dt: Tensor, y0: Tensor, step_result: Any, state: State) -> bool:
        """Whether an attempt can be decided in compiled code: on the CPU, where its size has no gradient."""
        if not readable(t0, dt, y0, state.want):
            return False
        if not torch.is_grad_enabled():
            return True
        error = step_result.error_estimate
        seen = (t0, dt, state.span, *(() if state.off_graph(dt) or error is None else (error, state.rows, state.want)))
        return not any(x.requires_grad for x in seen)

    def _term(self, term: Any) -> Any:
        if term is None and self.term is None:
            ways = "give for_torchode(term=...), solve(problem, term=...) or solve(problem, dt0=...)"
            raise ValueError(f"torchode gives the controller no term to choose the first step with: {ways}")
        return self.term if term is None else term

    def _scale(self, size: Tensor) -> Tensor:
        """atol + rtol size, of the shape and dtype of size (B, D)."""
        atol, rtol = (x.to(size.dtype) if isinstance(x, Tensor) else x for x in (self.atol, self.rtol))
        return atol + rtol * size

    def _measured(self, y0: Tensor, step_result: Any) -> tuple[Tensor, dict[int, Tensor]]:
        """The scaled error (B,), and by slot the norms that the controller reads, float64.

        ValueError where the method has no error estimate.
        """
        y1, error = step_result.y, step_result.error_estimate
        if error is None:
            needs = f"controller {shown(self.controller.name)} needs an error estimate, and this step method has none"
            raise ValueError(f"{needs}: use Dopri5, Tsit5 or Heun")
        scale = self._scale(torch.maximum(y0.abs(), y1.abs()))
        err = self.norm(error.abs() / scale).double()
        return err, {slot: value.double() for slot, value in norms(self.slots, error, y0, scale).items()}

    def _code(
        self, accept: Tensor, finite: Tensor, asked: Tensor, t: Tensor, lost: Tensor, streak: Tensor, attempts: Tensor
    ) -> Tensor:
        """Status of samples that are not at their end (B,): 0, or why they cannot go on."""
        code = torch.where(torch.isfinite(asked), 0, _codes.GENERAL_ERROR)
        code = torch.where(streak >= MOST_REJECTED, _codes.GENERAL_ERROR, code)
        if self.max_steps is not None:
            code = torch.where(attempts >= self.max_steps, _codes.REACHED_MAX_STEPS, code)
        if self.dt_min is not None:
            code = torch.where(asked < self.dt_min, _codes.REACHED_DT_MIN, code)
        code = torch.where(~accept & (asked < resolved(t)), _codes.REACHED_DT_MIN, code)
        hopeless = ~finite & ((lost >= MOST_LOST) | (code == _codes.REACHED_DT_MIN))
        return torch.where(hopeless, _codes.INFINITE_NORM, code)

    def _held(self, want: Tensor) -> Tensor:
        return want if self.dt_max is None else torch.clamp(want, max=self.dt_max)

    def _size(self, want: Tensor, left: Tensor) -> Tensor:
        """Size of the next attempt, positive; torchode shortens it to what is left."""
        return even(want, left) if self.even_steps else want

    def _remembered(self, key: Any, like: Tensor) -> Tensor | None:
        """The first size of all samples under warm_start: the shortest that suited the last solve of this kind."""
        known = self._warm.pop(key, None)
        if known is None:
            return None
        known = known.to(like.device)
        least = torch.where(known > 0.0, known, math.inf).amin()
        return least.expand(like.shape) if math.isfinite(float(least)) else None

    # -- copies --------------------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # a cast of a model to another dtype is not meant for the coefficients of its controller
        made = super()._apply(fn, recurse)
        self.params = torch.tensor(self.controller.params, dtype=torch.float64, device=self.params.device)
        return made

    def __getstate__(self) -> dict[str, Any]:
        bound = ("decide", "_start", "_first", "_warm", "_compiled")
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._warm = OrderedDict()
        self._bound()

    def __deepcopy__(self, memo: dict[int, Any]) -> StepSizes:
        # controllers are immutable, and not all of them can be copied
        memo[id(self.controller)] = self.controller
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin

    def extra_repr(self) -> str:
        return f"controller={shown(self.controller.name)}, atol={self.atol}, rtol={self.rtol}"


def step_size_controller(
    controller: Any, atol: Any, rtol: Any, *, term: Any = None, norm: Callable[[Tensor], Tensor] | None = None,
    dt_min: float | None = None, dt_max: float | None = None, max_steps: int | None = None, warm_start: bool = False,
    even_steps: bool = False,
) -> StepSizes:  # fmt: skip
    """The step size controller to hand to torchode's AutoDiffAdjoint, JointBacksolveAdjoint or BacksolveAdjoint.

    controller  an object of the contract, such as `stepsmith.controller("pi34")`
    atol, rtol  tolerances: non-negative numbers, or tensors that broadcast to the state (B, D)
    term        the term of the first step's evaluations: torchode hands one on only where `solve` is given one
    norm        (B, D) -> (B,), of the scaled error; None: torchode's root mean square
    dt_min      a sample fails where the controller asks for less.  dt_max: no step is longer
    max_steps   attempts after which a sample that is not at its end fails, alone
    warm_start  True: a solve without dt0 begins with the shortest size that suited a sample's first step in the last
                solve of its kind (features, dtype, start times, direction), and saves an evaluation.  It reads one
                number and the times off the device.  `reset()` forgets the sizes
    even_steps  True: a step is the largest of equal ones that are no longer than the controller asks for and that end
                at the sample's end time

    `stats` gets "n_rejected", attempts rejected, and "n_fallback", decisions in which a learned controller left the
    answer to its base law, beside torchode's own; each (B,).

    Raises ImportError without torchode, TypeError for what is no controller, OptionError for options, and ValueError
    for a controller that reads stages or Newton's iterations.
    """
    fit(controller, "torchode", SLOTS)
    for name, value in (("atol", atol), ("rtol", rtol)):
        if not isinstance(value, Tensor):
            options_.number(name, value, 0.0)
    dt_min, dt_max = options_.positive("dt_min", dt_min, none=True), options_.positive("dt_max", dt_max, none=True)
    if dt_min is not None and dt_max is not None and dt_min > dt_max:
        raise options_.refuse("dt_min", f"at most dt_max, {dt_max:g}", dt_min)
    return StepSizes(
        controller, atol, rtol, term, torchode.step_size_controllers.rms_norm if norm is None else norm, dt_min, dt_max,
        options_.count("max_steps", max_steps, none=True), options_.flag("warm_start", warm_start),
        options_.flag("even_steps", even_steps),
    )  # fmt: skip
