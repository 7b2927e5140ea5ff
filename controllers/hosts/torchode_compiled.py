"""torchode's attempt on the CPU in compiled code: one loop over the samples in the place of some fifty tensor
operations.

These are the formulas that `torchode.StepSizes.adapt_step_size` has in tensors, for solves whose step sizes have no
gradient; a test compares the two attempt by attempt.  Time, sizes and state are float32 or float64 (`readable`);
everything else is float64.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch

from ...integrators.compile.cache import load_module
from ...integrators.core import record as rec
from ...integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR, S_STREAK
from ...integrators.engine.decisions import Batched
from .torchode_parts import State, torchode

Tensor = torch.Tensor

_codes: Any = torchode.status_codes

_SOURCE = """import math
import numpy as np
from numba import njit as _njit


@_njit(cache=True, error_model="numpy")
def seen(t0, dt, y1, err, norms, want, t_end, sign, span, order, rtol, records, finite):
    for i in range(len(t0)):
        finite[i] = np.isfinite(err[i])
        for j in range(y1.shape[1]):
            finite[i] = finite[i] and np.isfinite(y1[i, j])
        left = np.float64(sign[i]*(t_end[i] - t0[i]))
        for k in range(records.shape[1]):
            records[i, k] = np.nan
        records[i, {ERR}] = err[i]
        records[i, {FINITE}] = 1.0 if finite[i] else 0.0
        records[i, {RTOL}] = rtol
        records[i, {H}] = abs(np.float64(dt[i]))
        records[i, {H_FREE}] = want[i]
        records[i, {TRUNCATED}] = 1.0 if want[i] > left else 0.0
        records[i, {T_LEFT}] = left
        records[i, {SPAN}] = span[i]
        records[i, {ORDER}] = order
        records[i, {YNORM}] = norms[0, i]
        records[i, {ENORM}] = norms[1, i]


@_njit(cache=True, error_model="numpy")
def settled(t0, dt, finite, outs, states, rows, want, ended, lost, attempts, t_end, sign, records, first, limits, even,
            poison, tiny, n_rejected, n_fallback, accept, dt_next, status):
    least, most, most_steps, eps = limits[0], limits[1], limits[2], limits[3]
    others = False
    t = np.empty_like(t0)
    for i in range(len(t0)):
        left, h, cut = records[i, {T_LEFT}], records[i, {H}], records[i, {TRUNCATED}] > 0.5
        live = left > 0.0 and ended[i] == 0
        accept[i] = live and finite[i] and outs[i, {ACCEPT}] > 0.5
        asked = (want[i] if accept[i] and cut else h)*math.exp(outs[i, {LOG_FACTOR}])
        t[i] = t0[i] + dt[i] if accept[i] else t0[i]
        running = sign[i]*t[i] - sign[i]*t_end[i] < 0.0
        lost[i] = 0.0 if finite[i] else lost[i] + 1.0
        resolved = max(10.0*eps*abs(np.float64(t[i])), tiny)
        code = 0 if math.isfinite(asked) else {GENERAL_ERROR}
        if states[i, {S_STREAK}] >= {MOST_REJECTED}:
            code = {GENERAL_ERROR}
        if attempts[i] + 1.0 >= most_steps:
            code = {REACHED_MAX_STEPS}
        if asked < least or (not accept[i] and asked < resolved):
            code = {REACHED_DT_MIN}
        if not finite[i] and (lost[i] >= {MOST_LOST} or code == {REACHED_DT_MIN}):
            code = {INFINITE_NORM}
        if live and running:
            ended[i] = code
        if live and not accept[i]:
            n_rejected[i] += 1
        if live and outs[i, {FALLBACK}] > 0.5:
            n_fallback[i] += 1
        if len(first) > 0 and accept[i] and math.isnan(first[i]):
            first[i] = asked
        if asked > most:
            asked = most
        if asked < resolved:
            asked = resolved
        if live:
            want[i] = asked
            attempts[i] += 1.0
        else:
            for k in range(rows.shape[1]):
                states[i, k] = rows[i, k]
        others = others or (running and ended[i] == 0)
        size = asked
        if even:
            left = np.float64(sign[i]*(t_end[i] - t[i]))
            count = math.ceil(left/asked*(1.0 - 1e-10)) if math.isfinite(left/asked) else 0.0
            if count > 1.0:
                size = left/count
            elif 2.0*left > asked:
                size = 2.0*left
        dt_next[i] = sign[i]*size
    rest = np.nan if poison and not others else 0.0
    for i in range(len(t0)):
        if ended[i] > 0:
            dt_next[i] = rest
        told = math.isnan(dt[i]) if poison else not others
        status[i] = ended[i] if told else 0
