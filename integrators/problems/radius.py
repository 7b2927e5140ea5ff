"""The spectral radius of df/dy as a problem gives it: the largest modulus of an eigenvalue, unit 1/time.

Stabilised explicit methods (`methods.stabilised`) choose their stages by it.  It is a bound from above: a number that
holds along the whole trajectory, or a function of the state, written like an event (`styles`):

    def radius(t, y, p):
        return 4.0*p[0]*len(y)**2

A number is a constant of the compiled code; what varies from problem to problem belongs in p.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import OptionError, shown


def checked(value: Any) -> Any:
    """`spectral_radius` of a Problem as it is kept: None, a float, or the function; OptionError for anything else, and
    for a number that is negative or not finite.
    """
    if value is None or callable(value):
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise OptionError(f"spectral_radius must be a number, a function (t, y, p) or None, got {shown(value)}")
    number = float(value)
    if not (number >= 0.0 and math.isfinite(number)):
        raise OptionError(f"spectral_radius must be a finite number, at least 0, got {shown(value)}")
    return number


def key(value: Any) -> Any:
    """What tells kernels of problems with a checked `spectral_radius` apart: hashable."""
    from ..compile import digest

    return digest.identity(value) if callable(value) else value
