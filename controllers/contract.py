"""Moved to `stepsmith.integrators.core.contract`."""

from ..integrators.core.moved import forward

__getattr__ = forward(__name__, "integrators.core.contract")
