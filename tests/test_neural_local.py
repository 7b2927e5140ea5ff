"""Local regularisers: values against SciPy's tableaus and the solver's own steps, gradients against differences and
autograd.
"""

import numpy as np
import pytest
import torch
from scipy.integrate import DOP853, RK23, RK45, solve_ivp

import stepsmith as ss
from stepsmith.integrators.neural.regularisers import Solver, retake
from torch_fields import F64, field_of, mlp, odeint, state

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
A = np.array([[-0.3, 2.0], [-1.0, -0.1]])
ROTATE = torch.tensor(A)
#: large steps, whose estimates are far above round-off
TOL = 1e-2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def penalty_of(reg, func, y0=None, t=T, generator=None, **options):
    ode = NeuralODE(func, regulariser=reg, **{"rtol": 1e-6, "atol": 1e-6, **options})
    return ode(state() if y0 is None else y0, t, generator).penalty


SCIPY = {"bs32": RK23, "dopri5": RK45, "dop853": DOP853}


def one_step(method, f, t, y, h, rtol, atol):
    """E of one step by SciPy's tableau; y (n,) one error norm."""
    tab = SCIPY[method]
    k = [f(t, y)]
    for c, row in zip(tab.C[1:], tab.A[1:], strict=True):
        k.append(f(t + c * h, y + h * np.dot(row[: len(k)], k)))
    y1 = y + h * np.dot(tab.B, k[: len(tab.B)])
    k.append(f(t + h, y1))
    scale = atol + rtol * np.maximum(abs(y), abs(y1))

    def rms(weights):
        return np.sqrt(np.mean((h * np.dot(weights, k) / scale) ** 2))

    if method != "dop853":
        return rms(tab.E)
    s5, s3 = rms(tab.E5), rms(tab.E3)
    return s5**2 / np.sqrt(s5**2 + 0.01 * s3**2)


def automatic(f, t, y, end, order, rtol, atol):
    """Hairer's first step; y (n,)."""
    scale = atol + rtol * abs(y)
    norm = lambda x: np.sqrt(np.mean((x / scale) ** 2))  # noqa: E731
    h0 = min(0.01 * norm(y) / norm(f(t, y)), end - t)
    d2 = norm(f(t + h0, y + h0 * f(t, y)) - f(t, y)) / h0
    return min(100 * h0, (0.01 / max(norm(f(t, y)), d2)) ** (1 / order), end - t)


def forced(t, y):
    return (y @ ROTATE.T) * (1 + t)


def forced_np(t, y):
    return (y.reshape(-1, 2) @ A.T * (1 + t)).ravel()


