"""Learners of samplers of a few steps: what each begins as, what it finds where the answer is known, what it gains."""

from __future__ import annotations

import importlib
import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import torch

from stepsmith.flows import EDM, VP, FlowMatching, Model, fixed, learn, linear, mixture, on_grid, sample, times
from stepsmith.flows.learners import KINDS, ays, bespoke, bns, dp, evolution, gradient, solver_search, task

MEANS, SCALES = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.4, 0.2]
MODEL = mixture(MEANS, SCALES)
SMALL = {"n_train": 64, "n_validate": 64, "batch": 64}


def made(steps=6, model=MODEL, **given):
    return task.Task(model, steps, (2,), dtype=torch.float64, **{"n_train": 64, "n_validate": 64, **given})


def unseen(model=MODEL, n=200):
    """Standard normal noise that no learner draws, and the fine solver's samples of it."""
    z = torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2**40))
    grid = task.base_times(model, 100)
    x = model.process.s(grid[0]) * z
    return z, task.fine(model.velocity, x, grid, model)[0][-1]


UNSEEN = unseen()
#: of this process even times are poor, which every learner has to find
VARIED = mixture(MEANS, SCALES, None, VP())


# -- all of them -------------------------------------------------------------------------------------------------------

SHORT = {
    "grid": {"iterations": 60}, "dp": {}, "ays": {"solver": "euler"}, "evolution": {"population": 16, "generations": 4},
    "bespoke": {"iterations": 60}, "bns": {"iterations": 200}, "solver_search": {"iterations": 60},
}  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in SHORT if k != "ays"])
def test_a_learner_gains_on_unseen_noise(kind):
    z, wanted = unseen(VARIED)
    schedule = learn(VARIED, kind=kind, steps=6, **{**SMALL, "n_train": 128}, **SHORT[kind])
    plain = sample(VARIED, z, "ab2", steps=6, grid=task.base_times(VARIED, 6), denoise=False)
    out = sample(VARIED, z, schedule=schedule)
    error, before = task.percent(out.y, wanted), task.percent(plain.y, wanted)
    assert out.nfe == plain.nfe == 6 and error < (0.9 if kind == "dp" else 0.6) * before
    measured = schedule.measured
    assert measured["error_percent"] < measured["ab2_percent"] or kind == "dp"
    assert schedule.provenance["evaluations"] >= 240 * 128 and schedule.provenance["seconds"] > 0
    assert (schedule.times[0], schedule.times[-1]) == (1.0, 1e-3) and (np.diff(schedule.times) < 0).all()


def test_a_sampler_that_is_worse_than_plain_steps_says_so():
    with pytest.warns(UserWarning, match=r"AB2 on the base grid.*method='ab2'"):
        learn(MODEL, kind="ays", steps=6, solver="euler", **SMALL)


