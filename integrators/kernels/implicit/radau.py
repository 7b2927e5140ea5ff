"""Source of one trial step of Radau IIA of order 5 by simplified Newton, a lane at a time (the equations: `tableaus.radau5`).

Newton's stopping rule is that of `kernels.esdirk`, over all three stages at once, at most 7 iterations; starting values come from the last
step's collocation polynomial. J and the factors (one real matrix, one complex) are kept by the same rules (`newton`). The error estimate
is filtered a second time, with f(t, y + err), after a rejection and on the first step, where it is 1 or more (RADAU5); with factors of
another size h_lu it is off by a factor between 2/(1 + h_lu/h) and its h_lu/h-fold.
"""

from __future__ import annotations

from typing import Any

from ...core import record
from ...methods.radau.radau5 import RadauTableau
from .. import calls
from ..pieces import radau
from ..templates import text
from .linear import Algebra
from .newton import ROWS, SCALE, TRUST, R, dense_source, newton_source, newton_start

MOST = 7  # Newton iterations


def radau_parts(tableau: RadauTableau, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n = source.n
    algebra = Algebra(source, pair=True)
    for name, count in (*((name, 1) for name in (*ROWS, "TF")), ("ZS", 3 * n), ("ZP", 3 * n), ("WS", 3 * n), ("FS", 3 * n)):
        algebra.add(name, count)
    lines = algebra.lines
    for name, table in (("_T", tableau.T), ("_TI", tableau.TI), ("_P", tableau.P)):
        lines += f"{name} = {tuple(tuple(float(x) for x in row) for row in table)!r}\n"
    for name, row in (("_C", tableau.C), ("_E", tableau.E)):
        lines += f"{name} = {tuple(float(x) for x in row)!r}\n"
    attempt = lines + algebra.source() + _source(tableau, slots)
    # the slope of a lane just loaded is the start's
    start = newton_start(tableau, n, (("TF", "A[T + l]"),))
    return Parts(attempt, start, dense_source(tableau.D), text(radau.carry), 3, algebra.rows, algebra.objects, True, algebra.together)


def _source(tableau: RadauTableau, slots: frozenset[int]) -> str:
    gamma, alpha, beta = tableau.eigenvalues
    enorm = f"    {R['enorm']} = most/err if err > 0.0 else 1.0\n" if record.ENORM in slots else ""
    ynorm = f"    {R['ynorm']} = sqrt(size/N)\n" if record.YNORM in slots else ""
    return f"""{SCALE}{TRUST}@_piece
def starting_values(A, l):
    # Z_i = q(1 + r c_i) - q(1), q the last step's polynomial
    r = fabs(A[HS + l])/A[HLAST + l] if A[HLAST + l] > 0.0 else 0.0
    for i in range(3):
        x = 1.0 + r*_C[i]
        w0 = _P[0][0]*(x - 1.0) + _P[0][1]*(x*x - 1.0) + _P[0][2]*(x*x*x - 1.0)
        w1 = _P[1][0]*(x - 1.0) + _P[1][1]*(x*x - 1.0) + _P[1][2]*(x*x*x - 1.0)
        w2 = _P[2][0]*(x - 1.0) + _P[2][1]*(x*x - 1.0) + _P[2][2]*(x*x*x - 1.0)
        for c in range(N):
            z = w0*A[ZP + c*W + l] + w1*A[ZP + (N + c)*W + l] + w2*A[ZP + (2*N + c)*W + l]
            A[ZS + (i*N + c)*W + l] = z if r > 0.0 else 0.0


@_piece
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
            A[WS + (i*N + c)*W + l] = _TI[i][0]*z0 + _TI[i][1]*z1 + _TI[i][2]*z2
    eta = trusted(A, l)
    last = 0.0
    worst = 0.0
    iterations = 0.0
    done = False
    for it in range({MOST}):
        for i in range(3):
            for c in range(N):
                A[G + c*W + l] = A[Y + c*W + l] + A[ZS + (i*N + c)*W + l]
            {calls.rhs("A[T + l] + _C[i]*h", "G", "K2")}
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
            A[FS + c*W + l] = _TI[0][0]*f0 + _TI[0][1]*f1 + _TI[0][2]*f2 - {gamma!r}/h*w0
            A[FS + (N + c)*W + l] = _TI[1][0]*f0 + _TI[1][1]*f1 + _TI[1][2]*f2 - ({alpha!r}*w1 - {beta!r}*w2)/h
            A[FS + (2*N + c)*W + l] = _TI[2][0]*f0 + _TI[2][1]*f1 + _TI[2][2]*f2 - ({alpha!r}*w2 + {beta!r}*w1)/h
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
                A[ZS + (i*N + c)*W + l] = _T[i][0]*w0 + _T[i][1]*w1 + _T[i][2]*w2
        norm = sqrt(norm/(3.0*N))
        if not norm < math.inf:
            break
        if it > 0:
            theta = norm/last if last > 0.0 else 0.0
            worst = max(worst, theta)
            if theta >= 1.0:
                break
            eta = theta/(1.0 - theta)
            if eta*norm*theta**({MOST - 2} - it) > kappa:
                break
        if eta*norm <= kappa:
            done = True
            break
        last = norm
    if done:
        A[ETA + l] = eta
    {R['newton_iters']} = iterations
    {R['newton_rate']} = worst
    {R['nf']} += 3.0*iterations
    {R['nsolve']} += 2.0*iterations
    A[RATE + l] = worst
    return done


{newton_source(f"factor(A, l, {gamma!r}/A[HS + l]) and factor_complex(A, l, {alpha!r}/A[HS + l], {beta!r}/A[HS + l])", 2)}@_piece
def estimate(A, l, slope):
    # K2: (gamma/h I - J)^-1 (f + sum e_i Z_i / h), and its norm
    h = A[HS + l]
    for c in range(N):
        z = _E[0]*A[ZS + c*W + l] + _E[1]*A[ZS + (N + c)*W + l] + _E[2]*A[ZS + (2*N + c)*W + l]
        A[K2 + c*W + l] = A[slope + c*W + l] + z/h
    back(A, l, K2)
    {R['nsolve']} += 1.0
    scaled = 2.0/(1.0 + A[HLU + l]/h)
    total = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(A[YN + c*W + l]))
        A[K2 + c*W + l] *= scaled
        e = A[K2 + c*W + l]/(sc if sc > 1e-300 else 1e-300)
        total += e*e
    return sqrt(total/N)


@_piece
def attempt_lane(A, l):
    {R['nf']} = 0.0
    {R['order']} = {float(tableau.embedded_order + 1)!r}
    if A[TF + l] != A[T + l]:
        {calls.rhs("A[T + l]", "Y", "K0")}
        {R['nf']} = 1.0
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
            {calls.rhs("A[T + l]", "G", "K1")}
            {R['nf']} += 1.0
            err = estimate(A, l, K1)
    for c in range(N):
        y = A[Y + c*W + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(A[YN + c*W + l]))
        sc = sc if sc > 1e-300 else 1e-300
        most = max(most, fabs(A[K2 + c*W + l])/sc)
        size += (y/sc)*(y/sc)
    {R['err']} = err
    {R['finite']} = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
{enorm}{ynorm}
"""
