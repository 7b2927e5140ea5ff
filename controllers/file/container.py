"""The container of every file of ours: safetensors with a JSON document and a digest of both in its metadata.

Reading executes nothing, and looks at format, schema, sizes, dtypes and digest before anything else does.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from ...integrators.core.errors import shown
from ...integrators.core.reading import MAX_DEPTH, line, parse_json
from .checks import keys
from .layout import MAX_DOCUMENT, SCHEMA, digest


def unpack(data: bytes, format: str, what: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document and the tensors, float64, in the bytes of a file of a format; `what` a file of that format is.

    ValueError naming what is wrong with them.
    """
    head, text = _head(data, what)
    doc = _document(text)
    if not isinstance(doc, dict) or doc.get("format") != format:
        raise ValueError(f"not a {what}: format is not {format!r}")
    if doc.get("schema") != SCHEMA or isinstance(doc["schema"], bool):
        raise ValueError(f"schema {shown(doc.get('schema'))} is unknown to this version, which reads schema {SCHEMA}")
    meta = head.pop("__metadata__")
    keys(meta, {"stepsmith", "sha256"}, "metadata")
    for name, entry in head.items():
        if not isinstance(entry, dict) or entry.get("dtype") != "F64":
            got = entry.get("dtype") if isinstance(entry, dict) else entry
            raise ValueError(f"tensor {shown(name)} must be float64 (F64), got {shown(got)}")
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        arrays = from_bytes(data)
    except SafetensorError as e:
        raise ValueError(f"not a valid safetensors file: {line(e, 200)}") from None
    if digest(text, arrays) != meta["sha256"]:
        raise ValueError("the digest does not fit the content: the file was altered or damaged")
    return doc, arrays


def format_of(data: bytes, what: str = "controller file") -> Any:
    """What the document in the bytes of a file says its format is.  ValueError where it has none."""
    doc = _document(_head(data, what)[1])
    return doc.get("format") if isinstance(doc, dict) else None


def pack(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a file."""
    from safetensors.numpy import save as to_bytes

    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return to_bytes(arrays, {"stepsmith": text, "sha256": digest(text, arrays)})


def _head(data: bytes, what: str) -> tuple[dict[str, Any], str]:
    """The header of a file, and the text of its document."""
    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > len(data) - 8:
        raise ValueError("not a safetensors file, or a truncated one")
    size = struct.unpack("<Q", data[:8])[0]
    if size > 4 * MAX_DOCUMENT:
        raise ValueError(f"the header of {size} bytes is larger than the limit of {4 * MAX_DOCUMENT}")
    head = parse_json(data[8 : 8 + size], "header", MAX_DEPTH)
    if not isinstance(head, dict):
        raise ValueError("the header is not a mapping")
    meta = head.get("__metadata__")
    if not isinstance(meta, dict) or not isinstance(meta.get("stepsmith"), str):
        raise ValueError(f"no stepsmith metadata: not a {what}")
    text = meta["stepsmith"]
    if len(text) > MAX_DOCUMENT:
        raise ValueError(f"the document of {len(text)} characters is longer than the limit of {MAX_DOCUMENT}")
    return head, text


def _document(text: str) -> Any:
    return parse_json(text, "document", MAX_DEPTH)
