"""Source of one trial step of the numerical differentiation formulas, a lane at a time (the formulas:
`methods.multistep.bdf`).

The history is the last values, at whatever sizes they came with, so a step may have any size: a controller may change
it at every attempt.  It pays to leave it alone, for the matrix is factored anew where h over the leading coefficient
has changed; a law with a dead band (`multistep`) does.  Under KEEP_LU the factors stand, and increments are multiplied
as in `newton`.  LU_SHIFT is the log of h/a_k, with the order k of the next step, over that of the factors.

Order.  A step of order k that passes its test, E_k <= 1, and follows k or more accepted ones of this order, compares
the factors E_j^(-1/(j + 1)) of j = k - 1, k, k + 1, and the largest one's order j comes next.  The record's ERR and
ORDER are then E_j and j + 1, so that any law answers with the size that suits the next order.  (E_j <= E_k^((j + 1)/
(k + 1)) <= 1: what passes at its own order passes the law's test.)  A rejected step reports E_k and k + 1, and is
repeated with order k - 1 where that one's factor is the larger.

A fresh start has order 1 and, in the place of the value before, the one on the tangent.  So has what follows RESTART
rejections in a row: the history then looks back over a change of the right-hand side.

Jacobian and factors are kept by the flags (`newton`).  Without a word about J it is evaluated anew where the last
attempt's rate exceeded KEEP, which is larger than in one-step methods, for a step costs few evaluations; and it is
evaluated at t_n and w(t_n), where the attempt leads.  Newton's stopping rule is that of `kernels.esdirk`, but for its
limit: kappa = max(10 eps/rtol, KAPPA), at most 4 iterations.
"""

from __future__ import annotations

from typing import Any

from ...core import contract, record
from ...methods.multistep.bdf import NdfFormulas
from ..pieces import bdf, bdf_newton, multistep, newton
from ..templates import constants, text
from .linear import Algebra
from .newton import ROWS, newton_start

MOST = 4  # Newton iterations
KAPPA = 0.03  # what Newton's iteration may leave, over the tolerance
KEEP = 0.3  # worst rate at which a Jacobian is kept
RESTART = 4.0  # rejections in a row after which the history is dropped

#: pieces of the attempt; `carry`, `marks` and dense output stand elsewhere
ATTEMPT = (
    multistep.nodes, multistep.basis, multistep.weight, multistep.score, newton.scale, bdf.history, bdf.predict,
    bdf_newton.correct, bdf_newton.jacobian_ahead, bdf_newton.linearise, bdf_newton.converge, bdf.constant,
    bdf.estimate, multistep.choose, bdf.attempt_lane, newton.attempt,
)  # fmt: skip


class _Start:
    """The first size is chosen for order 1."""

    embedded_order = 1


def bdf_parts(formulas: NdfFormulas, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n, most = source.n, formulas.order
    values = lags = most + 1
    algebra = Algebra(source, slope=False)  # K0 holds the slope at a fresh start only
    single = (*ROWS, "GS", "ORD", "AFTER", "AGAIN", "POINTS", "HELD", "FAILS")
    vectors = (("YS", values * n), ("PREDICTED", n), ("SLOPE", n), ("EC", n))
    for name, count in (*((name, 1) for name in single), ("PAST", lags), ("XI", lags + 1), ("WT", lags + 1), *vectors):
        algebra.add(name, count)
    refresh, keep = int(contract.REFRESH_JACOBIAN), int(contract.KEEP_JACOBIAN)
    lines = algebra.lines + constants(
        LEADING=(0.0, *(float(formulas.leading(k)) for k in range(1, most + 1))),
        CONSTANTS=(0.0, *(float(formulas.error(k)) for k in range(1, most + 1))),
        MOST_ORDER=most,
        KEPT=values,
        LAGS=lags,
        RESTART=RESTART,
        NEEDS=2.0,
        WAITS=(0.0, *(float(k) for k in range(1, most + 1))),
        MOST=MOST,
        KAPPA=KAPPA,
        KEEP=KEEP,
        REFRESH=refresh,
        KEEP_OR_REFRESH=refresh | keep,
        STAND=int(contract.KEEP_LU),
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    attempt = lines + "\n\n" + algebra.source() + text(*ATTEMPT)
    fresh = (("ORD", "1.0"), ("AFTER", "1.0"), ("AGAIN", "1.0"), ("POINTS", "1.0"), ("HELD", "0.0"), ("FAILS", "0.0"))
    start = newton_start(_Start(), source, fresh)
    return Parts(
        attempt, start, text(bdf.prepare_dense, bdf.dense), text(bdf.carry), 3, algebra.rows, algebra.objects, True,
        algebra.together, text(multistep.turn, bdf.marks), degree=most,
    )  # fmt: skip
