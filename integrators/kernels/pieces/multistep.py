"""What multistep methods share: nodes and weights of polynomials through past points, the choice of the order, what is
done after the decision.  A method brings along `estimate(A, l, j)`, what order j would have made of the step.

Rows of a lane: ORD, order of the attempt; AFTER, the one after it if it is accepted; AGAIN, the one after it if it is
rejected; POINTS, values of the history that are known at the attempt's start (1: a fresh start); HELD, steps that were
accepted with this order; FAILS, rejections in a row; PAST (LAGS), sizes of the last accepted steps, the last one first,
with their sign; XI (LAGS + 1), (t_n - t_(n-i))/h for i = 0, 1, ...; WT, weights.
"""

import math

from ..slots import ACC, ATOL, HS, RTOL, STUCK, YN, W, Y, fabs, piece, traced, where
from .slots import (
    AFTER,
    AGAIN,
    FAILS,
    HELD,
    LAGS,
    MOST_ORDER,
    NEEDS,
    ORD,
    PAST,
    POINTS,
    WAITS,
    WT,
    XI,
    estimate,
)  # fmt: skip


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


@piece
def weight(A, l, c):
    sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(A[Y + c*W + l]), fabs(A[YN + c*W + l]))
    return sc if sc > 1e-300 else 1e-300


@piece
def score(err, j):
    # log of the factor by which the size may grow with order j
    return -math.log(max(err, 1e-300))/(j + 1.0)


@piece
def choose(A, l, k, err):
    # order of the next step, and the error estimate of this one at that order
    A[AFTER + l] = k
    A[AGAIN + l] = k
    if err != err:
        return err
    found = err
    best = score(err, k)
    if k > 1 and (A[HELD + l] >= WAITS[k] or err > 1.0):
        below = estimate(A, l, k - 1)
        if score(below, k - 1) > best:
            if err > 1.0:
                A[AGAIN + l] = k - 1
                return err
            best = score(below, k - 1)
            found = below
            A[AFTER + l] = k - 1
    if err <= 1.0 and k < MOST_ORDER and A[HELD + l] >= WAITS[k] and A[POINTS + l] >= k + NEEDS:
        above = estimate(A, l, k + 1)
        if score(above, k + 1) > best:
            found = above
            A[AFTER + l] = k + 1
    return found


@traced
def turn(A, l):
    # after the decision: orders, counts, sizes
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
