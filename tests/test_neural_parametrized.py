"""Parametrizations that `torch.nn.utils.parametrize.cached` keeps have their gradient under every adjoint."""

import pytest
import torch
from torch.nn.utils import parametrizations, parametrize

import stepsmith as ss
from module_fields import close
from torch_fields import F64, state

OPTIONS = {
    "plain": {},
    "one step for all": {"per_sample": False},
    "checkpoints": {"checkpoint_every": 2},
    "budget": {"checkpoint": "auto", "checkpoint_mb": 0.01},
    "one step for all, budget": {"per_sample": False, "checkpoint": "auto", "checkpoint_mb": 0.01},
    "backsolve": {"adjoint": "backsolve"},
    "interpolating": {"adjoint": "interpolating"},
    "grid, backsolve": {"method": "rk4", "step_size": 0.1, "adjoint": "backsolve"},
}
pytestmark = pytest.mark.filterwarnings("ignore:checkpoint_mb = 0.01 is less")


class Normed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.net = parametrizations.weight_norm(torch.nn.Linear(3, 3, dtype=F64))

    def forward(self, t, y):
        return torch.tanh(self.net(y))


def loss_of(func, options):
    t = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
    tolerances = {} if "step_size" in options else {"rtol": 1e-7, "atol": 1e-7}
    return ss.neural.odeint(func, state(), t, **tolerances, **options).y[1:].square().sum()


@pytest.mark.parametrize("within", [False, True], ids=["backward after", "backward within"])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_gradient_is_that_without_the_cache(name, within):
    func = Normed()
    params = list(func.parameters())
    expected = torch.autograd.grad(loss_of(func, OPTIONS[name]), params)
    with parametrize.cached():
        loss = loss_of(func, OPTIONS[name])
        found = torch.autograd.grad(loss, params) if within else None
        assert parametrize._cache_enabled == 1
    close(found or torch.autograd.grad(loss, params), expected, 1e-12)


@pytest.mark.parametrize("options", [{"checkpoint_every": 2}, {"adjoint": "none"}, {"adjoint": "backsolve"}], ids=str)
def test_a_solve_leaves_nothing_in_the_cache_that_has_no_graph(options):
    func = Normed()
    params, y, t = list(func.parameters()), state(), torch.zeros((), dtype=F64)
    expected = torch.autograd.grad(func(t, y).sum(), params)
    with parametrize.cached():
        loss_of(func, options)
        close(torch.autograd.grad(func(t, y).sum(), params), expected, 1e-12)
