"""The choice among actions of a table by their values, as a formula (DQN's policy)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ...integrators.core.contract import bind
from ...integrators.core.formulas import where

# compile-time values of `choose`, bound for each structure
Q_AT = 0
N_Q = 1
TABLE_AT = 0
ACT = 0
N_ACT = 1


def choose(params, state, record, out):
    """Write the action rows: the row of the table that has the greatest value, the first of equal ones.

    The actions are NaN where a value is not finite.
    """
    best = state[Q_AT]
    hurt = best - best
    pick = 0.0
    for i in range(1, N_Q):
        q = state[Q_AT + i]
        hurt = hurt + (q - q)
        better = q > best
        best = where(better, q, best)
        pick = where(better, float(i), pick)
    for j in range(N_ACT):
        a = params[TABLE_AT + j]
        for i in range(1, N_Q):
            a = where(pick == float(i), params[TABLE_AT + i * N_ACT + j], a)
        state[ACT + j] = a + hurt


@functools.cache
def choice(q_at: int, n_q: int, table_at: int, act: int, n_act: int) -> Callable[..., None]:
    """`choose` of a structure.

    Its `n_q` values stand from state row `q_at` on, its table from parameter `table_at` on, and its `n_act` actions
    from state row `act` on.
    """
    return bind(choose, {"Q_AT": q_at, "N_Q": n_q, "TABLE_AT": table_at, "ACT": act, "N_ACT": n_act})
