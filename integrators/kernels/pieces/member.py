"""Drivers of one method of a portfolio: `run` over lanes, `run_single` for one trajectory.

They are those of `ensemble` and `single`, but for three things.  A trajectory may arrive from another method: then
`resume` gives it back its time, its counts and the rows of the controller's state that belong to all methods.  A lane
whose decision asks for another method leaves the kernel at the accepted step, with the status SWITCH: the engine hands
it to that method's kernel, so that lanes in different methods never wait for each other.  And where the controller
reads the spectral estimate, an implicit method reports that of its Jacobian.

`carry` (B, CARRY + rows of the rule) holds what leaves with a trajectory: CARRY_NEXT, its next output; CARRY_METHOD,
the method that was asked for, from 0; then the rule's rows.  Statistics and the state are where a finished trajectory
has them, in `stat` and `yend`.  `index` holds the trajectories of this call.
"""

import math

from ..slots import (
    ACC,
    CO,
    CO_FALLBACK,
    CO_FLAGS,
    CS,
    DIR,
    HLAST,
    HS,
    HZERO,
    IDLE,
    INST,
    NACC,
    NANS,
    NEXT,
    NFALL,
    NFEV,
    NJEV,
    NLU,
    NOVER,
    NREC,
    NREJ,
    NSOLVE,
    R_HS,
    R_NJAC,
    RUNNING,
    STATUS,
    THRESHOLD,
    TOUT,
    M,
    N,
    R,
    T,
    W,
    attempt,
    begin,
    decide,
    entry,
    fabs,
    inline,
    load,
    start_fresh,
    store,
    traced,
    where,
    wide_vectors,
)  # fmt: skip
from .settle import settle
from .single import keep_state, load_pack
from .slots import (
    BACK,
    CARRY,
    CARRY_METHOD,
    CARRY_NEXT,
    HERE,
    JNORM,
    METHODS,
    N_PACK,
    NSTATS,
    PACK_H0,
    PACK_HEAD,
    PACK_MAX_STEPS,
    PACK_MOST,
    PACK_RECORDS,
    PACK_RTOL,
    PACK_STARTED,
    PACK_STEPS,
    PACK_T0,
    PACK_T1,
    PLACE_CURSOR,
    PLACE_ENTERED,
    PLACE_FREE,
    PLACE_STORED,
    RULE_AT,
    RULE_ROWS,
    SPECTRAL,
    STAT_H_LAST,
    STAT_H_NEXT,
    STAT_NACCEPT,
    STAT_NACCEPT_OVER,
    STAT_NFALLBACK,
    STAT_NFEV,
    STAT_NJEV,
    STAT_NLU,
    STAT_NREJECT,
    STAT_NSOLVE,
    STAT_T,
    SWITCH,
    WANT,
    WIDE,
    jacobian_norm,
)  # fmt: skip


@traced
def choose_lane(A, l):
    # the method that is asked for, 1 and up, out of the flags; 0: none, or one that there is not, which is counted
    flags = A[CO_FLAGS + l]
    sane = flags < 8.0*(METHODS + 1)
    want = 0.0
    for k in range(1, METHODS + 1):
        want = where(sane & (flags >= 8.0*k), float(k), want)
    A[WANT + l] = where(want == HERE + 1.0, 0.0, want)
    A[CO_FLAGS + l] = where(sane, flags - 8.0*want, 0.0)
    A[CO_FALLBACK + l] = where(sane, A[CO_FALLBACK + l], 1.0)


@traced
def leave_lane(A, l):
    goes = (A[ACC + l] == 1.0) & (A[STATUS + l] == 0.0) & (A[WANT + l] > 0.0)
    A[STATUS + l] = where(goes, SWITCH, A[STATUS + l])


@inline
def spectral(A):
    # h times the maximum norm of the Jacobian, which bounds its eigenvalues
    for l in range(W):
        if A[STATUS + l] == 0.0:
            if A[R_NJAC + l] > 0.0:
                A[JNORM + l] = jacobian_norm(A, l)
            A[R_HS + l] = fabs(A[HS + l])*A[JNORM + l]


@inline
def step(A, params):
    attempt(A)
    if SPECTRAL:
        spectral(A)
    decide(A, params)
    for l in range(W):
        choose_lane(A, l)


@inline
def settle_and_leave(A, tgrid, yout):
    settle(A, tgrid, yout)
    for l in range(W):
        leave_lane(A, l)


@inline
def resume(A, l, b, stat, carry, tgrid):
    # a lane that `load` has filled as if it began: what it has behind it
    A[T + l] = stat[b, STAT_T]
    A[HZERO + l] = stat[b, STAT_H_NEXT]
    A[HLAST + l] = stat[b, STAT_H_LAST]
    A[NACC + l] = stat[b, STAT_NACCEPT]
    A[NREJ + l] = stat[b, STAT_NREJECT]
    A[NFEV + l] = stat[b, STAT_NFEV]
    A[NFALL + l] = stat[b, STAT_NFALLBACK]
    A[NJEV + l] = stat[b, STAT_NJEV]
    A[NLU + l] = stat[b, STAT_NLU]
    A[NSOLVE + l] = stat[b, STAT_NSOLVE]
    A[NOVER + l] = stat[b, STAT_NACCEPT_OVER]
    q = int(carry[b, CARRY_NEXT])
    row = b if tgrid.shape[0] > 1 else 0
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < tgrid.shape[1] else math.inf
    A[BACK + l] = 1.0


