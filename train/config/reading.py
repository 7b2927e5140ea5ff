"""Text files that a user names: read up to a size, and parsed, with one line on what is wrong with them.

A parser that runs out of Python's stack on a deeply nested file, or out of digits, has met a malformed file and says
so.  Only regular files are read: a named pipe would keep the program waiting.
"""

from __future__ import annotations

import json as json_text
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...integrators.core.reading import read_bytes

LARGEST = 2**24  # bytes: thousands of times what a config or a law takes


def text(path: str | os.PathLike[str], what: str) -> str:
    """The text of a file.

    what: what the file ought to be, for errors: "a TOML file".  ValueError naming the file where it is none: a folder,
    a pipe or a device, larger than `LARGEST`, not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: a folder, not {what}")
    try:
        data = read_bytes(path, what.removeprefix("a "), LARGEST)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not {what}: byte {error.start} is no UTF-8") from None


def toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A TOML file's tables; ValueError as `text`, and where it is not TOML."""
    return _parsed(path, "a TOML file", tomllib.loads)


def json(path: str | os.PathLike[str]) -> Any:
    """A JSON file's value; ValueError as `text`, and where it is not JSON."""
    return _parsed(path, "a JSON file", json_text.loads)


def _parsed(path: str | os.PathLike[str], what: str, parse: Callable[[str], Any]) -> Any:
    # newlines as text files have them, for a TOML parser takes no bare carriage return
    found = text(path, what).replace("\r\n", "\n")
    try:
        return parse(found)
    except RecursionError:
        raise ValueError(f"{path}: not {what}: nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not {what}: {error}") from None


def folder(option: str, path: str | os.PathLike[str] | None) -> None:
    """ValueError where no folder can be made at `path`, or written into.

    It is looked at before any work begins, and nothing is made.
    """
    if path is not None:
        _writable(option, Path(path), Path(path))


def file(option: str, path: str | os.PathLike[str] | None) -> None:
    """ValueError where no file can be written at `path`; looked at before any work begins, and nothing is made."""
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{option} must be a file, and {path} is a folder")
    _writable(option, path, path.parent)


def _writable(option: str, path: Path, parent: Path) -> None:
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{option} cannot be {path}: {parent} is no folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{option} cannot be {path}: {parent} cannot be written into")
