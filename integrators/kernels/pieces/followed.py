"""`run_followed(A, params, ..., place, most, limits, stops, rules, elog, slog, dlog, rlog)`: trajectories that are
followed step by step: events, times that are hit exactly, bounds on the step, states and dense output that are kept.

Trajectories first..last-1 as in `ensemble`.  stops: (1 or B, k) times along each span, at which the solve begins anew.
limits: the smallest and the largest step, and how many accepted steps there are to a state that is kept.  rules:
(events, 2), the how many-th time of an event ends the solve (0: none), and its direction.  What is kept goes into logs,
whose rows belong to the instance in their first column; one of no rows keeps nothing:

    elog   instance, event, time, state            events
    slog   instance, time, state                   accepted steps, starts and ends
    dlog   instance, from, to, states at `PIECE_NODES`   dense output of accepted steps
    rlog   record, answer                          attempts (blocks of one lane)

`place` (`kernels.followed.FOLLOWED_PLACE`) counts their rows.  Returns 0 when all trajectories are done, and 1 after
`most` attempts a lane or where a log might not hold another attempt's rows: empty the logs and call again.

At a stop, the last time before it and the first one behind it are where the right-hand side is evaluated, so that one
that jumps there is met on either side; the time that is told is the stop itself.
"""

import math

from ..slots import (
    ACC,
    CO,
    DIR,
    FRESH,
    HLAST,
    HS,
    HZERO,
    IDLE,
    INST,
    LANDS,
    MAX_STEPS,
    MAXSTEP,
    NACC,
    NANS,
    NEXT,
    NFEV,
    NON_FINITE,
    NREC,
    NREJ,
    R_FINITE,
    RUNNING,
    STATUS,
    STUCK,
    SUCCESS,
    TEND,
    THRESHOLD,
    TN,
    TOUT,
    YN,
    H,
    N,
    R,
    T,
    W,
    Y,
    Z,
    attempt,
    begin,
    decide,
    entry,
    inline,
    load,
    piece,
    prepare_dense,
    start_fresh,
    store,
    wide_vectors,
)  # fmt: skip
from .commit import advance_all, commit_lane
from .events import find_events
from .halt import halt
from .sides import begin_events, resume_events
from .slots import (
    BEGIN,
    CHANGE,
    HALT,
    HALT_AT,
    MOST_EVENTS,
    NEXT_STOP,
    NOTHING,
    PIECE_DEGREE,
    PIECE_NODES,
    PLACE_CURSOR,
    PLACE_ENTERED,
    PLACE_EVENTS,
    PLACE_FREE,
    PLACE_PIECES,
    PLACE_RECORDS,
    PLACE_STATES,
    PLACE_STORED,
    RESET,
    SKIPPED,
    SMALLEST,
    STOP,
    STOP_AT,
    WAIT,
    WIDE,
    WITH_EVENTS,
    YR,
)
from .state_at import beside, state_at


@piece
def aim(A, l, stops, end):
    # TEND: the next stop, or the end of the span
    row = int(A[INST + l]) if stops.shape[0] > 1 else 0
    k = int(A[NEXT_STOP + l])
    if k < stops.shape[1] and stops[row, k] == stops[row, k]:
        A[STOP_AT + l] = stops[row, k]
        A[TEND + l] = beside(stops[row, k], -A[DIR + l])
    else:
        A[STOP_AT + l] = end
        A[TEND + l] = end


@piece
def keep_state(A, l, t, row, slog, place):
    k = place[PLACE_STATES]
    slog[k, 0] = A[INST + l]
    slog[k, 1] = t
    for i in range(N):
        slog[k, 2 + i] = A[row + i*W + l]
    place[PLACE_STATES] = k + 1
    A[SKIPPED + l] = 0.0


@piece
def keep_piece(A, l, th, t, dlog, place):
    # the step's polynomial from its start to theta > 0, by its values at the nodes
    k = place[PLACE_PIECES]
    dlog[k, 0] = A[INST + l]
    dlog[k, 1] = A[T + l]
    dlog[k, 2] = t
    for q in range(PIECE_DEGREE + 1):
        state_at(A, l, th*PIECE_NODES[q])
        for i in range(N):
            dlog[k, 3 + q*N + i] = A[Z + i*W + l]
    place[PLACE_PIECES] = k + 1


