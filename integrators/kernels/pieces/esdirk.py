"""One trial step of an ESDIRK method by simplified Newton, a lane at a time (`implicit.esdirk`)."""

import math

from ..slots import (
    ATOL,
    DIM,
    HS,
    K0,
    K1,
    K2,
    NPAR,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_NEWTON_ITERS,
    R_NEWTON_RATE,
    R_NF,
    R_NSOLVE,
    R_ORDER,
    R_YNORM,
    RTOL,
    WIDTH,
    YN,
    G,
    N,
    P,
    T,
    W,
    Y,
    fabs,
    frozen,
    piece,
    rhs,
    sqrt,
    view,
)  # fmt: skip
from .newton import converge, scale, trusted
from .slots import (
    BELOW,
    ETA,
    GAMMA,
    HLU,
    INV_GAMMA,
    MOST,
    NODES,
    ORDER,
    PREDICTORS,
    RATE,
    STAGES,
    WANTS_ENORM,
    WANTS_YNORM,
    WEIGHTS,
    ZS,
    back,
)  # fmt: skip


@piece
def stages(A, l, kappa):
    # increments of all stages; False where Newton does not converge
    h = A[HS + l]
    scaled = 2.0/(1.0 + A[HLU + l]/h)
    iterations = 0.0
    hardest = 0.0
    worst = 0.0
    good = True
    for c in range(N):
        A[ZS + c*W + l] = h*A[K0 + c*W + l]
    for i in range(1, STAGES):
        for c in range(N):
            z = 0.0
            g = A[Y + c*W + l]
            for k in range(i):
                zk = A[ZS + (k*N + c)*W + l]
                z += PREDICTORS[i][k]*zk
                g += BELOW[i][k]*zk
            A[ZS + (i*N + c)*W + l] = z
            A[G + c*W + l] = g + GAMMA*z
        eta = trusted(A, l)
        last = 0.0
        done = False
        for it in range(MOST):
            t = A[T + l] + NODES[i]*h
            rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
            iterations += 1.0
            hardest = max(hardest, it + 1.0)
            for c in range(N):
                A[K2 + c*W + l] = (A[K2 + c*W + l] - A[ZS + (i*N + c)*W + l]/h)*INV_GAMMA
            back(A, l, K2)
            norm = 0.0
            for c in range(N):
                d = scaled*A[K2 + c*W + l]
                A[ZS + (i*N + c)*W + l] += d
                A[G + c*W + l] += GAMMA*d
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
        if not done:
            good = False
            break
        A[ETA + l] = eta
    # of the stage that needed most: what a Newton limiter compares with the iterations allowed
    A[R_NEWTON_ITERS + l] = hardest
    A[R_NEWTON_RATE + l] = worst
    A[R_NF + l] += iterations
    A[R_NSOLVE + l] += iterations
    A[RATE + l] = worst
    return good


@piece
def attempt_lane(A, l):
    A[R_NF + l] = 0.0
    A[R_ORDER + l] = ORDER
    good = converge(A, l)
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        yn = A[G + c*W + l]
        A[YN + c*W + l] = yn
        A[K1 + c*W + l] = A[ZS + ((STAGES - 1)*N + c)*W + l]/A[HS + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(yn))
        sc = sc if sc > 1e-300 else 1e-300
        e = 0.0
        for k in range(STAGES):
            e += WEIGHTS[k]*A[ZS + (k*N + c)*W + l]
        e = e/sc
        total += e*e
        most = max(most, fabs(e))
        size += (y/sc)*(y/sc)
        finite += 0.0*yn
    err = sqrt(total/N)
    A[R_ERR + l] = err
    A[R_FINITE + l] = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/err if err > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)
