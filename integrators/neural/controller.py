"""Moved to `stepsmith.integrators.core.runner`."""

from ..core.moved import forward

__getattr__ = forward(__name__, "integrators.core.runner", {"LaneController": "Runner"})
