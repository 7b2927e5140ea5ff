"""Pieces of Radau IIA of order 5 (`implicit.radau`)."""

from ..slots import N, W, X, traced, where

#: increments of the stages of this step, and of the last one (3, n)
ZS = ZP = X


@traced
def carry(A, j, l, acc):
    for i in range(3):
        A[ZP + i*N*W + j] = where(acc, A[ZS + i*N*W + j], A[ZP + i*N*W + j])
