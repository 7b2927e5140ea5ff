"""Whether a regulariser and the options of the solve go together."""

from __future__ import annotations

from typing import Any

from .regularisers import Local, Regulariser


def heuristics_for(regulariser: Regulariser | None) -> bool | str:
    """The argument `heuristics` of `odeint` that a regulariser needs; at least "values", the numbers."""
    estimates = "" if regulariser is None else regulariser.estimates
    return True if estimates == "ES" else estimates or "values"


def check_fit(regulariser: Regulariser, adjoint: str, heuristics: bool | str, compact: bool) -> None:
    """ValueError where the regulariser cannot work with these options of `odeint`."""
    if regulariser.estimates and adjoint != "discrete":
        raise ValueError(
            f'{regulariser!r} needs gradients through every step, adjoint="discrete"; got {adjoint!r} '
            "(local regularisers work with every adjoint)"
        )
    if adjoint == "none" and not regulariser.own_gradient:
        raise ValueError(
            f'adjoint="none" leaves the penalty of {regulariser!r} without gradient; use adjoint="discrete" or a '
            "continuous one (local regularisers work with every adjoint)"
        )
    wanted, reads_steps = heuristics_for(regulariser), regulariser.needs_steps and not heuristics
    if heuristics is not True and heuristics != wanted and (regulariser.estimates or reads_steps):
        raise ValueError(f"{regulariser!r} needs heuristics={wanted!r} or True, got {heuristics!r}")
    if regulariser.fixed_rows and compact:
        raise ValueError(f"{regulariser!r} draws a probe a sample, which compact=True would mix up")


def check_grid(regulariser: Regulariser, method: str, step_size: Any) -> None:
    """ValueError where the regulariser cannot work with a method on a grid."""
    if regulariser.estimates or regulariser.needs_steps:
        raise ValueError(
            f"{regulariser!r} needs the estimates of steps that a solver chooses, and method {method!r} takes those of "
            'a grid: use "tsit5" or another pair; kinetic, frobenius, rnode, taylor and steer work on a grid, and so '
            'does local_unbiased with step="automatic" and a method and tolerances of its own'
        )
    if regulariser.adds_time:
        check_added_time(regulariser, step_size)
    for _, part in regulariser.parts():
        if isinstance(part, Local):
            part.check_alone()


def check_added_time(regulariser: Regulariser, step_size: Any) -> None:
    """ValueError for a time that a regulariser adds where the times are the grid."""
    if step_size is None:
        raise ValueError(
            f"{regulariser!r} wants the state at a time of its own, and without step_size the times are the grid, "
            "which that would change: pass step_size"
        )


def check_early_end(regulariser: Regulariser) -> None:
    """ValueError where the penalty is that of a whole solve, and events end it before."""
    if not regulariser.ends_early:
        raise ValueError(
            f"{regulariser!r} needs the solve up to the last time, which an event_fn ends before: er_*, er2_*, sr_*, "
            "steer and local_biased work with events"
        )


def check_widened(regulariser: Regulariser, rtol: Any, atol: Any, norm: Any) -> None:
    """ValueError where columns that the regulariser adds to the state have no tolerance or no place in the norm."""
    several = [name for name, value in (("rtol", rtol), ("atol", atol)) if not isinstance(value, (int, float))]
    several += ["norm"] if norm is not None else []
    if several:
        raise ValueError(
            f"{regulariser!r} adds columns to the state, of which {' and '.join(several)} of components of y "
            f"know{'s' if len(several) == 1 else ''} nothing: use single numbers and the default norm, or er_*, sr_* "
            "or a local regulariser"
        )
