"""`carry` and `marks` of Runge-Kutta methods whose last stage is not the slope at the step's end.

Dense output may have evaluated that slope (row AHEAD); else the next attempt evaluates it (row READY says whether K0 is
the slope at the state).
"""

from ..slots import ACC, K0, NACC, NON_FINITE, NOVER, NREJ, R_ERR, STATUS, N, W, inline, traced, where
from .slots import AHEAD, K_END, READY


@traced
def carry(A, j, l, acc):
    A[K0 + j] = where(acc & (A[AHEAD + l] == 1.0), A[K_END + j], A[K0 + j])


@traced
def marks(A, l):
    A[READY + l] = where(A[ACC + l] == 1.0, A[AHEAD + l], 1.0)
    A[AHEAD + l] = 0.0


@inline
def end_is_known(A, l):
    # dense output has evaluated the slope at the end, after the decision: it is there, or the lane has failed
    bad = 0.0
    for i in range(N):
        bad += 0.0*A[K_END + i*W + l]
    A[AHEAD + l] = 1.0
    if bad != 0.0:
        A[STATUS + l] = NON_FINITE
        A[NACC + l] -= A[ACC + l]
        A[NREJ + l] += A[ACC + l]
        A[NOVER + l] -= where(A[R_ERR + l] > 1.0, A[ACC + l], 0.0)
        A[ACC + l] = 0.0
