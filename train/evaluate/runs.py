"""What was measured of one controller on one family, and which measures of work there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .curves import Array

#: clocks: seconds of ensembles with their lanes busy, and of solves one at a time
CLOCKS = ("wall", "single")
#: work measures: f-evaluations, f-evaluations with linear algebra at its cost, and the clocks
MEASURES = ("nfev", "work", *CLOCKS)
#: what a controller is in a comparison
KINDS = ("learned", "tuned", "classical", "host", "constant", "oracle")
#: kinds that the headline may be against: a host's default and a constant step are easy to beat, and the oracle is no
#: controller
DENOMINATOR_KINDS = ("tuned", "classical")


@dataclass(frozen=True)
class Runs:
    """Everything measured of one controller on one family.

    name         of the controller
    err          (B, T) error of every instance at every tolerance; a failed run is inf (NaN is read as failed)
    work         by measure, (B, T), finite and positive, failed runs included: "nfev" always; "work" the weighted work
                 (absent: there is no linear algebra, so it is "nfev"); "wall" seconds, (B, T) or (T,) totals of one
                 batch run a tolerance, which are then spread over the instances in proportion to their f-evaluations;
                 "single" seconds of solves one at a time
    tol          (T,) tolerance, constant step or accuracy parameter of the runs, for the slope
    attempts     (B, T) how many attempts were made
    rejected     (B, T) how many of them were rejected
    kind         one of `KINDS`
    instances    (B,) numbers of the instances, default 0..B-1; an oracle may stand on some of them only
    rounds       by clock ("wall", "single"), (R, T) seconds of every round of timing over those in `work`; without it
                 intervals of the clock leave the noise of timing out

    Raises ValueError naming the controller and the array.
    """

    name: str
    err: Array
    work: Mapping[str, Array]
    tol: Array | None = None
    attempts: Array | None = None
    rejected: Array | None = None
    kind: str = "classical"
    instances: NDArray[np.int64] | None = None
    rounds: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def fail(what: str) -> ValueError:
            return ValueError(f"runs of {self.name!r}: {what}")

        if self.kind not in KINDS:
            raise fail(f"unknown kind {self.kind!r}; one of {', '.join(KINDS)}")
        err = np.array(self.err, dtype=float)
        if err.ndim != 2 or err.size == 0:
            raise fail(f"err must be (instances, tolerances) and not empty, got shape {err.shape}")
        err[np.isnan(err)] = np.inf
        if (err < 0).any():
            raise fail("err holds negative values")
        unknown = set(self.work) - set(MEASURES)
        if unknown or "nfev" not in self.work:
            raise fail(
                f"work needs 'nfev' and knows {', '.join(MEASURES)}; got {', '.join(self.work) or 'nothing'}"
            )
        work = {k: np.array(v, dtype=float) for k, v in self.work.items()}
        work.setdefault("work", work["nfev"])
        for k, v in work.items():
            if k == "wall" and v.shape == err.shape[1:]:
                work[k] = v = v * work["nfev"] / work["nfev"].sum(axis=0)
            if v.shape != err.shape:
                raise fail(f"work[{k!r}] has shape {v.shape}, err has {err.shape}")
            if not (np.isfinite(v) & (v > 0)).all():
                raise fail(f"work[{k!r}] must be finite and positive")
        for k in ("attempts", "rejected"):
            v = getattr(self, k)
            if v is not None and np.shape(v) != err.shape:
                raise fail(f"{k} has shape {np.shape(v)}, err has {err.shape}")
        rounds = {k: np.array(v, dtype=float) for k, v in self.rounds.items()}
        for k, v in rounds.items():
            if k not in CLOCKS or k not in work:
                raise fail(f"rounds of {k!r}, of which there is no clock; clocks are {', '.join(CLOCKS)}")
            if v.ndim != 2 or v.shape[1:] != err.shape[1:] or not (np.isfinite(v) & (v > 0)).all():
                raise fail(f"rounds[{k!r}] must be (rounds, tolerances), finite and positive, got shape {v.shape}")
        if self.tol is not None:
            tol = np.array(self.tol, dtype=float)
            if tol.shape != err.shape[1:] or not (np.isfinite(tol) & (tol > 0)).all():
                raise fail(f"tol must be {err.shape[1]} positive numbers, got {self.tol!r}")
            object.__setattr__(self, "tol", tol)
        ids = np.arange(len(err)) if self.instances is None else np.array(self.instances, dtype=np.int64)
        if ids.shape != (len(err),) or len(np.unique(ids)) != len(ids):
            raise fail(f"instances must be {len(err)} distinct numbers")
        object.__setattr__(self, "err", err)
        object.__setattr__(self, "work", work)
        object.__setattr__(self, "rounds", rounds)
        object.__setattr__(self, "instances", ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Numbers of the instances, shape (B,)."""
        assert self.instances is not None  # filled in by __post_init__
        return self.instances

    @property
    def failures(self) -> int:
        return int(np.isinf(self.err).sum())

    @property
    def rejected_share(self) -> float:
        """Rejected attempts over all attempts, NaN where they were not counted."""
        if self.attempts is None or self.rejected is None:
            return math.nan
        total = float(np.sum(self.attempts))
        return float(np.sum(self.rejected)) / total if total > 0 else math.nan

    def part(self, ids: NDArray[np.int64]) -> Runs:
        """The runs on the instances of these numbers alone; ValueError where one is missing."""
        rows = np.flatnonzero(np.isin(self.ids, ids))
        if len(rows) != len(ids):
            raise ValueError(f"runs of {self.name!r}: not all instances of {list(ids)} are there")

        def some(v: Array | None) -> Array | None:
            return None if v is None else v[rows]

        work = {k: v[rows] for k, v in self.work.items()}
        return Runs(
            self.name, self.err[rows], work, self.tol, some(self.attempts), some(self.rejected), self.kind,
            self.ids[rows], self.rounds,
        )  # fmt: skip

    def common(self, other: Runs) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of this and of the other that hold the same instances."""
        here = np.flatnonzero(np.isin(self.ids, other.ids))
        order = np.argsort(other.ids)
        there = order[np.searchsorted(other.ids[order], self.ids[here])]
        if here.size == 0:
            raise ValueError(f"{self.name!r} and {other.name!r} share no instance")
        return here, there
