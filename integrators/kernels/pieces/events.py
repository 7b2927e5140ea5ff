"""Events of a lane: where along the accepted step, by dense output, the value of an event changes its sign.

A step is cut at nodes, `SPANS` equal pieces. Every event is evaluated at the nodes. In a piece whose ends have values
of different signs there is a zero. Where they have the same sign, but one is no farther from zero than the value
changes over a piece, and slopes lead towards zero from both ends, the smallest value between them is looked for, and
where that is beyond zero there are two. Zeros are found by Chandrupatla's method to the last bits of theta, and
handled in the order in which they happen: up to the first that ends the solve or changes the state.

A value that is zero has no side.  At a node it is left to the next node to say whether the sign has changed, so that a
curve that only touches zero there is no event.  At the start of a span, and after a reset, the side is that of the
first node where the value is beyond its own rounding; the first piece is then cut in a geometric row of nodes, for a
flight may be far shorter than the step.  After a reset, a trajectory that was to turn back (the slope of the value says
so) but is first seen beyond the event has made a flight too short to be seen: such events recur without end (Zeno), and
the solve ends there with that status.
"""

import math

from ..slots import (
    DIM,
    HS,
    INST,
    NPAR,
    TEND,
    TN,
    WIDTH,
    G,
    N,
    P,
    T,
    W,
    Y,
    Z,
    fabs,
    frozen,
    piece,
    rhs,
    view,
)  # fmt: skip
from .slots import (
    COUNT,
    FIRED,
    GFIRED,
    GLAST,
    HALT,
    HALT_AT,
    HALT_ENDLESS,
    HALT_NAN,
    HALT_RESET,
    HALT_TERMINAL,
    HAS_RESET,
    HAS_RHS,
    LARGEST,
    MOST_NODES,
    N_EVENTS,
    NODE_TH,
    NOISE,
    PLACE_EVENTS,
    REPEATS,
    ROOT_DIR,
    ROOT_EVENT,
    ROOT_TH,
    SIDE,
    SPANS,
    STOP_AT,
    TFIRED,
    VALUES,
    value,
)
from .state_at import state_at
from .zeros import dip, slope, value_at, zero


@piece
def add_root(A, l, found, e, th, way):
    # a zero of event e at theta, its value rising (way 1) or falling (-1), into the list, which is kept in order
    k = found
    while k > 0 and A[ROOT_TH + (k - 1)*W + l] > th:
        A[ROOT_TH + k*W + l] = A[ROOT_TH + (k - 1)*W + l]
        A[ROOT_EVENT + k*W + l] = A[ROOT_EVENT + (k - 1)*W + l]
        A[ROOT_DIR + k*W + l] = A[ROOT_DIR + (k - 1)*W + l]
        k -= 1
    A[ROOT_TH + k*W + l] = th
    A[ROOT_EVENT + k*W + l] = e
    A[ROOT_DIR + k*W + l] = way
    return found + 1


@piece
def begin_events(A, l):
    # values and sides at (T, Y), where a trajectory begins
    for e in range(N_EVENTS):
        v = value(A, l, e, A[T + l], Y)
        A[GLAST + e*W + l] = v
        A[SIDE + e*W + l] = 1.0 if v > 0.0 else -1.0 if v < 0.0 else 0.0
        A[FIRED + e*W + l] = 0.0
        A[NOISE + e*W + l] = 0.0
        A[COUNT + e*W + l] = 0.0
    A[REPEATS + l] = 0.0
    A[TFIRED + l] = math.nan
    A[HALT + l] = 0.0


