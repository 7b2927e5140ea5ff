"""torchode as a host: a sample that fails stops alone, and says so."""

from __future__ import annotations

import math

import pytest
import torch
import torchode as to

import stepsmith as ss

F64, PI = torch.float64, ss.controller("pi34")


def stiffening(t, y):
    mu = torch.tensor([1.0, 3.0, 8.0, 5.0], dtype=F64)
    return torch.stack([y[:, 1], mu * (1.0 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], dim=1)


def failing(t, y):
    """Samples: decay; blows up at t = 1; NaN beyond t = 1/2; NaN at once."""
    return torch.stack([-y[0], y[1] ** 2, torch.where(t[2] > 0.5, torch.nan, -y[2]), torch.sqrt(y[3])])


FAIL_Y0 = torch.tensor([[1.0], [1.0], [1.0], [-1.0]], dtype=F64)
CODES = [to.status_codes.SUCCESS, to.status_codes.REACHED_DT_MIN, *[to.status_codes.INFINITE_NORM] * 2]


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_a_sample_that_fails_stops_alone(ask, alone):
    t = torch.tensor([0.0, 0.25, 0.75, 2.0], dtype=F64).repeat(4, 1)
    term = to.ODETerm(failing)
    controller = PI.for_torchode(1e-8, 1e-6, term=term)
    solver = controller.solver(to.Dopri5(term)) if alone else to.AutoDiffAdjoint(to.Dopri5(term), controller)
    solution = solver.solve(to.InitialValueProblem(FAIL_Y0, t[:, 0], t[:, -1], t if ask else None))
    assert solution.status.tolist() == CODES
    # the sample that did not fail is as it would be without the others
    one = to.AutoDiffAdjoint(to.Dopri5(to.ODETerm(lambda t, y: -y)), PI.for_torchode(1e-8, 1e-6, term=term))
    term_of_one = to.ODETerm(lambda t, y: -y)
    own = one.solve(to.InitialValueProblem(FAIL_Y0[:1], t[:1, 0], t[:1, -1], t[:1] if ask else None), term=term_of_one)
    torch.testing.assert_close(solution.ys[:1], own.ys, rtol=1e-12, atol=0.0)
    assert solution.stats["n_accepted"][0] == own.stats["n_accepted"][0]
    if not ask:
        assert solution.ys[1:].isnan().all()
        return
    reached = solution.stats["n_initialized"].tolist()
    assert reached == [4, 3, 2, 1]
    exact = torch.tensor([1.0, 1.0 / 0.75, 4.0], dtype=F64)
    torch.testing.assert_close(solution.ys[1, :3, 0], exact, rtol=1e-4, atol=0.0)
    if alone:
        for k, n in enumerate(reached):
            assert solution.ys[k, :n].isfinite().all() and solution.ys[k, n:].isnan().all()
        assert torch.equal(solution.stats["n_steps"], solution.stats["n_accepted"] + solution.stats["n_rejected"])


def test_torchode_itself_ends_the_batch_and_calls_it_success():
    """What the above is needed for: if this fails, torchode has changed."""
    term, t = to.ODETerm(failing), torch.tensor([0.0, 2.0], dtype=F64).repeat(4, 1)
    solver = to.AutoDiffAdjoint(to.Dopri5(term), to.IntegralController(1e-8, 1e-6, term=term))
    solution = solver.solve(to.InitialValueProblem(FAIL_Y0, t[:, 0], t[:, -1]))
    assert solution.status[0] == 0 and abs(float(solution.ys[0, 0, 0]) - math.exp(-2.0)) > 1e-2


def test_the_gradient_of_the_others_is_theirs():
    def field(t, y):  # finite everywhere, but sample 1 may take no step as short as it needs
        return torch.stack([-y[0], 1e4 * torch.cos(1e4 * t[1]) * torch.ones_like(y[1])])

    term = to.ODETerm(field)
    y0 = torch.tensor([[1.0], [0.0]], dtype=F64, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=F64).repeat(2, 1)
    solver = PI.for_torchode(1e-8, 1e-6, term=term, dt_min=1e-3).solver(to.Dopri5(term))
    solution = solver.solve(to.InitialValueProblem(y0, t[:, 0], t[:, 1]))
    assert solution.status.tolist() == [0, to.status_codes.REACHED_DT_MIN]
    (gradient,) = torch.autograd.grad(torch.where(solution.status > 0, 0.0, solution.ys[:, 0, 0]).sum(), y0)
    torch.testing.assert_close(gradient, torch.tensor([[math.exp(-1.0)], [0.0]], dtype=F64), rtol=1e-5, atol=0.0)


def test_the_attempts_of_a_sample_are_limited_alone():
    y0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=F64)
    t = torch.tensor([0.0, 1.0, 4.0], dtype=F64).repeat(4, 1)
    term, given = to.ODETerm(stiffening), to.InitialValueProblem(y0, t_eval=t)
    whole = to.AutoDiffAdjoint(to.Dopri5(term), PI.for_torchode(1e-7, 1e-5, term=term)).solve(given)
    limit = int(whole.stats["n_steps"].sort().values[1]) + 1
    some = PI.for_torchode(1e-7, 1e-5, term=term, max_steps=limit).solver(to.Dopri5(term)).solve(given)
    over = whole.stats["n_steps"] > limit
    assert 0 < over.sum() < 4
    assert torch.equal(some.status == to.status_codes.REACHED_MAX_STEPS, over) and (some.status[~over] == 0).all()
    assert (some.stats["n_steps"][over] == limit).all()
    torch.testing.assert_close(some.ys[~over], whole.ys[~over], rtol=1e-12, atol=1e-14)
    assert some.ys[over, -1].isnan().all()


