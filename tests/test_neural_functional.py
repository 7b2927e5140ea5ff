"""torch.func around a solve: `functional_call` with other parameters, and transforms."""

import pytest
import torch
from torch.func import functional_call

import stepsmith as ss
from module_fields import Field, close
from torch_fields import F64, state

NeuralODE, odeint = ss.neural.NeuralODE, ss.neural.odeint
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
OPTIONS = {
    "plain": {},
    "per sample": {"per_sample": True},
    "checkpoints": {"checkpoint_every": 2},
    "budget": {"checkpoint": "auto", "checkpoint_mb": 0.01},
    "backsolve": {"adjoint": "backsolve"},
    "interpolating": {"adjoint": "interpolating", "per_sample": True},
    "grid": {"method": "rk4", "step_size": 0.2},
    "grid, backsolve": {"method": "rk4", "step_size": 0.2, "adjoint": "backsolve"},
    "penalty": {"regulariser": "er_mean"},
    "penalty, checkpoints": {"regulariser": "kinetic", "checkpoint_every": 2},
}


def others(module, leaves):
    """Parameters that are not the module's: leaves, or computed from one, as a hypernetwork does."""
    factor = torch.tensor(0.7, dtype=F64, requires_grad=True)
    found = {name: p.detach() * 0.7 for name, p in module.named_parameters()}
    if leaves:
        return {name: p.requires_grad_() for name, p in found.items()}, None
    return {name: p.detach() * factor for name, p in module.named_parameters()}, factor


def loss_of(out):
    return out.y[-1].square().sum() + 3.0 * out.penalty


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_gradient_is_that_in_the_parameters_that_were_given(name, leaves):
    """The same as of a module that has these parameters; the module's own get none."""
    ode = NeuralODE(Field(), **OPTIONS[name])
    given, factor = others(ode, leaves)
    loss = loss_of(functional_call(ode, given, (state(), T)))
    wanted = list(given.values()) if leaves else [factor]
    found = torch.autograd.grad(loss, wanted)
    assert all(p.grad is None for p in ode.parameters())
    twin = NeuralODE(Field(), **OPTIONS[name])
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    expected_loss = loss_of(twin(state(), T))
    grads = torch.autograd.grad(expected_loss, list(twin.parameters()))
    if not leaves:
        own = dict(ode.named_parameters())
        grads = [sum((g * own[key].detach()).sum() for key, g in zip(given, grads, strict=True))]
    close(loss, expected_loss, 1e-12)
    close(found, tuple(grads), 1e-9)


class Outer(torch.nn.Module):
    """A model that solves with a plain function, as a user's does."""

    def __init__(self, options):
        super().__init__()
        self.field, self.options = Field(), options

    def forward(self, y0, t):
        params = {"adjoint_params": self.field.parameters()} if "adjoint" in self.options else {}
        return odeint(lambda t, y: self.field(t, y), y0, t, per_sample=False, **self.options, **params)


@pytest.mark.parametrize("options", [{"checkpoint_every": 2}, {"adjoint": "backsolve"}, {}])
def test_modules_that_func_closes_over_are_found(options):
    outer, twin = Outer(options), Outer(options)
    given, _ = others(outer, True)
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    found = torch.autograd.grad(functional_call(outer, given, (state(), T)).y.square().sum(), list(given.values()))
    close(found, torch.autograd.grad(twin(state(), T).y.square().sum(), list(twin.parameters())), 1e-9)


class Floor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(2.0, dtype=F64))

    def forward(self, t, y):
        return y[:, 0] - self.level * torch.exp(-self.level * t)


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t, y):
        return -self.rate * torch.cos(t) * y


def test_events_and_times_have_the_derivatives_of_the_given_parameters():
    """Both call func and event_fn in the backward pass."""
    ode, twin = (NeuralODE(Decay(), event_fn=Floor(), per_sample=False) for _ in range(2))
    given, _ = others(ode, True)
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    found = []
    for solve, params in (
        (lambda t: functional_call(ode, given, (torch.ones(1, 1, dtype=F64), t)), list(given.values())),
        (lambda t: twin(torch.ones(1, 1, dtype=F64), t), list(twin.parameters())),
    ):
        t = torch.tensor([0.1, 0.2, 3.0], dtype=F64, requires_grad=True)
        out = solve(t)
        assert bool(out.solution.event_t.isfinite())
        found.append(torch.autograd.grad(out.solution.event_t + out.y[1].sum(), [t, *params]))
    close(*found, 1e-12)


def test_a_parameter_that_was_replaced_after_the_solve_does_not_count():
    ode = NeuralODE(Field(), adjoint="backsolve")
    first = dict(ode.named_parameters())
    expected = torch.autograd.grad(ode(state(), T).y.square().sum(), list(first.values()))
    y = ode(state(), T).y
    ode.func.net[0].weight = torch.nn.Parameter(torch.zeros_like(ode.func.net[0].weight))
    now = ode.func.net[0].weight
    close(torch.autograd.grad(y.square().sum(), list(first.values())), expected, 1e-12)
    assert ode.func.net[0].weight is now
