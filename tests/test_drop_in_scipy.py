"""torchdiffeq's calls on our solver: SciPy's solvers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.integrate import RK45, solve_ivp

from stepsmith.integrators.neural import scipy_solver
from stepsmith.neural.torchdiffeq import SolveFailed, odeint, odeint_adjoint, odeint_event

F32, F64 = torch.float32, torch.float64
SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")
T = torch.tensor([0.0, 0.4, 1.5], dtype=F64)


def field(t, y):
    return torch.stack([-y[0] * y[1] + torch.sin(3.0 * t), y[0] - y[1].pow(3) * (1.0 + t)])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("solver", [*SOLVERS, RK45])
def test_the_numbers_are_scipy_s(solver, reverse):
    t = T.flip(0) if reverse else T
    y = odeint(field, torch.tensor([0.7, 0.4], dtype=F64), t, rtol=1e-6, atol=1e-8, method="scipy_solver",
               options={"solver": solver, "max_step": 0.3})  # fmt: skip
    times = t.numpy()
    theirs = solve_ivp(lambda t, y: field(torch.tensor(t, dtype=F64), torch.from_numpy(y)).numpy(), times[[0, -1]],
                       np.array([0.7, 0.4]), solver, times, rtol=1e-6, atol=1e-8, max_step=0.3)  # fmt: skip
    np.testing.assert_array_equal(y.numpy(), theirs.y.T)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_states_of_parts_with_tolerances_of_their_own(dtype):
    seen = set()

    def func(t, y):
        seen.add((t.dtype, t.shape, y[0].dtype, y[0].shape, y[1].shape))
        return (-y[0] * t, -2.0 * y[1])

    a, b = torch.tensor(2.0, dtype=dtype), torch.ones(2, 3, dtype=dtype)
    ya, yb = odeint(func, (a, b), T, rtol=(1e-6, 1e-5), atol=(1e-7, 1e-6), method="scipy_solver")
    assert (ya.shape, ya.dtype, yb.shape) == ((3,), dtype, (3, 2, 3))
    assert seen == {(dtype, torch.Size([]), dtype, torch.Size([]), torch.Size([2, 3]))}
    torch.testing.assert_close(ya, (2.0 * torch.exp(-T * T / 2)).to(dtype), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(yb[:, 0, 0], torch.exp(-2.0 * T).to(dtype), rtol=1e-4, atol=1e-5)


def test_limits_of_the_steps(monkeypatch):
    given = []
    monkeypatch.setattr(scipy_solver, "solve_ivp", lambda *args, **limits: (given.append(limits), solve_ivp(*args))[1])
    for limits in ({}, {"min_step": 0.2}, {"max_step": 0.05}, {"min_step": 0, "max_step": float("inf")}):
        odeint(field, torch.tensor([0.7, 0.4], dtype=F64), T, rtol=1e-3, atol=1e-4, method="scipy_solver",
               options=limits)  # fmt: skip
    assert given == [{"rtol": 1e-3, "atol": 1e-4, **x} for x in ({}, {"min_step": 0.2}, {"max_step": 0.05}, {})]
    with pytest.warns(UserWarning, match=r"scipy_solver \(RK45\).*does not use min_step"):
        odeint(field, torch.tensor([0.7, 0.4], dtype=F64), T, method="scipy_solver",
               options={"solver": "RK45", "min_step": 0.5})  # fmt: skip


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
        self.unused = torch.nn.Linear(1, 1).double()

    def forward(self, t, y):
        return self.net(y) * (1.0 + torch.sin(3.0 * t))


def test_no_gradient_is_said_and_only_where_one_looks_wanted():
    y0 = torch.tensor([0.7, 0.4], dtype=F64)
    for func, start, t in ((field, y0.clone().requires_grad_(), T), (Net(), y0, T), (field, y0, T + 0.0)):
        if start is y0 and func is field:
            t.requires_grad_()
        with pytest.warns(UserWarning, match='outputs have no gradient.*odeint_adjoint.*adjoint_method="dopri5"'):
            assert not odeint(func, start, t, method="scipy_solver").requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint(field, y0, T, method="scipy_solver")
        with torch.no_grad():
            odeint(Net(), y0, T, method="scipy_solver")


def gradients(**given):
    func, y0 = Net(), torch.tensor([0.7, 0.4], dtype=F64, requires_grad=True)
    t = T.clone().requires_grad_()
    y = odeint_adjoint(func, y0, t, **{"rtol": 1e-9, "atol": 1e-11, **given})
    y.square().sum().backward()
    assert not func.unused.weight.grad.any()
    return [y0.grad, t.grad, *(p.grad for p in func.net.parameters())]


@pytest.mark.parametrize("solver", ["LSODA", "DOP853", "Radau"])
def test_the_adjoint_by_scipy_or_by_another_method(solver):
    true = gradients(method="dopri8")
    for given in (
        {"method": "scipy_solver", "options": {"solver": solver}},
        {"method": "scipy_solver", "options": {"solver": solver}, "adjoint_method": "dopri5", "adjoint_options": {}},
        {"method": "dopri5", "adjoint_method": "scipy_solver", "adjoint_options": {"solver": solver}},
    ):
        for mine, other in zip(gradients(**given), true, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


def test_what_fails_and_what_is_refused():
    y0 = torch.ones(1, dtype=F64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for solver in ("RK45", "Radau"):
            with pytest.raises(SolveFailed, match=f"SciPy's {solver} failed"):
                odeint(lambda t, y: y * y, y0, 2.0 * T, method="scipy_solver", options={"solver": solver})
        with pytest.raises(SolveFailed, match="SciPy's LSODA"):
            odeint(lambda t, y: y * y, y0, 2.0 * T, method="scipy_solver")
    with pytest.raises(ValueError, match="unknown solver 'RK54'"):
        odeint(field, y0, T, method="scipy_solver", options={"solver": "RK54"})
    with pytest.raises(ValueError, match="does not go with event_fn"):
        odeint_event(lambda t, y: -y, y0, T[0], event_fn=lambda t, y: y - 0.5, method="scipy_solver")
    with pytest.raises(ValueError, match="rtol must be"):
        odeint(field, y0, T, rtol=-1.0, method="scipy_solver")
    with pytest.raises(RuntimeError, match="torch.func cannot transform"):
        torch.func.vmap(lambda y: odeint(lambda t, y: -y, y, T, method="scipy_solver"))(torch.ones(3, 2))
    with pytest.warns(UserWarning, match="'scipy_solver' does not use options..first_step"):
        odeint(lambda t, y: -y, y0, T, method="scipy_solver", options={"first_step": 0.1})
    func = lambda t, y: -y  # noqa: E731
    func.callback_step = lambda t, y, dt: None
    with pytest.warns(UserWarning, match="'scipy_solver' does not use callback_step"):
        odeint(func, y0, T, method="scipy_solver")
