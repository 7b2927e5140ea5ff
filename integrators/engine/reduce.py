"""What is kept of each trajectory of an ensemble, and an ensemble in chunks: `output=`, `chunk=`.

The states at many times of a million trajectories do not fit into memory, and a study seldom wants them: it wants the
largest value, the time of an event, a mean.  A reducer makes that of one chunk of trajectories after the other, so that
only one chunk's states are held at a time.  A trajectory depends on nothing but itself, so chunks change no result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..core import options
from ..core.errors import OptionError, refuse, shown
from ..kernels import layout
from .ensemble_solution import EnsembleSolution, EnsembleStats

#: names that `output` takes
OUTPUTS = ("final", "t_eval", "max", "min")
#: bytes that the outputs of an automatic chunk take at most, unless one trajectory's are more
CHUNK_BYTES = 2**28
#: an automatic chunk is a multiple of this where it can be, so that blocks of lanes are full
ROUND = 256

Reducer = Callable[[EnsembleSolution], Any]
#: solves trajectories first..last-1
Part = Callable[[int, int], EnsembleSolution]


@dataclasses.dataclass(frozen=True)
class Kept:
    """reducer: what makes `EnsembleSolution.output` of a chunk's solution, or None.  evaluates: whether the states at
    t_eval are computed.
    """

    reducer: Reducer | None = None
    evaluates: bool = True


_AS_ASKED = Kept()


def _largest(sol: EnsembleSolution) -> np.ndarray:
    assert sol.y_eval is not None
    return sol.y_eval.max(axis=1)


def _smallest(sol: EnsembleSolution) -> np.ndarray:
    assert sol.y_eval is not None
    return sol.y_eval.min(axis=1)


def kept(output: Any, t_eval: Any) -> Kept:
    """What `output` asks for; OptionError for what is none of `OUTPUTS`, None or a function, and where it needs times
    in t_eval and has none.
    """
    if output is None:
        return _AS_ASKED
    if callable(output):
        return Kept(output)
    if not isinstance(output, str):
        names = ", ".join(repr(name) for name in OUTPUTS)
        raise refuse("output", f"one of {names}, or a function of a chunk's EnsembleSolution", output)
    options.choice("output", output, OUTPUTS)
    if output == "final":
        return Kept(evaluates=False)
    if t_eval is None or (output != "t_eval" and np.size(t_eval) == 0):
        raise OptionError(f"output={output!r} is taken over the times in t_eval: give t_eval, (k,) or (B, k)")
    return Kept({"max": _largest, "min": _smallest}.get(output))


def chunk_size(chunk: Any, what: Kept, count: int, numbers: int) -> int:
    """Trajectories in a chunk, at least 1.

    chunk: the caller's, or None: all of `count` where nothing is reduced (then everything is held in any case), else as
    many as fit into `CHUNK_BYTES`, of which a trajectory takes `numbers` float64.
    """
    if options.count("chunk", chunk, none=True) is not None:
        return int(chunk)
    if what.reducer is None:
        return max(count, 1)
    size = max(CHUNK_BYTES // (8 * (numbers + layout.N_STATS)), 1)
    return size - size % ROUND if size > ROUND else size


def in_chunks(part: Part, count: int, size: int, what: Kept, t_eval: np.ndarray | None) -> EnsembleSolution:
    """The solution of trajectories 0..count-1, `size` of them at a time.  t_eval: the times of all of them."""
    reducer = what.reducer
    if size >= count:
        sol = part(0, count)
        if reducer is None:
            return sol
        return dataclasses.replace(sol, y_eval=None, output=_row(None, reducer, sol, 0, count))
    whole: dict[str, np.ndarray | None] = {}
    wall, scale = 0.0, 1.0
    for lo in range(0, count, size):
        sol = part(lo, min(lo + size, count))
        wall, scale = wall + sol.stats.wall_s, sol.tolerance_scale
        for name, value in _columns(sol, reducer is None):
            whole[name] = _put(whole.get(name), value, lo, count)
        if reducer is not None:
            whole["output"] = _row(whole.get("output"), reducer, sol, lo, count)
        del sol  # before the next chunk's outputs are made
    counts: dict[str, Any] = {name: whole.pop(name) for name in _COUNTS}
    stats = EnsembleStats(wall_s=wall, **counts)
    return EnsembleSolution(stats=stats, t_eval=t_eval, tolerance_scale=scale, **whole)  # type: ignore[arg-type]


_COUNTS = tuple(f.name for f in dataclasses.fields(EnsembleStats) if f.name != "wall_s")


def _columns(sol: EnsembleSolution, evaluated: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of a chunk whose first axis is its trajectories, by name."""
    for name in ("t", "y", "status", "h_next", *(("y_eval",) if evaluated and sol.y_eval is not None else ())):
        yield name, getattr(sol, name)
    if sol.method is not None:
        yield "method", sol.method
    for name in _COUNTS:
        yield name, getattr(sol.stats, name)


def _put(whole: np.ndarray | None, value: np.ndarray, lo: int, count: int) -> np.ndarray:
    """`whole`, (count, ...), with `value` at rows lo...; made where it is None, and of a wider dtype where `value`'s
    needs one.
    """
    if whole is None:
        whole = np.empty((count, *value.shape[1:]), value.dtype)
    elif whole.dtype != value.dtype:
        whole = whole.astype(np.result_type(whole, value), copy=False)
    whole[lo : lo + len(value)] = value
    return whole


def _row(whole: np.ndarray | None, reducer: Reducer, sol: EnsembleSolution, lo: int, count: int) -> np.ndarray:
    """`whole` with what the reducer makes of the trajectories from `lo` on, copied: a view would keep their outputs."""
    size = len(sol.status)
    if size == 0 and reducer not in (_largest, _smallest):  # nothing to call a caller's function with
        return np.empty(0)
    made = reducer(sol)
    takes = f"an array whose first axis is the chunk's trajectories, here {size}"
    try:
        value = np.asarray(made)
    except Exception:  # ragged, or an object that refuses to become an array
        raise OptionError(f"output must return {takes}, got {shown(made)}") from None
    if value.ndim == 0 or value.dtype.kind not in "fiubc":
        raise OptionError(f"output must return {takes}, got {shown(made)}")
    if len(value) != size:
        raise OptionError(f"output must return {takes}, got shape {value.shape}")
    if whole is not None and whole.shape[1:] != value.shape[1:]:
        raise OptionError(
            f"output must return arrays of one shape for every trajectory, got {whole.shape[1:]} before trajectory "
            f"{lo} and {value.shape[1:]} from there on"
        )
    return _put(whole, value, lo, count)
