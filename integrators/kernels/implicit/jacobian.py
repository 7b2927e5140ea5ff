"""Source of the Jacobian of a lane: the problem's own, or differences.

Differences: the increment of component j is max(sqrt(eps) |y_j|, least sc_j), with sc = atol + rtol |y|, least = 1000
|h| eps n ||f||_wrms (1 where f vanishes): the rule of CVODE's dense difference quotients (A. C. Hindmarsh et al., ACM
TOMS 31 (2005) 363; cvLsDenseDQJac). Columns of one group (`sparsity.Structure`) share an evaluation.
"""

from __future__ import annotations

import dis
from collections.abc import Callable

import numpy as np

from ...checks.interpreted import plain_function as plain_of
from ...problems.sparsity import Structure
from .. import calls

SQRT_EPS = 1.4901161193847656e-08
EPS = 2.220446049250313e-16


def table(name: str, values: np.ndarray) -> str:
    """Source line of a constant array of whole numbers."""
    return f"{name} = _np.array({values.tolist()!r}, dtype=_np.int64)\n"


def place(st: Structure, i: str, j: str, factors: bool = False) -> str:
    """Index of the element (i, j) within a lane's Jacobian (row by row) or factors (column by column)."""
    if factors:
        return (
            f"({j})*{st.n} + {i}"
            if st.dense
            else f"({j})*{2 * st.lower + st.upper + 1} + {i} - ({j}) + {st.lower + st.upper}"
        )
    return f"({i})*{st.n} + {j}" if st.dense else f"({i})*{st.lower + st.upper + 1} + {j} - ({i}) + {st.lower}"


def reads_time(rhs: Callable) -> bool:
    """Whether a right-hand side's own code names its first argument; True where that cannot be told."""
    plain = plain_of(rhs)
    code = getattr(plain, "__code__", None)
    if code is None or code.co_argcount < 1 or code.co_varnames[0] in code.co_cellvars:
        return True
    time = code.co_varnames[0]
    # instructions may name two variables, and load and store in one
    named = (
        op.argval if isinstance(op.argval, tuple) else (op.argval,)
        for op in dis.get_instructions(code)
        if "FAST" in op.opname
    )
    return any(time in names for names in named)


def jacobian_source(st: Structure, given: bool, slope: bool = True, by_columns: bool = False) -> str:
    """`jacobian(A, l)`: J at (t, y) into JAC; G and K1 are scratch.  Returns the evaluations it took.

    slope: K0 holds f(t, y); otherwise differences evaluate it first, into the row FB.  by_columns: differences of a
    dense Jacobian lie column by column.
    """
    if given:
        return _given(st)
    text = _differences(st) if st.coloured or st.factors is not None else _DENSE_DIFFERENCES
    if by_columns:
        text = text.replace("l*NJAC + i*N + j]", "l*NJAC + j*N + i]")
    if slope:
        return text
    own = f"    {calls.rhs('A[T + l]', 'Y', 'FB')}\n"
    return (
        text.replace("    norm = 0.0\n", own + "    norm = 0.0\n")
        .replace("K0 +", "FB +")
        .replace("spent = 0.0", "spent = 1.0")
    )


def _given(st: Structure) -> str:
    """The problem's own."""
    view, clear = "matrix(A, JAC + l*NJAC, 1, DIM, DIM)", ""
    if not st.dense:
        place = "_PLACE" if st.order is not None else "None"
        view = f"band(A, JAC + l*NJAC, DIM, {st.lower}, {st.upper}, {place})"
        if st.factors is not None:
            view = f"sparse(A, JAC + l*NJAC, DIM, {len(st.row) + 1}, _PTR, _ROW, _PLACE)"
        # what a Jacobian with a declared sparsity does not write is zero
        clear = "    for k in range(NJAC):\n        A[JAC + l*NJAC + k] = 0.0\n"
    return f"""@_piece
def jacobian(A, l):
{clear}    {calls.jac("A[T + l]", "Y", view)}
    return 0.0


"""


