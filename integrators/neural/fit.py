"""Whether a regulariser and the options of the solve go together."""

from __future__ import annotations

from .regularisers import Regulariser


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