def test_the_same_seed_gives_the_same_numbers_and_another_does_not():
    found = [learn(MODEL, kind="bns", steps=4, seed=s, iterations=25, **SMALL).slopes for s in (1, 1, 2)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_weights_of_the_model_are_left_alone():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    before = [p.detach().clone() for p in net.parameters()]
    model = Model(lambda x, t: net(torch.cat([x, t[:, None]], 1)), FlowMatching())
    learn(model, kind="grid", steps=4, shape=2, iterations=3, dtype=torch.float64, **SMALL)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("process", [FlowMatching(), EDM()], ids=lambda p: p.name)
def test_other_processes_are_learned_too(process):
    model = mixture(MEANS, SCALES, None, process)
    z, wanted = unseen(model)
    schedule = learn(model, kind="bns", steps=8, iterations=150, **{**SMALL, "n_train": 256, "batch": 256})
    plain = sample(model, z, "ab2", grid=task.base_times(model, 8), denoise=False)
    assert task.percent(sample(model, z, schedule=schedule).y, wanted) < 0.9 * task.percent(plain.y, wanted)


def test_time_ends_a_training():
    lines = []
    schedule = learn(MODEL, kind="grid", iterations=10**6, minutes=0.02, progress=lines.append, **SMALL)
    assert schedule.provenance["iterations"] < 10**5 and any("validation noise" in line for line in lines)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "bms"}, "unknown kind 'bms'.*'bns'"),
        ({"steps": 1}, "steps must be a whole number"),
        ({"iteration": 3}, "kind 'bns' has no option 'iteration'"),
        ({"kind": "bespoke", "steps": 5}, "steps must be even"),
        ({"kind": "grid", "solver": "ab9"}, "unknown solver 'ab9'"),
        ({"kind": "dp", "steps": 100}, "at most 60"),
        ({"kind": "dp", "solver": "midpoint", "cost": "own"}, "cost='own' is known for"),
        ({"rate": -1.0}, "rate must be a positive"),
        ({"minutes": 0}, "minutes must be a positive"),
        ({"dtype": torch.float16}, "dtype must be"),
        ({"model": 3}, "model must be a flows.Model"),
        ({"model": Model(lambda x, t: x, FlowMatching())}, "shape must be given"),
        ({"shape": "ab"}, "shape must be"),
        ({"model": Model(lambda x, t: x * torch.inf, FlowMatching()), "shape": 2}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        learn(**{"model": MODEL, **SMALL, **given})


def test_every_kind_has_a_module_that_says_its_source():
    for kind in KINDS:
        module = importlib.import_module(f"stepsmith.flows.learners.{kind}")
        assert callable(module.fit) and module.__doc__


# -- the task ----------------------------------------------------------------------------------------------------------


def test_the_fine_solver_is_scipys_answer_and_its_way_is_interpolated():
    one = made()
    ways, states, _ = one.path

    def f(t, y):
        return MODEL.velocity(torch.tensor(y.reshape(-1, 2)), float(t)).numpy().ravel()

    inner = 0.37
    found = scipy.integrate.solve_ivp(
        f, (0, 1), one.training[:4].numpy().ravel(), "DOP853", [inner, 1.0], rtol=1e-10, atol=1e-12
    ).y
    torch.testing.assert_close(states[-1][:4], torch.tensor(found[:, 1].reshape(4, 2)), rtol=1e-4, atol=1e-4)
    at = one.state_at(torch.tensor(inner, dtype=torch.float64))[:4]
    torch.testing.assert_close(at, torch.tensor(found[:, 0].reshape(4, 2)), rtol=1e-4, atol=1e-4)
    assert one.evaluations == 64 * 240 and len(ways) == 61
    for t in (0.0, 1.0):
        torch.testing.assert_close(
            one.state_at(torch.tensor(t, dtype=torch.float64)), states[-int(t)], rtol=1e-12, atol=1e-12
        )


def test_training_validation_and_test_noise_are_different():
    one = made()
    assert not torch.isin(one.training, one.validation).any() and not torch.isin(one.noise(64), one.training).any()


def test_monotone_times_are_exact_at_both_ends_and_come_back():
    grid = times("cosine", 7, MODEL)
    torch.testing.assert_close(gradient.monotone(gradient.logits_of(grid), (0.0, 1.0)), grid, rtol=1e-13, atol=1e-15)
    down = gradient.monotone(torch.randn(5, dtype=torch.float64), (80.0, 0.002))
    assert down[0] == 80.0 and down[-1] == 0.002 and (torch.diff(down) < 0).all()


# -- what they begin as ------------------------------------------------------------------------------------------------


def begun(kind):
    """The rows that a learner begins with, those with no iteration."""
    one = made()
    rows, _ = {"bns": lambda: bns.fit(one, iterations=1, fit_last=False, rate=1e-300)}.get(
        kind, lambda: {"bespoke": bespoke, "solver_search": solver_search}[kind].fit(one, iterations=1, rate=1e-300)
    )()
    return linear.run(MODEL.velocity, UNSEEN[0], rows)[0]


@pytest.mark.parametrize(("kind", "method", "steps"), [
    ("bns", "ab2", 6), ("solver_search", "ab2", 6), ("bespoke", "midpoint", 3),
])  # fmt: skip
def test_a_learner_begins_as_the_plain_method(kind, method, steps):
    torch.testing.assert_close(begun(kind), sample(MODEL, UNSEEN[0], method, steps=steps).y, rtol=1e-11, atol=1e-11)


def test_bespoke_rows_are_its_steps():
    """Random scale and time against the formulas of the paper, step by step."""
    rng = torch.Generator().manual_seed(5)
    n, h = 3, 1 / 3
    t = times("cosine", 2 * n, MODEL)
    log_s = 0.3 * torch.randn(2 * n + 1, dtype=torch.float64, generator=rng)
    dt, ds = (torch.randn(2 * n, dtype=torch.float64, generator=rng) for _ in range(2))
    s, x = log_s.exp(), UNSEEN[0]
    for i in range(n):
        b, m, e = 2 * i, 2 * i + 1, 2 * i + 2
        z = (s[b] + h / 2 * ds[b]) * x + h / 2 * s[b] * dt[b] * MODEL.velocity(x, t[b])
        x = (s[b] * x + h * (ds[m] / s[m] * z + dt[m] * s[m] * MODEL.velocity(z / s[m], t[m]))) / s[e]
    found, _, _ = linear.run(MODEL.velocity, UNSEEN[0], bespoke.rows_of(t, log_s, dt, ds))
    torch.testing.assert_close(found, x, rtol=1e-11, atol=1e-11)


def test_weights_of_a_solver_search_sum_to_one():
    grid = times("cosine", 5, MODEL)
    rows = solver_search.rows_of(grid, torch.randn(5, 5, dtype=torch.float64))
    torch.testing.assert_close(rows.slopes.sum(1), torch.diff(grid))
    still = Model(lambda x, t: torch.ones_like(x), FlowMatching())
    torch.testing.assert_close(linear.run(still.velocity, UNSEEN[0], rows)[0], UNSEEN[0] + 1)


def test_the_last_row_by_least_squares_is_no_worse_than_any_other():
    one = made(4)
    rows = bns.last_row(one, one.start())

    def error(r):
        return float((linear.run(MODEL.velocity, one.training, r)[0] - one.target).square().mean())

    least = error(rows)
    assert least < error(one.start())
    for k in range(4):
        for change in (1e-3, -1e-3):
            other = rows.detached()
            other.slopes[-1, k] += change
            assert error(other) > least


# -- dynamic programming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("growth", [1.0, 1.15])
def test_a_path_is_the_best_of_all(growth):
    rng = np.random.default_rng(3)
    m, steps = 8, 4
    costs = np.where(np.arange(m + 1) > np.arange(m + 1)[:, None], rng.random((m + 1, m + 1)), np.inf)
    pairs = rng.random((m, m, m + 1))
    for p, i, j in itertools.product(range(m), range(m), range(m + 1)):
        if not p < i < j:
            pairs[p, i, j] = np.inf
    every = [(0, *inner, m) for inner in itertools.combinations(range(1, m), steps - 1)]

    def length(path, of):
        total = 0.0
        for k in range(1, len(path)):
            total = of(path, k) + (growth * total if k > 1 else 0.0)
        return total

    def single(path, k):
        return costs[path[k - 1], path[k]]

    def double(path, k):
        return single(path, 1) if k == 1 else pairs[path[k - 2], path[k - 1], path[k]]

    assert tuple(dp.shortest_path(costs, steps, growth)) == min(every, key=lambda p: length(p, single))
    assert tuple(dp.pair_path(costs[0], pairs, steps, growth)) == min(every, key=lambda p: length(p, double))
    assert dp.shortest_path(costs, m) == list(range(m + 1)) == dp.pair_path(costs[0], pairs, m)
    assert dp.pair_path(costs[0], pairs, 1) == [0, m] == dp.shortest_path(costs, 1)


@pytest.mark.parametrize("relative", [False, True])
def test_costs_are_what_a_long_step_misses(relative):
    one = made(n_train=16)
    grid, states, slopes = one.path
    gram = dp.products(states, slopes)
    first, pairs = dp.euler_costs(grid.numpy(), gram, relative), dp.ab2_costs(grid.numpy(), gram, relative)

    def rms(x):
        return float(x.square().mean().sqrt())

    for p, i, j in ((0, 7, 30), (20, 21, 60), (55, 58, 59)):
        scale = rms(states[j]) if relative else 1.0
        h = grid[j] - grid[i]
        assert first[i, j] == pytest.approx(rms(states[i] + h * slopes[i] - states[j]) / scale, rel=1e-6)
        weights = fixed.adams_bashforth([float(grid[p]), float(grid[i])], float(grid[i]), float(grid[j]))
        end = states[i] + weights[0] * slopes[p] + weights[1] * slopes[i]
        assert pairs[p, i, j] == pytest.approx(rms(end - states[j]) / scale, rel=1e-6)
    assert np.isinf(first[5, :6]).all() and np.isinf(pairs[3, 3]).all() and np.isinf(pairs[3, 9, :10]).all()


@pytest.mark.parametrize("c", [0.5, 2.0])
def test_dynamic_programming_finds_equal_angles_for_gaussian_data(c, monkeypatch):
    """Of data N(0, c^2) Euler's steps in sigma = c tan(theta) each lose a factor cos(d theta): equal steps are best."""
    model = mixture([[0.0, 0.0]], [c], None, EDM())
    angles = torch.linspace(math.atan(80 / c), math.atan(0.002 / c), 61, dtype=torch.float64)
    nodes = c * torch.tan(angles)
    nodes[0], nodes[-1] = 80.0, 0.002
    one = made(6, model)
    x = one.training
    exact = torch.stack([x * ((t**2 + c**2) / (80.0**2 + c**2)).sqrt() for t in nodes])
    one._path = nodes, exact, torch.stack([model.velocity(x, t) for x, t in zip(exact[:-1], nodes[:-1], strict=True)])
    rows, _ = dp.fit(one, solver="euler")
    torch.testing.assert_close(torch.atan(rows.times / c), angles[::10], rtol=0, atol=1e-9)


# -- Align Your Steps --------------------------------------------------------------------------------------------------


def exact_bound(sigmas):
    """KLUB of Gaussian data N(0, 1): E|D_s - D_T|^2 = 1/(1 + s^2) - 1/(1 + T^2), D being a martingale."""
    total = 0.0
    for high, low in zip(sigmas[:-1], sigmas[1:], strict=True):
        total += scipy.integrate.quad(lambda s: (1 / (1 + s**2) - 1 / (1 + high**2)) / s**3, low, high)[0]  # noqa: B023
    return total


def test_the_bound_of_gaussian_data_is_the_integral_and_its_grid_the_least():
    model = mixture([[0.0]], [1.0], None, EDM(sigma_min=0.1, sigma_max=20.0))
    one = task.Task(model, 4, (1,), n_train=20_000, dtype=torch.float64)
    one._path = None
    rows, facts = ays.fit(one, solver="euler", sigma_min=0.1, sigma_max=20.0, nodes=200)
    found = rows.times.numpy()
    assert facts["bound"] == pytest.approx(exact_bound(found), rel=0.05)

    def of(logs):
        inner = np.exp(logs)
        return exact_bound([20.0, *inner, 0.1]) if (np.diff([20.0, *inner, 0.1]) < 0).all() else 1e9

    best = scipy.optimize.minimize(of, np.log(found[1:-1]), method="Nelder-Mead", options={"maxiter": 150})
    assert exact_bound(found) < 1.01 * best.fun
    assert exact_bound(np.geomspace(20.0, 0.1, 5)) > 1.1 * best.fun  # the test can tell grids apart
    np.testing.assert_allclose(np.log(found[1:-1]), best.x, atol=0.1)


def test_differences_are_those_of_a_martingale():
    model = mixture([[0.0]], [1.0], None, EDM(sigma_min=0.1, sigma_max=20.0))
    one = task.Task(model, 4, (1,), n_train=20_000, dtype=torch.float64)
    levels = np.geomspace(20.0, 0.1, 5)
    gaps, second = ays.differences(one, levels), 1 / (1 + levels**2)
    np.testing.assert_allclose(gaps, np.abs(second[:, None] - second[None, :]), atol=0.03)


# -- evolution ---------------------------------------------------------------------------------------------------------


def test_places_stay_a_path():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (3, 3), (4, 20), (19, 20)):
        for _ in range(50):
            a, b = (evolution.repaired(rng.uniform(-5, m + 5, n - 1), m) for _ in range(2))
            for one in (a, b, evolution.mutated(a, m, 0.5, rng), evolution.crossed(a, b, m, rng)):
                assert one[0] == 0 and one[-1] == m and len(one) == n + 1 and (np.diff(one) > 0).all()
    assert evolution.mutated(a, m, 0.0, rng) == a and evolution.crossed(a, a, m, rng) == a


def test_on_grid_and_a_schedule_agree():
    schedule = learn(MODEL, kind="evolution", steps=4, population=12, generations=2, **SMALL)
    wanted = on_grid(MODEL, UNSEEN[0], torch.tensor(schedule.times), "ab2").y
    torch.testing.assert_close(sample(MODEL, UNSEEN[0], schedule=schedule).y, wanted, rtol=1e-12, atol=1e-12)
