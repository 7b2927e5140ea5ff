"""The step size controller that `hosts.diffrax` makes: a PyTree with diffrax's interface.

Times are as diffrax counts inside a solve, upwards always; `wrap` tells the direction.  One attempt's record becomes an
answer in `decide`, a pure function; around it `adapt_step_size` measures the record and turns the answer into times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.errors import shown
from .diffrax_start import scaled, start_size, told
from .diffrax_structure import Structure

Base: Any = diffrax.AbstractAdaptiveStepSizeController
RESULTS: Any = diffrax.RESULTS


class ControllerState(eqx.Module):
    """What a solve carries from one attempt to the next; `SaveAt(controller_state=True)` returns it.

    kept       (rows,) the controller's own state, in the parameters' dtype; all others are scalars, of time's dtype
    want       size that the controller asks for next, positive
    asked      end of the next attempt as asked for, before anybody shortens it to land
    t_end      end time; span: distance from start to end; both as diffrax counts, with time running upwards
    first      size asked for after the first accepted step, signed; NaN before
    direction  1, or -1 where time runs backwards
    at_dtmin   bool: the next attempt is accepted whatever its error, because its size is `dtmin`
    """

    kept: Any
    want: Any
    asked: Any
    t_end: Any
    span: Any
    first: Any
    direction: Any
    at_dtmin: Any


class StepSizeController(Base):
    """A controller of this package as diffrax's step size controller; `step_size_controller` makes it.

    params, rtol, atol, dtmin and dtmax are leaves, all else is static.  params (k,) are the controller's parameters
    without those that its structure fixes.  rtol and atol are those that the controller works at: the ones asked for
    times its tolerance scale.
    """

    params: Any
    rtol: Any
    atol: Any
    dtmin: Any
    dtmax: Any
    norm: Callable[[Any], Any] = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    force_dtmin: bool = eqx.field(static=True)
    even_steps: bool = eqx.field(static=True)
    error_order: float | None = eqx.field(static=True)
    direction: Any = None
    pieces: Any = None

    # -- what diffrax calls --------------------------------------------------------------------------------------------

    def wrap(self, direction: Any) -> StepSizeController:
        """This controller in a solve whose time runs upwards (1) or downwards (-1)."""
        return replace(self, direction=direction, pieces=self.structure.pieces(self.params))

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any
    ) -> tuple[Any, ControllerState]:
        """End of the first attempt, and the state before it.

        The first size is dt0; where that is None or NaN the controller's own, or Hairer's (`diffrax_start`).  A dt0
        that is an array compiles to one program, in which the rule is evaluated where it is NaN.
        """
        told(self.structure.controller, func, error_order)
        dtype = jnp.result_type(t0)
        kept, own = self.structure.start(self._pieces(), jnp.zeros((), self.params.dtype))

        def chosen() -> Any:
            size = start_size(
                terms, t0, t1, y0, args, func, (self.rtol, self.atol), self.norm, self._order(error_order)
            )
            return jnp.asarray(jnp.where(own > 0.0, own.astype(dtype), size), dtype)

        if dt0 is None:
            dt0 = chosen()
        elif error_order is not None or self.error_order is not None:
            given = jnp.asarray(dt0, dtype)
            dt0 = jax.lax.cond(jnp.isnan(given), chosen, lambda: given)
        want = jnp.asarray(dt0, dtype)
        if self.dtmax is not None:
            want = jnp.minimum(want, self.dtmax)
        if self.dtmin is not None:
            want = jnp.maximum(want, self.dtmin)
        end = t0 + self._asked(want, t1 - t0)
        direction = jnp.asarray(1 if self.direction is None else self.direction, dtype)
        nan = jnp.full((), jnp.nan, dtype)
        return end, ControllerState(kept, want, end, t1, t1 - t0, nan, direction, jnp.zeros((), bool))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: ControllerState,
    ) -> tuple[Any, Any, Any, bool, ControllerState, Any]:
        """One attempt from t0 to t1: whether it is accepted, start and end of the next, the state after it."""
        if y_error is None and y0 is not None:
            raise ValueError("this solver has no error estimate to choose steps by: use one that has (diffrax.Tsit5())")
        state, size = controller_state, t1 - t0
        record = self.record(t0, t1, y0, y1_candidate, y_error, error_order, state)
        accept, log_factor, kept = self.decide(state.kept, record)
        finite = record[rec.FINITE] > 0.5
        accept = accept & finite
        if self.dtmin is not None:
            accept = accept | (state.at_dtmin & finite)
        # a step that was shortened says nothing of the size that the controller would go on with
        base = jnp.where(accept & (record[rec.TRUNCATED] > 0.5), state.want, size)
        want = base * jax.lax.stop_gradient(jnp.exp(log_factor)).astype(size.dtype)
        start = jnp.where(accept, t1, t0)
        arrived = (t0 < state.t_end) & (t1 >= state.t_end)
        want, at_dtmin, stuck = self._bounded(want, start, accept, finite, arrived, state)

        end = start + self._asked(want, state.t_end - start)
        first = jnp.where(accept & jnp.isnan(state.first), state.direction * want, state.first)
        result = RESULTS.where(stuck, RESULTS.dt_min_reached, RESULTS.successful)
        after = ControllerState(
            kept, want, end, state.t_end, state.span, jax.lax.stop_gradient(first), state.direction, at_dtmin
        )
        return accept, start, end, False, after, result

    # -- what it is made of --------------------------------------------------------------------------------------------

    def decide(self, kept: Any, record: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The controller's answer to one attempt.

        kept: (rows, ...) its state.  record: `N_RECORD` arrays (...), of the parameters' dtype.  Returns accept, bool
        (...), the natural logarithm of the next size over the size attempted (...), and the state after it.
        """
        return self.structure.decide(self._pieces(), jax.lax.stop_gradient(kept), record)

    def _pieces(self) -> tuple[Any, ...]:
        return self.structure.pieces(self.params) if self.pieces is None else self.pieces

    def record(
        self, t0: Any, t1: Any, y0: Any, y1: Any, y_error: Any, error_order: Any, state: ControllerState
    ) -> list[Any]:
        """The attempt record of a step from t0 to t1: `N_RECORD` scalars of the parameters' dtype, without gradient.

        YNORM and ENORM are measured where the controller reads them.
        """
        t0, t1, y0, y1, y_error, state = jax.lax.stop_gradient((t0, t1, y0, y1, y_error, state))
        norm_of, reads, dtype = self.norm, self.structure.reads, self.params.dtype
        with jax.numpy_dtype_promotion("standard"):
            scale = jax.tree.map(self._scale, y0, y1)
            ratio = jax.tree.map(lambda e, s: e / s, y_error, scale)
            error = jnp.asarray(norm_of(ratio))
            finite = jnp.isfinite(error) & jnp.isfinite(t1)
            for leaf in jax.tree.leaves(y1):
                finite = finite & jnp.isfinite(leaf).all()
            found = {rec.ERR: error, rec.FINITE: finite}
            if rec.YNORM in reads:
                found[rec.YNORM] = norm_of(jax.tree.map(lambda y, s: y / s, y0, scale))
            if rec.ENORM in reads:
                mean = optimistix.rms_norm(ratio)
                most = optimistix.max_norm(ratio) / jnp.where(mean > 0.0, mean, 1.0)
                found[rec.ENORM] = jnp.where(mean > 0.0, most, 1.0)
        size, left = t1 - t0, state.t_end - t0
        known = left > 0.0  # else the state comes from a solve that ended here, and nobody says how far this one goes
        # within rounding of the end asked for is no shortening
        cut = t1 < state.asked - 4.0 * jnp.finfo(size.dtype).eps * jnp.abs(t1)
        found |= {
            rec.H: size,
            rec.H_FREE: jnp.maximum(state.want, size),
            rec.ORDER: self._order(error_order),
            rec.TRUNCATED: cut,
            rec.RTOL: self.rtol,
            rec.T_LEFT: jnp.where(known, left, jnp.nan),
            rec.SPAN: jnp.where(known, state.span, jnp.nan),
        }
        return [jnp.asarray(found.get(slot, jnp.nan)).astype(dtype) for slot in range(rec.N_RECORD)]

    def _scale(self, y0: Any, y1: Any) -> Any:
        """Tolerance of each component; never 0, so that one that is 0 throughout, at atol = 0, has no error."""
        size = jnp.maximum(jnp.abs(y0), jnp.abs(y1))
        return jnp.maximum(self.atol + size * self.rtol, jnp.finfo(size.dtype).tiny)

    def _asked(self, want: Any, left: Any) -> Any:
        """Size to ask for where the controller wants `want` and `left` is left: `want`, or with even steps the largest
        of equal ones to the end that are no longer; `want` where nothing is left (a lane that has arrived while others
        run on, and a state whose end is not known).
        """
        if not self.even_steps:
            return want
        # rounding must not add a step where the size divides what is left
        guard = 1.0 - max(1e-10, 32.0 * float(jnp.finfo(left.dtype).eps))
        count = jnp.ceil(jax.lax.stop_gradient(left / want) * guard)
        size = jnp.where(count <= 1.0, jnp.maximum(want, left), left / jnp.maximum(count, 1.0))
        return jnp.where(left > 0.0, size, want)

    def _bounded(
        self, want: Any, start: Any, accept: Any, finite: Any, arrived: Any, state: ControllerState
    ) -> tuple[Any, Any, Any]:
        """`want` within its bounds, whether it is `dtmin`, and whether the solve cannot go on.

        start: where the next attempt starts.  arrived: whether this one ended at the end time.
        """
        at_dtmin, stuck = jnp.zeros((), bool), jnp.isnan(want)
        if self.dtmax is not None:
            want = jnp.minimum(want, self.dtmax)
        if self.dtmin is not None and self.force_dtmin:
            stuck = stuck | (state.at_dtmin & ~finite)
            at_dtmin = want <= self.dtmin
            want = jnp.maximum(want, self.dtmin)
        elif self.dtmin is not None:
            stuck = stuck | ((want < self.dtmin) & ~(accept & arrived))
        about = jnp.finfo(want.dtype)
        resolved = jnp.maximum(10.0 * float(about.eps) * jnp.abs(start), max(1e-300, float(about.tiny)))
        stuck = stuck | (~accept & (want < resolved))
        return jnp.maximum(want, resolved), at_dtmin, stuck

    def _order(self, error_order: Any) -> Any:
        order = error_order if self.error_order is None else self.error_order
        if order is None:
            raise ValueError(
                "this solver does not tell the order of its error estimate: pass for_diffrax(..., error_order=k), k "
                "one more than the order of the lower method (5 for a 5(4) pair)"
            )
        return order

    # -- between two solves --------------------------------------------------------------------------------------------

    def first_size(self, state: Any) -> Any:
        """Size asked for after the first accepted step of the solve that ended with `state`, signed: the `dt0` of a
        next solve that starts like this one.

        state: `sol.controller_state`, also of a ClipStepSizeController, also of many solves at once (any shape).  NaN
        where a solve accepted nothing; with that as dt0 the next one chooses its first size itself.
        """
        return _inner(state).first

    def next_size(self, state: Any) -> Any:
        """Size asked for next at the end of the solve, signed: the `dt0` of a solve that goes on from there."""
        inner = _inner(state)
        return inner.direction * inner.want

    def continued(self, state: Any, t0: Any, t1: Any) -> Any:
        """`state` for a solve that goes on from t0 to t1, which diffrax does not tell the controller.

        Pass it as `controller_state`, beside `dt0=ctrl.next_size(state)`.  Without it the time left and the span are
        unknown to the controller once the old end is passed, and even steps are not even.
        """
        if not isinstance(state, ControllerState):
            return eqx.tree_at(lambda s: s.inner_state, state, self.continued(state.inner_state, t0, t1))
        dtype = state.want.dtype
        t0, t1 = jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)
        way = jnp.where(t0 < t1, 1, -1).astype(dtype)
        nan = jnp.full_like(state.first, jnp.nan)
        asked = t0 * way + self._asked(state.want, jnp.abs(t1 - t0))
        return ControllerState(state.kept, state.want, asked, t1 * way, jnp.abs(t1 - t0), nan, way, state.at_dtmin)


