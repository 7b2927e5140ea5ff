"""The `Method` of an ESDIRK method."""

from __future__ import annotations

from typing import Any

from ..implicit import implicit
from ..method import Method


def esdirk(tableau: Any, doc: str, source: str) -> Method:
    """Method of a tableau.  Its law is that of radau5.f, which knows of Newton iterations and of factors to be kept."""

    def make(tableau: Any, source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.implicit.esdirk import esdirk_parts

        return esdirk_parts(tableau, source, slots)

    return implicit(tableau, doc, source, make, newton=True, law="radau5")