@pytest.mark.parametrize("kind", [to.JointBacksolveAdjoint, to.BacksolveAdjoint])
def test_gradients_backwards_are_nan_where_the_backward_solve_fails(kind):
    class Once(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rate, self.broken = torch.nn.Parameter(torch.tensor([0.5], dtype=F64)), False

        def forward(self, t, y):
            return -self.rate * y * (math.nan if self.broken else 1.0)

    y0, t = torch.ones(2, 1, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64).repeat(2, 1)
    for broken in (False, True):
        field = Once()
        term = to.ODETerm(field)
        adjoint = kind(term, to.Dopri5(term), PI.for_torchode(1e-9, 1e-7))
        solution = adjoint.solve(to.InitialValueProblem(y0, t[:, 0], t[:, 1]))
        field.broken = broken
        solution.ys.sum().backward()
        if broken:
            assert field.rate.grad.isnan().all()
        else:
            exact = torch.tensor([-2.0 * math.exp(-0.5)], dtype=F64)
            torch.testing.assert_close(field.rate.grad, exact, rtol=1e-5, atol=0.0)
            assert not solution.status.any()


BOUNDS = {"dt_max": 0.05, "dt_min": 1e-3, "max_steps": 30}


@pytest.mark.parametrize("name", ["pi34", "lorenz96"])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("options", [{}, {"even_steps": True}, {"warm_start": True, "max_steps": 40}, BOUNDS])
@pytest.mark.parametrize("alone", [True, False])
def test_the_compiled_attempt_is_the_one_in_tensors(name, dtype, options, alone, monkeypatch):
    """On samples that arrive, blow up, meet NaN and begin with it; two solves, for the sizes of a warm start."""
    found = {}
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr("stepsmith.controllers.hosts.torchode.StepSizes._plain", lambda *seen: False)
        term, log = to.ODETerm(failing), []
        controller = ss.controller(name).for_torchode(1e-6, 1e-4, term=term, **options)
        solver = controller.solver(to.Dopri5(term)) if alone else to.AutoDiffAdjoint(to.Dopri5(term), controller)
        own = solver.step_size_controller.adapt_step_size

        def adapt(t0, dt, *rest, own=own, log=log):
            accept, dt_next, state, status = own(t0, dt, *rest)
            log.append([x.clone() for x in (accept, dt_next, state.want, state.ended, status)])
            return accept, dt_next, state, status

        solver.step_size_controller.adapt_step_size = adapt
        t = torch.tensor([0.0, 0.25, 0.75, 2.0], dtype=dtype).repeat(4, 1)
        for _ in range(2):
            solution = solver.solve(to.InitialValueProblem(FAIL_Y0.to(dtype), t[:, 0], t[:, -1], t))
        found[compiled] = log, solution.stats, solution.status
    (log, stats, status), (other, told, codes) = found[True], found[False]
    assert min(len(log), len(other)) > 20 and torch.equal(status, codes)
    alike = [0, 1, 3]  # the third sample feels its way to where NaN begins, by roundings
    for name in ("n_accepted", "n_rejected", "n_fallback", "n_initialized"):
        assert torch.equal(stats[name][alike], told[name][alike])
    for a, b in zip(log, other, strict=False):
        for x, y in zip(a, b, strict=True):
            x, y = x[alike], y[alike]
            torch.testing.assert_close(x, y, rtol=1e-5 if dtype == torch.float32 else 1e-7, atol=0.0, equal_nan=True)


def test_bounds_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="dt_min must be at most dt_max, 0.1"):
        PI.for_torchode(1e-6, 1e-6, dt_min=0.5, dt_max=0.1)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("begun", [None, 0.01])
