"""`begin(A)`: the size of the next attempt, shortened to land on the end; size underflow; the record's own slots.

A step may not be smaller than 10 ulp of the time it starts from (SciPy's rule); asking for less after a rejection ends
the lane.
"""

from ..slots import (
    COARSE,
    DIR,
    HS,
    LANDS,
    NON_FINITE,
    R_FINITE,
    R_H,
    R_H_FREE,
    R_RTOL,
    R_T_LEFT,
    R_TRUNCATED,
    RTOL,
    STATUS,
    STUCK,
    TEND,
    UNDERFLOW,
    H,
    T,
    W,
    fabs,
    inline,
    maximum,
    traced,
    where,
)  # fmt: skip


@traced
def begin_lane(A, l):
    t = A[T + l]
    left = fabs(A[TEND + l] - t)
    running = A[STATUS + l] == 0.0
    hmin = maximum(2.220446049250313e-15*fabs(t), 1e-300)
    want = A[H + l]
    small = (want < hmin) & running
    stuck = (small & (A[STUCK + l] > 0.0)) | (running & (want != want))
    want = where(want >= hmin, want, hmin)
    short = A[DIR + l]*((t + A[DIR + l]*want) - A[TEND + l]) >= 0.0
    # a step between two representable times: what the clock rounds off would add up where the span is short beside the
    # time
    ha = where(A[COARSE + l] == 1.0, fabs((t + A[DIR + l]*want) - t), want)
    ha = where(short, left, ha)
    A[STATUS + l] = where(stuck, where(A[R_FINITE + l] == 0.0, NON_FINITE, UNDERFLOW), A[STATUS + l])
    A[HS + l] = where(running & ~stuck, A[DIR + l]*ha, 0.0)
    A[R_H + l] = ha
    A[R_H_FREE + l] = want
    A[R_TRUNCATED + l] = where(short & (want > left), 1.0, 0.0)
    A[R_T_LEFT + l] = left
    A[LANDS + l] = where(short, 1.0, 0.0)
    A[R_RTOL + l] = A[RTOL + l]


@inline
def begin(A):
    for l in range(W):
        begin_lane(A, l)
