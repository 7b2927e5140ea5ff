"""What a policy was shown: the statistics that its observations were normalised by, and how a model knows of them.

    seen = clip((observation - mean) / sqrt(var + epsilon), -clip, clip)

Statistics travel as arrays: in the controller file as its normaliser, in a `.npz` by `Statistics.save`, in the model's
own zip by `keep(model)`.  SB3 keeps those of a `VecNormalize` in a pickle beside the model, which loading the model
does not look at; `Statistics.of` takes the numbers out of it without running what it holds.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..integrators.core import options
from ..integrators.core.reading import read_bytes

#: attribute of a model under which `keep` leaves what it knows; SB3's `save` writes it into the zip as JSON
ATTRIBUTE = "stepsmith_observations"
MAX_FILE = 2**22

_FIELDS = ("mean", "var", "epsilon", "clip")


@dataclass(frozen=True, eq=False)
class Statistics:
    """What observations were normalised by.

    mean, var    (n,) float64, finite, var not negative
    epsilon      positive, added to var
    clip         positive, bounds what the policy sees; inf: it is not bounded

    Raises ValueError where they are anything else.
    """

    mean: np.ndarray
    var: np.ndarray
    epsilon: float = 1e-8
    clip: float = 10.0

    def __post_init__(self) -> None:
        for name in ("mean", "var"):
            try:
                v = np.array(getattr(self, name), dtype=np.float64)
            except (TypeError, ValueError):
                raise options.refuse(
                    f"{name} of the observations", "an array of numbers", getattr(self, name)
                ) from None
            if v.ndim != 1 or not v.size or not np.all(np.isfinite(v)) or (name == "var" and np.any(v < 0.0)):
                raise ValueError(
                    f"{name} of the observations must be a vector of finite numbers{', not negative' * (name == 'var')}"
                )
            v.flags.writeable = False
            object.__setattr__(self, name, v)
        if self.mean.shape != self.var.shape:
            raise ValueError(
                f"mean and var of the observations must be equally long, got {len(self.mean)} and {len(self.var)}"
            )
        object.__setattr__(self, "epsilon", options.positive("epsilon of the observations", self.epsilon))
        clip = self.clip
        object.__setattr__(
            self, "clip", np.inf if clip == np.inf else options.positive("clip of the observations", clip)
        )

    @property
    def scale(self) -> np.ndarray:
        """(n,) 1/sqrt(var + epsilon)."""
        return 1.0 / np.sqrt(self.var + self.epsilon)

    def seen(self, observation: Any) -> np.ndarray:
        """What the policy is shown of observations (..., n)."""
        return np.clip(
            (np.asarray(observation, dtype=np.float64) - self.mean) / np.sqrt(self.var + self.epsilon),
            -self.clip,
            self.clip,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write them as a NumPy archive, whose name must end in .npz; returns the path."""
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"a file of statistics must end in .npz, got {options.shown(path.name)}")
        np.savez(path, **{name: getattr(self, name) for name in _FIELDS})
        return path

    @classmethod
    def of(cls, source: Any) -> Statistics | None:
        """Statistics from what holds them; None where that normalises rewards alone.

        source: a VecNormalize, the path of what its `save` wrote or of `Statistics.save`'s .npz, a mapping (mean, var,
        epsilon, clip), or Statistics themselves.  Raises ValueError for anything else, and FileNotFoundError where a
        path leads to nothing.
        """
        if isinstance(source, Statistics):
            return source
        if isinstance(source, (str, os.PathLike)):
            return _read(Path(source))
        if isinstance(source, Mapping):
            options.check_names("statistics of observations", source, _FIELDS)
            if not {"mean", "var"} <= set(source):
                raise ValueError("statistics of observations need mean and var")
            return cls(**source)
        if not hasattr(source, "norm_obs"):
            raise options.refuse(
                "normaliser", "a VecNormalize, the path of its file, or statistics (mean, var)", source
            )
        return _of_fields(source)