@piece
def resume_events(A, l):
    # the same at (T, Y) after a reset: a value no larger than its rounding has no side yet
    for e in range(N_EVENTS):
        v = value(A, l, e, A[T + l], Y)
        noise = 0.0
        if A[FIRED + e*W + l] != 0.0:
            for k in range(2):
                r = 1.0 + 1.7763568394002505e-15*(1.0 - 2.0*k)
                for i in range(N):
                    A[G + i*W + l] = r*A[Y + i*W + l]
                noise += fabs(value(A, l, e, r*A[T + l], G) - v)
            noise += 2.0*fabs(A[GFIRED + e*W + l])
        known = fabs(v) > noise
        A[NOISE + e*W + l] = max(noise, 2.0*fabs(v)) if not known else 0.0
        A[GLAST + e*W + l] = v
        A[SIDE + e*W + l] = 0.0 if not known else 1.0 if v > 0.0 else -1.0
        A[FIRED + e*W + l] = 0.0 if known else A[FIRED + e*W + l]


@piece
def turns_back(A, l, e):
    # whether the value of event e, just after its reset, does not go on in the direction in which it was crossed
    if not HAS_RHS:
        return False
    t = A[T + l]
    rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, G + l, WIDTH, DIM))
    d = 0.015625*A[HS + l]
    for i in range(N):
        A[Z + i*W + l] = A[Y + i*W + l] + d*A[G + i*W + l]
    change = value(A, l, e, t + d, Z) - value(A, l, e, t, Y)
    return not change*A[FIRED + e*W + l] > 0.0


@piece
def keep_event(A, l, e, th, elog, place):
    # Z: the state there
    t = state_at(A, l, th)
    if th == 1.0:
        t = A[STOP_AT + l] if A[TN + l] == A[TEND + l] else t
    A[COUNT + e*W + l] += 1.0
    k = place[PLACE_EVENTS]
    elog[k, 0] = A[INST + l]
    elog[k, 1] = e
    elog[k, 2] = t
    for i in range(N):
        elog[k, 3 + i] = A[Z + i*W + l]
    place[PLACE_EVENTS] = k + 1


@piece
def handle_roots(A, l, found, rules, elog, place):
    # the zeros of a piece, in order; True where one of them ends the step
    code = 0.0
    at = 2.0
    for k in range(found):
        th = A[ROOT_TH + k*W + l]
        if code != 0.0 and th > at + 8.9e-16*at:
            break
        e = int(A[ROOT_EVENT + k*W + l])
        way = A[ROOT_DIR + k*W + l]
        A[SIDE + e*W + l] = way
        # rising and falling are along time, whichever way it is integrated: as SciPy has it, along the solve
        if rules[e, 1]*way < 0.0:
            continue
        keep_event(A, l, e, th, elog, place)
        if rules[e, 0] > 0.0 and A[COUNT + e*W + l] >= rules[e, 0]:
            code = HALT_TERMINAL
            at = min(at, th)
        elif HAS_RESET[e]:
            A[FIRED + e*W + l] = way
            A[GFIRED + e*W + l] = value_at(A, l, e, th)
            if code == 0.0:
                code = HALT_RESET
            at = min(at, th)
    if code == 0.0:
        return False
    A[HALT + l] = code
    A[HALT_AT + l] = at
    return True


@piece
def roots_of(A, l, e, found, q, most):
    # zeros of event e in the piece between the nodes q and q + 1, into the list.  most: the largest change of its value
    # over a piece; where the values are farther from zero, no dip between them gets there
    s = A[SIDE + e*W + l]
    va = A[VALUES + (e*MOST_NODES + q)*W + l]
    vb = A[VALUES + (e*MOST_NODES + q + 1)*W + l]
    a = A[NODE_TH + q*W + l]
    b = A[NODE_TH + (q + 1)*W + l]
    if s*vb < 0.0:
        return add_root(A, l, found, e, zero(A, l, e, a, va, b, vb), -s)
    if min(s*va, s*vb) <= most:
        d = 1e-6*(b - a)
        sa = slope(A, l, e, a, d)
        sb = slope(A, l, e, b, -d)
        if s*sa < 0.0 and s*sb > 0.0:
            x = dip(A, l, e, s, a, va, sa, b, vb, sb)
            if x >= 0.0:
                vx = value_at(A, l, e, x)
                if vx == vx and s*vx < 0.0:
                    found = add_root(A, l, found, e, zero(A, l, e, a, va, x, vx), -s)
                    return add_root(A, l, found, e, zero(A, l, e, x, vx, b, vb), s)
    return found


