"""Random draws of plans: seeds, even times, dtypes and order, and draws that fall on an output time."""

import pytest
import torch

import stepsmith as ss
from plans import LOCAL, Field, T, seeded, with_torchdiffeq
from torch_fields import F64, mlp, state

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser


@pytest.mark.parametrize(
    "name, options", [("local_unbiased", {}), ("local_biased", {}), ("rnode", {}), ("steer", {"b": 0.3})]
)
def test_a_seed_fixes_the_draws_and_leaves_the_global_generator_alone(name, options):
    ode = NeuralODE(Field(mlp()), regulariser=regulariser(name, **options))
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    runs = [ode(state(), T, seeded(s)) for s in (3, 3, 4)]
    assert torch.equal(torch.rand(1), expected)
    value = [r.y[-1].sum() + r.penalty for r in runs]
    assert value[0] == value[1] and value[0] != value[2]
    torch.manual_seed(12)
    a = ode(state(), T)
    torch.manual_seed(12)
    b = ode(state(), T)
    assert torch.equal(a.y, b.y) and torch.equal(a.penalty, b.penalty)
    assert not torch.equal(a.y[-1] + a.penalty, runs[0].y[-1] + runs[0].penalty)


def test_unbiased_times_fill_the_interval_evenly():
    reg = regulariser("local_unbiased", **LOCAL)
    generator = seeded(0)
    drawn = torch.cat([plan.t[[i for i in range(len(plan.t)) if plan.t[i] not in T]] for plan in
                       (reg.plan(Field(mlp()), state(), T, generator) for _ in range(400))])
    counts = torch.histc(drawn, 4, 0.0, 1.0)
    assert len(drawn) == 400 and counts.min() > 70 and counts.max() < 130


def test_float32_and_decreasing_times_keep_their_dtype_and_order():
    y0, t = state(dtype=torch.float32), torch.tensor([1.0, 0.6, 0.0])
    both = regulariser("steer", b=0.2) + regulariser("local_unbiased")
    ode = NeuralODE(Field(mlp(dtype=torch.float32)), rtol=1e-3, atol=1e-3, regulariser=both)
    for seed in range(5):
        out = ode(y0, t, seeded(seed))
        assert out.y.dtype == out.penalty.dtype == out.solution.t.dtype == torch.float32
        assert (out.solution.t.diff() < 0).all() and len(out.solution.t) == 4 and out.y.shape == (3, 5, 3)


def test_a_drawn_time_that_is_an_output_time_is_not_asked_for_twice(monkeypatch):
    from stepsmith.integrators.neural.regularisers import local

    monkeypatch.setattr(local, "uniform", lambda *args: torch.tensor(0.4, dtype=F64))
    plan = regulariser("local_unbiased", **LOCAL).plan(Field(mlp()), state(), T)
    assert torch.equal(plan.t, T)
    y, penalty = plan.read(with_torchdiffeq(plan))
    assert y.shape == (3, 5, 3) and penalty > 0
