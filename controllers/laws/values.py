"""Coefficients as JSON holds them: JSON has no infinity, so "inf" and "-inf" stand in its place."""

from __future__ import annotations

import math
from collections.abc import Mapping


def json_values(values: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers by name, with text in the place of those that are not finite."""
    return {name: value if math.isfinite(value) else repr(value) for name, value in values.items()}
