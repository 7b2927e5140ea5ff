"""`carry` and `marks` of Runge-Kutta methods whose last stage is not the slope at the step's end.

Dense output may have evaluated that slope (row AHEAD); else the next attempt evaluates it (row READY says whether K0 is
the slope at the state).
"""

from ..slots import ACC, K0, traced, where
from .slots import AHEAD, K_END, READY


@traced
def carry(A, j, l, acc):
    A[K0 + j] = where(acc & (A[AHEAD + l] == 1.0), A[K_END + j], A[K0 + j])


@traced
def marks(A, l):
    A[READY + l] = where(A[ACC + l] == 1.0, A[AHEAD + l], 1.0)
    A[AHEAD + l] = 0.0