def test_sizes_without_gradients_are_decided_in_compiled_code_while_training(alone, begun, monkeypatch):
    """From the third attempt at the latest, and gradients are those of the tensors' path."""
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2, dtype=F64)
    term, seen, gradients = to.ODETerm(lambda t, y: torch.tanh(net(y))), [], []
    for compiled in (True, False):
        controller = PI.for_torchode(1e-12, 1e-10, term=term)
        kind = controller.solver if alone else (lambda step, controller=controller, **more: to.AutoDiffAdjoint(
            step, controller, **more))  # fmt: skip
        solver = kind(to.Dopri5(term), backprop_through_step_size_control=False)
        own = type(controller)._plain

        def plain(self, *given, own=own, compiled=compiled):
            seen.append(own(self, *given))
            return compiled and seen[-1]

        monkeypatch.setattr(type(controller), "_plain", plain)
        seen.clear()
        given = to.InitialValueProblem(FAIL_Y0.expand(4, 2), torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64))
        ys = solver.solve(given, dt0=None if begun is None else torch.full((4,), begun, dtype=F64)).ys
        gradients.append(torch.autograd.grad(ys.sin().sum(), list(net.parameters())))
        if compiled:
            assert len(seen) > 5 and all(seen[0 if alone else 2 :])
        monkeypatch.undo()
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_states_of_few_bits_run_as_they_do_in_torchode(dtype):
    term = to.ODETerm(lambda t, y: -y)
    sizes = ss.controller("pi34").for_torchode(1e-2, 1e-2, term=term)
    problem = to.InitialValueProblem(torch.ones(2, 3, dtype=dtype), torch.zeros(2), torch.ones(2))
    with torch.no_grad():
        end = sizes.solver(to.Dopri5(term=term)).solve(problem).ys[:, -1]
    assert end.dtype == dtype and ((end.double() - math.exp(-1.0)).abs() < 0.05).all()


def test_limits_that_change_hold_from_the_next_solve_on():
    term = to.ODETerm(lambda t, y: -y)
    solver = ss.controller("pi34").for_torchode(1e-6, 1e-6, term=term).solver(to.Dopri5(term=term))
    problem = to.InitialValueProblem(torch.ones(2, 3), torch.zeros(2), torch.ones(2))
    assert (solver.solve(problem).status == 0).all()
    solver.step_size_controller.max_steps = 2
    assert (solver.solve(problem).status == to.status_codes.REACHED_MAX_STEPS).all()


def test_gradients_of_torch_func():
    term = to.ODETerm(lambda t, y: -y)
    solver = ss.controller("pi34").for_torchode(1e-8, 1e-8, term=term).solver(to.Dopri5(term=term))
    span = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def end(y0):
        return solver.solve(to.InitialValueProblem(y0, *span)).ys[:, -1].sum()

    slope = torch.func.grad(end)(torch.ones(1, 2, dtype=torch.float64))
    assert torch.allclose(slope, torch.full((1, 2), math.exp(-1.0), dtype=torch.float64), atol=1e-6)
