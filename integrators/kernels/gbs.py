"""Source of one attempt of Gragg-Bulirsch-Stoer extrapolation (the formulas: `methods.extrapolation.gbs`).

K0 is the slope at the attempt's start, which is evaluated when an attempt begins, as that of Runge-Kutta methods that
are not FSAL is (`explicit`); K2 is the one at its end, which dense output evaluates.

An attempt aims at a column k and ends in column k - 1, k or k + 1, in the first one whose error is at most 1.  The
first step, and one that was shortened to land, may end in any column.  It is given up where errors grow from column to
column, and where the error of column k - 1 or k says that column k + 1 will not do: by ODEX's rule, which reckons with
substeps alone, and by how the errors have fallen so far.  (By ODEX's rule alone a step that grows fast, of a small
column, is given up again and again where tolerances are tight.)

Stability.  Where stability holds the steps |T_(c,c) - T_(c,c-1)| is not to be relied on: on y' = L y it has zeros at
real negative z = H L where T_(c,c) multiplies y by far more than 1 (3 columns: by 123, z = -9; 8: by 292, z = -11.7),
and a law that looks for the largest size finds them.  What the smoothing step changes in row c, d_c = T_(c,1) - y_n,
tells.  It is about (H/n)^2 (y''(t + H) - y''(t))/4, and falls as 1/c^2 from row to row.  But the midpoint rule's second
solution, which a stable step keeps small, grows with z, and has no zeros.  So where |d_c| is more than 4/c^2 |d_1| the
error of column c is |d_c|/12 at least.  This is ODEX's stability check in another form, at no evaluations as well;
that one compares slopes in the first row with the slope at the start, so that it sees an error only where its slope is
as large as the solution's own, and rejects at rest.

Order and record: after a step that has passed the next column is chosen by its work, and ERR and ORDER are the error of
that column (at most 1, for the step has passed) and 2 k - 1.  Where it is one more than have been computed, ERR is
predicted: by err_(k+1) = err_k (err_k/err_(k-1)) (n_k/n_(k+1))^2, for of analytic problems the errors of columns fall
like a power of H over the substeps of all rows.  A rejected attempt reports the column that the next one aims at, and
the error of its own last one where that is larger.
"""

from __future__ import annotations

from typing import Any

from ..core import record
from ..methods.extrapolation.gbs import Extrapolation
from .pieces import gbs, gbs_dense, gbs_order, not_fsal
from .start import start_source
from .templates import constants, text


class _Start:
    """The first size is chosen for an order in the middle."""

    embedded_order = 7


ORDER = (
    gbs_order.first_column, gbs_order.error_of, gbs_order.work, gbs_order.next_column, gbs_order.report,
    gbs_order.fall, gbs_order.given_up, gbs_order.beyond, gbs_order.passed, gbs_order.failed,
    gbs_order.believed, gbs_order.judge,
)  # fmt: skip
SCALARS = ("READY", "AHEAD", "ORD", "AFTER", "AGAIN", "FAILS", "NEW", "HJ", "LIVE", "COL", "ROUGH", "FIRST_ROUGH")
FRESH = {"READY": 1.0, "AHEAD": 0.0, "ORD": 0.0, "FAILS": 0.0, "NEW": 1.0}


def gbs_parts(formulas: Extrapolation, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from .build import Parts

    n, most = source.n, formulas.most
    terms = 2*most - 1
    groups = (("ERRS", most + 1), ("PA", n), ("PB", n), ("TAB", most*n), ("FS", (4*most - 1)*n), ("DC", terms*n))
    lines, count = "", 0
    for name, size in (*((name, 1) for name in SCALARS), *groups):
        lines += f"{name} = X + {count}*W\n"
        count += size
    lines += "K_END = K2\n" + constants(
        COLUMNS=most,
        SUBSTEPS=(0, *formulas.substeps),
        COST=tuple(float(formulas.cost(c)) for c in range(most + 1)),
        COEF=tuple(float(formulas.weight(c, r)) for c in range(most + 1) for r in range(most)),
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    marks = "".join(f"A[{name} + l] = where(fresh, {value!r}, A[{name} + l])\n" for name, value in FRESH.items())
    return Parts(
        lines + "\n\n" + text(*ORDER, gbs), start_source(_Start(), n, marks), text(not_fsal.end_is_known, gbs_dense),
        text(not_fsal.carry), 3, count, {"rhs": source.rhs}, marks=text(gbs_order.marks), degree=terms + 3,
    )  # fmt: skip
