"""Files of a run folder that outlive what interrupts a run: put in place whole, and read with errors that name them.

A file is written aside, flushed to the disk and renamed, so that a kill or a full disk leaves what stood there.  That
one process at a time writes into a folder is `lock`'s matter.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class RunError(ValueError):
    """A run folder cannot be used as it is; the message names the file, and what to do."""


class RunFailed(ValueError):
    """Work that was asked for rightly, and failed: the command line ends with exit code 1, not with 2."""


def say(text: str) -> None:
    """A line on standard error about something that did not go the usual way."""
    if sys.stderr is not None:
        print(f"stepsmith: {text}", file=sys.stderr, flush=True)


def put(path: Path, write: Callable[[BinaryIO], Any], keep: Path | None = None) -> None:
    """Let `write` fill a file aside, flush it to the disk and put it in the place of `path`, whole or not at all.

    keep: where the file that stood there goes.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    """The rename itself onto the disk, where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def plain(data: Any) -> Any:
    """Data as JSON holds it: NumPy's numbers as Python's, null for what is no finite number, text for other keys."""
    if isinstance(data, dict):
        return {str(k): plain(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(v) for v in data]
    if isinstance(data, (np.generic, np.ndarray)):
        return plain(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def write_json(path: Path, data: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(plain(data), indent=1, allow_nan=False) + "\n"
    put(path, lambda f: f.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; RunError that names the file where there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        told = str(error).splitlines()[0][:120]
        raise RunError(f"{path} is damaged or cut short, it is no JSON: {told}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(data, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object")
    return data


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows of a log of JSON lines, and their length in bytes: a last line that is cut short does not count.

    RunError that names file and line where another one is no JSON object.  Numbers that older versions wrote as NaN are
    None.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    lines = data.splitlines(keepends=True)
    rows: list[dict[str, Any]] = []
    size = 0
    for i, line in enumerate(lines):
        try:
            row = json.loads(line, parse_constant=lambda _: None) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            if i == len(lines) - 1:
                break
            raise RunError(f"{path}, line {i + 1}: damaged, it is no JSON object; mend or remove the line to go on")
        rows.append(row)
        size += len(line)
    return rows, size


def append_log(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a log of JSON lines, on the disk before this returns; all of it or nothing."""
    line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
    with path.open("ab+") as f:
        size = f.tell()
        if size:
            f.seek(-1, os.SEEK_END)
            if f.read() != b"\n":  # what an interruption cut short
                size = read_log(path)[1]
                f.truncate(size)
        try:
            f.write(line)
            f.flush()
            os.fsync(f.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                f.truncate(size)
            raise
