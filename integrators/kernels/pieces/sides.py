"""On which side of zero the value of an event is: where a trajectory begins, and after a reset (`events`)."""

import math

from ..slots import (
    DIM,
    DIR,
    HS,
    K0,
    NPAR,
    R_SPAN,
    TN,
    WIDTH,
    YN,
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
    CROSSED,
    FIRED,
    GFIRED,
    GLAST,
    HALT,
    HAS_RHS,
    N_EVENTS,
    NOISE,
    REPEATS,
    SIDE,
    TFIRED,
    value,
)


@piece
def begin_events(A, l):
    # values and sides at (T, Y), where a trajectory begins
    for e in range(N_EVENTS):
        v = value(A, l, e, A[T + l], Y)
        A[GLAST + e*W + l] = v
        A[SIDE + e*W + l] = 1.0 if v > 0.0 else -1.0 if v < 0.0 else 0.0
        A[FIRED + e*W + l] = 0.0
        A[CROSSED + e*W + l] = 0.0
        A[NOISE + e*W + l] = 0.0
        A[COUNT + e*W + l] = 0.0
    A[REPEATS + l] = 0.0
    A[TFIRED + l] = math.nan
    A[HALT + l] = 0.0


@piece
def rounding(A, l, e, v):
    # what rounding of the state and of the time does to the value v of event e at (T, Y)
    noise = 0.0
    for k in range(2):
        r = 1.0 + 1.7763568394002505e-15*(1.0 - 2.0*k)
        for i in range(N):
            A[G + i*W + l] = r*A[Y + i*W + l]
        noise += fabs(value(A, l, e, r*A[T + l], G) - v)
    return noise


@piece
def resume_events(A, l):
    # values and sides at (T, Y) after a reset; YN: the state before it
    for e in range(N_EVENTS):
        v = value(A, l, e, A[T + l], Y)
        noise = rounding(A, l, e, v)
        A[NOISE + e*W + l] = 0.0
        A[GLAST + e*W + l] = v
        if A[CROSSED + e*W + l] != 0.0:
            # a value no larger than its rounding has no side yet
            noise += 2.0*fabs(A[GFIRED + e*W + l])
            known = fabs(v) > noise
            A[NOISE + e*W + l] = 0.0 if known else max(noise, 2.0*fabs(v))
            A[SIDE + e*W + l] = 0.0 if not known else 1.0 if v > 0.0 else -1.0
            A[FIRED + e*W + l] = 0.0 if known else A[CROSSED + e*W + l]
        elif fabs(v - value(A, l, e, A[TN + l], YN)) > noise:
            # another event's reset has moved this value: across zero is no crossing in time
            A[SIDE + e*W + l] = 1.0 if v > 0.0 else -1.0 if v < 0.0 else 0.0
            A[FIRED + e*W + l] = 0.0
        A[CROSSED + e*W + l] = 0.0


@piece
def turns_back(A, l, e):
    # whether the value of event e, just after its reset, does not go on in the direction in which it was crossed
    t = A[T + l]
    if HAS_RHS:
        rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, G + l, WIDTH, DIM))
    else:
        # second-order systems, y = (positions, velocities), whose accelerations are in K0
        for i in range(N//2):
            A[G + i*W + l] = A[Y + (i + N//2)*W + l]
            A[G + (i + N//2)*W + l] = A[K0 + i*W + l]
    # far enough for the change to be seen beside rounding, however short the step
    d = A[DIR + l]*max(0.015625*fabs(A[HS + l]), 1e-6*A[R_SPAN + l])
    for i in range(N):
        A[Z + i*W + l] = A[Y + i*W + l] + d*A[G + i*W + l]
    change = value(A, l, e, t + d, Z) - value(A, l, e, t, Y)
    return not change*A[FIRED + e*W + l] > 0.0


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
