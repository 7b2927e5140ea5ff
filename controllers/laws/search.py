"""The general linear law as a vector to search: what a tuner varies, between which bounds, and where it
starts.

Kinds of rules need no switches here: a hard clip is the smooth limiter with 1/kappa = 0, acceptance by
error is a factor threshold that never binds, acceptance by factor an error threshold that hardly binds.
What is not in the vector (floors, what happens after a rejection, ...) comes from a base law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .law import Law
from .registry import get, names

#: coefficient, low, high, scale
_AXES = (
    ("safety", 0.3, 1.3, "log"), ("b1", 0.02, 2.5, "linear"), ("b2", -1.5, 1.0, "linear"),
    ("b3", -1.0, 0.6, "linear"),
    ("a2", -1.2, 1.0, "linear"), ("a3", -1.0, 0.6, "linear"), ("fmin", 0.05, 0.6, "log"),
    ("fmax", 1.2, 30.0, "log"),
    ("kappa", 0.0, 2.0, "inverse"), ("accept_err", 0.3, 1e4, "log"), ("accept_factor", 0.05, 0.95, "log"),
)  # fmt: skip
#: the same for implicit methods: dead band, Newton limiter (its reciprocal; 0: none), when Jacobian and factors are
#: renewed
_IMPLICIT = (
    ("band_lo", 0.6, 1.0, "log"), ("band_hi", 1.0, 2.0, "log"), ("newton_m", 0.0, 1.0, "inverse"),
    ("jac_rate", 1e-5, 1.0, "log"),
    ("lu_keep", 1.0, 2.0, "log"),
)  # fmt: skip


@dataclass(frozen=True)
class SearchSpace:
    """The vectors of a search: names and bounds of their entries, and maps between laws and vectors.

    A vector is float64, one entry a name, every entry within [low, high].  Entries are logarithms of safety, fmin,
    fmax, accept_err, accept_factor, the gains themselves, and 1/kappa (0: hard clip).
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    scales: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def to_vector(self, law: Law) -> np.ndarray:
        """Vector of a linear law; a value outside the bounds is moved to the nearest bound.

        A safety factor inside the error counts as the outside one with the same equilibrium.  Raises
        ValueError for other kinds.
        """
        if law.kind != "linear":
            raise ValueError(f"law {law.name!r} is of kind {law.kind!r}; only linear laws have a vector")
        v = np.empty(len(self.names))
        for i, (name, scale) in enumerate(zip(self.names, self.scales, strict=True)):
            x = law[name]
            if name == "safety":
                x *= law["safety_inside"] ** (law["b1"] + law["b2"] + law["b3"])
            v[i] = _forward(x, scale)
        return np.clip(v, self.low, self.high)

    def from_vector(self, vector: np.ndarray, base: Law | str = "i", name: str = "tuned") -> Law:
        """Law of a vector, with everything that is not in it taken from `base`.

        Raises ValueError if the vector has another length, is not finite or leaves the bounds (by more
        than rounding).
        """
        v = np.asarray(vector, dtype=float)
        if v.shape != (len(self.names),):
            raise ValueError(f"expected a vector of length {len(self.names)}, got shape {v.shape}")
        if not np.all(np.isfinite(v)):
            raise ValueError("the vector is not finite")
        slack = 1e-9 * (self.high - self.low)
        out = (v < self.low - slack) | (v > self.high + slack)
        if out.any():
            i = int(np.argmax(out))
            raise ValueError(f"{self.names[i]}: {v[i]!r} is not in [{self.low[i]:g}, {self.high[i]:g}]")
        base = get(base)
        if base.kind != "linear":
            raise ValueError(f"base law {base.name!r} is of kind {base.kind!r}, not linear")
        v = np.clip(v, self.low, self.high)
        values = {n: _backward(float(x), s) for n, x, s in zip(self.names, v, self.scales, strict=True)}
        values["safety_inside"] = 1.0
        if base["fmax_first"] == base["fmax"]:
            values["fmax_first"] = 0.0
        if base.values.get("reject_b1", 0.0) == 0.0:
            values["reject_b1"] = 0.0  # the law's own b1, whatever that becomes
        law = base.replace(name, **values)
        return Law(law.name, law.kind, law.values, law.rules, f"searched, base {base.name}", "")

    def starts(self) -> dict[str, np.ndarray]:
        """Vector of every published linear law by name."""
        return {name: self.to_vector(get(name)) for name in names("linear")}


def _forward(x: float, scale: str) -> float:
    if scale == "log":
        return math.log(x) if x > 0.0 else -math.inf
    if scale == "inverse":
        return 1.0 / x if x > 0.0 else 0.0
    return x


def _backward(x: float, scale: str) -> float:
    if scale == "log":
        return math.exp(x)
    if scale == "inverse":
        return 1.0 / x if x > 1e-6 else 0.0
    return x


def search_space(implicit: bool = False) -> SearchSpace:
    """The eleven coefficients that a tuner varies; implicit: and the five for methods with Newton's iteration."""
    axes = _AXES + _IMPLICIT if implicit else _AXES
    bounds = [((lo, hi) if s == "inverse" else (_forward(lo, s), _forward(hi, s))) for _, lo, hi, s in axes]
    low, high = (np.array(b) for b in zip(*bounds, strict=True))
    return SearchSpace(tuple(a[0] for a in axes), low, high, tuple(a[3] for a in axes))
