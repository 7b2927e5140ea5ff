"""Hermite's scheme of order 4 for bodies that attract each other, evaluated once or twice a step (see
`kernels.nbody.hermite`).
"""

from __future__ import annotations

from typing import Any

from ...core import record
from ..method import COMMON, TIME_SCALES, Method

_SOURCE = "J. Makino, S. Aarseth, PASJ 44 (1992) 141"


def _hermite(name: str, doc: str, again: bool) -> Method:
    """again: the force is evaluated once more at the corrected state."""

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.nbody.hermite import hermite_parts

        return hermite_parts(source, slots, again)

    fills = COMMON | TIME_SCALES | {record.ERR, record.ORDER, record.CURV, record.YNORM, record.ENORM}
    return Method(
        name, doc, _SOURCE, 4, 3, 4, fills, parts, lambda source: (source.nbody,), ("cpu", "cuda"), "accel", law="pi34"
    )


PECE = _hermite("hermite4", "Hermite, predict-evaluate-correct-evaluate, N bodies", True)
PEC = _hermite("hermite4_pec", "Hermite, predict-evaluate-correct, N bodies", False)
