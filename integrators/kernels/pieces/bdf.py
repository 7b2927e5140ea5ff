"""One trial step of the numerical differentiation formulas, a lane at a time (`implicit.bdf`)."""

import math

from ..slots import (
    ATOL,
    CO_FLAGS,
    DIM,
    HS,
    K0,
    K2,
    LANDS,
    NPAR,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_JAC_AGE,
    R_LU_AGE,
    R_LU_SHIFT,
    R_NEWTON_ITERS,
    R_NEWTON_RATE,
    R_NF,
    R_NJAC,
    R_NLU,
    R_NSOLVE,
    R_ORDER,
    R_TRUNCATED,
    R_YNORM,
    RTOL,
    TEND,
    WIDTH,
    YN,
    G,
    N,
    P,
    T,
    W,
    Y,
    Z,
    fabs,
    frozen,
    inline,
    piece,
    rhs,
    sqrt,
    traced,
    view,
    where,
)  # fmt: skip
from .multistep import basis, nodes
from .newton import scale
from .slots import (
    CONSTANTS,
    EC,
    ETA,
    FAILS,
    GS,
    HLU,
    JAGE,
    KAPPA,
    KEEP,
    KEEP_OR_REFRESH,
    LAGE,
    LEADING,
    AGAIN,
    MOST,
    MOST_ORDER,
    AFTER,
    ORD,
    PAST,
    POINTS,
    PREDICTED,
    RATE,
    REFRESH,
    RESTART,
    SLOPE,
    STAND,
    TJ,
    VALUES,
    WAIT,
    WANTS_ENORM,
    WANTS_YNORM,
    WT,
    XI,
    YS,
    back,
    factor,
    jacobian,
)  # fmt: skip


@traced
def carry(A, j, l, acc):
    for i in range(VALUES - 1):
        m = VALUES - 1 - i
        A[YS + m*N*W + j] = where(acc, A[YS + (m - 1)*N*W + j], A[YS + m*N*W + j])
    A[YS + j] = where(acc, A[YN + j], A[YS + j])


@piece
def history(A, l):
    # the points that the attempt looks back on.  At a fresh start, and after so many rejections that they cannot be
    # trusted, there is one more than the state: on the tangent, one step back
    if A[FAILS + l] >= RESTART and A[POINTS + l] > 1.0:
        t = A[T + l]
        rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        A[R_NF + l] += 1.0
        A[POINTS + l] = 1.0
        A[ORD + l] = 1.0
        A[FAILS + l] = 0.0
        A[WAIT + l] = 0.0
    if A[POINTS + l] == 1.0:
        A[PAST + l] = A[HS + l]
        for c in range(N):
            A[YS + c*W + l] = A[Y + c*W + l]
            A[YS + (N + c)*W + l] = A[Y + c*W + l] - A[HS + l]*A[K0 + c*W + l]
    nodes(A, l)


@piece
def predict(A, l, k):
    # w(t_n) and h w'(t_n), as differences from the last value: the weights of the first add up to 1, those of the
    # second to 0
    basis(A, l, 1, k + 1, 0.0)
    total = 0.0
    for i in range(k + 1):
        total += 1.0/A[XI + (i + 1)*W + l]
    for c in range(N):
        y = A[Y + c*W + l]
        w = 0.0
        d = 0.0
        for i in range(1, k + 1):
            v = A[WT + i*W + l]*(A[YS + (i*N + c)*W + l] - y)
            w += v
            d += v*(total - 1.0/A[XI + (i + 1)*W + l])
        A[PREDICTED + c*W + l] = y + w
        A[SLOPE + c*W + l] = d


@piece
def correct(A, l, k, kappa):
    # Newton's iteration for e = y_n - w(t_n); False where it does not converge
    h = A[HS + l]
    ratio = A[HLU + l]/A[GS + l]
    scaled = 2.0/(1.0 + ratio)
    off = fabs(1.0 - ratio)/(1.0 + ratio)
    eta = max(max(A[ETA + l], 2.2e-16)**0.8, off/(1.0 - off))
    t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + h
    for c in range(N):
        A[G + c*W + l] = A[PREDICTED + c*W + l]
        A[EC + c*W + l] = 0.0
    last = 0.0
    worst = 0.0
    iterations = 0.0
    done = False
    for it in range(MOST):
        rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
        iterations += 1.0
        for c in range(N):
            A[K2 + c*W + l] -= (A[SLOPE + c*W + l] + LEADING[k]*A[EC + c*W + l])/h
        back(A, l, K2)
        norm = 0.0
        for c in range(N):
            d = scaled*A[K2 + c*W + l]
            A[EC + c*W + l] += d
            A[G + c*W + l] = A[PREDICTED + c*W + l] + A[EC + c*W + l]
            d = d/scale(A, l, c, fabs(A[G + c*W + l]), kappa)
            norm += d*d
        norm = sqrt(norm/N)
        if not norm < math.inf:
            break
        if it > 0:
            theta = norm/last if last > 0.0 else 0.0
            worst = max(worst, theta)
            if theta >= 1.0:
                break
            eta = theta/(1.0 - theta)
            if eta*norm*theta**(MOST - 2 - it) > kappa:
                break
        if eta*norm <= kappa:
            done = True
            break
        last = norm
    A[R_NEWTON_ITERS + l] = iterations
    A[R_NEWTON_RATE + l] = worst
    A[R_NF + l] += iterations
    A[R_NSOLVE + l] += iterations
    A[RATE + l] = worst
    if done:
        A[ETA + l] = eta
    return done


