"""Continuous adjoints: gradients against fine autograd, differences, formulas, torchdiffeq and the discrete adjoint."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from method_kinds import EXPLICIT
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from torch_fields import F64, mlp, odeint, state

CONTINUOUS = ["backsolve", "interpolating"]


class Net(torch.nn.Module):
    """Time-dependent tanh field."""

    def __init__(self, dtype=F64):
        super().__init__()
        self.net = mlp(dtype=dtype)

    def forward(self, t, y):
        return self.net(y) * (1 + 0.3 * torch.sin(t))


def gradients(field, y0, t, adjoint, weight, **options):
    """Gradients of sum(weight * y) in y0 and the field's parameters, and the solution."""
    y0 = y0.clone().requires_grad_()
    sol = odeint(field, y0, t, adjoint=adjoint, **options)
    return torch.autograd.grad((sol.y * weight).sum(), [y0, *field.parameters()]), sol


def by_rk4(field, y0, t, weight, steps=150):
    """The same by autograd through the classical Runge-Kutta method, `steps` an interval, written out."""
    y = y0 = y0.clone().requires_grad_()
    loss = (y * weight[0]).sum()
    for a, b, w in zip(t, t[1:], weight[1:], strict=False):
        h = (b - a) / steps
        for i in range(steps):
            s = torch.tensor(a + i * h, dtype=y.dtype)
            k1 = field(s, y)
            k2 = field(s + h / 2, y + h / 2 * k1)
            k3 = field(s + h / 2, y + h / 2 * k2)
            k4 = field(s + h, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        loss = loss + (y * w).sum()
    return torch.autograd.grad(loss, [y0, *field.parameters()])


def weights(n, batch=5, dim=3, dtype=F64):
    return torch.randn(n, batch, dim, dtype=dtype, generator=torch.Generator().manual_seed(3))


def worst(got, want):
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(got, want, strict=True))


# -- values of the gradient
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", CONTINUOUS)
@pytest.mark.parametrize("t", [[0.0, 1.0], [0.0, 0.3, 0.4, 1.0], [1.0, 0.3, 0.0]])
def test_gradients_are_those_of_autograd_through_a_fine_grid(adjoint, t):
    field, w = Net(), weights(len(t))
    want = by_rk4(field, state(), t, w)
    for options in ({"per_sample": True}, {"per_sample": True, "compact": True}, {"per_sample": False}):
        got, sol = gradients(field, state(), t, adjoint, w, rtol=1e-8, atol=1e-10, **options)
        assert sol.success and worst(got, want) < 1e-7


@pytest.mark.parametrize("adjoint", CONTINUOUS)
@pytest.mark.parametrize("method", EXPLICIT)
@pytest.mark.parametrize("per_sample", [True, False])
def test_every_method_agrees_with_the_discrete_adjoint(adjoint, method, per_sample):
    field, w, t = Net(), weights(3), [0.0, 0.4, 1.0]
    options = {"method": method, "rtol": 1e-6, "atol": 1e-8, "per_sample": per_sample}
    got, _ = gradients(field, state(), t, adjoint, w, **options)
    want, _ = gradients(field, state(), t, "discrete", w, **options)
    assert worst(got, want) < 1e-5


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_gradients_are_difference_quotients_of_scipy_solutions(adjoint):
    p = torch.tensor([1.3, 0.4], dtype=F64, requires_grad=True)
    y0 = torch.tensor([[2.0, 0.3]], dtype=F64, requires_grad=True)

    def func(t, y):
        x, v = y[:, :1], y[:, 1:]
        return torch.cat([v, p[0] * (1 - x * x) * v - x + p[1] * torch.cos(t)], 1)

    sol = odeint(func, y0, [0.0, 1.0, 3.0], adjoint=adjoint, adjoint_params=[p], rtol=1e-9, atol=1e-11)
    got = torch.cat([g.view(-1) for g in torch.autograd.grad(sol.y[1, 0, 0] + sol.y[2].square().sum(), [y0, p])])

    def loss(q):
        ref = solve_ivp(
            lambda t, u: [u[1], q[2] * (1 - u[0] ** 2) * u[1] - u[0] + q[3] * math.cos(t)],
            (0.0, 3.0), q[:2], "DOP853", [1.0, 3.0], rtol=1e-13, atol=1e-14,
        )  # fmt: skip
        return ref.y[0, 0] + (ref.y[:, 1] ** 2).sum()

    q, eps = np.array([2.0, 0.3, 1.3, 0.4]), 1e-5
    want = [(loss(q + eps * e) - loss(q - eps * e)) / (2 * eps) for e in np.eye(4)]
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-7)


def test_gradients_agree_with_torchdiffeqs_adjoint():
    from torchdiffeq import odeint_adjoint

    field, w, t = Net(), weights(3), torch.tensor([0.0, 0.5, 1.5], dtype=F64)
    y0 = state().requires_grad_()
    y = odeint_adjoint(field, y0, t, rtol=1e-10, atol=1e-12, method="dopri5")
    want = torch.autograd.grad((y * w).sum(), [y0, *field.parameters()])
    for adjoint in CONTINUOUS:
        got, _ = gradients(field, state(), t, adjoint, w, method="dopri5", rtol=1e-10, atol=1e-12, per_sample=False)
        assert worst(got, want) < 1e-8


