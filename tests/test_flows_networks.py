"""Learners with a network or a search: hypersolvers, of flows and of plain ODEs, and a method for every step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from stepsmith.flows import (
    EDM,
    GRIDS,
    VE,
    VP,
    FlowMatching,
    Hypersolver,
    Schedule,
    learn,
    linear,
    mixture,
    sample,
    times,
)
from stepsmith.flows.hypersolver import residual
from stepsmith.flows.learners import hypersolver, task, usf

MEANS, SCALES = [[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.4, 0.2]
MODEL = mixture(MEANS, SCALES)
#: of this process even times are poor
VARIED = mixture(MEANS, SCALES, None, VP())
SMALL = {"n_train": 256, "n_validate": 64, "batch": 128}
PROCESSES = [FlowMatching(), VP(), VE(), EDM()]


def noise(n=200, seed=2**40):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def answers(model, z):
    grid = task.base_times(model, 200)
    return task.fine(model.velocity, model.process.s(grid[0]) * z, grid, model)[0][-1]


def errors(model, z, schedule):
    wanted = answers(model, z)
    plain = sample(model, z, "ab2", grid=task.base_times(model, schedule.evaluations), denoise=False)
    return task.percent(sample(model, z, schedule=schedule).y, wanted), task.percent(plain.y, wanted)


# -- hypersolvers ------------------------------------------------------------------------------------------------------

A = torch.tensor([[-0.5, 2.0], [-2.0, -0.3]], dtype=torch.float64)


def linear_ode(t, y):
    return y @ A.T


@pytest.mark.parametrize(("base", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_the_residual_of_a_linear_equation_is_known(base, order):
    """(exp(Ah) - I - ... - (Ah)^p/p!) y / h^(p+1), with SciPy's matrix exponential."""
    solver = Hypersolver(2, base).double()
    y, h = noise(5), 0.3
    flow = scipy.linalg.expm(A.numpy() * h)
    path = torch.stack([y, y @ torch.tensor(flow).T])
    found, slopes, _ = solver.residuals(linear_ode, torch.tensor([0.0, h], dtype=torch.float64), path)
    taylor = sum(np.linalg.matrix_power(A.numpy() * h, k) / math.factorial(k) for k in range(order + 1))
    wanted = y.numpy() @ ((flow - taylor) / h ** (order + 1)).T
    np.testing.assert_allclose(found[0].detach().numpy(), wanted, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(slopes[0], linear_ode(0.0, y))
    assert solver.order == order


def test_before_it_is_fitted_a_hypersolver_is_its_base():
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    found = Hypersolver(2, "euler").double().integrate(linear_ode, noise(4), t)
    step = torch.eye(2, dtype=torch.float64) + 0.25 * A
    torch.testing.assert_close(found[-1], noise(4) @ torch.linalg.matrix_power(step, 4).T)


def test_a_fitted_hypersolver_gains_on_states_that_it_has_not_seen():
    def pendulum(t, y):
        return torch.stack([y[:, 1], -torch.sin(y[:, 0])], 1)

    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    torch.manual_seed(0)
    solver = Hypersolver(2, "euler", width=32, depth=1).double()
    losses = solver.fit(pendulum, noise(256, 3), t, iterations=400)
    assert losses[-1] < 0.1 * losses[0]
    plain, exact = Hypersolver(2, "euler").double(), Hypersolver(2, "midpoint").double()
    z, dense = noise(50, 4), torch.linspace(0, 2, 2001, dtype=torch.float64)
    with torch.no_grad():
        wanted = exact.integrate(pendulum, z, dense)[-1]
        one, other = (s.integrate(pendulum, z, t)[-1] for s in (solver, plain))
    assert task.percent(one, wanted) < 0.25 * task.percent(other, wanted)


def test_a_hypersolver_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="unknown base 'rk9'"):
        Hypersolver(2, "rk9")
    with pytest.raises(ValueError, match="has no option 'iteration'"):
        Hypersolver(2).fit(linear_ode, noise(4), torch.linspace(0, 1, 3), iteration=3)


@pytest.mark.parametrize("base", ["euler", "ab2"])
def test_residuals_along_the_fine_solvers_way_are_what_the_step_misses(base):
    one = task.Task(MODEL, 5, (2,), dtype=torch.float64, n_train=16, n_validate=4)
    rows, order = linear.sampler(base)(one.times()), hypersolver.ORDERS[base]
    seen, wanted = hypersolver.residuals(one, rows, order)
    i, h = 2, 0.2
    x, u, missing = seen[32:48, :2], seen[32:48, 2:4], wanted[32:48]
    torch.testing.assert_close(u, MODEL.velocity(x, 0.4))
    before = MODEL.velocity(seen[16:32, :2], 0.2)
    step = h * u if base == "euler" else h * (1.5 * u - 0.5 * before)
    end = one.state_at(rows.times[i + 1])
    torch.testing.assert_close(x + step + h ** (order + 1) * missing, end, rtol=1e-9, atol=1e-9)
    assert (seen[32:48, 4] == 0.4).all()
    torch.testing.assert_close(residual(x, end, step / h, h, order), missing)