@piece
def jacobian_ahead(A, l):
    # J at the end of the attempt, where w(t_n) predicts the state to be; the evaluations it took
    t = A[T + l]
    A[T + l] = A[TEND + l] if A[LANDS + l] == 1.0 else t + A[HS + l]
    for c in range(N):
        A[Y + c*W + l] = A[PREDICTED + c*W + l]
    spent = jacobian(A, l)
    A[T + l] = t
    for c in range(N):
        A[Y + c*W + l] = A[YS + c*W + l]
    return spent


@piece
def linearise(A, l, renew, keep):
    # as in `newton`; what is factored belongs to the size over the leading coefficient, GS
    if renew:
        spent = jacobian_ahead(A, l)
        A[TJ + l] = A[T + l]
        A[JAGE + l] = 0.0
        A[R_NJAC + l] += 1.0
        A[R_NF + l] += spent
    if renew or not A[HLU + l]*A[GS + l] > 0.0 or (A[HLU + l] != A[GS + l] and not keep):
        A[R_NLU + l] += 1.0
        A[LAGE + l] = 0.0
        A[HLU + l] = A[GS + l] if factor(A, l, 1.0/A[GS + l]) else math.nan
        A[ETA + l] = 1.0
    good = A[HLU + l] == A[HLU + l]
    if not good:
        A[TJ + l] = math.nan
    return good


@piece
def converge(A, l, k):
    # Jacobian and factors as the flags say, then Newton's iteration; False where it does not converge
    flags = A[CO_FLAGS + l]
    flags = int(flags) if 0.0 <= flags <= 7.0 else 0
    A[R_NJAC + l] = 0.0
    A[R_NLU + l] = 0.0
    A[R_NSOLVE + l] = 0.0
    A[R_NEWTON_ITERS + l] = math.nan
    A[R_NEWTON_RATE + l] = math.nan
    A[JAGE + l] += 1.0
    A[LAGE + l] += 1.0
    stale = A[RATE + l] > KEEP if flags & KEEP_OR_REFRESH == 0 else flags & REFRESH != 0
    renew = A[TJ + l] != A[TJ + l] or (stale and A[TJ + l] != A[T + l])
    keep = flags & STAND != 0 and A[R_TRUNCATED + l] == 0.0
    kappa = max(2.2e-15/A[RTOL + l], KAPPA)
    factored = linearise(A, l, renew, keep)
    good = factored and correct(A, l, k, kappa)
    # what failed with the Jacobian of this very point and factors of this very size would fail again
    if not good and (not renew or (factored and A[HLU + l] != A[GS + l])):
        good = linearise(A, l, not renew, False) and correct(A, l, k, kappa)
    A[R_JAC_AGE + l] = A[JAGE + l]
    A[R_LU_AGE + l] = A[LAGE + l]
    return good


@piece
def constant(A, l, j):
    # the error estimate of order j over ||e_j||
    s = 0.0
    for i in range(1, j + 2):
        s += 1.0/A[XI + i*W + l]
    return max(fabs(s - LEADING[j]), (j + 1.0)/A[XI + (j + 1)*W + l]*CONSTANTS[j])


@piece
def weight(A, l, c):
    sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(A[Y + c*W + l]), fabs(A[YN + c*W + l]))
    return sc if sc > 1e-300 else 1e-300


@piece
def estimate(A, l, j):
    # what order j would have made of this step
    basis(A, l, 1, j + 1, 0.0)
    total = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        e = A[YN + c*W + l] - y
        for i in range(1, j + 1):
            e -= A[WT + i*W + l]*(A[YS + (i*N + c)*W + l] - y)
        e = e/weight(A, l, c)
        total += e*e
    return constant(A, l, j)*sqrt(total/N)


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
    if k > 1 and (A[WAIT + l] >= k or err > 1.0):
        below = estimate(A, l, k - 1)
        if score(below, k - 1) > best:
            if err > 1.0:
                A[AGAIN + l] = k - 1
                return err
            best = score(below, k - 1)
            found = below
            A[AFTER + l] = k - 1
    if err <= 1.0 and k < MOST_ORDER and A[WAIT + l] >= k and A[POINTS + l] >= k + 2.0:
        above = estimate(A, l, k + 1)
        if score(above, k + 1) > best:
            found = above
            A[AFTER + l] = k + 1
    return found


@piece
def attempt_lane(A, l):
    A[R_NF + l] = 0.0
    history(A, l)
    k = int(A[ORD + l])
    A[GS + l] = A[HS + l]/LEADING[k]
    predict(A, l, k)
    good = converge(A, l, k)
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        yn = A[G + c*W + l]
        A[YN + c*W + l] = yn
        sc = weight(A, l, c)
        e = A[EC + c*W + l]/sc
        total += e*e
        most = max(most, fabs(e))
        size += (A[Y + c*W + l]/sc)*(A[Y + c*W + l]/sc)
        finite += 0.0*yn
    norm = sqrt(total/N)
    err = constant(A, l, k)*norm if good else math.nan
    err = choose(A, l, k, err)
    A[R_ERR + l] = err
    A[R_ORDER + l] = A[AFTER + l] + 1.0
    A[R_FINITE + l] = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
    after = A[GS + l]*LEADING[k]/LEADING[int(A[AFTER + l])]
    A[R_LU_SHIFT + l] = math.log(after/A[HLU + l]) if A[HLU + l]*after > 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/norm if norm > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)


@inline
def prepare_dense(A, l):
    return 0.0


@inline
def dense(A, l, th):
    # the polynomial through the step's end and the last `order` values before it
    k = int(A[ORD + l])
    basis(A, l, 0, k + 1, th - 1.0)
    for c in range(N):
        y = A[YN + c*W + l]
        z = y
        for i in range(k):
            z += A[WT + (i + 1)*W + l]*(A[YS + (i*N + c)*W + l] - y)
        A[Z + c*W + l] = z