_NORM = f"""    norm = 0.0
    for c in range(N):
        sc = A[ATOL + c*W + l] + A[RTOL + l]*fabs(A[Y + c*W + l])
        # a component at 0 without an absolute tolerance has no scale, and no say
        r = A[K0 + c*W + l]/sc if sc > 1e-300 else 0.0
        norm += r*r
    norm = sqrt(norm/N)
    h = fabs(A[HS + l])
    least = 1000.0*h*{EPS!r}*N*norm if norm > 0.0 and h > 0.0 else 1.0
    least = least if least < math.inf else 1.0
"""


_DENSE_DIFFERENCES = f"""@_piece
def jacobian(A, l):
{_NORM}    for c in range(N):
        A[G + c*W + l] = A[Y + c*W + l]
    spent = 0.0
    for j in range(N):
        y = A[Y + j*W + l]
        sc = A[ATOL + j*W + l] + A[RTOL + l]*fabs(y)
        d = max({SQRT_EPS!r}*fabs(y), least*sc)
        d = d if d > 1e-300 else {SQRT_EPS!r}
        A[G + j*W + l] = y + d
        d = A[G + j*W + l] - y
        {calls.rhs("A[T + l]", "G", "K1")}
        spent += 1.0
        check = 0.0
        for i in range(N):
            check += 0.0*A[K1 + i*W + l]
        if check != 0.0:
            # the increment left the domain: to the other side
            A[G + j*W + l] = y - d
            d = A[G + j*W + l] - y
            {calls.rhs("A[T + l]", "G", "K1")}
            spent += 1.0
        for i in range(N):
            A[JAC + l*NJAC + i*N + j] = (A[K1 + i*W + l] - A[K0 + i*W + l])/d
        A[G + j*W + l] = y
    return spent


"""


def _differences(st: Structure) -> str:
    """Differences of groups of columns."""
    q = "_ORDER[q]" if st.order is not None else "q"
    i = "_ORDER[i]" if st.order is not None else "i"
    at = "e" if st.factors is not None else place(st, "i", "q")
    return f"""@_piece
def shifted(A, l, g, side):
    # the slope with the group's components moved by side times their increments, into K1; False where it is not finite
    for m in range(_GROUP[g], _GROUP[g + 1]):
        q = _MEMBER[m]
        j = {q}
        A[G + j*W + l] = A[Y + j*W + l] + side*A[INC + q*W + l]
    {calls.rhs("A[T + l]", "G", "K1")}
    check = 0.0
    for i in range(N):
        check += 0.0*A[K1 + i*W + l]
    return check == 0.0


@_piece
def jacobian(A, l):
{_NORM}    for q in range(N):
        j = {q}
        y = A[Y + j*W + l]
        A[G + j*W + l] = y
        sc = A[ATOL + j*W + l] + A[RTOL + l]*fabs(y)
        d = max({SQRT_EPS!r}*fabs(y), least*sc)
        A[INC + q*W + l] = d if d > 1e-300 else {SQRT_EPS!r}
    for k in range(NJAC):
        A[JAC + l*NJAC + k] = 0.0
    spent = 0.0
    for g in range({int(st.groups.max()) + 1}):
        spent += 1.0
        if not shifted(A, l, g, 1.0):
            # the increments left the domain: to the other side
            spent += 1.0
            shifted(A, l, g, -1.0)
        for m in range(_GROUP[g], _GROUP[g + 1]):
            q = _MEMBER[m]
            j = {q}
            d = A[G + j*W + l] - A[Y + j*W + l]
            A[G + j*W + l] = A[Y + j*W + l]
            for e in range(_PTR[q], _PTR[q + 1]):
                i = _ROW[e]
                A[JAC + l*NJAC + {at}] = (A[K1 + {i}*W + l] - A[K0 + {i}*W + l])/d
    return spent


"""
