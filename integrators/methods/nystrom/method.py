"""The `Method` of an explicit Runge-Kutta-Nystrom pair."""

from __future__ import annotations

from typing import Any

from ...compile import digest
from ...core import record
from ..method import COMMON, Method
from .tableau import NystromTableau


def nystrom(tableau: NystromTableau, doc: str, source: str) -> Method:
    """Method of a tableau, for problems with accelerations (`accel`) and N-body problems."""

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.nystrom import nystrom_parts

        return nystrom_parts(tableau, source, slots)

    def key(source: Any) -> tuple:
        return source.nbody, digest.identity(source.rhs), digest.identity(source.accel)

    fills = COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM}
    if tableau.fsal:
        fills |= {record.CURV}  # others do not know the slope at the step's end yet
    return Method(
        tableau.name,
        doc,
        source,
        tableau.order,
        tableau.embedded_order,
        tableau.dense_order,
        fills,
        parts,
        key,
        ("cpu", "cuda"),
        "both",
    )
