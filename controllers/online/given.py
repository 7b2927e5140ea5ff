"""What a tuner is given, checked: what a solve costs, which bandit, and functions and numbers of a caller's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...integrators.core import options
from ...integrators.core.errors import OptionError, refuse
from ...integrators.engine.solve import Solution
from .bandit import Bandit
from .baselines import EpsilonGreedy, Fixed
from .chebyshev import ChebCB
from .tsallis import TsallisINF

BANDITS: dict[str, type[Bandit]] = {
    "tsallis": TsallisINF, "chebyshev": ChebCB, "epsilon_greedy": EpsilonGreedy, "fixed": Fixed,
}  # fmt: skip
"""The bandits by name."""


def nfev(sol: Solution) -> float:
    """Right-hand sides of a solve, all of them."""
    return float(sol.stats.nfev)


def wall(sol: Solution) -> float:
    """Seconds inside the compiled solve."""
    return float(sol.stats.wall_s)


FEEDBACK: dict[str, Callable[[Any], float]] = {"nfev": nfev, "wall": wall}
"""What a solve costs, by name."""


def feedback(value: Any) -> Callable[[Any], float] | None:
    """What gives the cost of a solution: the function called `value`, itself, or None."""
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        return FEEDBACK[options.choice("feedback", value, FEEDBACK)]
    raise refuse("feedback", "'nfev', 'wall', a function of the solution or None", value)


def bandit(given: Any, arms: int, context_range: Any, seed: int) -> Bandit:
    """The bandit of that name with as many arms, or the one that is given."""
    if not isinstance(given, Bandit):
        kind = BANDITS[options.choice("bandit", given, BANDITS)]
        if kind is ChebCB:
            if context_range is None:
                raise OptionError("bandit 'chebyshev' needs context_range=(low, high)")
            return ChebCB(arms, seed, context_range=context_range)
        if context_range is not None:
            raise OptionError(f"bandit {given!r} takes no context_range")
        return kind(arms, seed)
    if context_range is not None:
        raise OptionError("context_range belongs to the bandit that was given")
    if given.arms != arms:
        raise OptionError(f"bandit must have as many arms as there are, {arms}, got one with {given.arms}")
    return given


def any_number(name: str, value: Any) -> float:
    """`value` as a float, which may be NaN or infinite."""
    try:
        return float(options.number(name, value))
    except OptionError:
        item = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
        if isinstance(item, float):  # NaN or an infinity
            return item
        raise


def takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function must be given two positional arguments."""
    try:
        kinds = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in places and p.default is p.empty for p in kinds) == 2
