"""Source of what methods do with a mass matrix M (`problems.mass`): M y' = f(t, y).

Where M is the identity, nothing of this is in a kernel: texts are changed when they are put together.  Products with M
stand in the sums of Rosenbrock methods and in the residuals of Newton's iterations (Hairer & Wanner II, IV.7, IV.8,
VI.3), and E = shift M - J is what is factored.

Increments of differences are sqrt(eps s_j max_k s_k), at most s_j/1000, with the sizes s = |y| + atol/rtol (MATLAB's
numjac has them too; L. F. Shampine, M. W. Reichelt, SIAM J. Sci. Comput. 18 (1997) 1).  A small component may stand
beside large ones in an algebraic equation, as in y_1 + y_2 + y_3 = 1: rounding there and curvature in the component
itself are then equally harmful.  Those of CVODE count on the shift, which hides what is lost in differential equations.

At the start (`pieces.mass`) a state that does not satisfy the algebraic equations ends the lane: Newton's correction
that leaves M y as it is may be no larger than half the tolerance.  ESDIRK methods need the slope there, for their first
stage is explicit; later on it is the last stage's increment over the step, as it is without M.
"""

from __future__ import annotations

from collections.abc import Mapping
from re import DOTALL, sub, subn

import numpy as np

from ...problems import mass as masses
from ...problems.sparsity import Structure
from ..layout import HIGH_INDEX, INCONSISTENT
from ..pieces import mass
from ..templates import constants, text
from .jacobian import EPS, SQRT_EPS, place, table

WRITTEN = 16  # entries up to which products are written out

#: what stands in the texts of `linear` and `sparse_linear` where shift I - J is put together, and what takes its place
_ASSEMBLY = {
    "        @LUF(j, j) += shift\n": """        for e in range(_MPTR[j], _MPTR[j + 1]):
            i = _MROW[e]
            @LUF(i, j) += shift*_MVAL[e]
""",
    "        @CRE(j, j) += re\n        @CIM(j, j) = im\n": """        for e in range(_MPTR[j], _MPTR[j + 1]):
            i = _MROW[e]
            @CRE(i, j) += re*_MVAL[e]
            @CIM(i, j) += im*_MVAL[e]
""",
}
_ASSEMBLY_SPARSE = {
    "        A[B + j] += shift\n": """        for e in range(_MPTR[j], _MPTR[j + 1]):
            A[B + _MROW[e]] += shift*_MVAL[e]
""",
    """        A[B + j] += re
        A[C + j] = im
        top = fabs(A[B + j]) + fabs(im)
""": """        for e in range(_MPTR[j], _MPTR[j + 1]):
            A[B + _MROW[e]] += re*_MVAL[e]
            A[C + _MROW[e]] += im*_MVAL[e]
        top = fabs(A[B + j]) + fabs(A[C + j])
""",
}


def edited(source: str, changes: Mapping[str, str]) -> str:
    """`source` with each key, which stands in it once, replaced by its value."""
    for old, new in changes.items():
        if source.count(old) != 1:
            raise ValueError(f"a kernel's text holds {source.count(old)} times, not once: {old!r}")
        source = source.replace(old, new)
    return source


def assembled(source: str, pair: bool, sparse: bool) -> str:
    """Texts of `factor`, and for a pair of `factor_complex`, with shift M - J in place of shift I - J."""
    changes = list((_ASSEMBLY_SPARSE if sparse else _ASSEMBLY).items())
    return edited(source, dict(changes[: 2 if pair else 1]))


def wider_differences(source: str) -> str:
    """The text of `jacobian` by differences with the increments above."""
    size = "fabs(A[Y + c*W + l]) + A[ATOL + c*W + l]/A[RTOL + l]"
    largest = f"    top = 0.0\n    for c in range(N):\n        top = max(top, {size})\n"
    changed, count = subn(r"    norm = 0\.0\n.*?    least = least [^\n]*\n", largest, source, flags=DOTALL)
    if count != 1:
        raise ValueError("the text of the increments has changed")
    return edited(changed, {
        f"        d = max({SQRT_EPS!r}*fabs(y), least*sc)\n": f"""        sc = sc/A[RTOL + l]
        d = min({SQRT_EPS!r}*sqrt(sc*top), 1e-3*sc)
""",
    })  # fmt: skip


def mass_source(value: np.ndarray, st: Structure) -> str:
    """Tables of M by columns, in the order of the factored matrix, and `mass_times(A, l, row, to)`: M times the row
    (n) into the row `to`, another one; for a singular M `null_part(A, l, row, to)`, P times the row, and
    `algebraic(A, l)`: JAC becomes -c P J; returns c, NaN where J is not finite.
    """
    own = masses.analysed(value)
    columns = own.matrix.reordered(st.order).transposed()
    out = "import numpy as _np\n" + table("_MPTR", columns.ptr) + table("_MROW", columns.column)
    out += _floats("_MVAL", columns.value) + "\n\n" + _product("mass_times", own.matrix)
    if not own.singular:
        return out + constants(SINGULAR=False, null_part=None, algebraic=None)
    null = own.null.reordered(st.order)
    out += constants(SINGULAR=True) + _product("null_part", own.null)
    out += table("_PP", null.ptr) + table("_PC", null.column) + _floats("_PV", null.value) + "\n\n"
    return out + _algebraic(st, float(np.abs(own.matrix.value).max()))


