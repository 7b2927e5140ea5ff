"""When a row of the table is the last one, and which column the next attempt aims at (`kernels.gbs`).

Rows of a lane: ORD, the column k that the attempt aims at (0: not chosen yet); COL, the last column of the attempt;
ERRS, the scaled errors of its columns; AFTER, the column to aim at if it is accepted; AGAIN, if it is rejected; FAILS,
rejections in a row; NEW, 1 until a step is accepted; ROUGH and FIRST_ROUGH,
the squared sums of what smoothing changes in this row and in the first.
"""

import math

from ..slots import (
    ACC,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_NF,
    R_ORDER,
    R_TRUNCATED,
    R_YNORM,
    S0,
    S1,
    S2,
    S3,
    STUCK,
    N,
    W,
    piece,
    sqrt,
    traced,
    where,
)  # fmt: skip
from .slots import (
    AFTER,
    AGAIN,
    AHEAD,
    COL,
    COLUMNS,
    COST,
    ERRS,
    FAILS,
    FIRST_ROUGH,
    LIVE,
    NEW,
    ORD,
    READY,
    ROUGH,
    SUBSTEPS,
    WANTS_ENORM,
    WANTS_YNORM,
)  # fmt: skip


@piece
def first_column(rtol):
    k = int(1.5 - 0.6*math.log10(max(rtol, 1e-40)))
    return float(min(max(k, 2), COLUMNS - 1))


@piece
def error_of(A, l, c):
    return max(A[ERRS + c*W + l], 1e-300)


@piece
def work(A, l, c):
    # log of the evaluations that a unit of time takes with column c, but for what all columns share
    return math.log(COST[c]) + math.log(max(error_of(A, l, c), 0.013)/0.65)/(2*c - 1)


@piece
def next_column(A, l, c):
    # after a step that has converged in column c
    k = int(A[ORD + l])
    if c == 2:
        best = 3
    elif c <= k:
        best = c
        if work(A, l, c - 1) < work(A, l, c) + math.log(0.8):
            best = c - 1
        if work(A, l, c) < work(A, l, c - 1) + math.log(0.9):
            best = c + 1
    else:
        best = c - 1
        if c > 3 and work(A, l, c - 2) < work(A, l, c - 1) + math.log(0.8):
            best = c - 2
        if work(A, l, c) < work(A, l, best) + math.log(0.9):
            best = c
    if A[FAILS + l] > 0.0:
        best = min(best, c)
    return min(best, COLUMNS - 1)


@piece
def report(A, l, c, err):
    # the error that the law is to see, that of column c
    A[R_ERR + l] = err
    A[R_ORDER + l] = 2*c - 1


@piece
def fall(A, l, c):
    # err_(c+1)/err_c, predicted
    return min(error_of(A, l, c)/error_of(A, l, c - 1), 1.0)*(SUBSTEPS[c]/SUBSTEPS[c + 1])**2


@piece
def given_up(A, l, c, k):
    # whether column k + 1 will not do, by ODEX's rule and by how the errors fall
    err = A[ERRS + c*W + l]
    if c == k + 1:
        return True
    if c == k:
        return err > (0.5*SUBSTEPS[k + 1])**2 and (k == 2 or err*fall(A, l, c) > 1.0)
    if c != k - 1 or c == 2 or A[NEW + l] == 1.0 or A[R_TRUNCATED + l] == 1.0 or A[FAILS + l] > 0.0:
        return False
    down = fall(A, l, c)
    more = down*down*(SUBSTEPS[c + 1]/SUBSTEPS[c + 2])**2
    return err > (0.25*SUBSTEPS[k + 1]*SUBSTEPS[k])**2 and err*more > 1.0


@piece
def beyond(A, l, c):
    # the error of column c + 1, which has not been computed
    if c == 2:
        # that of the size that costs as much a unit of time as column c does
        factor = math.log(COST[3]/COST[2]) - math.log(error_of(A, l, 2))/3.0
        return max(math.exp(-5.0*factor), 1e-300)
    return max(error_of(A, l, c)*fall(A, l, c), 1e-300)


@piece
def passed(A, l, c):
    if A[R_TRUNCATED + l] == 1.0:
        # what is said of a shortened step is no measure of the next one
        A[AFTER + l] = A[ORD + l]
        report(A, l, c, A[ERRS + c*W + l])
        return
    best = next_column(A, l, c)
    A[AFTER + l] = best
    report(A, l, best, beyond(A, l, c) if best > c else min(A[ERRS + best*W + l], 1.0))


@piece
def failed(A, l, c, diverges):
    last = min(int(A[ORD + l]), c)
    best = last
    if last > 2 and work(A, l, last - 1) < work(A, l, last) + math.log(0.8):
        best = last - 1
    A[AGAIN + l] = best
    err = max(A[ERRS + best*W + l], A[ERRS + c*W + l])
    if diverges:
        # the size is to be halved
        err = max(err, 2.0**(2*best - 1))
    report(A, l, best, err)


@piece
def believed(A, l, c, err):
    # the error of column c: `err`, but more where row c says that the step is unstable (`kernels.gbs`)
    if A[ROUGH + l] > 16.0/c**4*A[FIRST_ROUGH + l]:
        least = sqrt(A[ROUGH + l]/N)/12.0
        return least if least > err else err
    return err


@piece
def judge(A, l, c):
    # LIVE: 0 where row c is the lane's last one
    A[R_NF + l] += SUBSTEPS[c]
    if c == 1:
        A[FIRST_ROUGH + l] = A[ROUGH + l]
        return
    k = int(A[ORD + l])
    found = sqrt(A[S0 + l]/N)
    err = believed(A, l, c, found)
    A[ERRS + c*W + l] = err
    free = A[NEW + l] == 1.0 or A[R_TRUNCATED + l] == 1.0
    diverges = not err < 1e15
    if c > 2:
        diverges = diverges or err >= max(4.0*A[ERRS + (c - 1)*W + l], 1.0)
    converged = err <= 1.0 and (free or c >= k - 1) and not diverges
    hopeless = not converged and given_up(A, l, c, k)
    if not converged and not hopeless and not diverges:
        return
    A[LIVE + l] = 0.0
    A[COL + l] = c
    A[AFTER + l] = k
    A[AGAIN + l] = k
    A[R_FINITE + l] = 1.0 if A[S1 + l] + 0.0*err == 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = A[S2 + l]/found if found > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(A[S3 + l]/N)
    if converged:
        passed(A, l, c)
    elif err == err:
        failed(A, l, c, diverges)
    else:
        report(A, l, c, err)


@traced
def marks(A, l):
    acc = A[ACC + l] == 1.0
    rejected = A[STUCK + l] == 1.0
    A[READY + l] = where(acc, A[AHEAD + l], 1.0)
    A[AHEAD + l] = 0.0
    A[ORD + l] = where(acc, A[AFTER + l], where(rejected, A[AGAIN + l], A[ORD + l]))
    A[FAILS + l] = where(acc, 0.0, where(rejected, A[FAILS + l] + 1.0, A[FAILS + l]))
    A[NEW + l] = where(acc, 0.0, A[NEW + l])
