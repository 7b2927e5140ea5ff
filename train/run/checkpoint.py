"""Checkpoints: a tree of plain data and arrays in one .npz file, without a pickle; the last two are kept.

A checkpoint holds numbers and text alone: reading one that somebody sent runs no code.  Every member of the file has
its checksum (a .npz is a zip archive), so what is damaged is noticed, and the one before it taken.  Trees: dict, list,
tuple, None, bool, int, float, str, NumPy arrays and numbers, torch tensors; an array that stands in several places
stands there again when it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .runfiles import RunError, plain, put, say

FORMAT = "stepsmith checkpoint"
VERSION = 1
#: what earlier versions left, and is not read any more: pickles, which run code when they are read
PICKLES = ("checkpoint.pickle", "checkpoint.zip")


def digest(config: dict[str, Any]) -> str:
    """Short name of a config: a checkpoint belongs to the run that wrote it."""
    return hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The file `name` in a run folder, and the one before it, `<stem>.previous<suffix>`.

    run            what the file must say that it belongs to (`digest`)
    write, read    of another format: `write(file, state)`, and `read(path)`, which raises what it likes where the file
                   is not whole
    """

    def __init__(
        self,
        folder: Path,
        run: str = "",
        name: str = "checkpoint.npz",
        write: Callable[[BinaryIO, Any], None] | None = None,
        read: Callable[[Path], Any] | None = None,
    ) -> None:
        self.folder, self.path = folder, folder / name
        self.previous = self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}")
        self._write = write or (lambda f, state: write_tree(f, state, run))
        self._read = read or (lambda path: read_tree(path, run))

    def save(self, state: Any) -> None:
        """Write a state; the one before it stays."""
        put(self.path, lambda f: self._write(f, state), self.previous)

    def load(self) -> Any:
        """The last state; where that is damaged the one before it, which is said; None where nothing was saved yet.

        RunError where there are files and none of them is whole, or an earlier version's is there.
        """
        wrong = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = self._read(path)
            except Exception as error:
                told = " ".join(str(error).split())[:160] or type(error).__name__
                wrong.append(f"{path.name}: {told}")
                continue
            if path is self.previous:
                say(
                    f"{self.path} is {'damaged' if wrong else 'missing'}: the run goes "
                    f"on from the checkpoint before it, {path.name}"
                )
            return state
        if wrong:
            raise RunError(
                f"{self.folder}: no checkpoint is whole ({'; '.join(wrong)}): begin the run anew in another folder"
            )
        for name in PICKLES:
            if (self.folder / name).exists():
                raise RunError(
                    f"{self.folder / name} is a pickle of an earlier version; reading it could run any "
                    "code, so it is not read any more: begin the run anew in another folder (its "
                    "controller stays as it is), or finish it with that version"
                )
        return None


def write_tree(f: BinaryIO, tree: Any, run: str = "") -> None:
    """Write a tree into an open file; TypeError for what does not belong into one."""
    arrays: list[np.ndarray] = []
    text = json.dumps(
        {"format": FORMAT, "version": VERSION, "run": run, "tree": _pack(tree, arrays, {})},
        allow_nan=False,
        separators=(",", ":"),
    )
    named = {f"a{i}": a for i, a in enumerate(arrays)}
    np.savez(f, about=np.frombuffer(text.encode(), np.uint8), **named)  # type: ignore[arg-type]


def read_tree(path: Path, run: str = "") -> Any:
    """A tree from a file; ValueError and others where it is none, not whole, or another run's."""
    with path.open("rb") as f:
        data = f.read()
    if not data:
        raise ValueError("the file is empty")
    if not data.startswith(b"PK"):
        raise ValueError("it is no checkpoint of this program")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            members = {name: found[name] for name in found.files}
    except MemoryError:
        raise ValueError("it claims more data than there is memory") from None
    about = json.loads(members["about"].tobytes()) if "about" in members else None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError("it is no checkpoint of this program")
    if about.get("version") != VERSION:
        raise ValueError(f"it is of version {about.get('version')!r}, and this program reads version {VERSION}")
    if about.get("run") != run:
        raise ValueError("it belongs to another run")
    return _unpack(about["tree"], members, {})


def _pack(x: Any, arrays: list[np.ndarray], seen: dict[int, Any]) -> Any:
    if x is None or isinstance(x, (bool, str)) or (isinstance(x, int) and not isinstance(x, np.generic)):
        return x
    if isinstance(x, np.generic):
        arrays.append(np.asarray(x))
        return {"@number": len(arrays) - 1}
    if isinstance(x, float):
        return x if math.isfinite(x) else {"@float": repr(x)}
    if isinstance(x, dict):
        if all(isinstance(k, str) and not k.startswith("@") for k in x):
            return {k: _pack(v, arrays, seen) for k, v in x.items()}
        return {"@map": [[_pack(k, arrays, seen), _pack(v, arrays, seen)] for k, v in x.items()]}
    if isinstance(x, list):
        return [_pack(v, arrays, seen) for v in x]
    if isinstance(x, tuple):
        return {"@tuple": [_pack(v, arrays, seen) for v in x]}
    tensor = hasattr(x, "detach")
    if not tensor and not isinstance(x, np.ndarray):
        raise TypeError(f"a checkpoint holds no {type(x).__name__}")
    if id(x) not in seen:
        array = x.detach().cpu().numpy() if tensor else x
        if array.dtype.hasobject:
            raise TypeError("a checkpoint holds no Python objects")
        arrays.append(array)
        seen[id(x)] = {"@tensor" if tensor else "@array": len(arrays) - 1}
    return seen[id(x)]


def _unpack(x: Any, members: dict[str, np.ndarray], seen: dict[int, Any]) -> Any:
    if isinstance(x, list):
        return [_unpack(v, members, seen) for v in x]
    if not isinstance(x, dict):
        return x
    kind: str
    value: Any
    kind, value = next(iter(x.items()), ("", None))
    if not kind.startswith("@"):
        return {k: _unpack(v, members, seen) for k, v in x.items()}
    if kind == "@float":
        return float(value)
    if kind == "@map":
        return {_unpack(k, members, seen): _unpack(v, members, seen) for k, v in value}
    if kind == "@tuple":
        return tuple(_unpack(v, members, seen) for v in value)
    array = members[f"a{value}"]
    if kind == "@number":
        return array[()]
    if value not in seen:
        seen[value] = array
        if kind == "@tensor":
            import torch

            seen[value] = torch.from_numpy(array.copy())
    return seen[value]
