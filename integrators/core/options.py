"""Options of every entry point, checked by name, type and range: one place and one wording.

    max_steps = options.count("max_steps", max_steps)
    first_step = options.positive("first_step", first_step, none=True)

Every error is an `OptionError` and reads "<option> must be <what it takes>, got <what it got>".  Truth values are no
numbers, and a float is no count, even where its value is whole: what a person wrote by mistake is refused, not
converted.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .errors import OptionError, refuse, shown
from .names import nearest, unknown

__all__ = [
    "LARGEST_COUNT",
    "OptionError",
    "check_names",
    "choice",
    "count",
    "flag",
    "named",
    "number",
    "positive",
    "refuse",
    "shown",
    "text",
]

LARGEST_COUNT = 2**53  # whole numbers up to here are exact in a float64, which kernels count in

F = TypeVar("F", bound=Callable[..., Any])


def _real(value: Any) -> Any:
    """`value` as a Python number; None where it is none.  NumPy's and torch's scalars count, truth values do not."""
    if type(value) in (int, float):
        return value
    if (
        not isinstance(value, numbers.Number)
        and getattr(value, "ndim", None) == 0
        and callable(getattr(value, "item", None))
    ):
        value = value.item()
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def count(name: str, value: Any, low: int = 1, high: int = LARGEST_COUNT, none: bool = False) -> Any:
    """`value` as an int from `low` to `high`; None is passed through where `none` allows it."""
    if value is None and none:
        return None
    found = _real(value)
    if not isinstance(found, int) or not low <= found <= high:
        bound = f"of at least {low}" if high >= LARGEST_COUNT else f"from {low} to {high}"
        raise refuse(name, f"a whole number {bound}{' or None' if none else ''}", value)
    return found


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
    below: float | None = None,
    none: bool = False,
) -> Any:
    """`value` as a finite float in [low, high]; `above`, `below` are bounds that do not belong to the range
    themselves."""
    if value is None and none:
        return None
    found = _real(value)
    try:
        found = None if found is None else float(found)
    except OverflowError:
        found = math.inf
    ok = found is not None and math.isfinite(found) and low <= found <= high
    if not ok or (above is not None and found <= above) or (below is not None and found >= below):
        raise refuse(name, _range(low, high, above, below) + (" or None" if none else ""), value)
    return found


def _range(low: float, high: float, above: float | None, below: float | None) -> str:
    if above is not None and below is not None:
        return f"a number between {above:g} and {below:g}, both excluded"
    start = f"above {above:g}" if above is not None else f"of at least {low:g}" if low > -math.inf else ""
    end = f"below {below:g}" if below is not None else f"at most {high:g}" if high < math.inf else ""
    if start == "above 0" and not end:
        return "a positive finite number"
    return f"a finite number {' and '.join(x for x in (start, end) if x)}".rstrip()


def positive(name: str, value: Any, none: bool = False) -> Any:
    """`value` as a positive finite float."""
    return number(name, value, above=0.0, none=none)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool: True or False (NumPy's too), and nothing that is merely truthy."""
    if (
        isinstance(value, bool)
        or type(value).__name__ == "bool_"
        or (type(value).__name__ == "bool" and hasattr(value, "dtype"))
    ):
        return bool(value)
    raise refuse(name, "True or False", value)


def text(name: str, value: Any, none: bool = False) -> Any:
    """`value`, which must be a string that is not empty."""
    if value is None and none:
        return None
    if not isinstance(value, str) or not value:
        raise refuse(name, f"a name{' or None' if none else ''}", value)
    return value


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """`value`, which must be one of the strings `known`; the error names the nearest."""
    options = list(known)
    if isinstance(value, str) and value in options:
        return value
    if not isinstance(value, str):
        raise refuse(name, f"one of {', '.join(repr(o) for o in options)}", value)
    raise OptionError(str(unknown(name, value, options)))


def check_names(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """OptionError for the first of the option names `given` that `where` does not know; it names the nearest, and all
    there are."""
    options = sorted(known)
    for name in given:
        if name not in options:
            close = nearest(name, options)
            hint = f"did you mean {close!r}? " if close else ""
            raise OptionError(f"{where} has no option {shown(name)}: {hint}it has: {', '.join(options) or 'none'}")


def named(function: F) -> F:
    """Decorator of an entry point: an unknown keyword is answered with the nearest of the function's own parameters."""
    parameters = inspect.signature(function).parameters.values()
    known = frozenset(
        p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"
    )
    # of a class, its name
    where = f"{function.__qualname__.removesuffix('.__init__').rpartition('.')[2]}()"

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if options and not options.keys() <= known:
            check_names(where, options, known)
        return function(*args, **options)

    return call  # type: ignore[return-value]
