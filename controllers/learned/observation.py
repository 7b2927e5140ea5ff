"""What a learned controller sees: a selection of named, scale-free features (`features`), normalised.

    obs_i = clip((x_i - a_i) c_i, -b, b),    x_i = (clip(raw_i, low_i, high_i) - shift_i) scale_i

A raw feature that is NaN, because a method or a host cannot fill the slot, or because a lag does not exist yet, gives
x_i = 0.  The normaliser (a, c, b) belongs to a policy; it is the identity unless one was trained with running
statistics. `Observation.function` writes the straight-line function that evaluates a selection, to be bound as any
formula.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...integrators.compile.digest import identity
from ...integrators.core import record as rec
from ...integrators.core.contract import N_HEAD
from . import products
from .features import FEATURES, HUGE, NBODY, NEWTON, STIFF, TIER0, TIER1, TIER2, Feature, clipped, normalised

__all__ = [
    "FEATURES", "HUGE", "NBODY", "NEWTON", "OBS_AT", "STIFF", "TIER0", "TIER1", "TIER2", "Feature", "Observation",
    "clipped", "normalised", "slot_names",
]  # fmt: skip

#: first row of the observation in the state of a learned controller
OBS_AT = N_HEAD


@dataclass(frozen=True)
class Observation:
    """An ordered selection of features by name (default: tier 2 for explicit stages); "a*b" is a product of two.

    Raises ValueError for an unknown name (naming the nearest), a repeated one, and an empty selection.
    """

    features: tuple[str, ...] = TIER2
    #: the features as they were when the selection was made: registering another one under a name changes no selection
    chosen: tuple[Feature, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ValueError(f"features must be a sequence of names, got the string {self.features!r}")
        object.__setattr__(self, "features", tuple(self.features))
        chosen = tuple(products.named(name) for name in self.features)
        object.__setattr__(self, "features", tuple(f.name for f in chosen))
        same = [products.same(name) for name in self.features]
        twice = sorted({n for n, s in zip(self.features, same, strict=True) if same.count(s) > 1})
        if twice:
            raise ValueError(f"features are repeated: {', '.join(twice)}")
        if not self.features:
            raise ValueError("an observation needs at least one feature")
        object.__setattr__(self, "chosen", chosen)

    def __setstate__(self, state: dict) -> None:
        """A pickle of an earlier version holds names alone."""
        vars(self).update({"chosen": tuple(products.named(name) for name in state["features"]), **state})

    @classmethod
    def of_tier(cls, tier: int) -> Observation:
        """All features of a tier (0, 1, 2) and those below."""
        if tier not in (0, 1, 2):
            raise ValueError(f"tier must be 0, 1 or 2, got {tier!r}")
        return cls((TIER0, TIER1, TIER2)[tier])

    @property
    def n(self) -> int:
        """Number of features."""
        return len(self.features)

    @property
    def table(self) -> tuple[Feature, ...]:
        """The selected features."""
        return self.chosen

    @property
    def key(self) -> tuple:
        """What is compiled: names, and of a caller's own features what they compute."""
        return tuple(_key(f) for f in self.table)

    @property
    def tier(self) -> int:
        """Highest tier among the features: what a host must offer."""
        return max(f.tier for f in self.table)

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that are read."""
        return frozenset[int]().union(*(f.slots for f in self.table))

    @property
    def low(self) -> np.ndarray:
        """(n,) float64 lower bounds before the normaliser."""
        return np.array([f.bounds[0] for f in self.table])

    @property
    def high(self) -> np.ndarray:
        """(n,) float64 upper bounds before the normaliser."""
        return np.array([f.bounds[1] for f in self.table])

    def function(self, params_at: int, plain: bool = False) -> Callable[..., None]:
        """`features(params, state, record, out)`: writes state[OBS_AT:OBS_AT + n]; `out` is left alone.

        The normaliser stands at params[params_at:]: n shifts, n scales and the common bound.  plain: it is the
        identity, and not applied.
        """
        return _function(self.table, params_at, plain)


def _key(f: Feature) -> object:
    """What of a feature is compiled: its name, and of a caller's own what it computes."""
    if f.factors and f.own:
        return tuple(_key(factor) for factor in f.factors)
    return (f.name, identity(f.fn), f.low, f.high, f.shift, f.scale) if f.own else f.name


# A selection becomes a function of its own, written out line by line: Numba compiles it, for CUDA too, and cannot loop
# over functions that differ.
_HEAD = "def features(params, state, record, out):\n"
_CLIPPED = "    x{i} = clipped(feature{i}(state, record), {low!r}, {high!r}, {shift!r}, {scale!r})\n"
_NORMALISED = "    x{i} = normalised(x{i}, params[{shift_at}], params[{scale_at}], params[{bound_at}])\n"
_WRITTEN = "    state[{row}] = x{i}\n"


@functools.cache
def _function(features: tuple[Feature, ...], at: int, plain: bool) -> Callable[..., None]:
    """`Observation.function` of a selection; the text holds table names and numbers of this file only."""
    n = len(features)
    source = _HEAD
    for i, f in enumerate(features):
        source += _CLIPPED.format(i=i, low=f.low, high=f.high, shift=f.shift, scale=f.scale)
        if not plain:
            source += _NORMALISED.format(i=i, shift_at=at + i, scale_at=at + n + i, bound_at=at + 2 * n)
    # everything is read before anything is written
    source += "".join(_WRITTEN.format(row=OBS_AT + i, i=i) for i in range(n))
    names = {**globals(), **{f"feature{i}": f.fn for i, f in enumerate(features)}}
    exec(compile(source, "<stepsmith observation>", "exec"), names)
    fn = names["features"]
    fn.__doc__ = "Features " + ", ".join(f.name for f in features) + "."
    return fn


def slot_names(slots: frozenset[int]) -> tuple[str, ...]:
    """Names of record slots, in the record's order."""
    return tuple(rec.NAMES[i] for i in sorted(slots))
