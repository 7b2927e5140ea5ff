"""Writing a controller file."""

from __future__ import annotations

import os
from pathlib import Path

from .. import in_place
from ..learned.network import Learned
from .container import pack
from .layout import SUFFIX, document, tensors
from .reading import parse


def save(controller: Learned, path: str | os.PathLike[str]) -> Path:
    """Write a learned controller; returns the path.

    Raises ValueError for anything else than a `Learned`, a name that does not end in .safetensors, weights that are not
    finite, and what `load` would refuse.  The file is put in place whole or not at all.
    """
    if not isinstance(controller, Learned):
        raise ValueError(f"only learned controllers go into a file, got {type(controller).__name__}")
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"a controller file must end in {SUFFIX}, got {path.name!r}")
    data = pack(document(controller), tensors(controller))
    parse(data)  # what cannot be read back is not written
    in_place.write(path, data)
    return path
