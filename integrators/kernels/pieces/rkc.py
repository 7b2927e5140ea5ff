"""One trial step of the Runge-Kutta-Chebyshev method, a lane at a time (`kernels.rkc`).

Rows of a lane: RHO, the spectral radius; STAGE_COUNT, stages of the attempt; RENEW, 1 where the radius is to be found
before the attempt; HERE, 1 where it is that of the state; STEPS_SINCE, accepted steps since it was found; FOUND, 1
where VECTOR (n) holds what the power method ended with; FAULT, 1 where the problem's own radius is no number >= 0, 2
where the size that is stable is below what the time variable resolves.  K0 is the slope at the step's start, K1 at its
end.
"""

import math

from ..slots import (
    ACC,
    ATOL,
    COARSE,
    DIM,
    DIR,
    DONE,
    HS,
    K0,
    K1,
    K2,
    LANDS,
    NPAR,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_H,
    R_H_FREE,
    R_NF,
    R_ORDER,
    R_SPAN,
    R_TRUNCATED,
    R_YNORM,
    RTOL,
    STATUS,
    STUCK,
    TEND,
    UNDERFLOW,
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
from .slots import (
    BAD_RADIUS,
    CALLS_RADIUS,
    DAMPING,
    EPS,
    EVERY,
    FAULT,
    FINDS_RADIUS,
    FOUND,
    GIVEN_RADIUS,
    HERE,
    PER,
    POWERS,
    RENEW,
    RHO,
    SAFETY,
    SETTLED,
    STAGE_COUNT,
    STEPS_SINCE,
    VECTOR,
    WANTS_ENORM,
    WANTS_YNORM,
    spectral_radius,
)  # fmt: skip


@traced
def marks(A, l):
    # after the decision: whether the radius is to be found anew; an attempt with a fault ends the lane
    acc = A[ACC + l] == 1.0
    since = where(acc, A[STEPS_SINCE + l] + 1.0, A[STEPS_SINCE + l])
    old = since >= EVERY
    again = (A[STUCK + l] == 1.0) & (A[HERE + l] == 0.0)
    A[RENEW + l] = where(old | again, 1.0, A[RENEW + l])
    A[STEPS_SINCE + l] = since
    A[HERE + l] = where(acc, 0.0, A[HERE + l])
    fault = A[FAULT + l]
    A[STATUS + l] = where(fault == 1.0, BAD_RADIUS, where(fault == 2.0, UNDERFLOW, A[STATUS + l]))
    A[FAULT + l] = 0.0
    A[DONE + l] = 0.0


@piece
def slope_into(A, l, t, row, out):
    # f(t, y) of the state in `row`
    rhs(t, frozen(A, row + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, out + l, WIDTH, DIM))
    A[R_NF + l] += 1.0


@piece
def find_radius(A, l):
    # the nonlinear power method; NaN where the right-hand side is not finite beside the state.  G, K2: scratch
    state = 0.0
    way = 0.0
    norm = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        d = A[HS + l]*A[K0 + c*W + l]
        if A[FOUND + l] == 0.0:
            A[VECTOR + c*W + l] = math.cos(1.0 + 2.0*c*c)  # no special direction
        v = A[VECTOR + c*W + l]
        state += y*y
        way += d*d
        norm += v*v
    A[FOUND + l] = 1.0
    length = sqrt(EPS)*(sqrt(state) + sqrt(way))
    length = length if length > 1e-290 else sqrt(EPS)
    ratio = 0.0
    most = 0.0
    for k in range(POWERS):
        scale = length/sqrt(norm)
        for c in range(N):
            A[G + c*W + l] = A[Y + c*W + l] + scale*A[VECTOR + c*W + l]
        slope_into(A, l, A[T + l], G, K2)
        norm = 0.0
        for c in range(N):
            d = A[K2 + c*W + l] - A[K0 + c*W + l]
            norm += d*d
        last = ratio
        ratio = sqrt(norm)/length
        if ratio - ratio != 0.0:
            A[FOUND + l] = 0.0
            return math.nan
        most = max(most, ratio)
        # slower than the span is as good as none
        if norm == 0.0 or (k > 0 and fabs(ratio - last) <= SETTLED*max(ratio, 1.0/A[R_SPAN + l])):
            return SAFETY*ratio
        for c in range(N):
            A[VECTOR + c*W + l] = A[K2 + c*W + l] - A[K0 + c*W + l]
    return SAFETY*most


@piece
def know_radius(A, l):
    # RHO at this state; False where it cannot be known
    if A[RENEW + l] == 0.0:
        return True
    if FINDS_RADIUS:
        rho = find_radius(A, l)
    elif CALLS_RADIUS:
        t = A[T + l]
        spectral_radius(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, RHO + l, WIDTH, 1))
        rho = A[RHO + l]
        if not (rho >= 0.0 and rho - rho == 0.0):
            A[FAULT + l] = 1.0
    else:
        rho = GIVEN_RADIUS
    A[RHO + l] = rho
    if not (rho >= 0.0 and rho - rho == 0.0):
        return False
    A[RENEW + l] = 0.0
    A[HERE + l] = 1.0
    A[STEPS_SINCE + l] = 0.0
    return True


