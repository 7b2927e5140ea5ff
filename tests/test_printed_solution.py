"""`print(sol)` is five lines, its repr one; pickles of solutions from before `method` and `controller` load."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.engine.solve import Solution, Stats
from stepsmith.integrators.methods.explicit.tableau import ExplicitTableau

STATS = Stats(7, 1, 0, 0, 0, 0, 0, 0, 2.5e-5)


def test_five_lines():
    sol = ss.solve(ss.problems.make("lotka_volterra"), "dopri5", "i")
    lines = str(sol).splitlines()
    assert lines[0] == "success: reached the end of the span"
    assert lines[1].startswith("dopri5 under i, t from 0 to ") and f"({len(sol.t)} times)" in lines[1]
    assert lines[2] == (
        f"{sol.stats.naccept} accepted steps, {sol.stats.nreject} rejected; "
        f"{sol.stats.nfev} evaluations of the right-hand side"
    )
    assert lines[3].endswith("s in the compiled solve")
    assert lines[4] == f"y at the last time: ({sol.y[-1, 0]:.6g}, {sol.y[-1, 1]:.6g})"
    assert len(lines) == 5 and "\n" not in repr(sol) and len(repr(sol)) < 160


def test_implicit_long_and_failed():
    problem = ss.problems.make("hires")
    lines = str(ss.solve(problem, "rodas5p")).splitlines()
    assert lines[1].startswith("rodas5p under rodas, ") and "Jacobians" in lines[2] and "8 components" in lines[4]
    cut = ss.solve(problem, "rodas5p", max_steps=3, t_eval=problem.t_span[1:])
    lines = str(cut).splitlines()
    assert lines[0].startswith("failure (status -1): step limit") and len(lines) == 5
    assert "no times" in lines[1] and lines[4].startswith("no state") and "no times" in repr(cut)


def test_names_of_an_own_tableau_and_an_own_controller():
    heun = ExplicitTableau("heun21", 2, 1, c=(0, 1), a=((), (1,)), b=(0.5, 0.5), b_hat=(1, 0))
    sol = ss.solve(ss.problems.make("lotka_volterra"), heun, ss.controller("pi34"))
    assert (sol.method, sol.controller) == ("heun21", "pi34")


@pytest.mark.parametrize("wall, words", [(2.5e-5, "25 µs"), (0.0123, "12.3 ms"), (61.5, "61.5 s"), (0.0, "0 µs")])
def test_seconds(wall, words):
    stats = Stats(7, 1, 0, 0, 0, 0, 0, 0, wall)
    sol = Solution(np.zeros(1), np.zeros((1, 1)), True, 1, "reached", stats)
    assert str(sol).splitlines()[3] == f"{words} in the compiled solve"
    assert str(sol).splitlines()[1] == "t from 0 to 0 (1 times)"  # nobody said what solved it


def earlier(fields):
    """A pickle as the class wrote it when it had only these fields."""

    class Earlier:
        def __reduce__(self):
            return object.__new__, (Solution,), (None, fields)

    return pickle.dumps(Earlier())


def test_pickles():
    sol = ss.solve(ss.problems.make("lotka_volterra"))
    again = pickle.loads(pickle.dumps(sol))
    assert str(again) == str(sol) and again.record is None and np.array_equal(again.y, sol.y)
    t, y = np.array([0.0, 1.0]), np.ones((2, 2))
    old = pickle.loads(earlier(dict(t=t, y=y, success=True, status=1, message="reached", stats=STATS, record=None)))
    assert (old.method, old.controller) == ("", "") and old.message == "reached"
    assert len(str(old).splitlines()) == 5
