"""The `Method` of a linearly implicit Rosenbrock method."""

from __future__ import annotations

from typing import Any

from ..implicit import implicit
from ..method import Method


def rosenbrock(tableau: Any, doc: str, source: str) -> Method:
    """Method of a tableau.  Its law is that of Hairer and Wanner's code for this kind, rodas.f."""

    def make(tableau: Any, source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.implicit.rosenbrock import rosenbrock_parts

        return rosenbrock_parts(tableau, source, slots)

    return implicit(tableau, doc, source, make, newton=False, law="rodas")
