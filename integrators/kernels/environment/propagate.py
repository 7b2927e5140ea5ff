"""Source of `propagate`: what the local error of an accepted step becomes at the end of the span.

The local error by Richardson (Hairer, Norsett & Wanner I, II.4): from the step's start, the full step y1 and two half steps z2 of a
method of order p give y1 - y(t + h) = (y1 - z2) 2^p/(2^p - 1) + O(h^(p+2)).  The matrices of the nearest two knots of
`integrators.sensitivity`, linear between them, carry it to the end, where it is added to what came before: a vector v, to first order the
relative final error so far, with cancellation.
"""

from __future__ import annotations

from ...core import record
from ...methods.tableaus import ExplicitTableau
from .. import calls
from ..explicit import _combine
from ..layout import Layout

ARGS = "first, knots, arrive, price"


def add_rows(lay: Layout, tableau: ExplicitTableau, n: int, components: int) -> None:
    """NODE: the last knot passed; CLOCK: knots passed, as a share of all; EV: v; PRICE: of |v|; GAIN, PROP: what the last attempt added to
    the clock and to log(1 + price |v|).  EY, EG, EK: state, stage and slopes of the half steps."""
    for row in ("NODE", "CLOCK", "GAIN", "PROP", "PRICE"):
        lay.add(row)
    lay.add("EV", components)
    lay.add("EY", n)
    lay.add("EG", n)
    for i in range(tableau.stages):
        lay.add(f"EK{i}", n)


def propagate_source(tableau: ExplicitTableau, components: int) -> str:
    """`propagate(A, l, first, knots, arrive, price)`, to be called between decision and commit."""
    s = tableau.stages
    stages = ""
    for i in range(1, s):
        terms = _combine(tableau.a[i], [f"EK{k}" for k in range(s)])
        stages += f"    for c in range(N):\n        j = c*W + l\n        A[EG + j] = A[src + j] + h*({terms})\n"
        stages += f"    {calls.rhs(f't + {float(tableau.c[i])!r}*h', 'EG', f'EK{i}')}\n"
    if tableau.fsal:
        end, slope, between = "A[EG + j]", f"        A[EK0 + j] = A[EK{s - 1} + j]\n", ""
    else:
        # the first half step's last slope is not its last stage
        end, slope = f"A[src + j] + h*({_combine(tableau.b, [f'EK{k}' for k in range(s)])})", ""
        between = f"    {calls.rhs('A[T + l] + h', 'EY', 'EK0')}\n"
    rich = 2.0**tableau.order / (2.0**tableau.order - 1.0)
    return f"""@_piece
def half_step(A, l, t, h, src):
    # from the state in rows src, slope in EK0, to EY{' with its slope in EK0' if tableau.fsal else ''}
{stages}    for c in range(N):
        j = c*W + l
        A[EY + j] = {end}
{slope}

@_piece
def propagate(A, l, {ARGS}):
    A[GAIN + l] = 0.0
    A[PROP + l] = 0.0
    if not (A[CO + l] > 0.5 and A[STATUS + l] == 0.0 and A[PAID + l] == 0.0 and A[R + {record.FINITE}*W + l] == 1.0):
        return
    for c in range(N):
        A[EK0 + c*W + l] = A[K0 + c*W + l]
    h = 0.5*A[HS + l]
    half_step(A, l, A[T + l], h, Y)
{between}    half_step(A, l, A[T + l] + h, h, EY)
    t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + A[HS + l]
    b = int(A[INST + l])
    last = first[b + 1] - first[b] - 1
    k = int(A[NODE + l])
    while k < last - 1 and A[DIR + l]*knots[first[b] + k + 1] < A[DIR + l]*t:
        k += 1
    A[NODE + l] = k
    row = first[b] + k
    th = (t - knots[row])/(knots[row + 1] - knots[row])
    before = 0.0
    after = 0.0
    for r in range({components}):
        a = 0.0
        for c in range(N):
            m = (1.0 - th)*arrive[row, r*N + c] + th*arrive[row + 1, r*N + c]
            a += m*(A[YN + c*W + l] - A[EY + c*W + l])
        v = A[EV + r*W + l]
        before += v*v
        v += {rich!r}*a
        after += v*v
        A[EV + r*W + l] = v
    A[PROP + l] = log((1.0 + sqrt(after)*A[PRICE + l])/(1.0 + sqrt(before)*A[PRICE + l]))
    clock = (k + th)/last
    A[GAIN + l] = clock - A[CLOCK + l]
    A[CLOCK + l] = clock


"""