@inline
def restore(A, carry):
    # behind `start_fresh`, which has cleared the controller's state
    for l in range(W):
        if A[BACK + l] == 1.0:
            b = int(A[INST + l])
            for i in range(RULE_ROWS):
                A[CS + (RULE_AT + i)*W + l] = carry[b, CARRY + i]
            A[BACK + l] = 0.0


@inline
def hand_over(A, l, carry):
    b = int(A[INST + l])
    carry[b, CARRY_NEXT] = A[NEXT + l]
    carry[b, CARRY_METHOD] = A[WANT + l] - 1.0
    for i in range(RULE_ROWS):
        carry[b, CARRY + i] = A[CS + (RULE_AT + i)*W + l]


@inline
def take(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, carry):
    A[BACK + l] = 0.0
    if carry[b, CARRY_NEXT] < 0.0:
        load(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps)
    else:
        load(A, l, b, yend, p, t0, t1, rtol, atol, h0, tgrid[:, :0], yout, max_steps)
        resume(A, l, b, stat, carry, tgrid)


@entry
def run(
    A, params, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, carry, index, first, last, place, most
):
    if WIDE:
        wide_vectors()
    cursor = first
    free = W
    stored = W
    if place[PLACE_ENTERED] == 0:
        for l in range(W):
            A[STATUS + l] = IDLE
            A[INST + l] = -1.0
            A[BACK + l] = 0.0
    else:
        cursor = place[PLACE_CURSOR]
        free = place[PLACE_FREE]
        stored = place[PLACE_STORED]
    ticks = 0
    while True:
        if free >= THRESHOLD or free == W:
            fresh = 0
            for l in range(W):
                if A[STATUS + l] != RUNNING and cursor < last:
                    b = index[cursor]
                    take(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, carry)
                    cursor += 1
                    fresh += 1
            if fresh > 0:
                if cursor - first == fresh:
                    # lanes that never get a trajectory compute on a copy of the first one
                    for l in range(fresh, W):
                        b = index[first]
                        take(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, carry)
                        A[STATUS + l] = IDLE
                        A[INST + l] = -1.0
                        A[BACK + l] = 0.0
                start_fresh(A, params)
                restore(A, carry)
                begin(A)
                stored = 0
                for l in range(W):
                    stored += 1 if A[INST + l] < 0.0 else 0
            elif free == W:
                return 0
        step(A, params)
        settle_and_leave(A, tgrid, yout)
        ticks += 1
        free = 0
        for l in range(W):
            free += 1 if A[STATUS + l] != 0.0 else 0
        if free > stored:
            for l in range(W):
                if A[STATUS + l] != RUNNING and A[INST + l] >= 0.0:
                    hand_over(A, l, carry)
                    store(A, l, yend, stat)
            stored = free
        if ticks >= most:
            place[PLACE_CURSOR] = cursor
            place[PLACE_FREE] = free
            place[PLACE_STORED] = stored
            place[PLACE_ENTERED] = 1
            return 1


@inline
def take_pack(A, pack, carry, tgrid, yout):
    A[BACK] = 0.0
    if carry[0, CARRY_NEXT] < 0.0:
        load_pack(A, pack, tgrid, yout)
    else:
        state = pack[PACK_HEAD + 2*N:PACK_HEAD + 3*N].reshape((1, N))
        atol = pack[PACK_HEAD + N:PACK_HEAD + 2*N].reshape((1, N))
        p = pack[PACK_HEAD + 3*N:PACK_HEAD + 3*N + M].reshape((1, M))
        t0, t1, rtol, h0 = pack[PACK_T0:], pack[PACK_T1:], pack[PACK_RTOL:], pack[PACK_H0:]
        load(A, 0, 0, state, p, t0, t1, rtol, atol, h0, tgrid[:, :0], yout, pack[PACK_MAX_STEPS])
        resume(A, 0, 0, pack[N_PACK:PACK_HEAD].reshape((1, NSTATS)), carry, tgrid)


@entry
def run_single(A, params, pack, carry, tgrid, yout, ts, ys, rows):
    steps = int(pack[PACK_STEPS])
    records = int(pack[PACK_RECORDS])
    keep = ts.shape[0] > 0
    log = rows.shape[0] > 0
    left = pack[PACK_MOST]
    if pack[PACK_STARTED] == 0.0:
        begins = carry[0, CARRY_NEXT] < 0.0
        take_pack(A, pack, carry, tgrid, yout)
        start_fresh(A, params)
        restore(A, carry)
        begin(A)
        pack[PACK_STARTED] = 1.0
        if keep and begins:
            keep_state(A, ts, ys, 0)
            steps = 1
    while A[STATUS] == RUNNING:
        if (keep and steps >= ts.shape[0]) or (log and records >= rows.shape[0]):
            pack[PACK_STEPS] = steps
            pack[PACK_RECORDS] = records
            return 1
        if left <= 0.0:
            pack[PACK_STEPS] = steps
            pack[PACK_RECORDS] = records
            return 2
        left -= 1.0
        step(A, params)
        if log:
            for i in range(NREC):
                rows[records, i] = A[R + i]
            for i in range(NANS):
                rows[records, NREC + i] = A[CO + i]
            records += 1
        settle_and_leave(A, tgrid, yout)
        if keep and A[ACC] == 1.0:
            keep_state(A, ts, ys, steps)
            steps += 1
    hand_over(A, 0, carry)
    yend = pack[PACK_HEAD + 2*N:PACK_HEAD + 3*N].reshape((1, N))
    store(A, 0, yend, pack[N_PACK:PACK_HEAD].reshape((1, NSTATS)))
    pack[PACK_STEPS] = steps
    pack[PACK_RECORDS] = records
    return 0