def _floats(name: str, values: np.ndarray) -> str:
    return f"{name} = _np.array({values.tolist()!r}, dtype=_np.float64)\n"


def _product(name: str, rows: masses.Rows) -> str:
    """`name(A, l, row, to)`: a matrix times a row (n) of the block, in the order of the components."""
    n = len(rows.ptr) - 1
    if max(len(rows.value), n) <= WRITTEN:
        out = f"@_inline\ndef {name}(A, l, row, to):\n"
        for i in range(n):
            terms = [
                f"{float(rows.value[e])!r}*A[row + {rows.column[e]}*W + l]" for e in range(rows.ptr[i], rows.ptr[i + 1])
            ]
            out += f"    A[to + {i}*W + l] = {' + '.join(terms) or '0.0'}\n"
        return out + "\n\n"
    tables = table(f"_{name}_ptr", rows.ptr) + table(f"_{name}_col", rows.column) + _floats(f"_{name}_val", rows.value)
    return f"""{tables}

@_piece
def {name}(A, l, row, to):
    for i in range(N):
        total = 0.0
        for e in range(_{name}_ptr[i], _{name}_ptr[i + 1]):
            total += _{name}_val[e]*A[row + _{name}_col[e]*W + l]
        A[to + i*W + l] = total


"""


def _algebraic(st: Structure, largest: float) -> str:
    if st.factors is not None:
        rows, i, at = "range(_PTR[j], _PTR[j + 1])", "_ROW[e]", "e"
    else:
        first, last = ("0", "N") if st.dense else (f"max(0, j - {st.upper})", f"min(N, j + {st.lower + 1})")
        rows, i, at = f"range({first}, {last})", "e", place(st, "e", "j")
    cell = f"A[JAC + l*NJAC + {at}]"
    return f"""@_piece
def algebraic(A, l):
    B = TMP + l*N
    top = 0.0
    check = 0.0
    for j in range(N):
        for k in range(N):
            A[B + k] = 0.0
        for e in {rows}:
            A[B + {i}] = {cell}
        for e in {rows}:
            total = 0.0
            for q in range(_PP[{i}], _PP[{i} + 1]):
                total += _PV[q]*A[B + _PC[q]]
            {cell} = -total
            top = max(top, fabs(total))
            check += 0.0*total
    if check != 0.0:
        return math.nan
    c = {largest!r}/top if top > 0.0 else 1.0
    for k in range(NJAC):
        A[JAC + l*NJAC + k] *= c
    return c


"""


def start_source(order: float, rows: tuple[tuple[str, str], ...], slope: bool, moving: bool) -> str:
    """`start(A)` (see `pieces.mass`).

    order: the exponent is 1/order.  rows: (row, expression) of what a lane just loaded has.  slope: K0 is to hold y',
    and not f(t, y).  moving: the right-hand side reads the time.
    """
    own = {"START_ORDER": order, "NEEDS_SLOPE": slope, "INCONSISTENT": INCONSISTENT, "HIGH_INDEX": HIGH_INDEX}
    lines = "".join(f"    A[{name} + l] = {value}\n" for name, value in rows)
    return constants(**own, MOVING=moving, EPS=EPS) + f"\n\n@_piece\ndef start_rows(A, l):\n{lines}\n\n" + text(mass)


def radau_text(source: str) -> str:
    """The texts of `pieces.radau` with products with M."""
    take = "".join(f"            w{i} = A[WS + ({i}*N + c)*W + l]\n" for i in range(3))
    take = sub(r"\(0\*N \+ c\)", "c", sub(r"\(1\*N", "(N", take))
    head = "        iterations += 1.0\n"
    spread = head + "        for i in range(3):\n            mass_times(A, l, WS + i*N*W, MS + i*N*W)\n"
    before, after = source.split(head)
    if take not in after:
        raise ValueError("the text of Radau's residuals has changed")
    after = after.replace(take, take.replace("A[WS", "A[MS"), 1)
    return edited(before + spread + after, {
        """        A[K2 + c*W + l] = A[start + c*W + l] + z/h
""": """        A[K2 + c*W + l] = z/h
    mass_times(A, l, K2, MS)
    for c in range(N):
        A[K2 + c*W + l] = A[start + c*W + l] + A[MS + c*W + l]
""",
    })  # fmt: skip


def esdirk_text(source: str) -> str:
    """The texts of `pieces.esdirk` with products with M."""
    return edited(source, {
        """            for c in range(N):
                A[K2 + c*W + l] = (A[K2 + c*W + l] - A[ZS + (i*N + c)*W + l]/h)*INV_GAMMA
""": """            mass_times(A, l, ZS + i*N*W, MS)
            for c in range(N):
                A[K2 + c*W + l] = (A[K2 + c*W + l] - A[MS + c*W + l]/h)*INV_GAMMA
""",
    })  # fmt: skip
