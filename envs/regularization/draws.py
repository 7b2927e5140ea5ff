"""Random numbers that need no generator's state: a hash of where they are used.

    u(key, a, b, ...) = splitmix64(... splitmix64(splitmix64(key) ^ a) ^ b ...) / 2^64

splitmix64 is the finaliser of G. L. Steele, D. Lea, C. H. Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA
2014, as S. Vigna gives it.  All lanes draw at once, and a lane draws the same whatever the others do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def splitmix(x: np.ndarray) -> np.ndarray:
    """splitmix64 of uint64 numbers, element by element."""
    with np.errstate(over="ignore"):
        z = x + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        return z ^ (z >> np.uint64(31))


def hashed(*parts: Any) -> np.ndarray:
    """uint64 of whole numbers or arrays of them, which broadcast together."""
    found = splitmix(np.asarray(parts[0]).astype(np.uint64))
    for part in parts[1:]:
        found = splitmix(found ^ np.asarray(part).astype(np.uint64))
    return found


def uniform(*parts: Any) -> np.ndarray:
    """float64 in [0, 1) of whole numbers or arrays of them, which broadcast together."""
    return (hashed(*parts) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(*parts: Any) -> np.ndarray:
    """Standard normal numbers, by Box and Muller."""
    u, v = uniform(*parts, 1), uniform(*parts, 2)
    return np.sqrt(-2.0 * np.log1p(-u)) * np.cos(2.0 * np.pi * v)
