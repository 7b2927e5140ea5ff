"""The `Method` of a tableau of a kind that solves linear systems: how its kernel is made is all that the kinds differ
in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..compile import digest
from ..core import record
from ..problems import mass, sparsity
from .method import COMMON, LINEAR_ALGEBRA, NEWTON, Method


def implicit(
    tableau: Any, doc: str, source: str, make: Callable, newton: bool, law: str, factor_pairs: bool = False
) -> Method:
    """make: `make(tableau, source, slots)`, the kernel's parts.  newton: it iterates, and reports how.  law: the
    name of its own one.
    """

    def parts(source: Any, slots: frozenset[int]) -> Any:
        return make(tableau, source, slots)

    fills = (
        COMMON
        | LINEAR_ALGEBRA
        | {record.ERR, record.ORDER, record.YNORM, record.ENORM}
        | (NEWTON if newton else frozenset())
    )
    return Method(
        tableau.name, doc, source, tableau.order, tableau.embedded_order, tableau.dense_order, fills, parts, key,
        implicit=True,
        factor_pairs=factor_pairs,
        law=law,
        mass=True,
    )  # fmt: skip


def key(source: Any) -> tuple:
    """What tells kernels apart: the functions, where the Jacobian may be non-zero, and the mass matrix."""
    own = digest.identity(source.rhs), digest.identity(source.jac), sparsity.key(source.sparsity)
    return own if source.mass is None else (*own, mass.key(source.mass))
