"""Random bits that are a function of a key and a counter.

The finaliser of SplitMix64 (Steele, Lea & Flood, Fast splittable pseudorandom number generators, OOPSLA 2014) is
applied twice: to the key advanced by the golden ratio, and to that plus the key.  The second round keeps the streams of
two keys apart whose counters happen to overlap.  Numbers do not depend on the order in which they are asked for, nor on
other keys.

Everything is written for signed 64-bit integers that wrap around, which Numba, NumPy arrays and torch tensors share;
`key` and `bits` take scalars in compiled code and int64 arrays elsewhere.  In NumPy, use arrays (of one element where
one number is wanted): NumPy warns of overflow in scalars.
"""

from __future__ import annotations

from typing import Any

# the constants of the finaliser and 2^64 over the golden ratio, as signed integers
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
# what is left of a number that is shifted right by 30, 27, 31 and 12 bits without its sign
_LOW34 = 2**34 - 1
_LOW37 = 2**37 - 1
_LOW33 = 2**33 - 1
_LOW52 = 2**52 - 1
_STEP = 2.0**-52


def mix(x: Any) -> Any:
    """The finaliser: 64 bits whose every bit depends on all bits of x."""
    x = (x ^ ((x >> 30) & _LOW34)) * _FIRST
    x = (x ^ ((x >> 27) & _LOW37)) * _SECOND
    return x ^ ((x >> 31) & _LOW33)


def key(seed: Any, path: Any) -> Any:
    """The key of a path's own stream."""
    return mix(mix(seed * _GOLDEN) + (path + 1) * _GOLDEN)


def bits(own: Any, counter: Any) -> Any:
    """64 random bits, number `counter` of the stream of key `own`."""
    return mix(mix(own + counter * _GOLDEN) + own)


def uniform(word: Any) -> Any:
    """A number strictly between 0 and 1 from 64 random bits: an odd multiple of 2^-53, so 1 - u is exact as well."""
    return (((word >> 12) & _LOW52) + 0.5) * _STEP
