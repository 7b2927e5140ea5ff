"""One trial step of Radau IIA of order 5 by simplified Newton, a lane at a time (`implicit.radau`)."""

import math

from ..slots import (
    ATOL,
    DIM,
    HLAST,
    HS,
    K0,
    K1,
    K2,
    NACC,
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
    STUCK,
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
    traced,
    view,
    where,
)  # fmt: skip
from .newton import converge, scale, trusted
from .slots import (
    ALPHA,
    BETA,
    ETA,
    FS,
    GAMMA,
    HLU,
    MOST,
    NODES,
    ORDER,
    POLYNOMIAL,
    RATE,
    TF,
    TO_W,
    TO_Z,
    WANTS_ENORM,
    WANTS_YNORM,
    WEIGHTS,
    WS,
    ZP,
    ZS,
    back,
    back_complex,
)  # fmt: skip


@traced
def carry(A, j, l, acc):
    for i in range(3):
        A[ZP + i*N*W + j] = where(acc, A[ZS + i*N*W + j], A[ZP + i*N*W + j])


@piece
def starting_values(A, l):
    # Z_i = q(1 + r c_i) - q(1), q the last step's polynomial
    r = fabs(A[HS + l])/A[HLAST + l] if A[HLAST + l] > 0.0 else 0.0
    for i in range(3):
        x = 1.0 + r*NODES[i]
        w0 = POLYNOMIAL[0][0]*(x - 1.0) + POLYNOMIAL[0][1]*(x*x - 1.0) + POLYNOMIAL[0][2]*(x*x*x - 1.0)
        w1 = POLYNOMIAL[1][0]*(x - 1.0) + POLYNOMIAL[1][1]*(x*x - 1.0) + POLYNOMIAL[1][2]*(x*x*x - 1.0)
        w2 = POLYNOMIAL[2][0]*(x - 1.0) + POLYNOMIAL[2][1]*(x*x - 1.0) + POLYNOMIAL[2][2]*(x*x*x - 1.0)
        for c in range(N):
            z = w0*A[ZP + c*W + l] + w1*A[ZP + (N + c)*W + l] + w2*A[ZP + (2*N + c)*W + l]
            A[ZS + (i*N + c)*W + l] = z if r > 0.0 else 0.0


@piece
def stages(A, l, kappa):
    # increments of the three stages; False where Newton does not converge
    h = A[HS + l]
    scaled = 2.0/(1.0 + A[HLU + l]/h)
    starting_values(A, l)
    for i in range(3):
        for c in range(N):
            z0 = A[ZS + c*W + l]
            z1 = A[ZS + (N + c)*W + l]
            z2 = A[ZS + (2*N + c)*W + l]
            A[WS + (i*N + c)*W + l] = TO_W[i][0]*z0 + TO_W[i][1]*z1 + TO_W[i][2]*z2
    eta = trusted(A, l)
    last = 0.0
    worst = 0.0
    iterations = 0.0
    done = False
    for it in range(MOST):
        for i in range(3):
            for c in range(N):
                A[G + c*W + l] = A[Y + c*W + l] + A[ZS + (i*N + c)*W + l]
            t = A[T + l] + NODES[i]*h
            rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
            for c in range(N):
                A[FS + (i*N + c)*W + l] = A[K2 + c*W + l]
        iterations += 1.0
        for c in range(N):
            f0 = A[FS + c*W + l]
            f1 = A[FS + (N + c)*W + l]
            f2 = A[FS + (2*N + c)*W + l]
            w0 = A[WS + c*W + l]
            w1 = A[WS + (N + c)*W + l]
            w2 = A[WS + (2*N + c)*W + l]
            A[FS + c*W + l] = TO_W[0][0]*f0 + TO_W[0][1]*f1 + TO_W[0][2]*f2 - GAMMA/h*w0
            A[FS + (N + c)*W + l] = TO_W[1][0]*f0 + TO_W[1][1]*f1 + TO_W[1][2]*f2 - (ALPHA*w1 - BETA*w2)/h
            A[FS + (2*N + c)*W + l] = TO_W[2][0]*f0 + TO_W[2][1]*f1 + TO_W[2][2]*f2 - (ALPHA*w2 + BETA*w1)/h
        back(A, l, FS)
        back_complex(A, l, FS + N*W, FS + 2*N*W)
        norm = 0.0
        for c in range(N):
            size = 0.0
            for i in range(3):
                size = max(size, fabs(A[Y + c*W + l] + A[ZS + (i*N + c)*W + l]) + fabs(A[FS + (i*N + c)*W + l]))
            sc = scale(A, l, c, size, kappa)
            for i in range(3):
                d = scaled*A[FS + (i*N + c)*W + l]
                A[WS + (i*N + c)*W + l] += d
                norm += (d/sc)*(d/sc)
            w0 = A[WS + c*W + l]
            w1 = A[WS + (N + c)*W + l]
            w2 = A[WS + (2*N + c)*W + l]
            for i in range(3):
                A[ZS + (i*N + c)*W + l] = TO_Z[i][0]*w0 + TO_Z[i][1]*w1 + TO_Z[i][2]*w2
        norm = sqrt(norm/(3.0*N))
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
    if done:
        A[ETA + l] = eta
    A[R_NEWTON_ITERS + l] = iterations
    A[R_NEWTON_RATE + l] = worst
    A[R_NF + l] += 3.0*iterations
    A[R_NSOLVE + l] += 2.0*iterations
    A[RATE + l] = worst
    return done


@piece
def estimate(A, l, start):
    # K2: (gamma/h I - J)^-1 (f + sum e_i Z_i / h), f in the rows `start`, and its norm
    h = A[HS + l]
    for c in range(N):
        z = WEIGHTS[0]*A[ZS + c*W + l] + WEIGHTS[1]*A[ZS + (N + c)*W + l] + WEIGHTS[2]*A[ZS + (2*N + c)*W + l]
        A[K2 + c*W + l] = A[start + c*W + l] + z/h
    back(A, l, K2)
    A[R_NSOLVE + l] += 1.0
    scaled = 2.0/(1.0 + A[HLU + l]/h)
    total = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(A[YN + c*W + l]))
        A[K2 + c*W + l] *= scaled
        e = A[K2 + c*W + l]/(sc if sc > 1e-300 else 1e-300)
        total += e*e
    return sqrt(total/N)


@piece
def attempt_lane(A, l):
    A[R_NF + l] = 0.0
    A[R_ORDER + l] = ORDER
    if A[TF + l] != A[T + l]:
        t = A[T + l]
        rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        A[R_NF + l] = 1.0
        A[TF + l] = A[T + l]
    good = converge(A, l)
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        A[YN + c*W + l] = A[Y + c*W + l] + A[ZS + (2*N + c)*W + l]
        finite += 0.0*A[YN + c*W + l]
    err = math.nan
    if good:
        err = estimate(A, l, K0)
        if err >= 1.0 and (A[NACC + l] == 0.0 or A[STUCK + l] > 0.0):
            for c in range(N):
                A[G + c*W + l] = A[Y + c*W + l] + A[K2 + c*W + l]
            t = A[T + l]
            rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
            A[R_NF + l] += 1.0
            err = estimate(A, l, K1)
    for c in range(N):
        y = A[Y + c*W + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(A[YN + c*W + l]))
        sc = sc if sc > 1e-300 else 1e-300
        most = max(most, fabs(A[K2 + c*W + l])/sc)
        size += (y/sc)*(y/sc)
    A[R_ERR + l] = err
    A[R_FINITE + l] = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/err if err > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)