@piece
def take_side(A, l, e, v):
    # the side of a value that had none, where it is known now; False: an event that recurs without end
    if not fabs(v) > A[NOISE + e*W + l]:
        return True
    s = 1.0 if v > 0.0 else -1.0
    fired = A[FIRED + e*W + l]
    A[SIDE + e*W + l] = s
    if fired == s and turns_back(A, l, e):
        return False
    A[FIRED + e*W + l] = 0.0
    return True


@piece
def look_at_nodes(A, l):
    # the nodes of the step, NODE_TH, and the values of all events there, VALUES; how many pieces they bound
    first = 1.0/SPANS
    th = first
    for e in range(N_EVENTS):
        A[VALUES + e*MOST_NODES*W + l] = A[GLAST + e*W + l]
        if A[SIDE + e*W + l] == 0.0:
            th = first*5.820766091346741e-11
    A[NODE_TH + l] = 0.0
    q = 0
    while True:
        q += 1
        A[NODE_TH + q*W + l] = th
        t = state_at(A, l, th)
        for e in range(N_EVENTS):
            A[VALUES + (e*MOST_NODES + q)*W + l] = value(A, l, e, t, Z)
        if th == 1.0:
            return q
        th = th*4.0 if th < 0.9*first else th + first
        th = 1.0 if th > 1.0 - 0.5*first else th


@piece
def stop_at_node(A, l, code, q):
    A[HALT + l] = code
    A[HALT_AT + l] = A[NODE_TH + q*W + l]


@piece
def find_events(A, l, rules, elog, place):
    """Events of the accepted step, logged; HALT: what ends it before its end (0: nothing), HALT_AT: the theta there."""
    A[HALT + l] = 0.0
    A[HALT_AT + l] = 1.0
    pieces = look_at_nodes(A, l)
    for e in range(N_EVENTS):
        most = 0.0
        for q in range(pieces):
            k = VALUES + (e*MOST_NODES + q)*W + l
            change = fabs(A[k + W] - A[k])
            most = change if change > most else most
        A[LARGEST + e*W + l] = most
        if A[GLAST + e*W + l] != A[GLAST + e*W + l]:
            stop_at_node(A, l, HALT_NAN, 0)
            return
    for q in range(pieces):
        found = 0
        for e in range(N_EVENTS):
            v = A[VALUES + (e*MOST_NODES + q + 1)*W + l]
            if v != v:
                stop_at_node(A, l, HALT_NAN, q)
                return
            if A[SIDE + e*W + l] != 0.0:
                found = roots_of(A, l, e, found, q, A[LARGEST + e*W + l])
            elif not take_side(A, l, e, v):
                stop_at_node(A, l, HALT_ENDLESS, 0)
                return
            if q == pieces - 1 and v == 0.0 and A[SIDE + e*W + l] != 0.0 and A[TN + l] == A[STOP_AT + l]:
                # a zero at the very end has no node behind it
                found = add_root(A, l, found, e, 1.0, -A[SIDE + e*W + l])
        if found > 0 and handle_roots(A, l, found, rules, elog, place):
            check_progress(A, l)
            return
    for e in range(N_EVENTS):
        A[GLAST + e*W + l] = A[VALUES + (e*MOST_NODES + pieces)*W + l]


@piece
def check_progress(A, l):
    # resets that follow each other at what is one time end the solve
    if A[HALT + l] != HALT_RESET:
        return
    t = A[T + l] + A[HALT_AT + l]*A[HS + l]
    near = fabs(t - A[TFIRED + l]) <= 1e-14*fabs(t) + 1e-300
    A[REPEATS + l] = A[REPEATS + l] + 1.0 if near else 0.0
    A[TFIRED + l] = t
    if A[REPEATS + l] >= 100.0:
        A[HALT + l] = HALT_ENDLESS
