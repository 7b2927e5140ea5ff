"""Checks of one value in a controller file, with errors that name the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...integrators.core.errors import shown
from .layout import MAX_TEXT


def keys(given: Mapping[str, Any], wanted: set[str], what: str) -> None:
    """ValueError unless a mapping has the wanted keys and no others; `what` it is is said first."""
    missing, extra = sorted(wanted - set(given)), sorted(set(given) - wanted)
    if missing:
        raise ValueError(f"{what}: {', '.join(missing)} missing")
    if extra:
        raise ValueError(f"{what}: {', '.join(shown(e, 60) for e in extra[:5])} not understood")


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A mapping."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping, got {type(value).__name__}")
    return value


def text(value: Any, what: str) -> str:
    """Printable text of at most `MAX_TEXT` characters."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{what} must be text of at most {MAX_TEXT} printable characters, got {shown(value)}")
    return value


def number(value: Any, what: str, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} must be a number in [{low:g}, {high:g}], got {shown(value, 60)}")
    return float(value)


def read_number(value: Any, what: str) -> float:
    """A number, or "inf" or "-inf"."""
    if value in ("inf", "-inf"):
        return math.inf if value == "inf" else -math.inf
    return number(value, what, -1.7976931348623157e308, 1.7976931348623157e308)