@piece
def most_stages(A, l):
    # stages whose round-off stays below the tolerance, at the state or where the step may lead; an attempt ends in time
    least = math.inf
    size = 0.0
    for c in range(N):
        least = min(least, A[ATOL + c*W + l])
        size = max(size, fabs(A[Y + c*W + l]) + fabs(A[HS + l]*A[K0 + c*W + l]))
    relative = A[RTOL + l] + (least/size if size > 0.0 else 1.0)
    return min(max(2.0, math.floor(sqrt(min(relative, 1.0)/(10.0*EPS)) + 0.5)), 20000.0)


@piece
def bound_size(A, l):
    # the stages of the attempt, and a smaller size where there would be too many
    rho = A[RHO + l]
    most = most_stages(A, l)
    count = 1.0 + math.floor(sqrt(1.0 + PER*fabs(A[HS + l])*rho))
    if count > most:
        count = most
        t = A[T + l]
        h = (most*most - 1.0)/(PER*rho)
        if A[COARSE + l] == 1.0:  # between two representable times (`begin`)
            h = fabs((t + A[DIR + l]*h) - t)
        A[HS + l] = A[DIR + l]*h
        A[R_H + l] = h
        A[R_H_FREE + l] = h
        A[R_TRUNCATED + l] = 0.0
        A[LANDS + l] = 0.0
        if not h >= max(10.0*EPS*fabs(t), 1e-300):
            A[FAULT + l] = 2.0
    A[STAGE_COUNT + l] = count


@piece
def stages(A, l):
    # YN: the state at the step's end.  G holds the stage before the last one; K2: scratch
    s = int(A[STAGE_COUNT + l])
    h = A[HS + l]
    t = A[T + l]
    w0 = 1.0 + DAMPING/(s*s)
    root = w0*w0 - 1.0
    arg = s*math.log(w0 + sqrt(root))
    w1 = math.sinh(arg)*root/(math.cosh(arg)*s*sqrt(root) - w0*math.sinh(arg))
    # Chebyshev polynomials at w0 and their first two derivatives, of the last two degrees
    z1, z2, d1, d2, e1, e2 = w0, 1.0, 1.0, 0.0, 0.0, 0.0
    b1 = 0.25/(w0*w0)
    b2 = b1
    c1, c2 = w1*b1, 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        A[G + c*W + l] = y
        A[YN + c*W + l] = y + h*c1*A[K0 + c*W + l]
    for _ in range(2, s + 1):
        z = 2.0*w0*z1 - z2
        d = 2.0*w0*d1 - d2 + 2.0*z1
        e = 2.0*w0*e1 - e2 + 4.0*d1
        b = e/(d*d)
        a1 = 1.0 - z1*b1
        mu = 2.0*w0*b/b1
        nu = -b/b2
        m = mu*w1/w0
        slope_into(A, l, t + c1*h, YN, K2)
        for c in range(N):
            new = (mu*A[YN + c*W + l] + nu*A[G + c*W + l]) + (1.0 - mu - nu)*A[Y + c*W + l]
            new += h*m*(A[K2 + c*W + l] - a1*A[K0 + c*W + l])
            A[G + c*W + l] = A[YN + c*W + l]
            A[YN + c*W + l] = new
        c1, c2 = mu*c1 + nu*c2 + m*(1.0 - a1), c1
        z1, z2, d1, d2, e1, e2, b1, b2 = z, z1, d, d1, e, e1, b, b1


@piece
def measure(A, l):
    # the error and the record's other slots
    h = A[HS + l]
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        new = A[YN + c*W + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(new))
        sc = sc if sc > 1e-300 else 1e-300
        d = (0.8*(y - new) + 0.4*h*(A[K0 + c*W + l] + A[K1 + c*W + l]))/sc
        total += d*d
        most = max(most, fabs(d))
        size += (y/sc)*(y/sc)
        finite += 0.0*new + 0.0*A[K1 + c*W + l]
    err = sqrt(total/N)
    A[R_ERR + l] = err
    A[R_FINITE + l] = 1.0 if finite + 0.0*err == 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/err if err > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)


@piece
def attempt_lane(A, l):
    first = A[DONE + l] == 0.0
    if first:
        A[DONE + l] = 1.0
        A[R_NF + l] = 0.0
        A[R_ERR + l] = math.nan
        A[R_ORDER + l] = 3.0
        A[R_FINITE + l] = 0.0
        if not know_radius(A, l):
            return
    # an attempt that is looked at again has its size from `begin` again, and else stands
    if A[RENEW + l] == 1.0:
        return
    bound_size(A, l)
    if first and A[FAULT + l] == 0.0:
        stages(A, l)
        slope_into(A, l, A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + A[HS + l], YN, K1)
        measure(A, l)


@inline
def attempt(A):
    for l in range(W):
        if A[STATUS + l] == 0.0:
            attempt_lane(A, l)
        else:
            A[R_NF + l] = 0.0


@inline
def prepare_dense(A, l):
    return 0.0


@traced
def dense_component(A, j, l, th):
    # values and slopes of both ends
    u = 1.0 - th
    y = A[Y + j]
    d = A[YN + j] - y
    cubic = (u - th)*d - A[HS + l]*(u*A[K0 + j] - th*A[K1 + j])
    A[Z + j] = (u*y + th*A[YN + j]) - th*u*cubic