def test_a_learned_correction_gains_and_comes_back_from_its_file(tmp_path):
    schedule = learn(VARIED, kind="hypersolver", steps=6, iterations=400, **SMALL)
    error, plain = errors(VARIED, noise(), schedule)
    assert error < 0.85 * plain and schedule.network.role == "correction"
    again = Schedule.load(schedule.save(tmp_path / "h.safetensors"))
    assert torch.equal(sample(VARIED, noise(), schedule=again).y, sample(VARIED, noise(), schedule=schedule).y)


# -- a method for every step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("kind", ["denoised", "noise"])
def test_first_order_steps_are_ddim(process, kind):
    model = mixture(MEANS, SCALES, None, process)
    grid = times("cosine", 7, model, denoise=False)
    grid = grid[1:] if kind == "noise" else grid  # flow matching begins without a signal
    rows = usf.rows_of(model, grid, [(kind, 1)] * (len(grid) - 1))
    found, _, _ = linear.run(model.velocity, process.s(grid[0]) * noise(), rows)
    wanted = sample(model, noise(), "ddim", grid=grid, denoise=False).y
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("kind", "order"), [("denoised", 2), ("noise", 2), ("velocity", 1)])
def test_orders_are_orders(kind, order):
    """Within the path, away from its ends; halving the steps divides the error by 2^order."""
    model, found = mixture(MEANS, SCALES, None, VP()), []
    fine = torch.linspace(0.6, 0.2, 400, dtype=torch.float64)
    x = noise(50)
    wanted = task.fine(model.velocity, x, fine, model)[0][-1]
    for n in (80, 160):
        grid = torch.linspace(0.6, 0.2, n + 1, dtype=torch.float64)
        rows = usf.rows_of(model, grid, [(kind, order)] * n)
        found.append(task.percent(linear.run(model.velocity, x, rows)[0], wanted))
    assert math.log2(found[0] / found[1]) == pytest.approx(order, abs=0.35)


def test_methods_may_differ_from_step_to_step():
    """Against the same steps taken one by one."""
    model = mixture(MEANS, SCALES, None, VP())
    grid, p = times("cosine", 4, model, denoise=False), model.process
    rows = usf.rows_of(model, grid, [("denoised", 1), ("noise", 2), ("velocity", 2), ("denoised", 2)])
    a, s, t = p.a(grid), p.s(grid), grid
    x = [p.s(grid[0]) * noise(5)]
    d, e, u = [], [], []

    def look(i):
        d.append(model.denoised(x[i], t[i]))
        e.append(model.noise(x[i], t[i]))
        u.append(model.velocity(x[i], t[i]))

    look(0)
    x.append(s[1] / s[0] * x[0] + (a[1] - s[1] / s[0] * a[0]) * d[0])
    look(1)
    r = (t[2] - t[1]) / (t[1] - t[0]) / 2
    x.append(a[2] / a[1] * x[1] + (s[2] - a[2] / a[1] * s[1]) * (e[1] + r * (e[1] - e[0])))
    look(2)
    h, r = t[3] - t[2], (t[3] - t[2]) / (t[2] - t[1]) / 2
    x.append(x[2] + h * (u[2] + r * (u[2] - u[1])))
    look(3)
    r = (t[4] - t[3]) / (t[3] - t[2]) / 2
    x.append(s[4] / s[3] * x[3] + (a[4] - s[4] / s[3] * a[3]) * (d[3] + r * (d[3] - d[2])))
    found, states, _ = linear.run(model.velocity, x[0], rows, keep=True)
    for one, other in zip(states, x, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_predictions_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="noise predictions cannot be made at t = 0"):
        usf.rows_of(MODEL, times("uniform", 3, MODEL), [("noise", 1)] * 3)


def test_a_candidate_of_plain_genes_is_ab2():
    one = task.Task(MODEL, 5, (2,), dtype=torch.float64)
    plain = (GRIDS.index("uniform"), *[usf.FACTORS.index(1.0)] * 5, *[usf.AB2] * 5)
    rows, wanted = usf.built(one, plain), one.start()
    torch.testing.assert_close(rows.slopes, wanted.slopes)
    torch.testing.assert_close(rows.times, wanted.times)


def test_the_predictor_learns_what_a_gene_is_worth():
    rng, kinds = np.random.default_rng(0), [3, 4, 4]
    some = [tuple(int(g) for g in rng.integers(kinds)) for _ in range(60)]

    def worth(one):
        return one[1] - 0.5 * (one[2] == 2)

    guess = usf.predictor(some, [float(worth(one)) for one in some], kinds, 0)
    fresh = [(i, j, k) for i in range(3) for j in range(4) for k in range(4)]
    assert np.corrcoef(guess(fresh), [worth(one) for one in fresh])[0, 1] > 0.9


def test_a_search_gains_on_unseen_noise():
    schedule = learn(VARIED, kind="usf", steps=6, first=24, rounds=4, tried=12, **SMALL)
    error, plain = errors(VARIED, noise(), schedule)
    assert error < 0.8 * plain and schedule.provenance["candidates"] <= 24 + 4 * 12
