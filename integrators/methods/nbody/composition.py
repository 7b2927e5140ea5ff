"""Symmetric compositions of leapfrog for second-order systems (the equations: `kernels.nbody.composition`)."""

from __future__ import annotations

from typing import Any

from ...compile import digest
from ...core import record
from ..method import COMMON, Method


def composition(name: str, order: int, doc: str, source: str) -> Method:
    """Method of the composition that the kernel knows as `name`; it has no error estimate."""

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ...kernels.nbody.composition import composition_parts

        return composition_parts(source, slots, name)

    def key(source: Any) -> tuple:
        return source.nbody, digest.identity(source.accel)

    fills = COMMON | {record.TAU_AMUSE}
    return Method(name, doc, source, order, 0, order, fills, parts, key, ("cpu", "cuda"), "accel", law="")
