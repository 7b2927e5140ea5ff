"""Single problems: each with its reference, in the form that `stiff_single` gives its solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from explicit_pairs import orbit

import stepsmith as ss
from stepsmith.integrators.problems.nbody import pleiades
from stepsmith.integrators.problems.nonstiff import arenstorf, lorenz, vanderpol
from stepsmith.integrators.problems.stiff import hires

from . import forms, references
from .ensembles import orbit_accel


@dataclass(frozen=True, eq=False)
class Single:
    """A problem, its end state by heyoka in 80 bits, and the right-hand side compiled by Numba for the peers."""

    title: str
    problem: ss.Problem
    system: Callable[[], forms.System]
    end: np.ndarray
    f: Callable[..., None]
    stiff: bool

    @property
    def y0(self) -> np.ndarray:
        return self.problem.y0

    @property
    def p(self) -> np.ndarray:
        return self.problem.p

    @property
    def span(self) -> tuple[float, float]:
        return self.problem.t_span

    def error(self, y: np.ndarray) -> float:
        """|y - end| / |end|."""
        return float(references.relative(y[None], self.end[None])[0])

    def atol(self, rtol: float) -> float:
        """The absolute tolerance is the relative one."""
        return rtol


def _orbit() -> ss.Problem:
    """From the pericentre, three revolutions."""
    return ss.Problem(orbit, [0.5, 0.0, 0.0, np.sqrt(3.0)], (0.0, 6.0 * np.pi), name="orbit", accel=orbit_accel)


def _vanderpol() -> ss.Problem:
    """mu = 5, two cycles: an explicit method is held by accuracy still."""
    return ss.Problem(vanderpol.rhs, [2.0, 0.0], (0.0, 20.0), [5.0], name="vanderpol")


#: title, problem, heyoka's system, whether it is stiff
CASES: dict[str, tuple[str, Callable[[], ss.Problem], Callable[[], forms.System], bool]] = {
    "lorenz": (
        "Lorenz, T = 10", lorenz.published, lambda: forms.polynomial(lorenz.rhs, 3, lorenz.published().p), False,
    ),
    "kepler": ("Kepler, e = 1/2, three revolutions", _orbit, forms.kepler, False),
    "pleiades": (
        "Pleiades, T = 3", pleiades.published, lambda: forms.planar_gravity(pleiades.MASSES[1:]), False,
    ),
    "arenstorf": ("Arenstorf, one period", arenstorf.published, lambda: forms.arenstorf(arenstorf.MU), False),
    "vanderpol": (
        "van der Pol, mu = 5, T = 20", _vanderpol, lambda: forms.polynomial(vanderpol.rhs, 2, (5.0,)), False,
    ),
    "hires": (
        "HIRES (stiff)", hires.published, lambda: forms.polynomial(hires.rhs, 8, hires.RATES), True,
    ),
}  # fmt: skip


def make(name: str) -> Single:
    title, build, system, stiff = CASES[name]
    problem = build()
    end = references.ends(system(), problem.y0[None], problem.t_span[1])[0]
    return Single(title, problem, system, end, forms.for_numba(problem.rhs), stiff)
