"""NeuralODE(warm_start=True): the next solve begins with the size that suited the last one's first step."""

import copy
import math

import numpy as np
import pytest
import torch

import stepsmith as ss
from torch_fields import F64, mlp, odeint, state

NeuralODE = ss.neural.NeuralODE
T = torch.linspace(0.0, 2.0, 3, dtype=F64)
OPTIONS = {"rtol": 1e-8, "atol": 1e-8}


class Field(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(y)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("controller", ["i", "pi34"])
def test_the_second_solve_starts_where_the_first_one_left_off(sign, controller):
    field = Field(mlp())
    ode = NeuralODE(field, "tsit5", controller, warm_start=True, **OPTIONS)
    cold, plain = (
        ode(state(), sign * T),
        odeint(field, state(), sign * T, "tsit5", controller, per_sample=False, **OPTIONS),
    )
    assert torch.equal(cold.y, plain.y) and cold.solution.stats.nfev == plain.stats.nfev
    size = cold.solution.stats.first_step
    assert size.shape == (len(state()),) and np.ptp(size) == 0.0 and float(ode.first_step_size) == size[0] > 0
    warm = ode(state(), sign * T)
    given = odeint(
        field, state(), sign * T, "tsit5", controller, per_sample=False, first_step=float(size[0]), **OPTIONS
    )
    assert torch.equal(warm.y, given.y)
    # one evaluation for the automatic choice at least, and no step more
    assert warm.solution.stats.nfev < cold.solution.stats.nfev
    assert warm.solution.stats.naccept <= cold.solution.stats.naccept
    exact = odeint(field, state(), sign * T, "dop853", controller, rtol=1e-12, atol=1e-12).y
    assert (warm.y - exact).abs().max() < 1e-6


def test_the_size_is_the_controllers_proposal_after_the_first_step():
    """The I law from a step that is far too small: (0.9 / E)^(1/5) or its limiter, over the step taken."""
    out = odeint(Field(mlp()), state(), T, "tsit5", "i", per_sample=False, first_step=1e-3, **OPTIONS)
    h, err = float(out.heuristics.h[0]), float(out.heuristics.E[0].detach())
    law = ss.controller("i")
    wished = 0.9 * err**-0.2
    assert h == pytest.approx(1e-3) and out.stats.first_step[0] == pytest.approx(
        h * min(wished, law.values["fmax"]), rel=1e-6
    )


def test_predictions_neither_use_nor_change_it():
    ode = NeuralODE(Field(mlp()), warm_start=True, **OPTIONS)
    ode(state(), T)
    size = ode.first_step_size.clone()
    ode.eval()
    plain = odeint(ode.func, state(), 0.5 * T, per_sample=False, **OPTIONS)
    out = ode(state(), 0.5 * T)
    assert torch.equal(out.y, plain.y) and torch.equal(ode.first_step_size, size)


def test_it_travels_with_the_state_of_the_module():
    a = NeuralODE(Field(mlp()), warm_start=True, **OPTIONS)
    a(state(), T)
    twin = copy.deepcopy(a)
    b = NeuralODE(Field(mlp()), warm_start=True, **OPTIONS)
    b.load_state_dict(a.state_dict())
    for other in (twin, b):
        before = float(other.first_step_size)
        other(state(), 2 * T)
        assert before == float(a.first_step_size) != float(other.first_step_size)
    assert "first_step_size" not in NeuralODE(Field(mlp()), **OPTIONS).state_dict()
    # models load into modules without one, and from such modules; the file's own dictionary is left as it was
    plain, state_dict = NeuralODE(Field(mlp()), **OPTIONS), a.state_dict()
    plain.load_state_dict(state_dict)
    assert "first_step_size" in state_dict
    b.load_state_dict(plain.state_dict())
    assert math.isnan(float(b.first_step_size)) and torch.equal(plain(state(), T).y, b(state(), T).y)
    assert [n for n, _ in a.named_parameters()] == [n for n, _ in b.named_parameters()]


def test_a_failed_solve_is_no_example():
    ode = NeuralODE(Field(mlp()), warm_start=True, on_failure="warn", **OPTIONS)
    ode(state(), T)
    bad = state()
    bad[0, 0] = math.nan
    assert not ode(bad, T).solution.success and math.isnan(float(ode.first_step_size))
    plain = odeint(ode.func, state(), T, per_sample=False, **OPTIONS)
    assert torch.equal(ode(state(), T).y, plain.y) and float(ode.first_step_size) > 0


def test_a_size_longer_than_the_interval_takes_it_in_one_step():
    ode = NeuralODE(Field(mlp()), warm_start=True, rtol=1e-3, atol=1e-3)
    for _ in range(4):
        ode(state(), T / 1000)
    out = ode(state(), T / 1000)
    assert out.solution.stats.naccept == 1 and math.isfinite(float(ode.first_step_size))
    # a wide interval after it: rejections bring the size down, the answer is the solver's own
    out, exact = ode(state(), 4 * T), odeint(ode.func, state(), 4 * T, rtol=1e-10, atol=1e-10)
    assert out.solution.success and (out.y - exact.y).abs().max() < 0.1


def test_per_sample_first_steps_are_each_samples_own():
    y0 = torch.tensor([[1.0], [2.0], [math.nan]], dtype=F64)
    out = odeint(lambda t, y: -(y**3), y0, T, per_sample=True, **OPTIONS)
    size = out.stats.first_step
    assert size[0] != size[1] and np.isfinite(size[:2]).all() and np.isnan(size[2])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="warm_start needs per_sample=False"):
        NeuralODE(Field(mlp()), warm_start=True, per_sample=True)
    with pytest.raises(ValueError, match="first_step was given too"):
        NeuralODE(Field(mlp()), warm_start=True, first_step=0.1)
