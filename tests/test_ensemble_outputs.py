"""What is kept of an ensemble's trajectories, chunks that change no result, progress, and the printed summary."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.solver_options import output_grid
from stepsmith.integrators.engine import reduce
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.problems.problem import Batch, Problem

TIMES = np.linspace(0.0, 10.0, 60)


def oscillator(t, y, p, dy):
    """A damped oscillator, p = (stiffness, damping)."""
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] - p[1] * y[1]


PROBLEM = Problem(oscillator, [1.0, 0.0], (0.0, 10.0), [2.0, 0.1])


def many(count):
    p = np.column_stack([np.linspace(1.0, 4.0, count), np.linspace(0.0, 0.3, count)])
    return PROBLEM.batch(p=p, y0=np.column_stack([np.linspace(-1.0, 1.0, count), np.ones(count)]))


def run(batch, **more):
    return ss.solve_ensemble(batch, "tsit5", "pi34", **{"rtol": 1e-6, "atol": 1e-8, **more})


def same(a, b):
    """Equal to the last bit, and in dtype."""
    for name in ("t", "y", "status", "t_eval", "y_eval", "output"):
        one, two = getattr(a, name), getattr(b, name)
        assert (one is None) == (two is None), name
        if one is not None:
            np.testing.assert_array_equal(one, two, err_msg=name)
            assert one.dtype == two.dtype and one.shape == two.shape
    for field in dataclasses.fields(a.stats):
        if field.name != "wall_s":
            one, two = getattr(a.stats, field.name), getattr(b.stats, field.name)
            np.testing.assert_array_equal(one, two, err_msg=field.name)
            assert one.dtype == two.dtype == np.int64


@pytest.mark.parametrize("chunk", [1, 7, 64, 100, 129, 300, 5000])
@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_change_nothing(chunk, threads):
    batch = many(300)
    tolerances = {"rtol": np.geomspace(1e-3, 1e-9, 300), "atol": np.full((300, 2), 1e-9)}
    own_times = np.tile(TIMES, (300, 1)) * np.linspace(0.1, 1.0, 300)[:, None]
    for options in ({}, {"t_eval": TIMES}, {"t_eval": own_times, **tolerances}):
        whole = run(batch, **options)
        same(run(batch, chunk=chunk, threads=threads, **options), whole)
        if options:
            largest = run(batch, chunk=chunk, threads=threads, output="max", **options)
            np.testing.assert_array_equal(largest.output, whole.y_eval.max(axis=1))
            np.testing.assert_array_equal(largest.y, whole.y)
            assert largest.y_eval is None


def test_spans_of_many_lengths_and_failures_in_chunks():
    batch = many(150)
    y0, t1 = batch.y0.copy(), np.linspace(-3.0, 8.0, 150)
    y0[40] = np.nan
    batch = Batch(batch.rhs, y0, batch.p, batch.t0, t1, validate=False)
    whole = run(batch, max_steps=30)
    assert set(whole.status) == {layout.SUCCESS, layout.BAD_START, layout.MAX_STEPS}
    for chunk in (13, 64):
        same(run(batch, max_steps=30, chunk=chunk), whole)


def test_extremes_against_scipy():
    batch = many(9)
    options = {"t_eval": TIMES, "rtol": 1e-9, "atol": 1e-11}
    largest, smallest = (run(batch, output=name, **options).output for name in ("max", "min"))
    for i, p in enumerate(batch.p):
        exact = solve_ivp(lambda t, y, p=p: [y[1], -p[0] * y[0] - p[1] * y[1]], (0.0, 10.0), batch.y0[i], "DOP853",
                          rtol=1e-12, atol=1e-13, dense_output=True).sol(TIMES)  # fmt: skip
        np.testing.assert_allclose(largest[i], exact.max(axis=1), rtol=1e-7)
        np.testing.assert_allclose(smallest[i], exact.min(axis=1), rtol=1e-7)


def test_extremes_of_what_was_not_reached_are_nan():
    batch = many(4)
    p = batch.p.copy()
    p[2] = 1e6, 0.0
    sol = run(Batch(batch.rhs, batch.y0, p, batch.t0, batch.t1), t_eval=TIMES, output="max", max_steps=500)
    np.testing.assert_array_equal(np.isnan(sol.output).all(axis=1), [False, False, True, False])


def test_what_is_kept_by_name():
    batch = many(5)
    plain, outputs = run(batch), run(batch, t_eval=TIMES)
    same(run(batch, output="final"), plain)
    same(run(batch, output="final", t_eval=TIMES), plain)
    same(run(batch, output="t_eval", t_eval=TIMES), outputs)
    with pytest.raises(OptionError, match="within"):
        run(batch, output="final", t_eval=[11.0])


def test_a_function_of_a_chunk():
    batch = many(200)
    whole = run(batch, t_eval=TIMES)
    seen = []

    def crossings(sol):
        assert isinstance(sol, type(whole)) and sol.y_eval.shape[1:] == (60, 2) and sol.t_eval.shape == (1, 60)
        seen.append(len(sol.y))
        return np.count_nonzero(np.diff(np.sign(sol.y_eval[:, :, 0]), axis=1), axis=1)

    sol = run(batch, t_eval=TIMES, output=crossings, chunk=64)
    assert seen == [64, 64, 64, 8] and sol.output.dtype == np.int64 and sol.y_eval is None
    np.testing.assert_array_equal(sol.output, crossings(whole))
    same(run(batch, t_eval=TIMES, output=crossings), sol)
    ends = run(batch, output=lambda sol: sol.y[:, 0].tolist(), chunk=31)
    np.testing.assert_array_equal(ends.output, whole.y[:, 0])
    view = run(batch, t_eval=TIMES, output=lambda sol: sol.y_eval[:, -1])
    assert view.output.base is None, "a view would keep all outputs of the chunk"
    mixed = run(batch, output=lambda sol: np.ones(len(sol.y), int if sol.y[0, 0] == whole.y[0, 0] else float), chunk=99)
    assert mixed.output.dtype == np.float64


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda sol: None, "first axis is the chunk's trajectories, here 64, got None"),
        (lambda sol: 3.0, "here 64, got 3.0"),
        (lambda sol: sol.y.T, r"here 64, got shape \(2, 64\)"),
        (lambda sol: sol, "here 64, got EnsembleSolution"),
        (lambda sol: [[1.0], [2.0, 3.0]] * 32, "here 64, got"),
        (lambda sol: ["a"] * len(sol.y), "here 64, got"),
        (lambda sol: np.ones((len(sol.y), len(sol.y))), r"one shape .* got \(64,\) before trajectory 64 and \(36,\)"),
    ],
)
def test_functions_that_return_something_else(output, words):
    with pytest.raises(OptionError, match=words):
        run(many(100), output=output, chunk=64)


def test_an_error_of_the_function_is_its_own():
    with pytest.raises(ZeroDivisionError):
        run(many(3), output=lambda sol: 1 / 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output": "maximum"}, "did you mean 'max'"),
        ({"output": 3}, "output must be one of 'final', 't_eval', 'max', 'min', or a function"),
        ({"output": "max"}, "output='max' is taken over the times in t_eval: give t_eval"),
        ({"output": "min", "t_eval": []}, "give t_eval"),
        ({"output": "t_eval"}, "give t_eval"),
        ({"chunk": 0}, "chunk must be a whole number of at least 1 or None, got 0"),
        ({"chunk": 2.0}, "chunk must be"),
        ({"chunk": True}, "chunk must be"),
        ({"chunk": "big"}, "chunk must be"),
        ({"progress": 1}, "progress must be True or False"),
        ({"outputs": "max"}, "did you mean 'output'"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bad_options(options, words, device):
    with pytest.raises(OptionError, match=words):
        run(many(3), device=device, **options)


def test_no_trajectories():
    none = many(3)[:0]
    assert run(none, output="max", t_eval=TIMES, chunk=4).output.shape == (0, 2)
    assert run(none, output=lambda sol: 1 / 0).output.shape == (0,)
    assert run(none, progress=True).y.shape == (0, 2)
    assert repr(run(none)).startswith("EnsembleSolution of 0 trajectories")


def test_automatic_chunks_bound_the_memory(monkeypatch):
    assert reduce.chunk_size(None, reduce.Kept(), 10**6, 300) == 10**6
    what = reduce.Kept(len)
    assert reduce.chunk_size(None, what, 10**6, 300) * 300 * 8 <= 2**28
    assert reduce.chunk_size(None, what, 10**6, 10**9) == 1
    monkeypatch.setattr(reduce, "CHUNK_BYTES", 80_000)
    sizes = []
    run(many(300), t_eval=TIMES, output=lambda sol: sizes.append(sol.y_eval.nbytes) or sol.t)
    assert len(sizes) > 1 and max(sizes) <= 80_000


def test_progress(capsys):
    sol = run(many(3000), progress=True, chunk=1000, threads=2)
    shown = capsys.readouterr()
    assert "3,000/3,000" in shown.err and "/s" in shown.err and not shown.out
    same(sol, run(many(3000)))
    run(many(3))
    assert capsys.readouterr().err == ""
    reports = []
    law = ss.controller("pi34")
    from stepsmith.integrators.engine.ensemble import solve_ensemble

    solve_ensemble(many(3000), "tsit5", law, chunk=700, report=reports.append, threads=2)
    assert reports == sorted(reports) and reports[-1] == 3000
    reports.clear()
    solve_ensemble(many(700), "tsit5", law, rtol=1e-12, atol=1e-14, report=reports.append, threads=1)
    assert reports == sorted(reports) and reports[-1] == 700 and len(reports) > 1


def test_an_interrupt_ends_a_run_in_chunks():
    p = np.tile([1e11, 0.0], (1200, 1))  # half a minute
    run(PROBLEM.batch(), progress=True)  # compiles
    for threads in (1, 2):
        timer = threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        timer.start()
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            run(PROBLEM.batch(p=p), threads=threads, chunk=600, progress=True, max_steps=10**9)
        assert time.perf_counter() - began < 10.0
        timer.join()


def test_the_printed_summary():
    batch = many(1000)
    y0, p = batch.y0.copy(), batch.p.copy()
    y0[500], y0[7] = np.nan, np.nan
    p[123] = 1e8, 0.0
    sol = run(Batch(batch.rhs, y0, p, batch.t0, batch.t1, validate=False), max_steps=500, t_eval=TIMES)
    text = repr(sol)
    assert text == str(sol) and len(text.splitlines()) <= 5
    assert "1000 trajectories: 997 reached the end of the span, 3 failed" in text
    assert "right-hand side is not finite at the initial state (2, first 7)" in text
    assert "step limit reached before the end of the span (1, first 123)" in text
    assert f"{sol.stats.nfev.max()} at most" in text and "y (1000, 2), y_eval (1000, 60, 2)" in text
    over = dataclasses.replace(sol.stats, naccept_over=np.arange(1000))
    assert len(repr(dataclasses.replace(sol, stats=over)).splitlines()) == 5
    assert "failed" not in repr(run(batch))


def test_times_that_all_trajectories_share_are_checked_without_an_array_of_all():
    t0, t1 = np.zeros(100_000), np.linspace(1.0, 2.0, 100_000)
    tracemalloc.start()
    output_grid(np.linspace(0.0, 1.0, 200), t0, t1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    for times in ([0.0, 1.5], [-0.1, 0.5], [0.5, np.nan]):
        with pytest.raises(OptionError, match="within"):
            output_grid(times, t0, t1)
    with pytest.raises(OptionError, match="ordered"):
        output_grid([0.5, 0.2], t0, t1)
    mixed = np.where(np.arange(100_000) % 2, 1.0, -1.0)
    with pytest.raises(OptionError, match="within"):
        output_grid([0.0, 0.5], t0, mixed)
    with pytest.raises(OptionError, match="ordered"):
        output_grid([-0.5, 0.5], -mixed, mixed)
    assert output_grid([0.0, 0.0], t0, mixed).shape == (1, 2)
