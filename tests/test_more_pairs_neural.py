"""Verner's efficient pairs, Bogacki-Shampine 5(4) and Fehlberg 4(5) in torch: the engine's steps, gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import stepsmith as ss  # noqa: E402
from method_kinds import MORE  # noqa: E402
from stepsmith.controllers.laws import registry  # noqa: E402
from stepsmith.integrators.compile.vecmath import cos  # noqa: E402
from stepsmith.integrators.engine.ensemble import solve_ensemble  # noqa: E402

LAW = registry.get("scipy")
F64 = torch.float64
each = pytest.mark.parametrize("name", MORE)


def forced(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] * y[0] * y[0] - 0.1 * y[1] + cos(2.0 * t)


def field(t, y):
    x, v = y[..., 0], y[..., 1]
    return torch.stack([v, -1.3 * x * x * x - 0.1 * v + torch.cos(2.0 * t).reshape(-1)], -1)


@each
def test_a_batch_is_the_engines_ensemble(name):
    at, y0 = np.linspace(0.0, 6.0, 7), np.array([[1.0, 0.5], [-0.4, 0.2], [0.3, 1.0]])
    batch = ss.Batch(forced, y0, np.full((3, 1), 1.3), np.zeros(3), np.full(3, 6.0))
    many = solve_ensemble(batch, name, LAW, 1e-6, 1e-8, at)
    ours = ss.neural.odeint(field, torch.tensor(y0), at, name, LAW, rtol=1e-6, atol=1e-8, adjoint="none")
    assert ours.success and many.success.all()
    np.testing.assert_array_equal(ours.stats.nfev_per_sample, many.stats.nfev)
    np.testing.assert_array_equal(ours.stats.naccept_per_sample, many.stats.naccept)
    np.testing.assert_allclose(ours.y.transpose(0, 1).numpy(), many.y_eval, rtol=0, atol=1e-7)


@each
@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_gradcheck(name, checkpoint_every):
    """Outputs within steps, at their ends and the estimates, by the start and a parameter."""
    y0 = torch.tensor([[0.4, -0.3]], dtype=F64, requires_grad=True)
    w = torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64, requires_grad=True)
    step = registry.get("constant", h=0.5)

    def run(y0, w):
        sol = ss.neural.odeint(
            lambda t, y: torch.tanh(y @ w) + t, y0, [0.0, 0.6, 1.0], name, step, first_step=0.5,
            checkpoint_every=checkpoint_every, rtol=1e-2, atol=1e-2,
        )  # fmt: skip
        return sol.y, sol.heuristics.R_E

    assert torch.autograd.gradcheck(run, (y0, w), eps=1e-5, rtol=1e-4, atol=1e-6)
