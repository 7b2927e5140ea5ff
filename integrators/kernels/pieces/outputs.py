"""`emit(A, l, tgrid, yout)`: the outputs of lane l that the accepted step passes, from dense output."""

import math

from ..slots import ACC, DIR, HS, INST, NEXT, NFEV, TN, TOUT, YN, N, T, W, Z, dense, inline, prepare_dense


@inline
def emit(A, l, tgrid, yout):
    b = int(A[INST + l])
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    q = int(A[NEXT + l])
    # an output at the step's end needs no dense output
    A[NFEV + l] += prepare_dense(A, l) if tgrid[row, q] != A[TN + l] else 0.0
    if A[ACC + l] != 1.0:  # the slope at the end is not finite: the step is taken back, and its outputs with it
        return
    while q < nt and A[DIR + l]*tgrid[row, q] <= A[DIR + l]*A[TN + l]:
        if tgrid[row, q] == A[TN + l]:
            for i in range(N):
                yout[b, q, i] = A[YN + i*W + l]
        else:
            dense(A, l, (tgrid[row, q] - A[T + l])/A[HS + l])
            for i in range(N):
                yout[b, q, i] = A[Z + i*W + l]
        q += 1
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < nt else math.inf
