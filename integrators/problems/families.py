"""A family: a distribution of problem instances with everything that a fair comparison fixes in advance.

Work is compared at equal error, so a family's file names its error measure, tolerance grid and band of error
levels before any run; training, validation and test instances come from disjoint random streams.

    error "final":   ||y(t1) - y_ref(t1)|| / ||y_ref(t1)||                       (2-norm over `components`)
    error "grid":    the largest such ratio over the output times: `n_out` equally spaced ones (t0 excluded), or
                     `outputs`
    error "energy":  max |E(t) - E(t0)| / |E(t0)| over the same times
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..core.errors import OptionError
from .problem import Batch, Problem

#: instances of a split that are drawn together
BLOCK = 64
SPLITS = {"train": 0, "validation": 1, "test": 2, "sample": 3}
ERRORS = ("final", "grid", "energy")
LEVELS_PER_DECADE = 8


def tolerance_grid(loose: float, tight: float, count: int = 16) -> tuple[float, ...]:
    """`count` relative tolerances, logarithmically spaced from `loose` down to `tight`."""
    return tuple(float(v) for v in np.geomspace(loose, tight, count))


def early_outputs(first: float, early: int = 32, even: int = 32) -> tuple[float, ...]:
    """Output fractions that see a fast start too: `even` equally spaced ones, before them `early` logarithmically
    spaced from `first`.
    """
    return (
        *(float(v) for v in np.geomspace(first, 1.0 / even, early, endpoint=False)),
        *(k / even for k in range(1, even + 1)),
    )


@dataclass(frozen=True, eq=False)
class Family:
    """A distribution of instances and its protocol.

    name, doc, rhs; n, m: state and parameter dimensions. sampler: `sampler(rng, count) -> Batch`.  published: makes the
    instance of the literature, or None. error: "final", "grid" or "energy"; n_out: output times of the last two (>=
    32).  outputs: these times as fractions of the span, increasing up to 1, where they are not equally spaced (see
    `early_outputs`); () for n_out equally spaced ones. floor: least size that a reference counts as in a relative
    error, where it dies away; 0 for its own size always. tolerances: rtol grid, decreasing, >= 12 values; atol =
    atol_factor * rtol. levels: (lo, hi), the band of error levels.  components: indices of the state that relative
    errors are taken over, or None for all.  method: the default method (rodas5p for stiff families, dopri5 for others).
    tags: search words. etas: grid of the accuracy parameter of the N-body criteria, decreasing; () where there are no
    bodies. from_seeds: `from_seeds(seeds) -> Batch` where the literature numbers instances by seed, else None.
    wanted_error: what results are to have; 0 for the middle of the band.  said: how the protocol was found, in words.
    of_split: `of_split(name) -> sampler` where the splits draw from different things, and not only from different
    streams; the sampler is then that of everyday use.
    stiff: needs an implicit method; instances then carry `jac` and references come from `stiff_reference`. Raises
    ValueError on an inconsistent protocol.
    """

    name: str
    doc: str
    rhs: Callable[..., None]
    n: int
    m: int
    sampler: Callable[[np.random.Generator, int], Batch]
    published: Callable[[], Problem] | None = None
    error: str = "grid"
    n_out: int = 32
    tolerances: tuple[float, ...] = field(default_factory=lambda: tolerance_grid(1e-2, 1e-9))
    atol_factor: float = 1e-3
    levels: tuple[float, float] = (1e-6, 1e-3)
    components: tuple[int, ...] | None = None
    method: str = ""
    tags: tuple[str, ...] = ()
    etas: tuple[float, ...] = ()
    from_seeds: Callable[[Sequence[int]], Batch] | None = None
    stiff: bool = False
    outputs: tuple[float, ...] = ()
    floor: float = 0.0
    wanted_error: float = 0.0
    said: tuple[str, ...] = ()
    of_split: Callable[[str], Callable[[np.random.Generator, int], Batch]] | None = None

    def __post_init__(self) -> None:
        if not self.method:
            object.__setattr__(self, "method", "rodas5p" if self.stiff else "dopri5")
        tol = np.asarray(self.tolerances)
        if self.error not in ERRORS:
            raise ValueError(f"{self.name}: error must be one of {', '.join(ERRORS)}, got {self.error!r}")
        if tol.size < 12 or np.any(tol <= 0) or np.any(np.diff(tol) >= 0):
            raise ValueError(f"{self.name}: tolerances must be at least 12 positive, decreasing values")
        if not 0 < self.levels[0] < self.levels[1]:
            raise ValueError(f"{self.name}: levels must be (lo, hi) with 0 < lo < hi, got {self.levels}")
        if self.error != "final" and (len(self.outputs) if self.outputs else self.n_out) < 32:
            raise ValueError(
                f"{self.name}: n_out must be at least 32, got {len(self.outputs) if self.outputs else self.n_out}"
            )
        if self.outputs and (
            self.error == "final" or np.any(np.diff(self.outputs, prepend=0.0) <= 0) or self.outputs[-1] != 1.0
        ):
            raise ValueError(
                f"{self.name}: outputs must be positive, increasing fractions that end in 1, and not those of a final "
                "error"
            )
        if not 0 <= self.floor < np.inf:
            raise ValueError(f"{self.name}: floor must be a finite number, not negative, got {self.floor}")
        if not 0 <= self.wanted_error < 1:
            raise ValueError(
                f"{self.name}: wanted_error must be in (0, 1), or 0 for the middle of the band, got {self.wanted_error}"
            )
        if not self.atol_factor >= 0:
            raise ValueError(f"{self.name}: atol_factor must not be negative, got {self.atol_factor}")

    @property
    def error_levels(self) -> np.ndarray:
        """Error levels of the band, eight a decade, ascending."""
        lo, hi = np.log10(self.levels)
        return np.logspace(lo, hi, int(round((hi - lo) * LEVELS_PER_DECADE)) + 1)

    @property
    def fractions(self) -> np.ndarray:
        """Output times as fractions of the span: (1.0,) for "final", else `outputs` or n_out equally spaced ones up to
        1.
        """
        if self.outputs:
            return np.array(self.outputs)
        return np.ones(1) if self.error == "final" else np.arange(1, self.n_out + 1) / self.n_out

    @property
    def wanted(self) -> float:
        """The relative error that results are to have: `wanted_error`, or the geometric middle of the levels."""
        return self.wanted_error or float(np.sqrt(self.levels[0] * self.levels[1]))

    @property
    def reference_bound(self) -> float:
        """Largest self error that a reference may have: a hundredth of the smallest error level."""
        return self.levels[0] / 100.0

    def reference(self, batch: Batch) -> Any:
        """`reference.Reference` of `batch` at `fractions` and `reference_bound`; None for "energy", which needs none.

        Stiff families: by `stiff_reference`, others by extrapolation.
        """
        if self.error == "energy":
            return None
        if self.stiff:
            from ..reference.radau import stiff_reference

            return stiff_reference(
                batch, self.fractions, self.reference_bound, self.components, self.atol_factor, floor=self.floor
            )  # fmt: skip
        from ..reference.gbs import reference

        return reference(batch, self.fractions, self.reference_bound, self.components, floor=self.floor)

    def canonical(self) -> Problem:
        """The published instance; where the literature has none, instance 0 of `sample(..., seed=0)`."""
        problem = self.published() if self.published else self.instance(0)
        return replace(problem, family=self.name, validate=False)

    def instance(self, seed: int) -> Problem:
        """One instance by its number."""
        return self.from_seeds([_seed(seed)])[0] if self.from_seeds else self.draw(1, seed)[0]

    def sample(self, rng: np.random.Generator, n: int) -> Batch:
        """`n` instances from a generator that the caller owns."""
        if not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"n must be a non-negative whole number of instances, got {n!r}")
        return self._named(self.sampler(rng, int(n)))

    def draw(self, n: int, seed: int) -> Batch:
        """`n` instances for everyday use, apart from the splits; numbered ones are seed, seed + 1, ..."""
        if self.from_seeds:
            return replace(_plain(self.from_seeds(range(_seed(seed), seed + n))), family=self.name, validate=False)
        return self.sample(np.random.default_rng(np.random.SeedSequence(self._key("sample", seed))), n)

    def split(self, name: str, n: int, seed: int = 0) -> Batch:
        """`n` instances of the "train", "validation" or "test" split: disjoint streams for every seed.

        Instance i does not depend on n: they are drawn in blocks of `BLOCK`, each from a stream of its own.
        """
        if not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"n must be a non-negative whole number of instances, got {n!r}")
        key = self._key(_split(name), seed)
        streams = (np.random.SeedSequence(key, spawn_key=(b,)) for b in range(max(1, -(-int(n) // BLOCK))))
        sampler = self.sampler if self.of_split is None else self.of_split(name)
        each = [self._named(sampler(np.random.default_rng(stream), BLOCK)) for stream in streams]
        y0, p, t0, t1 = (np.concatenate([getattr(one, k) for one in each])[:n] for k in ("y0", "p", "t0", "t1"))
        return replace(each[0], y0=y0, p=p, t0=t0, t1=t1, validate=False)

    def _named(self, batch: Batch) -> Batch:
        return replace(_plain(batch), name=self.name, family=self.name, validate=False)

    def _key(self, split: str, seed: int) -> list[int]:
        return [zlib.crc32(self.name.encode()), SPLITS[split], _seed(seed)]

    def errors(self, batch: Batch, y: Any, y_ref: Any) -> np.ndarray:
        """The family's error of solutions y (B, nt, n) at `fractions`: (B,), +inf where y is not finite.

        y_ref: (B, nt, n) reference, unused (may be None) by "energy".
        """
        y = np.asarray(y, float)
        want = (len(batch), len(self.fractions), self.n)
        if y.shape != want:
            raise ValueError(f"y must have shape {want} (instances, output times, dimension), got {y.shape}")
        with np.errstate(all="ignore"):
            if self.error == "energy":
                e0 = batch.invariant("energy", batch.t0, batch.y0)[:, None]
                error = np.abs(batch.invariant("energy", batch.times(self.fractions), y) - e0) / np.abs(e0)
            else:
                if np.shape(y_ref) != want:
                    raise ValueError(f"y_ref must have shape {want}, got {np.shape(y_ref)}")
                pick = slice(None) if self.components is None else list(self.components)
                ref = np.asarray(y_ref, float)[..., pick]
                error = np.linalg.norm(y[..., pick] - ref, axis=-1) / np.maximum(
                    np.linalg.norm(ref, axis=-1), self.floor
                )
        error = error.max(axis=-1)
        return np.where(np.isfinite(error) & np.isfinite(y).all(axis=(1, 2)), error, np.inf)


def _plain(batch: Batch) -> Batch:
    if batch.mass is not None:
        raise OptionError(
            "the instances of a family have no mass matrix: references, environments and comparisons solve y' = f; "
            "solve and solve_ensemble take one, with an implicit method"
        )
    return batch


def _split(name: str) -> str:
    """`name`, where it is one of the three splits; ValueError otherwise."""
    if name not in ("train", "validation", "test"):
        raise ValueError(f"unknown split {name!r}: train, validation or test")
    return name


def _seed(seed: Any) -> int:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative whole number, got {seed!r}")
    return int(seed)
