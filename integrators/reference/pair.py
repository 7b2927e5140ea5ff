"""A reference is a pair of runs, one of them looser: what may be asked of it, how far its runs are apart, and how it is
kept on disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..problems.problem import Batch, Problem


class Reference(NamedTuple):
    """y: (B, nt, n) states at the output times; ok: (B,) bool; self_error: (B,) relative distance of two runs."""

    y: np.ndarray
    ok: np.ndarray
    self_error: np.ndarray


def checked(
    batch: Batch | Problem, fractions: Sequence[float] | np.ndarray, bound: float, max_steps: int
) -> tuple[Batch, np.ndarray]:
    """The arguments of `reference` as a batch and an array (nt,). Raises ValueError, naming what is wrong."""
    batch = batch.batch() if isinstance(batch, Problem) else batch
    fractions = np.array(fractions, dtype=np.float64, ndmin=1)
    if fractions.ndim != 1 or fractions.size == 0:
        raise ValueError("fractions must be a non-empty sequence of numbers")
    if not np.all((fractions >= 0) & (fractions <= 1)) or np.any(np.diff(fractions) < 0):
        raise ValueError("fractions must be non-decreasing numbers in 0..1")
    if not bound > 0:
        raise ValueError(f"bound must be positive, got {bound!r}")
    if not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
        raise ValueError(f"max_steps must be a positive whole number, got {max_steps!r}")
    return batch, fractions


def compared(tight: np.ndarray, loose: np.ndarray, pick: Any, bound: float, floor: float = 0.0) -> Reference:
    """Reference `tight` (B, nt, n) with its 2-norm distance from `loose` over the components `pick`, relative to its
    size or, where that is larger, to `floor`; ok up to `bound`.
    """
    with np.errstate(all="ignore"):
        gap, size = np.linalg.norm((tight - loose)[..., pick], axis=-1), np.linalg.norm(tight[..., pick], axis=-1)
        ratio = np.where(gap == 0.0, 0.0, gap / np.maximum(size, floor))
        error = np.max(np.where(np.isfinite(ratio), ratio, np.inf), axis=1)
    return Reference(tight, error <= bound, error)


def chosen(components: Sequence[int] | None, n: int) -> Any:
    """Index of the components that are compared, of n; None: all. Raises ValueError where they are no such indices."""
    if components is None:
        return slice(None)
    pick = np.asarray(components)
    if pick.ndim != 1 or pick.size == 0 or pick.dtype.kind not in "iu" or pick.min() < 0 or pick.max() >= n:
        raise ValueError(f"components must be indices in 0..{n - 1}, got {components!r}")
    return pick


def folder() -> Path:
    """Where references are kept, beside the folder of compiled kernels; made where it is not there."""
    from ..compile.cache import cache_dir

    folder = cache_dir().parent / "references"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def file_of(key: str) -> Path:
    """The file of the pair that `key`, a digest in hexadecimals, stands for."""
    return folder() / f"{key[:32]}.npz"


def load(path: Path | None, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """The stored pair, or None where there is none or the file is damaged (it is then written afresh)."""
    if path is None or not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            pair = file["tight"], file["loose"]
    except Exception:  # a truncated archive raises any of half a dozen types
        return None
    return pair if all(y.shape == shape and y.dtype == np.float64 for y in pair) else None


def store(path: Path | None, tight: np.ndarray, loose: np.ndarray) -> None:
    """Keep the pair in the file `path`, which is whole or not there; None: nowhere."""
    if path is None:
        return
    fd, tmp = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(fd, "wb") as file:
        np.savez(file, tight=tight, loose=loose)
    os.replace(tmp, path)
