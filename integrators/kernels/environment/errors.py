"""Template: the largest error over the output times that accepted steps pass."""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

from ..slots import (
    ACC, DIM, DIR, HS, INST, NEXT, NFEV, NPAR, P, T, TN, TOUT, WIDTH, Y, YN, Z, dense, fabs, frozen, inline,
    invariant, prepare_dense,
)  # fmt: skip
from .slots import E0, ENERGY, ERRMAX, reference_error


@inline
def energy(A, t, ROW, l):
    """The problem's invariant at the time t and the state in rows ROW."""
    return invariant(t, frozen(A, ROW + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR))


@inline
def error_at(A, l, ROW, ref, b, q):
    """Error of the state in rows ROW at output q of instance b: relative change of the invariant, or distance from the
    reference state relative to its size (`env_source.distance`)."""
    if ENERGY:
        return fabs((energy(A, A[TOUT + l]*A[DIR + l], ROW, l) - A[E0 + l])/A[E0 + l])
    return reference_error(A, l, ROW, ref, b, q)


@inline
def invariant_start(A, l):
    """What the invariant is at the start of an episode."""
    if ENERGY:
        A[E0 + l] = energy(A, A[T + l], Y, l)


@inline
def emit(A, l, tgrid, ref):
    """The outputs that the accepted step of lane l passes: the largest error there into ERRMAX."""
    b = int(A[INST + l])
    nt = tgrid.shape[1]
    q = int(A[NEXT + l])
    A[NFEV + l] += prepare_dense(A, l) if tgrid[b, q] != A[TN + l] else 0.0
    if A[ACC + l] != 1.0:  # the slope at the end is not finite: the step is taken back, and its outputs with it
        return
    worst = A[ERRMAX + l]
    while q < nt and A[DIR + l]*tgrid[b, q] <= A[DIR + l]*A[TN + l]:
        A[TOUT + l] = A[DIR + l]*tgrid[b, q]
        if tgrid[b, q] == A[TN + l]:
            e = error_at(A, l, YN, ref, b, q)
        else:
            dense(A, l, (tgrid[b, q] - A[T + l])/A[HS + l])
            e = error_at(A, l, Z, ref, b, q)
        # written so that NaN stays
        if not (e <= worst):
            worst = e
        q += 1
    A[ERRMAX + l] = worst
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[b, q] if q < nt else math.inf