def _of_fields(source: Any) -> Statistics | None:
    if not source.norm_obs:
        return None
    rms: Any = getattr(source, "obs_rms", None)
    if not hasattr(rms, "mean") or not hasattr(rms, "var"):
        raise ValueError("the VecNormalize must hold statistics of one vector of observations")
    try:
        count = float(np.asarray(getattr(rms, "count", np.nan), np.float64))
    except (TypeError, ValueError):
        count = np.nan
    # a new one counts 1e-4; statistics that were set by hand are not those it begins with
    if not count >= 1.0 and np.all(np.asarray(rms.mean, float) == 0.0) and np.all(np.asarray(rms.var, float) == 1.0):
        raise ValueError(
            "the VecNormalize has seen no observations, its statistics are those "
            "it begins with: give the one of the training"
        )
    return Statistics(rms.mean, rms.var, source.epsilon, source.clip_obs)


def keep(model: Any, normaliser: Any = None) -> None:
    """Let an SB3 model know what its observations were normalised by: `model.save` keeps it, and an export finds it.

    normaliser: as `Statistics.of` takes it; None: the VecNormalize that the model holds.  ValueError where there is
    none: say `keep(model, False)` for observations as the environment gives them.  Call it when the training is over:
    an export refuses statistics of another number of steps.
    """
    if normaliser is None:
        normaliser = model.get_vec_normalize_env()
        if normaliser is None:
            raise ValueError(
                "the model holds no VecNormalize: give the statistics, or False for observations as they come"
            )
    found = None if normaliser is False else Statistics.of(normaliser)
    kept = (
        None
        if found is None
        else {"mean": found.mean.tolist(), "var": found.var.tolist(), "epsilon": found.epsilon, "clip": found.clip}
    )
    setattr(model, ATTRIBUTE, {"normaliser": kept, "num_timesteps": int(model.num_timesteps)})


#: what reading a file that is damaged, or is none of ours, raises
_DAMAGED = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    ImportError, OverflowError, MemoryError, RecursionError, SystemError,
)  # fmt: skip


def _read(path: Path) -> Statistics | None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    data = read_bytes(path, "file of statistics", MAX_FILE)
    try:
        if data[:2] == b"PK":
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return Statistics.of(
                    {name: arrays[name] if arrays[name].ndim else float(arrays[name]) for name in arrays.files}
                )
        held = _Numbers(io.BytesIO(data)).load()
        if not hasattr(held, "norm_obs"):
            raise ValueError("it holds no VecNormalize")
        return _of_fields(held)
    except _DAMAGED as error:
        raise ValueError(
            f"{path}: not the statistics of a VecNormalize: {' '.join(str(error).split())[:200]}"
        ) from None


class _Inert:
    """Stands for any object of a pickle: holds the state that it would have had, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        state = state[0] if isinstance(state, tuple) and state else state
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Lists are inert too."""


class _Type(_Inert):
    """A NumPy dtype: its name alone, as long as it is one of numbers in this machine's order."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.code = f"<{name}" if name in ("f4", "f8", "i4", "i8") else None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "=", "|"):
            self.code = None


class _Array(_Inert):
    """A NumPy array out of its bytes.

    NumPy's own constructors trust what they are given, and a damaged pickle would crash them.
    """

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            self.value = _numbers(state[4], state[2], state[1])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self.value is None:
            raise ValueError("an array holds no numbers")
        return self.value.astype(dtype or np.float64)


def _numbers(data: Any, kind: Any, shape: Any) -> np.ndarray | None:
    code = getattr(kind, "code", None)
    if code is None or not isinstance(data, (bytes, bytearray)) or not isinstance(shape, tuple):
        return None
    values = np.frombuffer(data, dtype=code)
    return values.copy() if shape in ((len(values),), ()) else None


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, kind: Any, shape: Any, *_: Any) -> _Array:
    array = _Array()
    array.value = _numbers(
        bytes(data) if isinstance(data, (bytes, bytearray, pickle.PickleBuffer)) else None, kind, shape
    )
    return array


def _scalar(kind: Any, data: Any = None) -> Any:
    found = _numbers(data, kind, ())
    return float(found[0]) if found is not None and len(found) == 1 else _Inert()


class _Numbers(pickle.Unpickler):
    """Builds vectors and numbers; of everything else it keeps the state alone and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins for the constructors that arrays need, an inert class for everything else."""
        known = {
            "dtype": _Type,
            "ndarray": _Array,
            "_reconstruct": _reconstruct,
            "_frombuffer": _frombuffer,
            "scalar": _scalar,
        }
        if module.partition(".")[0] == "numpy" and name in known:
            return known[name]
        return type("Inert", (_Inert,), {})