def _inner(state: Any) -> ControllerState:
    """Our state, out of those of the controllers around it."""
    while not isinstance(state, ControllerState):
        if not hasattr(state, "inner_state"):
            raise TypeError(
                f"a controller state is needed, got {shown(type(state).__name__)}: solve with "
                "saveat=SaveAt(t1=True, controller_state=True) and pass sol.controller_state"
            )
        state = state.inner_state
    return state


def make(
    controller: Any, tolerances: tuple[Any, Any], norm: Any, bounds: tuple[Any, Any], **static: Any
) -> StepSizeController:
    """`hosts.diffrax.step_size_controller` after its checks.  tolerances: rtol and atol.  bounds: dtmin and dtmax."""
    scale = tolerance_scale.of(controller)
    rtol, atol = (scaled(n, v, scale) for n, v in zip(("rtol", "atol"), tolerances, strict=True))
    low, high = (None if value is None else jnp.asarray(value) for value in bounds)
    with np.errstate(over="ignore", under="ignore"):  # float32 holds a law's 1e300 as infinity, which is meant
        structure = Structure.of(controller)
        params = jnp.asarray(structure.free(np.array(controller.params, dtype=np.float64)))
    norm = optimistix.rms_norm if norm is None else norm
    return StepSizeController(params, rtol, atol, low, high, norm, structure, **static)
