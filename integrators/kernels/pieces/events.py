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

from ..slots import (
    HS,
    INST,
    TEND,
    TN,
    N,
    T,
    W,
    Z,
    fabs,
    piece,
)  # fmt: skip
from .sides import take_side
from .slots import (
    COUNT,
    CROSSED,
    GFIRED,
    GLAST,
    HALT,
    HALT_AT,
    HALT_ENDLESS,
    HALT_NAN,
    HALT_RESET,
    HALT_TERMINAL,
    HAS_RESET,
    LARGEST,
    MOST_NODES,
    N_EVENTS,
    NODE_TH,
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
    # the zeros of a piece, in order; True where one of them ends the step.  Those at one time, as far as the clock
    # resolves it, happen together
    code = 0.0
    at = 2.0
    tick = 4.4e-16*fabs(A[T + l]/A[HS + l])
    for e in range(N_EVENTS):
        A[CROSSED + e*W + l] = 0.0
    for k in range(found):
        th = A[ROOT_TH + k*W + l]
        if code != 0.0 and th > at + 8.9e-16*at + tick:
            break
        e = int(A[ROOT_EVENT + k*W + l])
        way = A[ROOT_DIR + k*W + l]
        A[SIDE + e*W + l] = way
        # rising and falling are meant along the solve, backwards in time too
        if rules[e, 1]*way < 0.0:
            continue
        keep_event(A, l, e, th, elog, place)
        if rules[e, 0] > 0.0 and A[COUNT + e*W + l] >= rules[e, 0]:
            code = HALT_TERMINAL
            at = min(at, th)
        elif HAS_RESET[e]:
            A[CROSSED + e*W + l] = way
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
def add_zero(A, l, found, e, a, va, b, vb, way):
    # the zero between theta a and b into the list; where the value is NaN between them, the step is halted at a
    th = zero(A, l, e, a, va, b, vb)
    if th < 0.0:
        A[HALT + l] = HALT_NAN
        A[HALT_AT + l] = a
        return found
    return add_root(A, l, found, e, th, way)


@piece
def roots_of(A, l, e, found, q, b, most):
    # zeros of event e in the piece from the node q to theta b, whose value stands at the node q + 1, into the list.
    # most: the largest change of its value over a piece; where the values are farther from zero, no dip gets there
    s = A[SIDE + e*W + l]
    va = A[VALUES + (e*MOST_NODES + q)*W + l]
    vb = A[VALUES + (e*MOST_NODES + q + 1)*W + l]
    a = A[NODE_TH + q*W + l]
    if s*vb < 0.0:
        # a value that rounding has put beyond zero already is there at a
        return add_root(A, l, found, e, a, -s) if s*va <= 0.0 else add_zero(A, l, found, e, a, va, b, vb, -s)
    if min(s*va, s*vb) <= most and b > a:
        d = 1e-6*(b - a)
        sa = slope(A, l, e, a, d)
        sb = slope(A, l, e, b, -d)
        if s*sa < 0.0 and s*sb > 0.0:
            x = dip(A, l, e, s, a, va, sa, b, vb, sb)
            if x >= 0.0:
                vx = value_at(A, l, e, x)
                if vx == vx and s*vx < 0.0:
                    found = add_zero(A, l, found, e, a, va, x, vx, -s)
                    return add_zero(A, l, found, e, x, vx, b, vb, s)
    return found


@piece
def last_finite(A, l, e, a, b):
    # the last theta between a, where the value of event e is finite, and b, where it is NaN, at which it is finite
    for _ in range(52):
        x = 0.5*(a + b)
        v = value_at(A, l, e, x)
        if v == v:
            a = x
        else:
            b = x
    return a


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
        limit = 2.0
        for e in range(N_EVENTS):
            k = VALUES + (e*MOST_NODES + q + 1)*W + l
            b = A[NODE_TH + (q + 1)*W + l]
            if A[k] != A[k]:
                # what happens before it is NaN counts
                b = last_finite(A, l, e, A[NODE_TH + q*W + l], b)
                A[k] = value_at(A, l, e, b)
                limit = min(limit, b)
            if A[SIDE + e*W + l] != 0.0:
                found = roots_of(A, l, e, found, q, b, A[LARGEST + e*W + l])
            elif not take_side(A, l, e, A[k]):
                stop_at_node(A, l, HALT_ENDLESS, 0)
                return
            if q == pieces - 1 and A[k] == 0.0 and A[SIDE + e*W + l] != 0.0 and A[TN + l] == A[STOP_AT + l]:
                # a zero at the very end has no node behind it
                found = add_root(A, l, found, e, 1.0, -A[SIDE + e*W + l])
        if A[HALT + l] != 0.0:
            return
        while found > 0 and A[ROOT_TH + (found - 1)*W + l] > limit + 1e-12:
            found -= 1
        if found > 0 and handle_roots(A, l, found, rules, elog, place):
            check_progress(A, l)
            return
        if limit < 2.0:
            A[HALT + l] = HALT_NAN
            A[HALT_AT + l] = limit
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
