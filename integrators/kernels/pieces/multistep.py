"""What multistep methods share: nodes and weights of polynomials through past points, and the order's place in
`commit`.

Rows of a lane: ORD, order of the attempt; AFTER, the one after it if it is accepted; AGAIN, the one after it if it is
rejected; POINTS, values of the solution that are known at the attempt's start (1: a fresh start); HELD, steps that were
accepted with this order; FAILS, rejections in a row; PAST (LAGS), sizes of the last accepted steps, the last one first,
with their sign; XI (LAGS + 1), (t_n - t_(n-i))/h for i = 0, 1, ...; WT, weights.
"""

from ..slots import ACC, HS, STUCK, W, piece, traced, where
from .slots import AFTER, AGAIN, FAILS, HELD, LAGS, ORD, PAST, POINTS, WT, XI


@piece
def nodes(A, l):
    # distances of the past points from the end of the attempt, in units of its size
    h = A[HS + l]
    A[XI + l] = 0.0
    A[XI + W + l] = 1.0
    x = 1.0
    for m in range(1, LAGS):
        x += A[PAST + (m - 1)*W + l]/h
        A[XI + (m + 1)*W + l] = x


@piece
def basis(A, l, first, count, x):
    # weights, at x, of the polynomial through `count` nodes from -XI_first on
    for i in range(count):
        a = A[XI + (first + i)*W + l]
        w = 1.0
        for m in range(count):
            if m != i:
                b = A[XI + (first + m)*W + l]
                w *= (x + b)/(b - a)
        A[WT + i*W + l] = w


@traced
def marks(A, l):
    acc = A[ACC + l] == 1.0
    failed = A[STUCK + l] == 1.0
    old = A[ORD + l]
    new = where(acc, A[AFTER + l], where(failed, A[AGAIN + l], old))
    A[ORD + l] = new
    A[HELD + l] = where(new != old, 0.0, where(acc, A[HELD + l] + 1.0, A[HELD + l]))
    A[POINTS + l] = where(acc, A[POINTS + l] + 1.0, A[POINTS + l])
    A[FAILS + l] = where(acc, 0.0, where(failed, A[FAILS + l] + 1.0, A[FAILS + l]))
    for i in range(LAGS - 1):
        m = LAGS - 1 - i
        A[PAST + m*W + l] = where(acc, A[PAST + (m - 1)*W + l], A[PAST + m*W + l])
    A[PAST + l] = where(acc, A[HS + l], A[PAST + l])
