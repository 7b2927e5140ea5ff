"""Penalties of regularisers where samples fail: a failed sample changes neither penalty nor gradient of the others."""

import pytest
import torch

import stepsmith as ss
from plans import T, seeded
from stepsmith.integrators.neural.regularisers import Solver
from torch_fields import F64

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser
NAMES = [
    "er_mean",
    "er_max",
    "er2_sum",
    "sr_sum",
    "sr_max",
    "local_unbiased",
    "local_biased",
    "kinetic",
    "rnode",
    "taylor2",
    "taylor3",
]


class Explosive(torch.nn.Module):
    """y' = w y for most samples; a row that starts at 100 blows up, one at 1000 has no slope at all."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(-0.7, dtype=F64))

    def forward(self, t, y):
        slope = torch.where(y > 50, self.w.abs() * y.abs() ** 2, self.w * torch.sin(y))
        return torch.where(y > 500, float("nan"), slope)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [100.0, 1000.0])
def test_a_failed_sample_changes_neither_penalty_nor_gradient(name, bad):
    good = torch.tensor([[0.3, 1.0], [0.7, -0.4]], dtype=F64)
    broken = torch.cat([good, torch.tensor([[bad, bad]], dtype=F64)])

    def run(y0):
        field = Explosive()
        ode = NeuralODE(field, regulariser=name, per_sample=True, max_steps=200, on_failure="warn")
        # the same draws for the healthy rows, whatever the number of rows
        out = ode(y0, T, seeded())
        assert list(out.solution.status == 1) == [True, True, False][: len(y0)]
        return out.penalty.item(), torch.autograd.grad(out.penalty, field.w)[0].item()

    if name in ("rnode", "local_biased"):
        run = fixed_rows(name)
    alone, with_bad = run(good), run(broken)
    assert with_bad == pytest.approx(alone, rel=1e-9)
    assert all(abs(x) > 0 for x in alone)


def fixed_rows(name):
    """As the test's run, with the draws of the first two rows the same for two and for three rows."""
    from stepsmith.integrators.neural.regularisers import kinetic, local

    def run(y0):
        probe = torch.tensor([[0.5, -1.0], [2.0, 0.3], [1.0, 1.0]], dtype=F64)[: len(y0)]
        shares = torch.tensor([0.9, 0.4, 0.5], dtype=F64)[: len(y0)]
        kept = kinetic.normal_like, local.uniform
        kinetic.normal_like, local.uniform = (lambda *a: probe), (lambda *a: shares)
        try:
            field = Explosive()
            out = NeuralODE(field, regulariser=name, per_sample=True, max_steps=200, on_failure="warn")(y0, T)
            return out.penalty.item(), torch.autograd.grad(out.penalty, field.w)[0].item()
        finally:
            kinetic.normal_like, local.uniform = kept

    return run


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per_sample", [False, True])
def test_without_a_healthy_sample_the_penalty_is_zero(name, per_sample):
    field = Explosive()
    y0 = torch.full((3, 2), 1000.0, dtype=F64)
    out = NeuralODE(field, regulariser=name, per_sample=per_sample, on_failure="warn")(y0, T)
    assert not out.solution.success and out.penalty.item() == 0.0
    assert not torch.isnan(out.penalty) and torch.isnan(out.y[-1]).all()


def test_a_step_that_blows_up_is_left_out():
    """The automatic step of one sample runs into a wall that the main solve's smaller steps never touch."""

    class Walled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

        def forward(self, t, y):
            return torch.where(y > 1.05, float("inf"), torch.sin(3 * self.w * y) + self.w * (1 + t) ** 2)

    reg = regulariser("local_unbiased", step="automatic", method="dopri5", rtol=1e-1, atol=1e-1)
    start = torch.tensor([[-5.0], [0.0], [-2.0]], dtype=F64)

    def read(rows):
        field = Walled()
        plan = reg.plan(
            field, start[rows], torch.tensor([0.0, 1.0], dtype=F64), seeded(1), Solver("dopri5", 1e-1, 1e-1, True)
        )
        y = torch.stack([start[rows] + 0.1 * t for t in plan.t])
        if 1 in rows:
            y[1, rows.index(1)] = 1.04  # a state whose step crosses the wall
        penalty = plan.read(y)[1]
        return penalty, torch.autograd.grad(penalty, field.w)[0]

    (penalty, gradient), alone = read([0, 1, 2]), read([0, 2])
    torch.testing.assert_close((penalty, gradient), alone, rtol=1e-12, atol=0.0)
    assert penalty > 1e-6 and abs(gradient) > 1e-6
    # a mean over the two healthy ones, neither of them alone
    assert len({read([0])[0].item(), read([2])[0].item(), penalty.item()}) == 3
