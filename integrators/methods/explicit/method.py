"""The `Method` of an embedded explicit Runge-Kutta pair."""

from __future__ import annotations

from typing import Any

from ...compile import digest
from ...core import record
from ..method import COMMON, DEVICES, Method
from .tableau import ExplicitTableau


def explicit(tableau: ExplicitTableau, doc: str = "", source: str = "", own: bool = False) -> Method:
    """Method of a tableau.  own: a caller's, whose name stands for nothing: its coefficients tell its kernels apart."""
    what = (tableau.key,) if own else ()

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.build import explicit_parts

        return explicit_parts(tableau, source.rhs, source.n, slots)

    def key(source: Any) -> tuple:
        return digest.identity(source.rhs), *what

    fills = COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM}
    if tableau.fsal:
        fills |= {record.CURV}  # others do not know the slope at the step's end yet
    if tableau.last_pair is not None:
        fills |= {record.HS}
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
        DEVICES,
        tableau=tableau,
    )
