"""Template of the environments' counter-based generator, SplitMix64 (Steele, Lea & Flood, Fast splittable pseudorandom
number generators, OOPSLA 2014): the finaliser `mix` of a key advanced by the golden ratio.
"""

from __future__ import annotations

import numpy as np

from ..slots import inline

U30 = np.uint64(30)
U27 = np.uint64(27)
U31 = np.uint64(31)
U11 = np.uint64(11)
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
#: 2^-53: from the upper 53 bits to a number in [0, 1)
LAST_BIT = 1.1102230246251565e-16


@inline
def mix(x):
    """The finaliser: 64 bits whose every bit depends on all bits of x."""
    x = (x ^ (x >> U30)) * FIRST_FACTOR
    x = (x ^ (x >> U27)) * SECOND_FACTOR
    return x ^ (x >> U31)


@inline
def fraction(z):
    """A number in [0, 1) of 64 random bits."""
    return float(z >> U11)*LAST_BIT


@inline
def uniform(key, episode, draw):
    """Number `draw` (0 or 1) in [0, 1) of an episode, by its own counter: the same whatever other lanes do."""
    return fraction(mix(key + GOLDEN*(np.uint64(episode)*np.uint64(2) + np.uint64(draw) + np.uint64(1))))
