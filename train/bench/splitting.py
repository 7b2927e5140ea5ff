"""Which instances a protocol has, and which split each belongs to: functions of the protocol's name and a number alone.

Instance i is drawn by a generator of its own: Philox, a generator that is a function of a key and a counter, with the
key from a hash of the protocol's name and i in the counter.  So it is the same however many instances are drawn.  Its
split follows from a hash of "<protocol>/<i>": six of ten go to "train", two to "validation", two to "test".
"""

from __future__ import annotations

import hashlib

import numpy as np

from ...integrators.problems.families import Family
from ...integrators.problems.problem import Batch

#: shares of the splits, of ten
SHARES = (("train", 6), ("validation", 2), ("test", 2))


def split_of(protocol: str, index: int) -> str:
    """The split of instance `index` of a protocol, by its name ("orbits-v1"): "train", "validation" or "test"."""
    bucket = _number(f"{protocol}/{index}") % sum(share for _, share in SHARES)
    for name, share in SHARES:
        if bucket < share:
            return name
        bucket -= share
    raise AssertionError("the shares cover every bucket")


def generator(protocol: str, index: int) -> np.random.Generator:
    """The generator that instance `index` of a protocol is drawn by."""
    key = _number(f"{protocol}/instances")
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


def drawn(protocol: str, family: Family, index: int) -> Batch:
    """Instance `index` of a protocol, drawn from `family`, as a batch of one."""
    return family.sample(generator(protocol, index), 1)


def _number(text: str) -> int:
    """The first 64 bits of a text's SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
