"""Solvers that other people wrote (hosts): what an adapter for one promises, and the test that it keeps it."""

from .conformance import Difference, Log, check, recorded, reference
from .contract import Adapter, Make

__all__ = ["Adapter", "Difference", "Log", "Make", "check", "recorded", "reference"]
