"""Files from elsewhere, read within bounds: regular files of a stated size, and JSON whose numbers, texts and depth can
be trusted.

    data = read_json(path, "tuned law")

A named pipe does not hang the reader, a link to an endless device does not fill the memory, and what comes back can be
computed with and printed: numbers are finite, texts hold no terminal escapes and no lone surrogates, keys are not
repeated.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from .errors import shown

#: bytes of a JSON file, unless the caller states less or more
MAX_JSON = 2**20
#: levels of lists and mappings in it
MAX_DEPTH = 12

_DIGITS = 309  # of the largest float64
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def read_bytes(path: str | os.PathLike[str], what: str, most: int = MAX_JSON) -> bytes:
    """Content of a regular file of at most `most` bytes.

    Raises FileNotFoundError where there is none, and ValueError naming the file for a folder, a pipe, a device or a
    socket, and for one that is larger.
    """
    path = Path(path)
    # without O_NONBLOCK the opening of a named pipe waits for a writer
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise ValueError(f"{path}: a {what} is a regular file, and this is {kind}")
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)  # not the size that the file system states: it may grow, and /proc states 0
    if len(data) > most:
        raise ValueError(f"{path}: the file holds more than the limit of {most} bytes for a {what}")
    return data


def parse_json(text: str | bytes, what: str, depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text.  ValueError for what is no JSON, UTF-8 in the first place; for numbers that are not
    finite; for texts that cannot be printed; for repeated keys; and for more than `depth` levels.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        _check_depth(text, depth)
        value = json.loads(
            text, parse_constant=_no_constant, parse_float=_float, parse_int=_int, object_pairs_hook=_no_repeats
        )
        _check_texts(value)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the {what} is not valid JSON: {reason[:200]}") from None
    return value


def read_json(path: str | os.PathLike[str], what: str, most: int = MAX_JSON, depth: int = MAX_DEPTH) -> Any:
    """`parse_json` of a file that `read_bytes` reads; each ValueError names the file."""
    data = read_bytes(path, what, most)
    try:
        return parse_json(data, what, depth)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def line(text: Any, limit: int = 400) -> str:
    """`text` as one printable line of at most `limit` characters: what may be written to a terminal."""
    flat = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(str(text).split()))
    return flat if len(flat) <= limit else f"{flat[: limit - 3]}..."


def _check_depth(text: str, most: int) -> None:
    """Before the parser, which recurses: by brackets outside of strings."""
    level = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        level += 1 if bracket in "[{" else -1
        if level > most:
            raise ValueError(f"it is nested more than {most} deep")


def _check_texts(value: Any) -> None:
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
        elif (
            isinstance(item, str)
            and not item.isprintable()
            and not item.replace("\n", "").replace("\t", "").isprintable()
        ):
            raise ValueError(f"the text {shown(item)} holds characters that cannot be printed")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(text)} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > _DIGITS + 1 or not math.isfinite(float(text)):
        raise ValueError(f"the number {shown(text)} is too large")
    return int(text)


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key is repeated")
    return out
