"""Classical laws: the formula they share, the published coefficients, and the laws that a tuner found."""

from .coefficients import CONSTANT, CRITERION, LINEAR, SPECS, Coefficient
from .law import Law, restored
from .registry import get, names, register

#: the name by which pickles of earlier versions make a law
_restored = restored

__all__ = ["CONSTANT", "CRITERION", "LINEAR", "SPECS", "Coefficient", "Law", "get", "names", "register"]
