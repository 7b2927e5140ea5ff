"""Moved to `stepsmith.integrators.core.names`."""

from .core.moved import forward

__getattr__ = forward(__name__, "integrators.core.names")
