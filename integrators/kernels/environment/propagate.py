"""What the template `propagated` needs of a method: its rows, its constants, and half a step of it."""

from __future__ import annotations

from ...methods.explicit.rounding import rounded
from ...methods.tableaus import ExplicitTableau
from .. import calls, templates
from ..layout import Layout
from ..loops import weighted_sum
from . import propagated


def add_rows(lay: Layout, tableau: ExplicitTableau, n: int, components: int) -> None:
    """NODE: the last knot passed; CLOCK: knots passed, as a share of all; EV: v; PRICE: of |v|; GAIN, PROP: what the
    last attempt added to the clock and to log(1 + price |v|).  EY, EG, EK: state, stage and slopes of the half
    steps."""
    for row in ("NODE", "CLOCK", "GAIN", "PROP", "PRICE"):
        lay.add(row)
    lay.add("EV", components)
    lay.add("EY", n)
    lay.add("EG", n)
    for i in range(tableau.stages):
        lay.add(f"EK{i}", n)


def constants(tableau: ExplicitTableau, components: int) -> str:
    """Source lines of the constants that the template names."""
    return templates.constants(
        N_ERRORS=components, FSAL=bool(tableau.fsal), PER_ORDER=2.0/tableau.order, MINUS_ORDER=-float(tableau.order),
        RICHARDSON=2.0**tableau.order/(2.0**tableau.order - 1.0),
    )  # fmt: skip


def propagate_source(tableau: ExplicitTableau) -> str:
    """`half_step`, then `forget(A, l, price)` and `propagate(A, l, knot_first, knots, arrive)` of the template."""
    return half_step(tableau) + templates.text(propagated)


def half_step(tableau: ExplicitTableau) -> str:
    """`half_step(A, l, t, h, src)`: one step of size h, its stages written out."""
    s = tableau.stages
    stages = ""
    for i in range(1, s):
        terms = weighted_sum(rounded(tableau)[0][i], [f"EK{k}" for k in range(s)])
        stages += f"    for c in range(N):\n        j = c*W + l\n        A[EG + j] = A[src + j] + h*({terms})\n"
        stages += f"    {calls.rhs(f't + {float(tableau.c[i])!r}*h', 'EG', f'EK{i}')}\n"
    if tableau.fsal:
        end, slope = "A[EG + j]", f"        A[EK0 + j] = A[EK{s - 1} + j]\n"
    else:
        end, slope = f"A[src + j] + h*({weighted_sum(rounded(tableau)[1], [f'EK{k}' for k in range(s)])})", ""
    return f"""@_piece
def half_step(A, l, t, h, src):
    # from the state in rows src, slope in EK0, to EY{' with its slope in EK0' if tableau.fsal else ''}
{stages}    for c in range(N):
        j = c*W + l
        A[EY + j] = {end}
{slope}

"""
