"""Source of one trial step of Radau IIA of order 5 by simplified Newton, a lane at a time (the equations:
`tableaus.radau5`).

Newton's stopping rule is that of `kernels.esdirk`, over all three stages at once, at most 7 iterations; starting values
come from the last step's collocation polynomial. J and the factors (one real matrix, one complex) are kept by the same
rules (`newton`). The error estimate is filtered a second time, with f(t, y + err), after a rejection and on the first
step, where it is 1 or more (RADAU5); with factors of another size h_lu it is off by a factor between 2/(1 + h_lu/h) and
its h_lu/h-fold.
"""

from __future__ import annotations

from typing import Any

from ...core import record
from ...methods.radau.radau5 import RadauTableau
from ..pieces import radau
from ..templates import constants, text
from . import mass
from .linear import Algebra
from .newton import ROWS, dense_source, newton_source, newton_start, numbers

MOST = 7  # Newton iterations

#: the pieces of the attempt; `carry` stands with those of `commit`
ATTEMPT = (radau.starting_values, radau.stages, radau.estimate, radau.attempt_lane)


def radau_parts(tableau: RadauTableau, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n = source.n
    algebra = Algebra(source, pair=True)
    vectors = (("ZS", 3 * n), ("ZP", 3 * n), ("WS", 3 * n), ("FS", 3 * n))
    for name, count in (*((name, 1) for name in (*ROWS, "TF")), *vectors):
        algebra.add(name, count)
    gamma, alpha, beta = tableau.eigenvalues
    lines = algebra.lines + constants(
        GAMMA=gamma,
        ALPHA=alpha,
        BETA=beta,
        NODES=numbers(tableau.C),
        WEIGHTS=numbers(tableau.E),
        TO_Z=numbers(tableau.T),
        TO_W=numbers(tableau.TI),
        POLYNOMIAL=numbers(tableau.P),
        MOST=MOST,
        ORDER=float(tableau.embedded_order + 1),
        WANTS_ENORM=record.ENORM in slots,
        WANTS_YNORM=record.YNORM in slots,
    )
    steps = text(*ATTEMPT) if source.mass is None else mass.radau_text(text(*ATTEMPT))
    attempt = lines + "\n\n" + algebra.source() + newton_source(gamma, (alpha, beta)) + steps
    # the slope of a lane just loaded is the start's
    start = newton_start(tableau, source, (("TF", "A[T + l]"),))
    own = (text(radau.carry), 3, algebra.rows, algebra.objects, True, algebra.together)
    return Parts(attempt, start, dense_source(tableau.D), *own, degree=tableau.D.shape[1] + 1)
