"""Source of one trial step of an ESDIRK method by simplified Newton, a lane at a time (the equations:
`tableaus.esdirk`).

Newton for a stage's increment z, with ||.|| the weighted rms norm, sc = atol + rtol |y| (see `newton.SCALE`), and theta
= ||d_k||/||d_(k-1)||: converged when theta/(1 - theta) ||d_k|| <= kappa, kappa = max(10 eps/rtol, min(.03,
sqrt(rtol))); given up when theta >= 1, or when the rest of the iterations would not get there at this rate (RADAU5,
Hairer & Wanner II, IV.8).  The first iteration judges by the last stage's theta/(1 - theta), to the power .8.

When J and its factors are renewed: `newton`.  The last stage's slope z_s/h is the next step's first.
"""

from __future__ import annotations

from typing import Any

from ...core import record
from ...methods.esdirk.tableau import EsdirkTableau
from ..pieces import esdirk, fsal
from ..templates import constants, text
from . import mass
from .linear import Algebra
from .newton import ROWS, dense_source, newton_source, newton_start, numbers

MOST = 10  # Newton iterations a stage


def esdirk_parts(tableau: EsdirkTableau, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n = source.n
    algebra = Algebra(source, slope=False)  # the last stage's slope is only about that at (t, y)
    for name, count in (*((name, 1) for name in ROWS), ("ZS", tableau.stages * n)):
        algebra.add(name, count)
    lines = algebra.lines + constants(
        GAMMA=tableau.gamma_float,
        INV_GAMMA=1.0 / tableau.gamma_float,
        NODES=numbers(tableau.C),
        BELOW=numbers(tableau.A),
        PREDICTORS=numbers(tableau.predictors),
        WEIGHTS=numbers(tableau.E),
        STAGES=tableau.stages,
        MOST=MOST,
        ORDER=float(tableau.embedded_order + 1),
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    steps = text(esdirk) if source.mass is None else mass.esdirk_text(text(esdirk))
    attempt = lines + "\n\n" + algebra.source() + newton_source(1.0 / tableau.gamma_float) + steps
    carry = "K_END = K1\n\n\n" + text(fsal.carry)
    start = newton_start(tableau, source, slope=True)
    return Parts(
        attempt, start, dense_source(tableau.D), carry, 3, algebra.rows, algebra.objects, True, algebra.together,
        degree=tableau.D.shape[1] + 1,
    )  # fmt: skip
