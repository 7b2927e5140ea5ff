"""Strengths from their descriptions, as configs and checkpoints hold them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...core import options
from ...core.names import unknown
from .base import Strength
from .dual import dual_ascent
from .ratio import auto, ratio
from .schedules import constant, exponential, linear

#: by kind; `ratio` goes by its own rule's description, under "of"
MAKERS: dict[str, Callable[..., Strength]] = {
    "constant": constant, "exponential": exponential, "linear": linear, "dual_ascent": dual_ascent,
    "auto": auto,
}  # fmt: skip

#: keywords of `ratio` beside its rule
RATIO = ("every", "warm_up", "ceiling")

#: the kinds that are made here
KINDS = (*MAKERS, "ratio")


def register(kind: str, maker: Callable[..., Strength]) -> None:
    """Let `make` know one more kind, made by `maker(**numbers)`.  ValueError where another maker has the name."""
    if kind in KINDS or MAKERS.setdefault(kind, maker) is not maker:
        raise ValueError(f"there is a strength of kind {kind!r} already: give it another name")


def kinds() -> tuple[str, ...]:
    """All kinds that a description may have, registered ones included."""
    return (*MAKERS, "ratio")


def make(kind: str, **numbers: Any) -> Strength:
    """A strength from its description: make(**s.describe()).  A ratio is `make("ratio", of={"kind": ...})`, or
    `make("ratio", value=0.3)` where it is constant.  ValueError for an unknown kind, naming the nearest, or wrong
    numbers.
    """
    if kind == "ratio":
        return _ratio(numbers)
    if not isinstance(kind, str) or kind not in MAKERS:
        raise unknown("strength", kind, kinds())
    wanted = inspect.signature(MAKERS[kind]).parameters
    options.check_names(f"strength {kind!r}", numbers, wanted)
    missing = [name for name, p in wanted.items() if p.default is p.empty and name not in numbers]
    if missing:
        raise ValueError(f"strength {kind!r} needs {', '.join(missing)}")
    return MAKERS[kind](**numbers)


def _ratio(numbers: dict[str, Any]) -> Strength:
    options.check_names("strength 'ratio'", numbers, ("value", "of", *RATIO))
    rest = {name: numbers[name] for name in RATIO if name in numbers}
    if ("of" in numbers) == ("value" in numbers):
        raise ValueError("strength 'ratio' needs one of value, a number, and of, the description of its own rule")
    if "value" in numbers:
        return ratio(numbers["value"], **rest)
    if not isinstance(numbers["of"], Mapping) or "kind" not in numbers["of"]:
        raise options.refuse("strength 'ratio': of", "a table with a kind", numbers["of"])
    return ratio(make(**numbers["of"]), **rest)