@piece
def pass_outputs_to(A, l, th, t, tgrid, yout):
    # outputs up to the time t at theta
    b = int(A[INST + l])
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    q = int(A[NEXT + l])
    while q < nt and A[DIR + l]*tgrid[row, q] <= A[DIR + l]*t:
        at = th if tgrid[row, q] == t else (tgrid[row, q] - A[T + l])/A[HS + l]
        state_at(A, l, min(max(at, 0.0), th))
        for i in range(N):
            yout[b, q, i] = A[Z + i*W + l]
        q += 1
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < nt else math.inf


@piece
def accepted(A, l, tgrid, yout, limits, rules, elog, slog, dlog, place):
    # what an accepted step passes: events, outputs, what is kept; WAIT: what the lane then waits for
    crossing = tgrid.shape[1] > 0 and A[DIR + l]*A[TN + l] >= A[TOUT + l]
    if WITH_EVENTS or crossing or dlog.shape[0] > 0:
        A[NFEV + l] += prepare_dense(A, l)
        if A[ACC + l] != 1.0:  # the slope at the end is not finite
            return
    th = 1.0
    A[HALT + l] = 0.0
    if WITH_EVENTS:
        find_events(A, l, rules, elog, place)
        th = A[HALT_AT + l]
    landed = th == 1.0 and A[LANDS + l] == 1.0
    t = A[STOP_AT + l] if landed else A[TN + l] if th == 1.0 else A[T + l] + th*A[HS + l]
    if tgrid.shape[1] > 0:
        pass_outputs_to(A, l, th, t, tgrid, yout)
    if dlog.shape[0] > 0 and th > 0.0:
        keep_piece(A, l, th, t, dlog, place)
    if WITH_EVENTS:
        if A[HALT + l] != 0.0:
            halt(A, l, th)
    if A[HALT + l] == 0.0 and A[STATUS + l] == SUCCESS and A[TEND + l] != A[STOP_AT + l]:
        A[NEXT_STOP + l] += 1.0
        spent = A[NACC + l] + A[NREJ + l] >= A[MAXSTEP + l]
        A[STATUS + l] = MAX_STEPS if spent else RUNNING
        A[WAIT + l] = NOTHING if spent else STOP
        A[TN + l] = A[STOP_AT + l] if spent else A[TN + l]
    moved = A[WAIT + l] == RESET or A[WAIT + l] == CHANGE
    if slog.shape[0] > 0 and (th > 0.0 or moved):
        A[SKIPPED + l] += 1.0
        if A[SKIPPED + l] >= limits[2] or landed or A[HALT + l] != 0.0 or A[STATUS + l] != RUNNING:
            keep_state(A, l, t, YN, slog, place)
        if moved:
            keep_state(A, l, t, YR, slog, place)


@piece
def prepare_start(A, l, stops, t1):
    # a new start, after advancing: of the state after a reset, or behind a stop
    kind = A[WAIT + l]
    if kind == CHANGE or kind == RESET:
        for i in range(N):
            A[Y + i*W + l] = A[YR + i*W + l]
    if kind == STOP:
        A[T + l] = beside(A[STOP_AT + l], A[DIR + l])
    if kind == RESET or kind == STOP:
        A[FRESH + l] = 1.0
        A[HZERO + l] = math.nan
        A[HLAST + l] = 0.0
        A[STUCK + l] = 0.0
        aim(A, l, stops, t1[int(A[INST + l])])
    else:
        A[WAIT + l] = NOTHING


@inline
def start_waiting(A, params, slog, place):
    # lanes that begin, or begin anew
    start_fresh(A, params)
    for l in range(W):
        if A[WAIT + l] == BEGIN and A[INST + l] >= 0.0:
            if slog.shape[0] > 0:
                keep_state(A, l, A[T + l], Y, slog, place)
            if WITH_EVENTS:
                begin_events(A, l)
        elif A[WAIT + l] == RESET:
            if WITH_EVENTS:
                resume_events(A, l)
        A[WAIT + l] = NOTHING


