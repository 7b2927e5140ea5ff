"""`carry` of methods that know the slope at the end of a step: after acceptance it is the next step's first."""

from ..slots import K0, traced, where

#: row of the slope at the end of the step
K_END = K0


@traced
def carry(A, j, l, acc):
    A[K0 + j] = where(acc, A[K_END + j], A[K0 + j])
