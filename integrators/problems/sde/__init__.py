"""Stochastic differential equations by name. Adding one: a file here that defines `FAMILY`, and its name in `NAMES`.

    problem = stepsmith.sdes.make("gbm")            # the instance of the literature; seed=3 draws one
    stepsmith.solve_sde(problem, paths=1000)
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from ...core.errors import refuse
from ...core.names import unknown
from .family import SDEFamily
from .problem import SDEProblem

__all__ = ["NAMES", "SDEFamily", "SDEProblem", "family", "make", "names"]

NAMES = (
    "additive_decay", "bounded", "fitzhugh_nagumo", "gbm", "integrated", "lorenz", "lotka_volterra",
    "ornstein_uhlenbeck",
)  # fmt: skip


def names() -> tuple[str, ...]:
    """Names of the families that ship."""
    return NAMES


def family(given: Any) -> SDEFamily:
    """The family that is given: itself, or by its name; ValueError, naming the nearest, where there is none."""
    if isinstance(given, SDEFamily):
        return given
    if not isinstance(given, str):
        raise refuse("family", f"an SDEFamily or a name ({', '.join(NAMES)})", given)
    if given not in NAMES:
        raise unknown("family of SDEs", given, NAMES)
    return _read(given)


@functools.cache
def _read(name: str) -> SDEFamily:
    found: SDEFamily = importlib.import_module(f".{name}", __name__).FAMILY
    return found


def make(name: Any, seed: int | None = None) -> SDEProblem:
    """One instance of a family: that of its file, or the one drawn with `seed`."""
    return family(name).problem(seed)
