"""A warning of a neural solve names the caller's line, wherever in the package it is said."""

from __future__ import annotations

import pytest
import torch

from stepsmith.neural import NeuralODE, odeint, torchdiffeq

F64 = torch.float64
Y0 = torch.tensor([[0.3], [1.0]], dtype=F64)


def times_too_coarse():
    """func's slope changes between two float32 times, and func does not take float64 ones."""
    net = torch.nn.Linear(2, 1)

    def func(t, y):
        return torch.cos(t) + 0 * net(torch.cat([y, t.expand(len(y), 1)], 1))

    odeint(func, torch.ones(2, 1), torch.tensor([1e6, 1e6 + 10.0]), rtol=1e-4, atol=1e-4, max_steps=60)


def budget_too_small():
    y0 = Y0.clone().requires_grad_()
    odeint(lambda t, y: y * y.cos(), y0, [0.0, 4.0], rtol=1e-8, checkpoint="auto", checkpoint_mb=1e-4)


def noise():
    odeint(lambda t, y: -y * (1 + 1e-3 * torch.rand_like(y)), Y0, [0.0, 0.1], rtol=1e-2, atol=1e-2)


def noise_in_a_module():
    solve = NeuralODE(lambda t, y: -y * (1 + 1e-3 * torch.rand_like(y)), rtol=1e-2, atol=1e-2)
    solve(Y0, torch.tensor([0.0, 0.1]))


def drift():
    """y' = -12 (y - cos t) is stable forwards alone: the warning is that of the backward solve."""
    y0 = Y0.clone().requires_grad_()
    y = odeint(lambda t, y: -12.0 * (y - t.cos()), y0, [0.0, 2.0], adjoint="backsolve", adjoint_params=()).y
    y[-1].sum().backward()


def drift_under_a_norm():
    y0 = Y0.clone().requires_grad_()
    y = torchdiffeq.odeint_adjoint(lambda t, y: -20.0 * (y - t.cos()), y0, torch.tensor([0.0, 1.0]), rtol=1e-5,
                                   atol=1e-5, adjoint_params=(),
                                   adjoint_options={"norm": lambda z: max(x.abs().max() for x in z if x.numel())})
    y[-1].sum().backward()


def corrections():
    torchdiffeq.odeint(lambda t, y: -50.0 * y, Y0, torch.linspace(0.0, 1.0, 7), method="implicit_adams",
                       options={"max_iters": 1})  # fmt: skip


def unused_option():
    torchdiffeq.odeint(lambda t, y: -y, Y0, torch.tensor([0.0, 1.0]), method="rk4", options={"first_step": 0.1})


def floor():
    odeint(lambda t, y: -y, Y0.float(), [0.0, 1.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("solve", "words"),
    [
        (times_too_coarse, "does not resolve func's slope"),
        (budget_too_small, "is less than this solve's gradient needs"),
        (noise, "draws random numbers in every call"),
        (noise_in_a_module, "draws random numbers in every call"),
        (drift, "misses the forward solution"),
        (drift_under_a_norm, "misses the forward solution"),
        (corrections, "have not converged"),
        (unused_option, "does not use"),
        (floor, "resolves"),
    ],
)
def test_a_warning_names_the_caller_s_line(solve, words):
    with pytest.warns(UserWarning, match=words) as seen:
        solve()
    about = [warning for warning in seen if words in str(warning.message)]
    assert about and all(warning.filename == __file__ for warning in about), [w.filename for w in about]
