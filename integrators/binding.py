"""Moved to `stepsmith.integrators.core.binding`."""

from .core.moved import forward

__getattr__ = forward(__name__, "integrators.core.binding")
