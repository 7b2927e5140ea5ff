"""What `print(sol)` shows of a `Solution`: five lines; and its repr, one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .solution import Solution

SHOWN = 6  # components of a state
DIGITS = 6


def lines(sol: Solution) -> list[str]:
    """How it went; method, controller and times; steps and evaluations; seconds; the state at the last time."""
    s = sol.stats
    steps = f"{s.naccept} accepted steps, {s.nreject} rejected; {s.nfev} evaluations of the right-hand side"
    if s.nlu or s.njev:
        steps += f", {s.njev} Jacobians, {s.nlu} factorisations"
    if sol.switches is not None:
        steps += f"; {s.nswitch} change{'' if s.nswitch == 1 else 's'} of the method"
    return [
        f"{'success' if sol.success else f'failure (status {sol.status})'}: {sol.message}",
        f"{_by(sol)}{_times(sol)}",
        steps,
        f"{_seconds(s.wall_s)} in the compiled solve",
        f"y at the last time: {state(sol.y[-1])}" if len(sol.t) else "no state: the first output was not reached",
    ]


def short(sol: Solution) -> str:
    """One line."""
    end = f", y {state(sol.y[-1], 3)}" if len(sol.t) else ""
    how = "success" if sol.success else f"status {sol.status}"
    return f"<Solution: {how}, {_by(sol)}{_times(sol)}, {sol.stats.naccept} steps{end}>"


def state(y: np.ndarray, most: int = SHOWN) -> str:
    """A state (n,) with at most so many of its components."""
    shown = ", ".join(f"{v:.{DIGITS}g}" for v in y[:most].tolist())
    return f"({shown}, ... {y.size} components)" if y.size > most else f"({shown})"


def _by(sol: Solution) -> str:
    """Method and controller, as far as they are known."""
    if not sol.method:
        return ""
    at = "" if sol.tolerance_scale == 1.0 else f" at {sol.tolerance_scale:.3g} times the tolerances asked for"
    return f"{sol.method} under {sol.controller}{at}, " if sol.controller else f"{sol.method}{at}, "


def _times(sol: Solution) -> str:
    if not len(sol.t):
        return "no times"
    return f"t from {sol.t[0]:.{DIGITS}g} to {sol.t[-1]:.{DIGITS}g} ({len(sol.t)} times)"


def _seconds(s: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if s >= size:
            return f"{s / size:.3g} {unit}"
    return f"{s / 1e-6:.3g} µs"
