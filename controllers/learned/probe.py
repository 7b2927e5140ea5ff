"""Which slots of the attempt record a caller's feature reads, found by evaluating it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...integrators.core import record as rec
from ...integrators.core.contract import N_HEAD
from ...integrators.core.errors import OptionError


class _Probe(list):
    """A record that notes which slots are read."""

    def __init__(self, size: int) -> None:
        super().__init__([np.ones(1)] * size)
        self.read: set[int] = set()

    def __getitem__(self, i: Any) -> Any:
        self.read.add(i)
        return super().__getitem__(i)


def slots_read(fn: Callable) -> frozenset[int]:
    """The record slots that a feature reads; it is branch-free, so one evaluation shows them all.

    OptionError where it does not give a number.
    """
    probe = _Probe(rec.N_RECORD)
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(fn([np.zeros(1)] * N_HEAD, probe), dtype=np.float64)
    except Exception as error:
        raise OptionError(
            f"fn must be a function of state and record that gives a number: {type(error).__name__}: {error}"
        ) from None
    if found.size != 1:
        raise OptionError(f"fn must be a function of state and record that gives a number, got shape {found.shape}")
    return frozenset(probe.read)
