"""Template: what the local error of an accepted step becomes at the end of the span (the reward "propagated").

The local error by Richardson (Hairer, Norsett & Wanner I, II.4): from the step's start, the full step y1 and two half
steps z2 of a method of order p give y1 - y(t + h) = (y1 - z2) 2^p/(2^p - 1) + O(h^(p+2)).  The matrices of the nearest
two knots of `integrators.reference.sensitivity`, linear between them, carry it to the end, where it is added to what
came before: a vector v, to first order the relative final error so far, with cancellation.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

from ..slots import (
    CO_ACCEPT, DIM, DIR, HS, INST, K0, LANDS, N, NPAR, P, R_FINITE, STATUS, T, TEND, W, WIDTH, Y, YN, frozen, log,
    piece, rhs, sqrt, view,
)  # fmt: skip
from .slots import (
    BASEI, CLOCK, EK0, EV, EY, FSAL, GAIN, MINUS_ORDER, NODE, N_ERRORS, PAID, PRICE, PROP, RICHARDSON, half_step,
)  # fmt: skip


@piece
def forget(A, l, price):
    """The start of an episode: no knot has been passed, and no error made."""
    A[NODE + l] = 0.0
    A[CLOCK + l] = 0.0
    for i in range(N_ERRORS):
        A[EV + i*W + l] = 0.0
    A[PRICE + l] = price[int(A[INST + l])]*A[BASEI + l]**MINUS_ORDER


@piece
def propagate(A, l, knot_first, knots, arrive):
    """Between decision and commit: what the attempt, if it is accepted, adds to v and to the clock."""
    A[GAIN + l] = 0.0
    A[PROP + l] = 0.0
    if not (A[CO_ACCEPT + l] > 0.5 and A[STATUS + l] == 0.0 and A[PAID + l] == 0.0 and A[R_FINITE + l] == 1.0):
        return
    for c in range(N):
        A[EK0 + c*W + l] = A[K0 + c*W + l]
    h = 0.5*A[HS + l]
    half_step(A, l, A[T + l], h, Y)
    if not FSAL:  # the first half step's last slope is not its last stage
        rhs(
            A[T + l] + h, frozen(A, EY + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, EK0 + l, WIDTH, DIM),
        )  # fmt: skip
    half_step(A, l, A[T + l] + h, h, EY)
    t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + A[HS + l]
    b = int(A[INST + l])
    last = knot_first[b + 1] - knot_first[b] - 1
    k = int(A[NODE + l])
    while k < last - 1 and A[DIR + l]*knots[knot_first[b] + k + 1] < A[DIR + l]*t:
        k += 1
    A[NODE + l] = k
    row = knot_first[b] + k
    th = (t - knots[row])/(knots[row + 1] - knots[row])
    before = 0.0
    after = 0.0
    for r in range(N_ERRORS):
        a = 0.0
        for c in range(N):
            m = (1.0 - th)*arrive[row, r*N + c] + th*arrive[row + 1, r*N + c]
            a += m*(A[YN + c*W + l] - A[EY + c*W + l])
        v = A[EV + r*W + l]
        before += v*v
        v += RICHARDSON*a
        after += v*v
        A[EV + r*W + l] = v
    A[PROP + l] = log((1.0 + sqrt(after)*A[PRICE + l])/(1.0 + sqrt(before)*A[PRICE + l]))
    clock = (k + th)/last
    A[GAIN + l] = clock - A[CLOCK + l]
    A[CLOCK + l] = clock
