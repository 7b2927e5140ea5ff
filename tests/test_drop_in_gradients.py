"""torchdiffeq's calls on our solver: gradients in states, parameters and times."""

from __future__ import annotations

import pytest
import torch
import torchdiffeq

from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint

F64 = torch.float64


class Field(torch.nn.Module):
    """A field that depends on t, with a module that it does not use."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
        self.unused = torch.nn.Linear(2, 3).double()

    def forward(self, t, y):
        return self.net(y) * (1.0 + torch.sin(3.0 * t))


def problem():
    torch.manual_seed(1)
    y0 = torch.randn(4, 2, dtype=F64, requires_grad=True)
    t = torch.tensor([0.2, 0.7, 1.5], dtype=F64, requires_grad=True)
    return Field(), y0, t


def gradients(solve, func, y0, t, **given):
    y = solve(func, y0, t, rtol=1e-9, atol=1e-11, **given)
    loss = (y * torch.tensor([3.0, 1.0, -2.0], dtype=F64)[:, None, None]).square().sum()
    return torch.autograd.grad(loss, (y0, t, *func.net.parameters()))


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3", "dop853", "dopri8"])
@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_gradients_are_torchdiffeq_s(solve, method):
    ours = gradients(solve, *problem(), method=method)
    theirs = gradients(torchdiffeq.odeint_adjoint, *problem(), method="dopri5")
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("ends", [(0.3, 1.4), (1.4, 0.3)])
@pytest.mark.parametrize("adjoint", [False, True])
def test_gradcheck_in_state_and_times(ends, adjoint):
    y0 = torch.tensor([0.7, -0.4], dtype=F64, requires_grad=True)
    t = torch.linspace(*ends, 3, dtype=F64).requires_grad_()

    def solve(y0, t):
        def func(t, y):
            return (-y[0] * t, y[1].sin() * t)

        given = {"rtol": 1e-10, "atol": 1e-12, **({"adjoint_params": ()} if adjoint else {})}
        return (odeint_adjoint if adjoint else odeint)(func, (y0[0], y0[1:]), t, **given)

    assert torch.autograd.gradcheck(solve, (y0, t), eps=1e-5, atol=1e-5)


def test_second_derivatives_in_the_state():
    y0 = torch.tensor([0.7, -0.4], dtype=F64, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=F64)

    def solve(y0):
        return odeint(lambda t, y: y.sin(), y0, t, options={"first_step": 0.25}, rtol=1e-3, atol=1e-3)

    assert torch.autograd.gradgradcheck(solve, (y0,))


@pytest.mark.parametrize("solve", [odeint, odeint_adjoint])
def test_second_derivatives_in_times_are_refused(solve):
    func, y0, t = problem()
    y = solve(func, y0, t)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), t, create_graph=True)


def test_parameters_that_are_not_used_get_zeros_in_the_adjoint():
    func, y0, t = problem()
    odeint_adjoint(func, y0, t).sum().backward()
    assert not func.unused.weight.grad.any() and not func.unused.bias.grad.any()
    assert func.net[0].weight.grad.any()


def test_the_first_output_is_y0_whenever_the_solve_starts():
    func, y0, t = problem()
    (g,) = torch.autograd.grad(odeint(func, y0, t)[0].sum(), t)
    assert not g.any()


def test_adjoint_parameters_are_asked_for():
    _, y0, t = problem()
    with pytest.raises(ValueError, match="adjoint_params"):
        odeint_adjoint(lambda t, y: -y, y0, t)
    a = torch.tensor(0.5, dtype=F64, requires_grad=True)
    y = odeint_adjoint(lambda t, y: -a * y, y0, t.detach(), adjoint_params=(a,))
    (g,) = torch.autograd.grad(y[-1].sum(), a)
    torch.testing.assert_close(g, -1.3 * torch.exp(-1.3 * a) * y0.sum(), rtol=1e-6, atol=1e-8)


def test_the_backward_solve_has_options_of_its_own():
    func, y0, t = problem()
    calls = []
    func.register_forward_hook(lambda *_: calls.append(1))

    def backward_calls(**given):
        y = odeint_adjoint(func, y0, t.detach(), rtol=1e-8, atol=1e-8, **given)
        calls.clear()
        y[-1].sum().backward()
        return len(calls)

    loose = backward_calls(adjoint_rtol=1e-3, adjoint_atol=1e-3)
    seminorm = backward_calls(adjoint_options={"norm": "seminorm"})
    other = backward_calls(adjoint_method="bosh3")
    assert 0 < 2 * loose < seminorm == backward_calls() < other
    with pytest.raises(ValueError, match="adjoint_options"):
        odeint_adjoint(func, y0, t, options={"first_step": 0.1}, adjoint_method="bosh3")


def test_torch_func_is_refused_where_steps_are_chosen():
    t = torch.tensor([0.0, 1.0])
    with pytest.raises(RuntimeError, match="fixed-grid"):
        torch.func.vmap(lambda y: odeint(lambda t, y: -y, y, t))(torch.ones(3, 2))
