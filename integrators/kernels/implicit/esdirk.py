"""Source of one trial step of an ESDIRK method by simplified Newton, a lane at a time (the equations: `tableaus.esdirk`).

Newton for a stage's increment z, with ||.|| the weighted rms norm, sc = atol + rtol |y| (see `newton.SCALE`), and
theta = ||d_k||/||d_(k-1)||: converged when
theta/(1 - theta) ||d_k|| <= kappa, kappa = max(10 eps/rtol, min(.03, sqrt(rtol))); given up when theta >= 1, or when the rest of the
iterations would not get there at this rate (RADAU5, Hairer & Wanner II, IV.8).  The first iteration judges by the last stage's theta/(1 -
theta), to the power .8.

When J and its factors are renewed: `newton`.  The last stage's slope z_s/h is the next step's first.
"""

from __future__ import annotations

from typing import Any

from ...core import record
from ...methods.esdirk.tableau import EsdirkTableau
from .. import calls
from ..pieces import fsal
from ..templates import text
from .linear import Algebra
from .newton import ROWS, SCALE, TRUST, R, dense_source, newton_source, newton_start

MOST = 10  # Newton iterations a stage


def esdirk_parts(tableau: EsdirkTableau, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n, s = source.n, tableau.stages
    algebra = Algebra(source, slope=False)  # the last stage's slope is only about that at (t, y)
    for name, count in (*((name, 1) for name in ROWS), ("ZS", s * n)):
        algebra.add(name, count)
    lines = algebra.lines
    for name, table in (("_A", tableau.A), ("_PRED", tableau.predictors)):
        lines += f"{name} = {tuple(tuple(float(x) for x in row) for row in table)!r}\n"
    for name, row in (("_C", tableau.C), ("_E", tableau.E)):
        lines += f"{name} = {tuple(float(x) for x in row)!r}\n"
    lines += f"S = {s}\n"
    attempt = lines + algebra.source() + _source(tableau, slots)
    carry = "K_END = K1\n\n\n" + text(fsal.carry)
    start = newton_start(tableau, n)
    return Parts(attempt, start, dense_source(tableau.D), carry, 3, algebra.rows, algebra.objects, True, algebra.together)


def _source(tableau: EsdirkTableau, slots: frozenset[int]) -> str:
    gamma = tableau.gamma_float
    enorm = f"    {R['enorm']} = most/err if err > 0.0 else 1.0\n" if record.ENORM in slots else ""
    ynorm = f"    {R['ynorm']} = sqrt(size/N)\n" if record.YNORM in slots else ""
    return f"""{SCALE}{TRUST}@_piece
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
    for i in range(1, S):
        for c in range(N):
            z = 0.0
            g = A[Y + c*W + l]
            for k in range(i):
                zk = A[ZS + (k*N + c)*W + l]
                z += _PRED[i][k]*zk
                g += _A[i][k]*zk
            A[ZS + (i*N + c)*W + l] = z
            A[G + c*W + l] = g + {gamma!r}*z
        eta = trusted(A, l)
        last = 0.0
        done = False
        for it in range({MOST}):
            {calls.rhs("A[T + l] + _C[i]*h", "G", "K2")}
            iterations += 1.0
            hardest = max(hardest, it + 1.0)
            for c in range(N):
                A[K2 + c*W + l] = (A[K2 + c*W + l] - A[ZS + (i*N + c)*W + l]/h)*{1.0 / gamma!r}
            back(A, l, K2)
            norm = 0.0
            for c in range(N):
                d = scaled*A[K2 + c*W + l]
                A[ZS + (i*N + c)*W + l] += d
                A[G + c*W + l] += {gamma!r}*d
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
                if eta*norm*theta**({MOST - 2} - it) > kappa:
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
    {R['newton_iters']} = hardest
    {R['newton_rate']} = worst
    {R['nf']} += iterations
    {R['nsolve']} += iterations
    A[RATE + l] = worst
    return good


{newton_source(f"factor(A, l, {1.0 / gamma!r}/A[HS + l])", 1)}@_piece
def attempt_lane(A, l):
    {R['nf']} = 0.0
    {R['order']} = {float(tableau.embedded_order + 1)!r}
    good = converge(A, l)
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        yn = A[G + c*W + l]
        A[YN + c*W + l] = yn
        A[K1 + c*W + l] = A[ZS + ((S - 1)*N + c)*W + l]/A[HS + l]
        sc = A[ATOL + c*W + l] + A[RTOL + l]*max(fabs(y), fabs(yn))
        sc = sc if sc > 1e-300 else 1e-300
        e = 0.0
        for k in range(S):
            e += _E[k]*A[ZS + (k*N + c)*W + l]
        e = e/sc
        total += e*e
        most = max(most, fabs(e))
        size += (y/sc)*(y/sc)
        finite += 0.0*yn
    err = sqrt(total/N)
    {R['err']} = err
    {R['finite']} = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
{enorm}{ynorm}
"""
