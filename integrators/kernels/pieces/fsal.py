"""`carry` of methods that know the slope at the end of a step: after acceptance it is the next step's first."""

from ..slots import K0, traced, where
from .slots import K_END


@traced
def carry(A, j, l, acc):
    A[K0 + j] = where(acc, A[K_END + j], A[K0 + j])