@pytest.mark.parametrize("adjoint", CONTINUOUS)
@pytest.mark.parametrize("per_sample", [True, False])
def test_every_controller_drives_the_backward_solve(adjoint, per_sample):
    field, w, t = Net(), weights(2), [0.0, 1.0]
    want = by_rk4(field, state(), t, w)
    counts = set()
    for law in ("i", "h211b", Learned.random(Decision(law="pi34"), (8,), rng=1, scale=0.3)):
        got, sol = gradients(field, state(), t, adjoint, w, controller=law, rtol=1e-6, atol=1e-8, per_sample=per_sample)
        assert worst(got, want) < 1e-5
        counts.add(sol.stats.nfev_backward)
    assert len(counts) > 1


@pytest.mark.parametrize("adjoint", CONTINUOUS)
@pytest.mark.parametrize("per_sample", [True, False])
def test_the_gradients_error_falls_with_the_tolerance(adjoint, per_sample):
    field, w, t = Net(), weights(2), [0.0, 2.0]
    want = by_rk4(field, state(), t, w, 400)
    error = []
    for tol in (1e-3, 1e-5, 1e-7, 1e-9):
        got, _ = gradients(field, state(), t, adjoint, w, rtol=tol, atol=tol, per_sample=per_sample)
        error.append(worst(got, want))
    assert error[0] < 0.05 and error[3] < 1e-8
    assert all(b < 0.1 * a for a, b in zip(error, error[1:], strict=False))


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_tolerances_of_the_backward_solve(adjoint):
    field, w, t = Net(), weights(2), [0.0, 2.0]
    want = by_rk4(field, state(), t, w, 400)
    options = {"rtol": 1e-9, "atol": 1e-11}
    loose, few = gradients(field, state(), t, adjoint, w, adjoint_rtol=1e-3, adjoint_atol=1e-3, **options)
    tight, many = gradients(field, state(), t, adjoint, w, **options)
    assert worst(tight, want) < 1e-8 < 1e-6 < worst(loose, want) < 1e-2
    assert few.stats.nfev_backward < 0.5 * many.stats.nfev_backward


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_float32(adjoint):
    w, t = weights(2), [0.0, 1.0]
    want = by_rk4(Net(), state(), t, w)
    got, sol = gradients(Net(torch.float32), state().float(), t, adjoint, w.float(), rtol=1e-5, atol=1e-5)
    assert sol.y.dtype == torch.float32 and all(g.dtype == torch.float32 for g in got)
    assert worst([g.double() for g in got], want) < 1e-4


