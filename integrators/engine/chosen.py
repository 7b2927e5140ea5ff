"""Which engine a call of `solve` or `solve_ensemble` is for, by its options."""

from __future__ import annotations

import functools
from typing import Any

from ..core.errors import OptionError
from ..core.follow_options import checked
from ..problems.events import given_events
from .ensemble_solution import EnsembleSolution
from .solution import Solution


def follow(events: Any, *more: Any) -> Any:
    """The options of a solve that follows its trajectory, checked."""
    return checked(given_events(events), *more)


def followed(problem: Any, *more: Any) -> Solution:
    """`solve` with events, dense output, stops or bounds on the step."""
    from .follow_single import solve_followed
    from .solve import problem_of

    return solve_followed(problem_of(problem), *more)


def with_portfolio(problem: Any, controller: Any, asked: Any, *more: Any) -> Solution:
    """`solve` with a portfolio.  asked: what `follow` gives, which a portfolio does not take."""
    from .portfolio import solve_portfolio

    _only_plain(controller, asked)
    return solve_portfolio(problem, controller, *more)


def ensemble(controller: Any, asked: Any, executor: Any) -> Any:
    """The function that solves an ensemble on the CPU."""
    if hasattr(controller, "portfolio"):
        from .portfolio_ensemble import solve_portfolio_ensemble

        _only_plain(controller, asked)
        if executor is not None:
            raise OptionError(f"executor is for one method, not for the portfolio {controller.portfolio.name!r}")
        return lambda batch, method, *more, report: solve_portfolio_ensemble(batch, *more, report=report)
    if executor is not None:
        from . import spread, spread_ensemble

        chosen: Any = spread.checked(executor)
        return functools.partial(spread_ensemble.solve_spread_ensemble, follow=asked, executor=chosen)
    if asked.asked:
        from .follow_ensemble import solve_followed_ensemble

        return functools.partial(solve_followed_ensemble, follow=asked)
    from .ensemble import solve_ensemble

    return solve_ensemble


def _only_plain(controller: Any, asked: Any) -> None:
    """OptionError for options that a portfolio does not take."""
    if asked is not None and asked.asked:
        raise OptionError(
            "events, dense, max_step, min_step, tstops and save_every are for one method, not for the portfolio "
            f"{controller.portfolio.name!r}"
        )


def said_if_stiff(batch: Any, method: Any, controller: Any, answer: EnsembleSolution) -> None:
    """A `StiffnessWarning` where an explicit method was held by stability."""
    from . import stiff

    if not hasattr(controller, "portfolio"):
        stiff.warn_of_ensemble(batch, method, answer)
