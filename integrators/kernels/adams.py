"""Source of one trial step of an Adams method, a lane at a time (the formulas: `methods.multistep.adams`).

The history is the last slopes, at whatever sizes they came with.  K0 is the slope at the attempt's start; an attempt
that follows an accepted step evaluates it first (row READY says whether it is there, and only `start` and `commit`
change it, so an attempt may be repeated).  A step costs two evaluations, a repeated attempt one.

Integrals of polynomials of degree up to 13 are exact with Gauss's formula of 7 nodes; its terms have one sign, so
nothing cancels.

Order and record: as in `implicit.bdf`, j being the order of the predictor, but the order may change after half as many
steps: the polynomials are exact on unequal steps, and a start has far to rise.  RESTART rejections in a row drop the
history but for the slope at the start.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import record
from ..methods.multistep.adams import AdamsFormulas
from .pieces import adams, multistep
from .start import start_source
from .templates import constants, text

RESTART = 4.0  # rejections in a row after which the history is dropped

ATTEMPT = (
    multistep.nodes, multistep.basis, multistep.weight, multistep.score, adams.moment, adams.integrals, adams.constant,
    adams.estimate, multistep.choose, adams.attempt_lane, adams.attempt,
)  # fmt: skip


class _Start:
    """The first size is chosen for order 1."""

    embedded_order = 1


def adams_parts(formulas: AdamsFormulas, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from .build import Parts

    n, most = source.n, formulas.most
    lags = most + 1
    single = ("READY", "ORD", "AFTER", "AGAIN", "POINTS", "HELD", "FAILS")
    rows = (*((name, 1) for name in single), ("PAST", lags), ("XI", lags + 1), ("WT", lags + 1), ("FP", most * n))
    lines, count = "", 0
    for name, size in rows:
        lines += f"{name} = X + {count}*W\n"
        count += size
    x, w = np.polynomial.legendre.leggauss(7)
    lines += constants(
        MOST_ORDER=most,
        KEPT=most,
        LAGS=lags,
        RESTART=RESTART,
        NEEDS=1.0,
        WAITS=(0.0, *(float((k + 1)//2) for k in range(1, most + 1))),
        GAUSS_X=tuple(float(v) for v in 0.5 * (x + 1.0)),
        GAUSS_W=tuple(float(v) for v in 0.5 * w),
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    fresh = {"READY": 1.0, "ORD": 1.0, "AFTER": 1.0, "AGAIN": 1.0, "POINTS": 1.0, "HELD": 0.0, "FAILS": 0.0}
    marks = "".join(f"A[{name} + l] = where(fresh, {value!r}, A[{name} + l])\n" for name, value in fresh.items())
    return Parts(
        lines + "\n\n" + text(*ATTEMPT), start_source(_Start(), n, marks), text(adams.prepare_dense, adams.dense),
        text(adams.carry), 3, count, {"rhs": source.rhs}, marks=text(multistep.turn, adams.marks),
        degree=most + 1,
    )  # fmt: skip
