"""torch.compile around a solve: the graph breaks there, values and gradients are those without it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import stepsmith as ss
from stepsmith.neural import torchdiffeq as face

NET = torch.nn.Linear(2, 2)


def slope(t, y):
    return torch.tanh(NET(y))


MODULE = ss.neural.NeuralODE(slope, rtol=1e-4)
SOLVES = {
    "odeint": lambda y: ss.neural.odeint(slope, y, [0.0, 1.0], rtol=1e-4).y[-1],
    "NeuralODE": lambda y: MODULE(y, [0.0, 1.0]).y[-1],
    "torchdiffeq": lambda y: face.odeint(slope, y, torch.tensor([0.0, 1.0]))[-1],
}


@pytest.mark.parametrize("name", SOLVES)
def test_it_is_as_without_compiling(name):
    def around(y):
        return 2.0 * SOLVES[name](1.5 * y)

    compiled = torch.compile(around, backend="eager")
    for y in (torch.ones(3, 2), torch.full((3, 2), 0.3)):
        got, want = compiled(y), around(y)
        assert torch.equal(got, want)
        gradients = [torch.autograd.grad(out.sum(), NET.weight)[0] for out in (got, want)]
        assert torch.equal(*gradients)


def test_the_tracer_is_not_loaded_for_those_who_do_not_compile():
    text = "import sys, stepsmith.neural.torchdiffeq; assert 'torch._dynamo' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=120).returncode == 0
