"""Ensembles in parts by an executor: the same numbers as one solve, whoever does the work."""

import dataclasses
import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import stepsmith as ss

BATCH = ss.problems.sample("lotka_volterra", n=37, seed=3)


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2) as executor:
        yield executor


def crossing(t, y, p):
    return y[0] - y[1]


def columns(sol):
    """Everything that an ensemble's solution holds, but for the clock."""
    stats = {k: v for k, v in vars(sol.stats).items() if k != "wall_s"}
    names = ("t", "y", "status", "t_eval", "y_eval", "output", "h_next")
    found = {**stats, **{name: getattr(sol, name) for name in names}}
    for name in ("t_events", "y_events"):
        for k, ragged in enumerate(getattr(sol, name) or ()):
            found[f"{name} {k}"], found[f"counts {name} {k}"] = ragged.flat, ragged.counts
    return {name: value for name, value in found.items() if value is not None}


def equal(one, two):
    a, b = columns(one), columns(two)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name
    assert one.tolerance_scale == two.tolerance_scale


OPTIONS = [
    {},
    {"chunk": 5},
    {"rtol": np.geomspace(1e-8, 1e-4, 37), "atol": np.full((37, 1), 1e-9), "chunk": 10},
    {"t_eval": np.linspace(0.0, 5.0, 4)},
    {"t_eval": BATCH.times(np.linspace(0.0, 1.0, 3)), "output": "max", "chunk": 7},
    {"t_eval": [1.0, 2.0], "output": lambda sol: sol.y_eval.mean(axis=1), "chunk": 9},
    {"output": "final", "threads": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_processes_give_the_same_numbers(pool, options):
    equal(ss.solve_ensemble(BATCH, **options), ss.solve_ensemble(BATCH, executor=pool, **options))


@pytest.mark.parametrize("options", OPTIONS[1:6:2])
def test_threads_give_the_same_numbers(options):
    with ThreadPoolExecutor(2) as threads:
        equal(ss.solve_ensemble(BATCH, executor=threads, **options), ss.solve_ensemble(BATCH, **options))


def test_events_dense_output_and_stops(pool):
    stops = np.sort(np.random.default_rng(0).uniform(0.5, 2.0, (37, 2)), axis=1)
    options = {"events": crossing, "dense": True, "tstops": stops}
    whole, parts = ss.solve_ensemble(BATCH, **options), ss.solve_ensemble(BATCH, executor=pool, chunk=8, **options)
    equal(parts, whole)
    assert parts.t_events[0].counts.max() > 0
    assert np.array_equal(parts([0.5, 1.5]), whole([0.5, 1.5]))


@pytest.mark.parametrize("follow", [{}, {"events": crossing, "dense": True}])
def test_a_first_step_is_held_to_the_longest_span_of_all(follow):
    """Not to that of a part, in which all spans may be shorter."""
    ends = np.where(np.arange(37) < 20, BATCH.t0 + 0.5, BATCH.t1)
    batch, options = dataclasses.replace(BATCH, t1=ends), {"first_step": 1.0, **follow}
    with ThreadPoolExecutor(2) as threads:
        equal(ss.solve_ensemble(batch, executor=threads, chunk=5, **options), ss.solve_ensemble(batch, **options))


def test_an_ensemble_of_none(pool):
    equal(ss.solve_ensemble(BATCH[:0], executor=pool), ss.solve_ensemble(BATCH[:0]))


def test_states_in_their_own_shape_and_functions_of_a_script(pool):
    factor = -0.5  # closed over: such functions go by value
    problem = ss.Problem(lambda t, y: factor * y, y0=np.ones((2, 2)), t_span=(0.0, 1.0))
    batch = problem.batch(y0=np.arange(24.0).reshape(6, 2, 2))
    whole, ens = ss.solve_ensemble(batch), ss.solve_ensemble(batch, executor=pool, chunk=4)
    assert ens.y.shape == (6, 2, 2)
    equal(ens, whole)


class Model:
    rate = {"fast": 2.0}

    def slope(self, t, y):
        return [y[1], -self.rate["fast"] * y[0]]


@pytest.mark.filterwarnings("ignore:.*runs as plain Python")
def test_plain_python_goes_along(pool):
    problem = ss.Problem(Model().slope, y0=[1.0, 0.0], t_span=(0.0, 1.0), compiled=False)
    batch = problem.batch(y0=np.arange(10.0).reshape(5, 2))
    equal(ss.solve_ensemble(batch), ss.solve_ensemble(batch, executor=pool, chunk=3))


def test_progress_counts_trajectories(pool, capsys):
    ss.solve_ensemble(BATCH, executor=pool, chunk=10, progress=True)
    assert "37/37" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rtol": -1.0}, "rtol must be finite"),
        ({"rtol": np.ones(5)}, r"rtol must be a number or have shape \(37,\)"),
        ({"t_eval": [1e9]}, "t_eval must lie within"),
        ({"tstops": [1e9]}, "tstops must lie within"),
        ({"first_step": 1e9}, "first_step must not exceed"),
        ({"method": "nosuch"}, "unknown method"),
        ({"chunk": 0}, "chunk must be a whole number"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"output": "max"}, "give t_eval"),
        ({"device": "cuda"}, "executor is for device 'cpu'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(pool, options, says):
    with pytest.raises(ValueError, match=says) as caught:
        ss.solve_ensemble(BATCH, executor=pool, **options)
    assert not getattr(caught.value, "__notes__", [])


def test_what_is_no_executor_is_refused():
    with pytest.raises(ValueError, match="executor must be None or a concurrent.futures.Executor"):
        ss.solve_ensemble(BATCH, executor=4)


def test_what_a_part_raises_names_the_part(pool):
    def reduced(sol):
        if np.isclose(sol.rows_of_none, 0):
            return sol.y

    with pytest.raises(AttributeError, match="rows_of_none") as caught:
        ss.solve_ensemble(BATCH, executor=pool, chunk=30, output=reduced)
    assert "(trajectories " in caught.value.__notes__[0]


def test_a_killed_worker_changes_no_number(tmp_path):
    def dies_once(sol):
        seen = tmp_path / "seen"
        if not seen.exists():
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sol.y * 2.0

    with ProcessPoolExecutor(2) as executor:
        ens = ss.solve_ensemble(BATCH, executor=executor, chunk=12, output=dies_once)
    assert (tmp_path / "seen").exists()
    equal(ens, ss.solve_ensemble(BATCH, output=lambda sol: sol.y * 2.0))
