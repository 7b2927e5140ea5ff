"""Moved to `stepsmith.integrators.core.record`."""

from .core.moved import forward

__getattr__ = forward(__name__, "integrators.core.record")
