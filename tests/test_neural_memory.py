"""What a training loop keeps: numbers without a graph, and no more bytes from iteration to iteration."""

import gc
import resource

import pytest
import torch

import stepsmith as ss
from alive import Alive
from torch_fields import F64, field_of, mlp, odeint, state

T = torch.linspace(0.0, 1.0, 3, dtype=F64)
WAYS = {
    "direct": {"adjoint": "discrete", "per_sample": False},
    "replay": {"adjoint": "discrete", "per_sample": True},
    "checkpoints": {"adjoint": "discrete", "per_sample": True, "checkpoint_every": 2},
    "budget": {"adjoint": "discrete", "per_sample": False, "checkpoint": "auto", "checkpoint_mb": 0.2},
    "interpolating": {"adjoint": "interpolating", "per_sample": False},
    "backsolve": {"adjoint": "backsolve", "per_sample": False},
}


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, t, y):
        return self.net(y)


def train(way, iterations, see):
    """`iterations` of a small training that keeps what a log may keep; `see(k)` after each."""
    ode = ss.neural.NeuralODE(Field(), rtol=1e-3, atol=1e-3, **WAYS[way])
    optimiser = torch.optim.SGD(ode.parameters(), lr=1e-6)
    kept = []
    for k in range(iterations):
        out = ode(state(), T)
        optimiser.zero_grad()
        out.y[-1].square().mean().backward()
        optimiser.step()
        kept = [*kept[-20:], out.solution.heuristics]
        see(k)


@pytest.mark.parametrize("way", WAYS)
def test_no_tensor_is_left_over(way):
    seen = []
    with Alive() as alive:
        train(way, 60, lambda k: seen.append((gc.collect(), alive.now)[1] if k in (30, 59) else 0))
    assert seen[30] == seen[59] > 0


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_hundreds_of_iterations_take_no_more_memory(way):
    """The process's peak after the first 150: an iteration that left its graph behind would add some 100 kB each."""
    peak = []
    train(way, 400, lambda k: peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    assert peak[-1] - peak[150] < 4096  # KiB


@pytest.mark.parametrize("per_sample", [True, False])
def test_what_is_detached_holds_no_graph_and_the_same_numbers(per_sample):
    net = mlp()
    sol = odeint(field_of(net), state(), T, rtol=1e-5, per_sample=per_sample)
    free, whole = sol.heuristics.detach(), sol.detach()
    assert sol.heuristics.E.requires_grad and sol.heuristics.S.requires_grad and sol.y.requires_grad
    for h in (free, whole.heuristics):
        assert not any(x.requires_grad for x in (h.t, h.h, h.E, h.S, h.R_E, h.R_S))
        assert torch.equal(h.E, sol.heuristics.E) and torch.equal(h.S, sol.heuristics.S) and h.tableau.name == "tsit5"
    assert not whole.y.requires_grad and torch.equal(whole.y, sol.y) and whole.stats is sol.stats
    numbers = sol.heuristics.numbers()
    assert numbers == {name: float(getattr(free, name).mean()) for name in ("R_E", "R_E2", "R_S")}
    assert all(type(x) is float for x in numbers.values())
    without = odeint(field_of(net), state(), T, "bs32", rtol=1e-5, per_sample=per_sample).heuristics
    assert set(without.numbers()) == {"R_E", "R_E2"} and without.detach().S is None
    assert odeint(field_of(net), state(), T, heuristics=False).detach().heuristics is None


@pytest.mark.parametrize("regulariser", [None, "er_mean", "sr_sum"])
def test_a_modules_heuristics_hold_no_graph_unless_they_were_asked_for(regulariser):
    ode = ss.neural.NeuralODE(Field(), rtol=1e-5, atol=1e-5, regulariser=regulariser)
    out = ode(state(), T)
    assert not out.solution.heuristics.E.requires_grad and not out.solution.heuristics.S.requires_grad
    if regulariser is not None:
        grads = torch.autograd.grad(out.penalty, list(ode.parameters()), allow_unused=True)
        assert all(bool((g != 0).any()) for g in grads[:1])
    wide = ss.neural.NeuralODE(ode.func, rtol=1e-5, atol=1e-5, regulariser=regulariser, heuristics=True)
    asked = wide(state(), T).solution.heuristics
    assert asked.E.requires_grad and asked.S.requires_grad
    torch.testing.assert_close(asked.E.detach(), out.solution.heuristics.E, rtol=1e-9, atol=1e-12)
