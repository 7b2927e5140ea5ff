"""Classical laws: the formula they share, the published coefficients, and the laws that a tuner found."""

from .coefficients import CONSTANT, CRITERION, LINEAR, SPECS, Coefficient
from .law import Law
from .registry import get, names, register

__all__ = ["CONSTANT", "CRITERION", "LINEAR", "SPECS", "Coefficient", "Law", "get", "names", "register"]
