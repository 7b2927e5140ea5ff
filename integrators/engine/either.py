"""Solves with one method or with a portfolio: the controller of a portfolio holds its methods."""

from __future__ import annotations

from typing import Any

from .ensemble import solve_ensemble
from .ensemble_solution import EnsembleSolution
from .portfolio import solve_portfolio
from .portfolio_ensemble import solve_portfolio_ensemble
from .solve import Solution, solve


def is_switching(controller: Any) -> bool:
    """Whether it is the controller of a portfolio."""
    return hasattr(controller, "portfolio")


def solve_either(problem: Any, method: Any, controller: Any, *more: Any) -> Solution:
    """`engine.solve.solve`, or `engine.portfolio.solve_portfolio`."""
    if is_switching(controller):
        return solve_portfolio(problem, controller, *more)
    return solve(problem, method, controller, *more)


def ensemble_either(batch: Any, method: Any, controller: Any, *more: Any, **options: Any) -> EnsembleSolution:
    """`engine.ensemble.solve_ensemble`, or `engine.portfolio_ensemble.solve_portfolio_ensemble`."""
    if is_switching(controller):
        return solve_portfolio_ensemble(batch, controller, *more, **options)
    return solve_ensemble(batch, method, controller, *more, **options)