"""


class Compiled:
    """An attempt of every sample under a controller.

    rtol                  the relative tolerance that the controller sees
    limits                least and largest size and most attempts, each None for none; attempts in a row that are
                          rejected, or not finite, after which a sample gives up
    even, poison          as `StepSizes` has them

    `given` is what it was made with, beside the controller.
    """

    def __init__(
        self, controller: Any, rtol: float, limits: tuple[float | None, float | None, int | None, int, int], even: bool,
        poison: bool,
    ) -> None:  # fmt: skip
        low, high, steps, rejected, lost = limits
        self._decide = Batched(controller)
        self._seen, self._settled = _kernels(rejected, lost)
        self._limits = (
            -math.inf if low is None else low, math.inf if high is None else high,
            math.inf if steps is None else float(steps),
        )  # fmt: skip
        self._rtol, self._even, self._poison = rtol, even, poison
        self.given = rtol, limits, even, poison

    def __call__(
        self, t0: Tensor, dt: Tensor, y1: Tensor, err: Tensor, norms: dict[int, Tensor], state: State,
        stats: dict[str, Any],
    ) -> tuple[Tensor, Tensor, State, Tensor]:  # fmt: skip
        """What `StepSizes.adapt_step_size` answers.

        err: (B,) float64 scaled error.  norms: YNORM and ENORM, (B,), where the controller reads them.
        """
        count = len(t0)
        t, h, sign, t_end = t0.numpy(), dt.numpy(), state.sign.numpy(), state.t_end.numpy()
        rows, span = state.rows.numpy(), state.span.numpy()
        want, ended, lost, attempts = (
            x.numpy().copy() for x in (state.want, state.ended, state.lost, state.attempts)
        )
        records, finite = np.empty((count, rec.N_RECORD)), np.empty(count, dtype=np.bool_)
        more = np.full((2, count), np.nan)
        for i, slot in enumerate((rec.YNORM, rec.ENORM)):
            if slot in norms:
                more[i] = norms[slot].numpy()
        self._seen(
            t, h, y1.numpy(), err.numpy(), more, want, t_end, sign, span, state.order, self._rtol, records, finite
        )
        outs, states = self._decide(rows, records)
        accept, dt_next, status = np.empty(count, dtype=np.bool_), np.empty_like(h), np.empty(count, dtype=np.int64)
        dtype = torch.finfo(t0.dtype)
        first = np.empty(0) if state.first is None else state.first.numpy()
        self._settled(
            t, h, finite, outs, states, rows, want, ended, lost, attempts, t_end, sign, records, first,
            (*self._limits, dtype.eps), self._even, self._poison, max(1e-300, dtype.tiny),
            stats["n_rejected"].numpy(), stats["n_fallback"].numpy(), accept, dt_next, status,
        )  # fmt: skip
        tensor = torch.from_numpy
        now = state._replace(
            rows=tensor(states), want=tensor(want), ended=tensor(ended), lost=tensor(lost), attempts=tensor(attempts)
        )
        return tensor(accept), tensor(dt_next), now, tensor(status)


@functools.cache
def _kernels(rejected: int, lost: int) -> tuple[Any, Any]:
    """`seen` and `settled` of the module's text."""
    numbers = {name: getattr(rec, name) for name in (
        "ERR", "FINITE", "RTOL", "H", "H_FREE", "TRUNCATED", "T_LEFT", "SPAN", "ORDER", "YNORM", "ENORM",
    )}  # fmt: skip
    codes = {name: int(getattr(_codes, name)) for name in (
        "GENERAL_ERROR", "REACHED_MAX_STEPS", "REACHED_DT_MIN", "INFINITE_NORM",
    )}  # fmt: skip
    slots = {"ACCEPT": ACCEPT, "LOG_FACTOR": LOG_FACTOR, "FALLBACK": FALLBACK, "S_STREAK": S_STREAK}
    module = load_module(
        _SOURCE.format(**numbers, **codes, **slots, MOST_REJECTED=float(rejected), MOST_LOST=float(lost)), {}
    )
    return module.seen, module.settled