@pytest.mark.parametrize("method, order", [("bs32", 3), ("dopri5", 5), ("dop853", 8)])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("size", ["automatic", "taken"])
def test_local_unbiased_is_the_error_of_one_step_from_a_uniform_time(method, order, per_sample, size):
    y0 = torch.tensor([[1.0, 0.3], [-2.0, 0.5]], dtype=F64)
    rtol, atol = 1e-5, 1e-7
    reg = regulariser("local_unbiased", step=size)
    got = penalty_of(reg, forced, y0, method=method, rtol=rtol, atol=atol, per_sample=per_sample, generator=seeded(3))
    at = torch.rand((), dtype=F64, generator=seeded(3)).item()
    y = solve_ivp(forced_np, (0, 1), y0.numpy().ravel(), "DOP853", [at], rtol=1e-12, atol=1e-13).y[:, 0]
    sol = odeint(
        forced, y0, torch.cat([T, torch.tensor([at])]).sort()[0], method, rtol=rtol, atol=atol, per_sample=per_sample
    )
    expected = []
    for lane in ([0, 1], [2, 3]) if per_sample else ([0, 1, 2, 3],):
        h = automatic(forced_np, at, y[lane], 1.0, order, rtol, atol)
        if size == "taken":
            start, sizes = (
                x.reshape(len(x), -1)[:, lane[0] // 2] for x in (sol.heuristics.t.numpy(), sol.heuristics.h.numpy())
            )
            across = [j for j in range(len(start)) if start[j] <= at < start[j] + sizes[j]]
            h = min(sizes[across[0]], 1.0 - at)
        expected.append(one_step(method, forced_np, at, y[lane], h, rtol, atol) * h)
    assert got.item() == pytest.approx(np.mean(expected), rel=5e-3)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("of", ["error", "stiffness"])
def test_local_biased_with_the_taken_step_is_one_of_the_solvers_own_steps(per_sample, of):
    field = field_of(mlp())
    sol = odeint(field, state(), T, rtol=1e-7, atol=1e-7, per_sample=per_sample)
    estimate = sol.heuristics.E if of == "error" else sol.heuristics.S
    each = (estimate * sol.heuristics.h).detach().reshape(len(sol.heuristics.h), -1).numpy()
    counts = sol.stats.naccept_per_sample if per_sample else [len(each)]
    seen = set()
    for seed in range(20 if per_sample else 50):
        got = penalty_of(
            regulariser("local_biased", step="taken", of=of),
            field,
            rtol=1e-7,
            atol=1e-7,
            per_sample=per_sample,
            generator=seeded(seed),
        )
        share = torch.rand(5, dtype=F64, generator=seeded(seed)).numpy()
        chosen = [int(share[i] * n) for i, n in enumerate(counts)]
        seen.update(chosen)
        assert got.item() == pytest.approx(np.mean([each[j, i] for i, j in enumerate(chosen)]), rel=1e-7)
    assert seen == set(range(max(counts)))


def test_states_taken_again_are_the_solvers():
    field, y0 = field_of(mlp()), state()
    sol = odeint(field, y0, T, rtol=1e-7, atol=1e-7, adjoint="none")
    ends = (sol.heuristics.t + sol.heuristics.h).numpy()
    again = odeint(field, y0, np.unique(np.concatenate([[0.0], ends[:, 2]])), rtol=1e-7, atol=1e-7, adjoint="none")
    from stepsmith.integrators.methods.tableaus import get
    from stepsmith.integrators.neural.settings import Settings

    set_ = Settings(get("tsit5"), None, T.numpy(), 1e-7, 1e-7, None, 1, False, True)
    start, h = sol.heuristics.t.numpy(), sol.heuristics.h.numpy()
    for j in range(sol.stats.naccept_per_sample[2]):
        y = retake.states_at(field, y0, set_, start, h, np.minimum(j, sol.stats.naccept_per_sample - 1), False)
        np.testing.assert_allclose(y[2].detach().numpy(), again.y[j, 2].detach().numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_biased_step_by_another_method_starts_from_the_main_solve(per_sample, monkeypatch):
    """Main solve by dop853, the one step by bs32: y(t_r) is the main solve's, E that of a step by bs32 from there."""
    from stepsmith.integrators.neural.regularisers import local

    kept = []
    original = local.states_at
    monkeypatch.setattr(local, "states_at", lambda *args: kept.append(original(*args)) or kept[-1])
    y0 = torch.tensor([[1.0, 0.3], [-2.0, 0.5]], dtype=F64)
    ode = NeuralODE(
        forced,
        "dop853",
        rtol=1e-8,
        atol=1e-8,
        per_sample=per_sample,
        regulariser=regulariser("local_biased", method="bs32"),
    )
    share = torch.tensor([0.8, 0.55], dtype=F64)
    monkeypatch.setattr(local, "uniform", lambda shape, generator: share)
    out = ode(y0, T)
    heuristics, lanes = out.solution.heuristics, [[0, 1], [2, 3]] if per_sample else [[0, 1, 2, 3]]
    start, h = (x.numpy().reshape(len(x), -1) for x in (heuristics.t, heuristics.h))
    counts = out.solution.stats.naccept_per_sample if per_sample else [len(h)]
    expected = []
    for i, lane in enumerate(lanes):
        j = int(share[i] * counts[i])
        at, size, y = start[j, i], h[j, i], kept[0].numpy().ravel()[lane]
        assert j > 0
        # the same solve with an output there
        there = (
            odeint(forced, y0, [0.0, at], "dop853", rtol=1e-8, atol=1e-8, per_sample=per_sample)
            .y[1]
            .numpy()
            .ravel()[lane]
        )
        exact = solve_ivp(forced_np, (0, at), y0.numpy().ravel()[lane], "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        np.testing.assert_allclose(y, there, rtol=1e-7)
        np.testing.assert_allclose(y, exact, rtol=1e-6)
        expected.append(one_step("bs32", forced_np, at, y, size, 1e-8, 1e-8) * size)
    assert out.penalty.item() == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("size", ["taken", "automatic"])
@pytest.mark.parametrize("name", ["local_unbiased", "local_biased"])
def test_a_held_first_stage_has_no_gradient(name, size):
    """Against autograd through a step of bs32 written out, its first stage a constant."""
    w = torch.tensor([1.3, -0.4], dtype=F64, requires_grad=True)

    def func(t, y):
        return torch.sin(w * y) * (1 + t) + w.flip(0)

    reg = regulariser(name, step=size, hold_first=True)
    plan = reg.plan(func, state(3, 2), T, seeded(1), Solver("bs32", TOL, TOL))
    result = odeint(plan.func, plan.y0, plan.t, "bs32", rtol=TOL, atol=TOL, per_sample=False)
    kept = []
    term = reg._one_step
    reg._one_step = lambda *args: kept.append(args) or term(*args)
    penalty = plan.read(result)[1]
    _, _, set_, _, t, y, taken = kept[0]
    t, y = float(t[0]), y.detach()
    h = automatic(
        lambda t, y: func(t, torch.tensor(y).view(3, 2)).detach().numpy().ravel(),
        t,
        y.numpy().ravel(),
        1.0,
        3,
        TOL,
        TOL,
    )
    h = h if taken is None else min(float(taken[0]), 1.0 - t)

    def by_hand(hold):
        k1 = func(t, y)
        k1 = k1.detach() if hold else k1
        k2 = func(t + h / 2, y + h / 2 * k1)
        k3 = func(t + 3 * h / 4, y + 3 * h / 4 * k2)
        y1 = y + h * (2 * k1 + 3 * k2 + 4 * k3) / 9
        k4 = func(t + h, y1)
        err = h * (5 / 72 * k1 - k2 / 12 - k3 / 9 + k4 / 8)
        return (err / (TOL + TOL * torch.maximum(y.abs(), y1.abs()))).square().mean().sqrt() * h

    (gradient,) = torch.autograd.grad(penalty, w)
    held, free = by_hand(True), by_hand(False)
    torch.testing.assert_close(penalty, held, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(gradient, torch.autograd.grad(held, w)[0], rtol=1e-8, atol=1e-14)
    assert (torch.autograd.grad(free, w)[0] - gradient).abs().max() > 1e-2 * gradient.abs().max()


@pytest.mark.parametrize("name", ["local_unbiased", "local_biased"])
@pytest.mark.parametrize("of", ["error", "stiffness"])
@pytest.mark.parametrize("step", ["automatic", "taken"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_gradient_of_a_local_one_runs_through_the_one_step(name, of, step, per_sample):
    """Differences of the step alone: state, time and size are held, the last layer's weights moved."""
    net = mlp()
    reg = regulariser(name, of=of, step=step)
    plan = reg.plan(field_of(net), state(), T, seeded(1), Solver("dopri5", TOL, TOL, per_sample))
    result = odeint(plan.func, plan.y0, plan.t, "dopri5", rtol=TOL, atol=TOL, per_sample=per_sample)
    penalty = plan.read(result)[1]
    (gradient,) = torch.autograd.grad(penalty, net[2].weight)
    assert not torch.autograd.grad(plan.read(result)[1], result.y, allow_unused=True)[0] is not None
    captured = capture_step(reg, field_of(net), per_sample, result)
    assert captured().item() == pytest.approx(penalty.item(), rel=1e-12)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            net[2].weight[1, 2] += sign * 1e-3
        values.append(captured().item())
        with torch.no_grad():
            net[2].weight[1, 2] -= sign * 1e-3
    assert gradient[1, 2].item() == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-4)


def capture_step(reg, func, per_sample, result):
    """The step that `reg` takes, as a function of the weights alone."""
    from stepsmith.integrators.neural.regularisers import local

    kept = {}
    original, again = local.first_step, retake.states_at

    def first(*args):
        kept.setdefault("first", original(*args))
        return kept["first"]

    def states(*args):
        kept.setdefault("states", again(*args))
        return kept["states"]

    def penalty():
        plan = reg.plan(func, state(), T, seeded(1), Solver("dopri5", TOL, TOL, per_sample))
        local.first_step, local.states_at = first, states
        try:
            return plan.read(result)[1]
        finally:
            local.first_step, local.states_at = original, again

    return penalty