@inline
def bound_sizes(A, limits):
    # the next size between the smallest and the largest; a lane that asks for less after a rejection ends
    for l in range(W):
        if A[STATUS + l] == RUNNING:
            small = A[STUCK + l] > 0.0 and A[H + l] < limits[0]
            why = SMALLEST if A[R_FINITE + l] == 1.0 else NON_FINITE
            A[STATUS + l] = why if small else RUNNING
            A[H + l] = min(max(A[H + l], limits[0]), limits[1])


@inline
def full(elog, slog, dlog, rlog, place):
    # whether a log might not hold another attempt's rows
    found = WITH_EVENTS and place[PLACE_EVENTS] + W*MOST_EVENTS > elog.shape[0]
    found = found or (slog.shape[0] > 0 and place[PLACE_STATES] + 4*W > slog.shape[0])
    found = found or (dlog.shape[0] > 0 and place[PLACE_PIECES] + W > dlog.shape[0])
    return found or (rlog.shape[0] > 0 and place[PLACE_RECORDS] + 1 > rlog.shape[0])


@inline
def keep_record(A, rlog, place):
    k = place[PLACE_RECORDS]
    for i in range(NREC):
        rlog[k, i] = A[R + i]
    for i in range(NANS):
        rlog[k, NREC + i] = A[CO + i]
    place[PLACE_RECORDS] = k + 1


@piece
def load_followed(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, stops):
    load(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps)
    A[NEXT_STOP + l] = 0.0
    A[SKIPPED + l] = 0.0
    A[WAIT + l] = BEGIN
    A[HALT + l] = 0.0
    aim(A, l, stops, t1[b])


@entry
def run_followed(
    A, params, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, first, last, place, most, limits,
    stops, rules, elog, slog, dlog, rlog,
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
    else:
        cursor = place[PLACE_CURSOR]
        free = place[PLACE_FREE]
        stored = place[PLACE_STORED]
    ticks = 0
    while True:
        if ticks >= most or full(elog, slog, dlog, rlog, place):
            place[PLACE_CURSOR] = cursor
            place[PLACE_FREE] = free
            place[PLACE_STORED] = stored
            place[PLACE_ENTERED] = 1
            return 1
        waiting = 0
        for l in range(W):
            waiting += 1 if A[WAIT + l] != NOTHING else 0
        if free >= THRESHOLD or free == W:
            fresh = 0
            for l in range(W):
                if A[STATUS + l] != RUNNING and cursor < last:
                    load_followed(A, l, cursor, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, stops)
                    cursor += 1
                    fresh += 1
            if fresh > 0:
                # lanes that never get a trajectory compute on a copy of the first one
                for l in range(fresh if cursor - first == fresh else W, W):
                    load_followed(A, l, first, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, stops)
                    A[STATUS + l] = IDLE
                    A[INST + l] = -1.0
                stored = 0
                for l in range(W):
                    stored += 1 if A[INST + l] < 0.0 else 0
                waiting += fresh
            elif free == W:
                return 0
        if waiting > 0:
            start_waiting(A, params, slog, place)
        bound_sizes(A, limits)
        begin(A)
        attempt(A)
        decide(A, params)
        if rlog.shape[0] > 0:
            keep_record(A, rlog, place)
        for l in range(W):
            commit_lane(A, l)
        for l in range(W):
            if A[ACC + l] == 1.0:
                accepted(A, l, tgrid, yout, limits, rules, elog, slog, dlog, place)
        advance_all(A)
        for l in range(W):
            if A[WAIT + l] != NOTHING:
                prepare_start(A, l, stops, t1)
        ticks += 1
        free = 0
        for l in range(W):
            free += 1 if A[STATUS + l] != 0.0 else 0
        if free > stored:
            for l in range(W):
                if A[STATUS + l] != RUNNING and A[INST + l] >= 0.0:
                    if slog.shape[0] > 0 and A[SKIPPED + l] > 0.0:
                        keep_state(A, l, A[T + l], Y, slog, place)
                    store(A, l, yend, stat)
            stored = free
