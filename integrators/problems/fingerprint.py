"""What a family of a caller's own computes, as a short key: files that were made for it say when it has changed."""

from __future__ import annotations

import hashlib

from .families import Family


def fingerprint(family: Family) -> str:
    """Sixteen hexadecimal digits of what the family's right-hand side computes, of two of its instances and of its
    error measure.
    """
    from ..compile.digest import identity

    batch = family.split("validation", 2, 0)
    key = hashlib.sha256(repr((identity(family.rhs), family.error, family.components, family.atol_factor)).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1):
        key.update(array.tobytes())
    return key.hexdigest()[:16]
