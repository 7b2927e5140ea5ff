"""Solvers that other people wrote (hosts): what an adapter for one promises, and the test that it keeps it."""

from .conformance import Difference, Log, check, recorded, reference
from .contract import Adapter, Make, at_scale

__all__ = ["Adapter", "Difference", "Log", "Make", "at_scale", "check", "recorded", "reference"]