@pytest.mark.parametrize("adjoint", CONTINUOUS)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_gradients_are_proportional_to_the_loss(adjoint, scale):
    field, w, t = Net(), weights(3), [0.0, 0.5, 1.0]
    one, a = gradients(field, state(), t, adjoint, w, rtol=1e-4, atol=1e-4)
    many, b = gradients(field, state(), t, adjoint, w * scale, rtol=1e-4, atol=1e-4)
    assert a.stats.nfev_backward == b.stats.nfev_backward
    assert worst([g / scale for g in many], one) < 1e-10


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_a_batch_gives_each_sample_its_own_gradient(adjoint):
    # rates from 1 to 40: per-sample steps differ widely
    rate = torch.tensor([[1.0], [7.0], [40.0]], dtype=F64)
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[1.0], [0.5], [2.0]], dtype=F64, requires_grad=True)
    for compact in (False, True):
        # func must accept any rows with compact: the rate travels as a constant feature
        z0 = torch.cat([y0, rate], 1)
        sol = odeint(
            lambda t, z: torch.cat([w * torch.sin(z[:, 1:] * t.view(-1, 1)), 0 * z[:, 1:]], 1), z0, [0.0, 1.0],
            adjoint=adjoint, adjoint_params=[w], rtol=1e-9, atol=1e-11, compact=compact,
        )  # fmt: skip
        assert len(set(sol.stats.naccept_per_sample)) == 3
        grads = torch.autograd.grad(sol.y[-1, :, 0].square().sum(), [y0, w])
        rise = (1 - torch.cos(rate)) / rate
        end = (y0 + rise).detach()
        torch.testing.assert_close(grads[0], 2 * end, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(grads[1], (2 * end * rise).sum(), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_samples_out_of_the_loss_cost_nothing_and_get_zero(adjoint):
    field, w = Net(), weights(3)
    w[:, 1:] = 0.0
    got, sol = gradients(field, state(), [0.0, 0.5, 1.0], adjoint, w)
    want, _ = gradients(field, state(), [0.0, 0.5, 1.0], "discrete", w)
    assert (got[0][1:] == 0).all() and worst(got, want) < 1e-5
    nothing, sol = gradients(field, state(), [0.0, 0.5, 1.0], adjoint, 0 * w)
    assert sol.stats.nfev_backward == 0 and (nothing[0] == 0).all()


# -- what it is differentiable in
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_parameters_that_are_unused_frozen_shared_or_absent(adjoint):
    field = Net()
    field.spare = torch.nn.Parameter(torch.ones(3, dtype=F64))
    field.again = field.net[0]
    field.net[2].bias.requires_grad_(False)
    y0 = state().requires_grad_()
    odeint(field, y0, [0.0, 1.0], adjoint=adjoint).y[-1].sum().backward()
    want_y0 = state().requires_grad_()
    got = {name: p.grad for name, p in field.named_parameters()}
    field.zero_grad()
    odeint(field, want_y0, [0.0, 1.0]).y[-1].sum().backward()
    assert got["spare"] is None and got["net.2.bias"] is None
    for name, p in field.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(got[name], p.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(y0.grad, want_y0.grad, rtol=1e-5, atol=1e-6)

    decay = odeint(lambda t, y: -y, y0, [0.0, 1.0], adjoint=adjoint, adjoint_params=())
    (grad,) = torch.autograd.grad(decay.y[-1].sum(), y0)
    torch.testing.assert_close(grad, torch.full_like(y0, math.exp(-1)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_fields_that_do_not_look_at_the_state_or_at_anything(adjoint):
    w = torch.tensor(2.0, dtype=F64, requires_grad=True)
    y0 = state(2, 1).requires_grad_()
    sol = odeint(
        lambda t, y: w * torch.cos(t).expand_as(y), y0, [0.0, 2.0], adjoint=adjoint, adjoint_params=[w], rtol=1e-9
    )
    grads = torch.autograd.grad(sol.y[-1].sum(), [y0, w])
    assert torch.equal(grads[0], torch.ones_like(y0)) and grads[1].item() == pytest.approx(2 * math.sin(2.0), rel=1e-8)
    sol = odeint(lambda t, y: torch.ones_like(y), y0, [0.0, 2.0], adjoint=adjoint, adjoint_params=[w])
    assert torch.autograd.grad(sol.y[-1].sum(), [y0, w], allow_unused=True)[1] is None


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_parameters_may_be_computed_and_states_have_any_shape(adjoint):
    raw = torch.tensor([0.3, -0.2], dtype=F64, requires_grad=True)
    y0 = state(4, 6).view(4, 2, 3).requires_grad_()
    rate = raw.exp()
    sol = odeint(
        lambda t, y: -rate[:, None] * y * (1 + t), y0, [0.0, 1.0], adjoint=adjoint, adjoint_params=[rate], rtol=1e-8
    )
    got = torch.autograd.grad(sol.y[-1].square().sum(), [y0, raw])
    end = (y0 * torch.exp(-1.5 * raw.exp())[:, None]).square().sum()
    for a, b in zip(got, torch.autograd.grad(end, [y0, raw]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_counts_repeats_and_heuristics(adjoint):
    field, y0 = Net(), state().requires_grad_()
    sol = odeint(field, y0, [0.0, 1.0], adjoint=adjoint)
    assert sol.stats.nfev_backward == 0 and sol.stats.nfev_replay == 0
    assert (
        sol.heuristics.R_E.shape == (5,) and not sol.heuristics.R_E.requires_grad and not sol.heuristics.S.requires_grad
    )
    with pytest.raises(RuntimeError, match="does not require grad"):
        sol.heuristics.R_E.sum().backward()
    (first,) = torch.autograd.grad(sol.y[-1].sum(), y0, retain_graph=True)
    once = sol.stats.nfev_backward
    (second,) = torch.autograd.grad(sol.y[-1].sum(), y0)
    assert torch.equal(first, second) and sol.stats.nfev_backward == 2 * once > 20
    with torch.no_grad():
        assert not odeint(field, y0, [0.0, 1.0], adjoint=adjoint).y.requires_grad
    assert torch.equal(odeint(field, y0, [0.0, 1.0], adjoint="none").y, sol.y)


@pytest.mark.parametrize("adjoint", CONTINUOUS)
def test_second_derivatives_are_refused(adjoint):
    y0 = state().requires_grad_()
    sol = odeint(Net(), y0, [0.0, 1.0], adjoint=adjoint)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(sol.y[-1].sum(), y0, create_graph=True)


def test_what_each_adjoint_keeps():
    field, kept = Net(), {}
    for adjoint in ("discrete", *CONTINUOUS):
        for end in (2.0, 8.0):
            total = 0

            def pack(x):
                nonlocal total
                total += x.numel()
                return x

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
                sol = odeint(field, state().requires_grad_(), [0.0, end], rtol=1e-8, adjoint=adjoint, heuristics=False)
            kept[adjoint, end] = total, sol.stats.naccept
    assert kept["backsolve", 2.0][0] == kept["backsolve", 8.0][0] < 250
    (a, n), (b, m) = kept["interpolating", 2.0], kept["interpolating", 8.0]
    # (degree + 1) states a step, and the tables over the longest sample's steps
    assert 15 * (m - n) <= b - a < 25 * (m - n)
    assert b < 0.2 * kept["discrete", 8.0][0]
