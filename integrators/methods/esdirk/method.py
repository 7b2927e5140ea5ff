"""The `Method` of an ESDIRK method."""

from __future__ import annotations

from typing import Any

from ..implicit import implicit
from ..method import Method


def esdirk(tableau: Any, doc: str, source: str) -> Method:
    """Method of a tableau."""

    def make(tableau: Any, source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.implicit.esdirk import esdirk_parts

        return esdirk_parts(tableau, source, slots)

    return implicit(tableau, doc, source, make, newton=True)
