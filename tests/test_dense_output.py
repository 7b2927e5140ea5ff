"""Dense output, stops, bounds on the step, and which states are kept."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators import methods
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.engine import followed
from stepsmith.integrators.kernels import layout


def oscillator(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] + 0.1 * np.sin(p[0] * t)


def accel(t, y, p, a):
    a[0] = -y[0]


@pytest.fixture
def swing():
    return ss.Problem(oscillator, [1.0, 0.0], (0.0, 6.0), p=[2.0])


def pulsed(t, y, p, dy):
    dy[0] = -1e-3 * y[0] + (100.0 if t > 50.0 and t < 50.01 else 0.0)


PULSED = ss.Problem(pulsed, [0.0], (0.0, 100.0))
EXACT = 1e5 * (1.0 - np.exp(-1e-5)) * np.exp(-1e-3 * 49.99)

#: one of each kind of interpolant: a tableau's, with further stages, of a pair that is not first same as last, a cubic
#: one, those of the implicit families, and those of several steps
EVERY = (
    "tsit5", "dop853", "vern7", "bs32", "rodas5p", "rosenbrock23", "ros34pw2", "esdirk43", "radau5", "bdf", "adams",
)  # fmt: skip


@pytest.mark.parametrize("method", EVERY)
def test_dense_output_is_what_t_eval_gives(method, swing):
    t = np.linspace(0.0, 6.0, 38)
    sol = ss.solve(swing, method=method, dense=True, t_eval=t, rtol=1e-5, atol=1e-7)
    assert np.abs(sol.sol(t) - sol.y).max() < 1e-12
    if method in ("tsit5", "rodas5p"):  # a solve that keeps nothing for dense output, in a kernel of its own
        assert np.abs(sol.sol(t) - ss.solve(swing, method=method, t_eval=t, rtol=1e-5, atol=1e-7).y).max() < 1e-12
        # exactly the accepted states, and continuous between them
        each = ss.solve(swing, method=method, dense=True, rtol=1e-5, atol=1e-7)
        assert np.array_equal(each.sol(each.t), each.y)
    slope = sol.sol.derivative(t)
    h = 1e-6
    inner = (t > h) & (t < 6.0 - h)
    central = (sol.sol(t[inner] + h) - sol.sol(t[inner] - h)) / (2 * h)
    assert np.abs(slope[inner] - central).max() < 2e-3
    assert np.abs(slope[:, 0] - sol.sol(t)[:, 1]).max() < 2e-2


@pytest.mark.parametrize("method", ["hermite4", "leapfrog", "composition8"])
def test_dense_output_of_methods_for_bodies(method):
    problem = ss.problems.make("kepler", seed=2)
    span = problem.t_span
    t = np.linspace(*span, 40)
    options = {"method": method, "controller": "amuse", "rtol": 1e-6}
    sol = ss.solve(problem, dense=True, **options)
    at = ss.solve(problem, t_eval=t, **options)
    assert np.abs(sol(t) - at.y).max() < 1e-7 * np.abs(at.y).max()


def test_shapes_and_times(swing):
    sol = ss.solve(swing, dense=True)
    assert sol.sol(1.0).shape == (2,) and sol.sol([1.0, 2.0]).shape == (2, 2) and sol.sol([]).shape == (0, 2)
    assert (sol.sol.t_min, sol.sol.t_max) == (0.0, 6.0) and len(sol.sol) == sol.stats.naccept
    assert np.array_equal(sol(3.0), sol.sol(3.0)) and "steps from t = 0 to 6" in repr(sol.sol)
    assert np.array_equal(sol.sol(np.array([5.0, 1.0])), sol.sol(np.array([1.0, 5.0]))[::-1])
    for strange in (-0.1, 6.1, np.nan, [1.0, 7.0]):
        with pytest.raises(OptionError, match="where the solution is known"):
            sol.sol(strange)
    with pytest.raises(OptionError, match="dense=True"):
        ss.solve(swing)(1.0)
    empty = ss.solve(ss.Problem(oscillator, [1.0, 0.0], (2.0, 2.0), p=[2.0]), dense=True)
    assert np.array_equal(empty.sol(2.0), [1.0, 0.0]) and np.array_equal(empty.sol.derivative(2.0), [0.0, 0.0])


def test_backward_and_a_solve_that_fails(swing):
    forth = ss.solve(swing, dense=True, rtol=1e-9, atol=1e-12)
    back = ss.Problem(oscillator, forth.y[-1], (6.0, 0.0), p=[2.0])
    t = np.linspace(0.0, 6.0, 9)
    assert np.abs(ss.solve(back, dense=True, rtol=1e-9, atol=1e-12)(t) - forth(t)).max() < 1e-7
    short = ss.solve(swing, dense=True, max_steps=5)
    assert short.status == layout.MAX_STEPS and short.sol.t_max == short.t[-1] < 6.0


def test_an_ensemble_keeps_dense_output_within_bounds(swing, monkeypatch):
    batch = swing.batch(p=np.linspace(1.0, 3.0, 40)[:, None])
    ens = ss.solve_ensemble(batch, dense=True, t_eval=np.linspace(0, 6, 5))
    assert ens(np.linspace(0, 6, 5)).shape == (40, 5, 2) and ens.dense.nbytes > 0 and len(ens.dense) == 40
    assert np.abs(ens(np.linspace(0, 6, 5)) - ens.y_eval).max() < 1e-13
    middle = ss.solve_ensemble(batch, dense=True, chunk=16, output=lambda sol: sol(np.array([3.0]))[:, 0])
    assert np.array_equal(middle.output, ens(np.array([3.0]))[:, 0]) and middle.dense is None
    monkeypatch.setattr(followed, "DENSE_BYTES", 1000)
    with pytest.raises(OptionError, match="t_eval"):
        ss.solve_ensemble(batch, dense=True)
    with pytest.raises(OptionError, match="dense=True"):
        ss.solve_ensemble(batch)(1.0)


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "radau5"])
def test_a_pulse_is_met_where_it_is_said(method):
    found = ss.solve(PULSED, method=method, tstops=[50.01, 50.0], rtol=1e-8, atol=1e-10)
    assert abs(found.y[-1, 0] - EXACT) < 1e-7
    assert {50.0, 50.01, 100.0} <= set(found.t.tolist())
    if method == "tsit5":
        lanes = ss.solve_ensemble(PULSED, method=method, tstops=[50.0, 50.01], rtol=1e-8, atol=1e-10)
        assert abs(lanes.y[0, 0] - EXACT) < 1e-7


def test_a_pulse_is_met_under_max_step():
    assert ss.solve(PULSED).y[-1, 0] == 0.0  # what stepping over it looks like
    found = ss.solve(PULSED, max_step=0.004, rtol=1e-6)
    assert abs(found.y[-1, 0] - EXACT) < 1e-3 and np.diff(found.t).max() <= 0.004 * (1 + 1e-9)


def test_stops_in_any_order_and_number(swing):
    many = np.random.default_rng(0).uniform(0.0, 6.0, 3000)
    sol = ss.solve(swing, tstops=many, rtol=1e-7, atol=1e-9)
    plain = ss.solve(swing, rtol=1e-10, atol=1e-12)
    assert set(many.tolist()) <= set(sol.t.tolist()) and np.abs(sol.y[-1] - plain.y[-1]).max() < 1e-6
    same = ss.solve(swing, tstops=[0.0, 3.0, 3.0, 6.0])
    assert np.array_equal(same.t, ss.solve(swing, tstops=3.0).t)
    assert np.count_nonzero(same.t == 3.0) == 1
    back = ss.solve(ss.Problem(oscillator, [1.0, 0.0], (6.0, 0.0), p=[2.0]), tstops=[1.0, 4.0])
    assert {4.0, 1.0} <= set(back.t.tolist()) and np.all(np.diff(back.t) < 0)
    each = ss.solve_ensemble(swing.batch(p=[[1.0], [2.0]]), tstops=[[1.0, 2.0], [3.0, 4.0]])
    one = ss.solve(swing, tstops=[3.0, 4.0])
    assert np.allclose(each.y[1], one.y[-1], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"tstops must have shape \(k,\) or \(2, k\)"):
        ss.solve_ensemble(swing.batch(p=[[1.0], [2.0]]), tstops=[[1.0], [2.0], [3.0]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tstops": [7.0]}, "within the span"),
        ({"tstops": [np.nan]}, "must be finite"),
        ({"tstops": "late"}, "tstops must be"),
        ({"tstops": [3.0, np.nextafter(3.0, 4.0)]}, "apart by what the time variable resolves"),
        ({"max_step": 0.0}, "max_step must be"),
        ({"max_step": np.nan}, "max_step must be"),
        ({"min_step": -1.0}, "min_step must be"),
        ({"min_step": 0.2, "max_step": 0.1}, "min_step must be at most max_step"),
        ({"save_every": 0}, "save_every must be"),
        ({"save_every": 1.5}, "save_every must be"),
        ({"dense": 1}, "dense must be"),
    ],
)
def test_bad_options_are_refused_in_words(swing, options, words):
    with pytest.raises(OptionError, match=words):
        ss.solve(swing, **options)


def test_the_smallest_step_ends_a_solve_that_needs_less(swing):
    sol = ss.solve(swing, min_step=0.5, rtol=1e-10, atol=1e-12)
    assert sol.status == layout.SMALLEST and "min_step" in sol.message and not sol.success
    loose = ss.solve(swing, min_step=0.05, rtol=1e-3)
    assert loose.success and np.diff(loose.t)[:-1].min() >= 0.05 * (1 - 1e-12)
    ens = ss.solve_ensemble(swing.batch(), min_step=0.5, rtol=1e-10, atol=1e-12)
    assert ens.status[0] == layout.SMALLEST and "min_step" in ens.message(0)


def test_every_fifth_state_and_the_last(swing):
    every, some = ss.solve(swing, max_step=np.inf, dense=True), ss.solve(swing, save_every=5)
    kept = every.t[::5].tolist()
    assert some.t.tolist() == (kept if kept[-1] == 6.0 else [*kept, 6.0])
    assert some.stats.naccept == every.stats.naccept and np.array_equal(some.y[-1], every.y[-1])


def test_records_and_first_step_go_with_it(swing):
    plain = ss.solve(swing, log=True, first_step=0.01)
    with_stops = ss.solve(swing, log=True, first_step=0.01, max_step=1e9)
    assert np.array_equal(plain.record, with_stops.record, equal_nan=True)
    assert np.array_equal(plain.t, with_stops.t) and np.array_equal(plain.y, with_stops.y)
    stats = {name: getattr(plain.stats, name) for name in ("nfev", "naccept", "nreject")}
    assert stats == {name: getattr(with_stops.stats, name) for name in stats}


HEAVY = [(name, True) for name in methods.names() if methods.get(name).implicit and name != "bdf"]


@pytest.mark.parametrize(("method", "heavy"), [*((name, False) for name in methods.names()), *HEAVY])
def test_no_two_pieces_of_a_kernel_have_one_name(method, heavy):
    """A name that is bound twice in a generated module changes what the earlier pieces mean by it."""
    import ast
    from pathlib import Path

    from stepsmith.integrators.engine.solve import slots_of
    from stepsmith.integrators.kernels.followed import followed_kernel
    from stepsmith.integrators.problems.events import events_of

    problem = ss.problems.make("kepler", seed=0)
    if heavy:
        problem = ss.Problem(oscillator, [1.0, 0.0], (0.0, 6.0), p=[2.0], mass=[[2.0, 0.5], [0.0, 1.0]])
    meth, law = methods.get(method), ss.controller("amuse" if not methods.get(method).law else methods.get(method).law)
    level = events_of((lambda t, y, p: y[0],), problem)
    parts = meth.parts(problem, slots_of(law))
    kernel = followed_kernel(parts, problem.n, problem.m, problem.m, law, 2, level)
    bound: dict[str, list[str]] = {}
    for node in ast.parse(Path(str(kernel.module.__file__)).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            bound.setdefault(node.name, []).append(f"line {node.lineno}")
        elif isinstance(node, ast.Assign):
            for name in (part for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)):
                bound.setdefault(name.id, []).append(ast.unparse(node.value))
    guarded = {"rhs", "accel", "event0"}  # a function of the problem, and what stands around it
    assert {name: what for name, what in bound.items() if len(set(what)) > 1 and name not in guarded} == {}
