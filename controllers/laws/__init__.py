"""Classical laws: the formula they share, the published coefficients, and the laws that a tuner found."""

from .law import CONSTANT, CRITERION, LINEAR, SPECS, Coefficient, Law
from .registry import get, names, register

__all__ = ["CONSTANT", "CRITERION", "LINEAR", "SPECS", "Coefficient", "Law", "get", "names", "register"]
