"""Stochastic differential equations as problems: bad input of `SDEProblem` and `solve_sde`, and the families."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.engine.sde_checks import warn_of_rejections
from stepsmith.integrators.methods import sde as methods

GBM = ss.sdes.make("gbm")


def turn(t, y, p, dy):
    dy[0] = 0.0
    dy[1] = 0.0


def depends(t, y, p, g):
    g[0] = 0.1 * y[0]


def crossed(t, y, p, g):
    g[0] = y[1]
    g[1] = y[0]


def missing(t, y, p, dy):
    dy[0] = y[0]


def writes(t, y, p, dy):
    y[0] = 1.0
    dy[0] = 1.0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"noise": "sideways"}, "noise"),
        ({"y0": [[1.0]]}, "one-dimensional"),
        ({"t_span": (1.0, 0.0)}, "forward in time"),
        ({"drift": 3}, "drift must be a function"),
        ({"interpretation": "both"}, "interpretation"),
        ({"exact": 1}, "exact"),
        ({"y0": [np.nan]}, "y0 must be finite"),
    ],
)
def test_bad_problems(given, words) -> None:
    fine = {"drift": GBM.drift, "diffusion": GBM.diffusion, "y0": [1.0], "t_span": (0.0, 1.0), "p": [0.5, 1.0]}
    with pytest.raises(ValueError, match=words):
        ss.SDEProblem(**(fine | given))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "sosry"}, "did you mean 'sosri'"),
        ({"paths": 0}, "paths"),
        ({"source": "sea"}, "source"),
        ({"seed": -1}, "seed"),
        ({"rtol": -1.0}, "rtol"),
        ({"t_eval": [2.0]}, "t_eval"),
        ({"step_size": 2.0}, "span"),
        ({"step_size": 0.1, "controller": "pi34"}, "no effect"),
        ({"method": "euler_maruyama"}, "step_size="),
        ({"method": "sra1"}, "additive"),
        ({"method": "stochastic_heun"}, "interpretation"),
        ({"controller": "aarseth"}, "needs"),
        ({"controller": "tuned"}, "tuned"),
        ({"controller": 7}, "not a controller"),
        ({"max_steps": 0}, "max_steps"),
    ],
)
def test_bad_options(given, words) -> None:
    with pytest.raises(ValueError, match=words):
        ss.solve_sde(GBM, **({"paths": 5} | given))


def test_methods_for_sdes_are_pointed_to_their_solver() -> None:
    problem = ss.problems.make("lorenz")
    with pytest.raises(ValueError, match="solve_sde"):
        ss.solve(problem, method="sosri")
    with pytest.raises(ValueError, match="solve_sde"):
        ss.envs.make_sb3("stepsmith/ODE-v0", family="lorenz", method="sosri")
    with pytest.raises(ValueError, match="must be a Problem, got SDEProblem"):
        ss.solve(GBM, method="tsit5")
    with pytest.raises(ValueError, match="method for SDEs"):
        ss.solve_sde(GBM, 5, "tsit5")


def test_rejections_with_noise_that_does_not_commute_are_warned_of() -> None:
    mixed, milstein = ss.SDEProblem(turn, crossed, [1.0, 0.0], (0.0, 1.0)), methods.get("milstein_ito")
    with pytest.warns(UserWarning, match=r"30 of 100 attempts.*g\[0\] changes with y\[1\].*stochastic_heun"):
        warn_of_rejections(mixed, milstein, 30, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_rejections(mixed, milstein, 1, 100)  # seldom
        warn_of_rejections(mixed, methods.get("stochastic_heun"), 30, 100)  # has the products
        warn_of_rejections(GBM, milstein, 30, 100)  # commutes


def test_bad_functions() -> None:
    with pytest.raises(ValueError, match="SDEProblem"):
        ss.solve_sde(3)
    false = ss.SDEProblem(GBM.drift, depends, [1.0], (0.0, 1.0), [0.5, 1.0], noise="additive")
    with pytest.raises(ValueError, match=r"g\[0\] changes with y\[0\]"):
        ss.solve_sde(false, 5, "sra1")
    mixed = ss.SDEProblem(turn, crossed, [1.0, 0.0], (0.0, 1.0))
    with pytest.raises(ValueError, match=r"g\[0\] changes with y\[1\]"):
        ss.solve_sde(mixed, 5, "milstein_stratonovich")
    for fn, words in ((missing, r"does not write dy\[1\]"), (writes, "cannot be written")):
        broken = ss.SDEProblem(turn, fn, [1.0, 0.0], (0.0, 1.0))
        with pytest.raises(ValueError, match="diffusion.*" + words):
            ss.solve_sde(broken, 5)


@pytest.mark.parametrize("name", ss.sdes.names())
def test_families_make_problems_that_start(name) -> None:
    """In plain Python: shapes, finite slopes at starts of all splits, the exact solution at the start."""
    family = ss.sdes.family(name)
    for problem in (family.problem(), family.problem(3), ss.sdes.make(name, seed=3)):
        dy, g = np.full(family.n, np.nan), np.full(family.n, np.nan)
        problem.drift(0.0, problem.y0, problem.p, dy)
        problem.diffusion(0.0, problem.y0, problem.p, g)
        assert np.isfinite(dy).all() and np.isfinite(g).all()
        if problem.exact is not None:
            zero = np.zeros((4, 1, problem.motions))
            start = problem.exact(np.zeros(1), zero, zero, problem.y0, problem.p)
            np.testing.assert_allclose(start, np.broadcast_to(problem.y0, (4, 1, family.n)), atol=1e-15)
    assert not np.array_equal(family.draw(3, 0, "train")[1], family.draw(3, 0, "validation")[1])
    with pytest.raises(ValueError, match="did you mean 'gbm'"):
        ss.sdes.make("gmb")
