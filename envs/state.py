"""Saving and restoring a batch core: everything that decides the future of its lanes, as a dictionary of NumPy arrays.

    rows              (lanes, rows of the kernel's block) float64: a lane's integration, its pending attempt, the
                      controller's state and the episode.
    keys, episodes    (lanes,): a lane's generator.
    obs, final_obs, reward, terminated, truncated, stats
                      the buffers as the last call left them.
    settings          what may change between steps (the constraint's multiplier).
    started           (1,) bool.
    about             what the state belongs to, JSON as uint8.
    computed          sums over what was computed for the pool.
    check             CRC-32 of all these arrays.

A state holds lanes, not blocks: a lane of a single environment may go on in a vector environment, and lanes may be
copied onto others. From the same state the same actions give the same numbers to the last bit, whichever lane they are
in.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..integrators.core import options

VERSION = 2
BUFFERS = ("keys", "episodes", "obs", "final_obs", "reward", "terminated", "truncated", "stats")
#: how far sums over references, baseline and costs may differ: machines round differently, other pools differ by more
SAME = 1e-4

GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")  # NumPy's

State = dict[str, np.ndarray]


def digest(*things: Any) -> str:
    """Short name of arrays and plain data, for what a state must agree in."""
    h = hashlib.sha256()
    for thing in things:
        h.update(np.ascontiguousarray(thing).tobytes() if isinstance(thing, np.ndarray) else repr(thing).encode())
        h.update(b"|")
    return h.hexdigest()[:16]


def total(values: np.ndarray) -> float:
    """Sum of the sizes of the finite entries."""
    values = np.abs(np.asarray(values, dtype=np.float64))
    return float(values[np.isfinite(values)].sum())


def packed(data: Any) -> np.ndarray:
    """Plain data as an array of bytes."""
    return np.frombuffer(json.dumps(data, sort_keys=True, default=lambda x: x.tolist()).encode(), np.uint8).copy()


def checksum(state: Mapping[str, Any]) -> int:
    """CRC-32 of everything that a core restores."""
    crc = 0
    for name in ("computed", "settings", "started", "rows", *BUFFERS):
        crc = zlib.crc32(np.ascontiguousarray(state[name]).tobytes(), crc)
    return crc


def unpacked(name: str, array: Any) -> Any:
    """Plain data from `packed`."""
    try:
        return json.loads(np.asarray(array, np.uint8).tobytes())
    except (ValueError, TypeError) as error:
        raise options.OptionError(f"state: {name!r} is damaged ({type(error).__name__})") from None


class Stateful(ABC):
    """What `Core` and `PaperCore` share: `get_state`, `set_state`, pickling and copying.

    A subclass has the buffers, `_blocks`, `kernel`, `_started`, `settings_view`, `reset`; `_made`, the keywords of its
    constructor; and the hooks `_about()`, `_computed()`.  recipe: (function, arguments, keywords) that builds the like
    of it in another process, where there is one: `make_core` leaves it.
    """

    recipe: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = None
    lanes: int
    kernel: Any
    _made: dict[str, Any]
    _blocks: np.ndarray
    _started: bool
    _said: tuple[np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def _about(self) -> dict[str, Any]:
        """What a state belongs to, as plain data: a state with other data is refused."""

    @abstractmethod
    def _computed(self) -> dict[str, float]:
        """Sums over what was computed for the pool, by what they are of: they must agree up to `SAME`."""

    @property
    @abstractmethod
    def settings_view(self) -> np.ndarray:
        """What may change between steps, as a view."""

    @abstractmethod
    def reset(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Start a new episode in the lanes of `mask` (None: all); returns the observations, a view of `obs`."""

    def _identity(self) -> tuple[np.ndarray, np.ndarray]:
        if self._said is None:
            layout = self.kernel.layout
            about = {
                "core": type(self).__name__,
                "version": VERSION,
                "rows": digest(sorted(layout.rows.items()), layout.count),
            }
            self._said = packed({**about, **self._about()}), np.array(list(self._computed().values()))
        return self._said

    def _pick(self, lanes: Any) -> np.ndarray:
        picked = np.arange(self.lanes) if lanes is None else np.atleast_1d(np.asarray(lanes))
        if picked.dtype.kind not in "iu" or picked.ndim != 1 or picked.size == 0:
            raise options.refuse("indices", f"lanes by number, 0 to {self.lanes - 1}, or None for all", lanes)
        if picked.min() < -self.lanes or picked.max() >= self.lanes:
            raise options.refuse("indices", f"lanes by number, 0 to {self.lanes - 1}, or None for all", lanes)
        picked = picked.astype(np.int64) % self.lanes
        if len(np.unique(picked)) != picked.size:
            raise options.refuse("indices", "lanes by number, each once", lanes)
        return picked

    def _places(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, step = self.kernel.layout.places()
        return (at // self.kernel.width)[:, None], first + step * (at % self.kernel.width)[:, None]

    def get_state(self, indices: Any = None) -> State:
        """State of all lanes, or of those of `indices` (whole numbers): copies, for `set_state` of this core or of one
        like it."""
        at = self._pick(indices)
        rows = self._blocks[self._places(at)]
        about, computed = self._identity()
        state = {
            "about": about.copy(), "computed": computed.copy(), "settings": self.settings_view.copy(),
            "started": np.array([self._started]), "rows": rows, **{name: getattr(self, name)[at] for name in BUFFERS},
        }
        return {**state, "check": np.array([checksum(state)], np.uint32)}

    def set_state(self, state: Mapping[str, Any], indices: Any = None) -> None:
        """Go on from `state`: bit for bit what followed, or would have followed, the `get_state` that gave it.

        indices: the lanes to overwrite (None: all); `state` then holds as many lanes, in this order, or one, which is
        copied to each: they share its generator too, so that the same actions give the same future.  Nothing is changed
        where ValueError is raised: the state is damaged, or of a core with another family, method, decision, pool,
        reward or autoreset mode.
        """
        at = self._pick(indices)
        found = self._checked(state, at, indices is not None)
        started = bool(found["started"][0])
        if not self._started and started:
            self.reset()  # lanes that pad the last block
        self._blocks[self._places(at)] = found["rows"]
        for name in BUFFERS:
            getattr(self, name)[at] = found[name]
        self.settings_view[:] = found["settings"]
        self._started = started

    def _checked(self, state: Mapping[str, Any], at: np.ndarray, part: bool) -> State:
        if not isinstance(state, Mapping):
            raise options.refuse("state", "what get_state() returned", state)
        about, computed = self._identity()
        missing = [k for k in ("about", "computed", "settings", "started", "rows", "check", *BUFFERS) if k not in state]
        if missing:
            raise options.OptionError(
                f"state must be what get_state() returned, but {', '.join(map(repr, missing))} is missing from it"
            )
        theirs, ours = unpacked("about", state["about"]), unpacked("about", about)
        if not isinstance(theirs, dict) or theirs != ours:
            theirs = theirs if isinstance(theirs, dict) else {}
            other = [k for k in ours if theirs.get(k) != ours[k]] or sorted(theirs.keys() - ours.keys())
            told = ", ".join(
                f"{k} {options.shown(theirs.get(k))} instead of {options.shown(ours.get(k))}" for k in other
            )
            raise options.OptionError(f"state belongs to another environment: it has {told}")
        found: State = {}
        count = len(np.atleast_2d(np.asarray(state["rows"])))
        if count != at.size and not (part and count == 1):
            want = f"{at.size} lanes" if at.size > 1 else "one lane"
            raise options.OptionError(f"state must hold {want}{' or one' if part and at.size > 1 else ''}, got {count}")
        layout = self.kernel.layout
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "computed": (computed.shape, np.float64), "settings": (self.settings_view.shape, np.float64),
            "started": ((1,), np.bool_), "check": ((1,), np.uint32), "rows": ((count, layout.count), np.float64),
        }
        for name in BUFFERS:
            own = getattr(self, name)
            shapes[name] = ((count, *own.shape[1:]), own.dtype)
        for name, (shape, dtype) in shapes.items():
            value = np.asarray(state[name])
            if value.shape != shape or value.dtype != dtype:
                raise options.OptionError(
                    f"state: {name!r} must be {np.dtype(dtype).name} of shape {shape}, got {value.dtype} of shape "
                    f"{value.shape}"
                )
            found[name] = value
        for name, a, b in zip(self._computed(), found["computed"], computed, strict=True):
            if not abs(a - b) <= SAME * max(abs(a), abs(b)):
                raise options.OptionError(
                    f"state belongs to another environment: its {name} differ from those computed here"
                )
        if part and self._made.get("in_turn"):
            raise options.OptionError(
                "indices cannot be given where lanes play instances in turn: which comes next depends on the lane"
            )
        if part and not (self._started and found["started"][0]):
            raise options.OptionError("indices need an environment, and a state, whose reset() has been called")
        if part and not np.array_equal(found["settings"], self.settings_view):
            raise options.OptionError(
                f"state was saved with lagrange {found['settings'].tolist()}, which is one number for all lanes"
            )
        if checksum(found) != int(found["check"][0]):
            raise options.OptionError("state is damaged: its arrays do not have their checksum")
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        if self.recipe is None:
            return _rebuild, (type(self), (), self._made), self.get_state()
        return _rebuild, self.recipe, self.get_state()

    def __setstate__(self, state: State) -> None:
        self.set_state(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A core of its own that shares pool, decision and kernel, which nothing changes."""
        new = type(self)(**self._made)
        new.recipe = self.recipe
        new.set_state(self.get_state())
        memo[id(self)] = new
        return new


def _rebuild(make: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return make(*args, **keywords)


def own_state(face: Any) -> State:
    """What a face keeps beside its core: whether its lanes have keys, and its own generator where it has one."""
    found: State = {"keyed": np.array([face._keyed])}
    rng = getattr(face, "_np_random", None)
    if rng is not None:
        found["generator"] = packed({"state": rng.bit_generator.state, "seed": getattr(face, "_np_random_seed", None)})
    return found


def set_face(face: Any, state: Mapping[str, Any], indices: Any = None) -> None:
    """Restore a face's core and, where all lanes are meant, what `own_state` saved of it; what is not in `state`, which
    may be a lane of another face, is left alone."""
    generator = seed = None
    if indices is None and isinstance(state, Mapping) and "generator" in state:
        try:
            kept = unpacked("generator", state["generator"])
            seed, found = kept["seed"], kept["state"]
            bits = getattr(np.random, options.choice("generator", found["bit_generator"], GENERATORS))()
            bits.state = found
        except (KeyError, ValueError, TypeError) as error:
            raise options.OptionError(f"state: 'generator' is damaged ({error})") from None
        generator = np.random.Generator(bits)
    keyed = np.asarray(state.get("keyed", False) if isinstance(state, Mapping) else False)
    if keyed.dtype != np.bool_ or keyed.size != 1:
        raise options.OptionError(f"state: 'keyed' must be one bool, got {keyed.dtype} of shape {keyed.shape}")
    face.core.set_state(state, indices)
    if indices is None:
        face._keyed = bool(np.asarray(state.get("keyed", state["started"])).all())
        if generator is not None:
            face._np_random, face._np_random_seed = generator, seed
