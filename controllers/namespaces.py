"""Moved to `stepsmith.integrators.core.namespaces`."""

from ..integrators.core.moved import forward

__getattr__ = forward(__name__, "integrators.core.namespaces")
