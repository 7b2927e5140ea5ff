"""Explicit pairs that are not first-same-as-last, in torch: the engine's steps and counts, gradients of every kind,
dead lanes.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import stepsmith as ss  # noqa: E402
from pairs import FEHLBERG4, FEHLBERG5, HEUN, KUTTA, NAMES, PAIRS  # noqa: E402
from stepsmith.integrators.compile.vecmath import cos  # noqa: E402
from stepsmith.integrators.engine.ensemble import solve_ensemble  # noqa: E402
from stepsmith.integrators.kernels.layout import NON_FINITE  # noqa: E402
from stepsmith.integrators.methods.tableaus import ExplicitTableau, get  # noqa: E402

LAW = ss.controller("pi34")
each = pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
T = torch.linspace(0.0, 1.5, 5, dtype=torch.float64)
Y0 = torch.tensor([[1.5, 0.0], [1.0, 0.5], [0.3, -1.0]], dtype=torch.float64)


class Cubic(torch.nn.Module):
    """y' = A y^3 + cos(t)/10, each row its own; counts its calls."""

    def __init__(self):
        super().__init__()
        self.A = torch.nn.Parameter(torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64))
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return (y**3) @ self.A + 0.1 * torch.cos(t)


def cubic(t, y, p, dy):
    a = y[0] * y[0] * y[0]
    b = y[1] * y[1] * y[1]
    dy[0] = -0.1 * a - 2.0 * b + 0.1 * cos(t)
    dy[1] = 2.0 * a - 0.1 * b + 0.1 * cos(t)


def solved(pair, y=Y0, t=T, **options):
    return ss.neural.odeint(Cubic(), y, t, method=pair, controller=LAW, rtol=1e-3, atol=1e-5, **options)


@each
@pytest.mark.parametrize("compact", [False, True])
def test_a_batch_is_the_engines_ensemble(pair, compact):
    batch = ss.Batch(cubic, Y0.numpy(), np.zeros((3, 0)), np.zeros(3), np.full(3, 1.5))
    many = solve_ensemble(batch, pair, LAW, 1e-3, 1e-5, T.numpy())
    ours = solved(pair, adjoint="none", compact=compact)
    assert ours.success
    np.testing.assert_array_equal(ours.stats.nfev_per_sample, many.stats.nfev)
    np.testing.assert_array_equal(ours.stats.naccept_per_sample, many.stats.naccept)
    np.testing.assert_array_equal(ours.stats.nreject_per_sample, many.stats.nreject)
    # the first estimate is round-off
    np.testing.assert_allclose(
        ours.y.transpose(0, 1).numpy(), many.y_eval, rtol=0, atol=1e-7
    )


@each
@pytest.mark.parametrize("adjoint", ["none", "discrete"])
def test_calls_are_counted(pair, adjoint):
    field = Cubic()
    y = Y0.clone().requires_grad_(adjoint == "discrete")
    for per_sample in (True, False):
        field.calls = 0
        sol = ss.neural.odeint(field, y, T, pair, LAW, rtol=1e-3, atol=1e-5, adjoint=adjoint, per_sample=per_sample)
        assert field.calls == sol.stats.nfev + sol.stats.nfev_replay
        if not per_sample:
            s = sol.stats
            assert s.nfev == s.nfev_per_sample[0] == 2 + (pair.stages - 1) * (s.naccept + s.nreject) + s.naccept - 1


def by_hand(pair, field, y, t, h):
    """The steps h (n, lanes) of the pair from the definition, autograd through all of it."""
    for j in range(len(h)):
        size, start = h[j][:, None], t[j][:, None]
        k = []
        for i in range(pair.stages):
            g = y + sum((size * float(a) * x for a, x in zip(pair.a[i], k, strict=False)), torch.zeros_like(y))
            k.append(field(start + float(pair.c[i]) * size, g))
        y = y + sum(size * float(b) * x for b, x in zip(pair.b, k, strict=True))
    return y


@each
@pytest.mark.parametrize(
    "options",
    [{}, {"compact": True}, {"checkpoint_every": 3}, {"per_sample": False}],
    ids=["replay", "compact", "checkpoints", "direct"],
)
def test_the_gradient_is_that_of_the_steps_written_by_hand(pair, options):
    field = Cubic()
    y = Y0.clone().requires_grad_()
    sol = ss.neural.odeint(field, y, T, method=pair, controller=LAW, rtol=1e-3, atol=1e-5, **options)
    grid = [x if x.dim() == 2 else x[:, None].expand(-1, 3) for x in (sol.heuristics.t, sol.heuristics.h)]
    wanted = torch.autograd.grad((sol.y[-1] ** 2).sum(), [y, field.A])
    end = by_hand(pair, field, y, *grid)
    torch.testing.assert_close(end, sol.y[-1], rtol=0, atol=1e-12)
    for ours, theirs in zip(wanted, torch.autograd.grad((end**2).sum(), [y, field.A]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("pair", [KUTTA, FEHLBERG5], ids=["kutta32", "fehlberg5"])
def test_gradients_of_dense_outputs_and_continuous_adjoints(pair, per_sample):
    """Outputs within steps; the exact gradient by central differences of a tight solve."""

    def loss(y, field, tol=1e-10, **options):
        sol = ss.neural.odeint(
            field, y, T, "dop853", LAW, rtol=tol, atol=tol, per_sample=per_sample, adjoint="none", **options
        )
        return (sol.y**2).sum()

    direction = torch.tensor([[0.3, -1.0], [0.7, 0.2], [-0.4, 0.5]], dtype=torch.float64)
    eps, field = 1e-5, Cubic()
    with torch.no_grad():
        exact = float(loss(Y0 + eps * direction, field) - loss(Y0 - eps * direction, field)) / (2 * eps)
    tight = 1e-7 if pair is FEHLBERG5 else 1e-6
    for options in ({"adjoint": "discrete"}, {"adjoint": "backsolve"}, {"adjoint": "interpolating"}):
        y = Y0.clone().requires_grad_()
        sol = ss.neural.odeint(field, y, T, pair, LAW, rtol=tight, atol=tight, per_sample=per_sample, **options)
        (g,) = torch.autograd.grad((sol.y**2).sum(), y)
        assert float((g * direction).sum()) == pytest.approx(exact, rel=2e-4), options


def test_parameters_of_continuous_adjoints_agree_with_the_discrete_one():
    """The quadrature takes every step's first slope from where it was evaluated, rejected attempts and compaction
    included.
    """
    found = {}
    for adjoint, options in (
        ("discrete", {}),
        ("backsolve", {}),
        ("interpolating", {}),
        ("backsolve", {"compact": True}),
    ):
        field = Cubic()
        sol = ss.neural.odeint(field, Y0, T, FEHLBERG4, LAW, rtol=1e-8, atol=1e-8, adjoint=adjoint, **options)
        (sol.y[-1] ** 2).sum().backward()
        found[adjoint, bool(options)] = field.A.grad
    for grad in found.values():
        torch.testing.assert_close(grad, found["discrete", False], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [T, T.flip(0)])
def test_backward_time_and_estimates(t):
    sol = solved(HEUN, Y0.requires_grad_(), t)
    assert (
        sol.success
        and sol.heuristics.S is None
        and sol.heuristics.method == "heun21"
        and sol.heuristics.tableau is HEUN
    )
    assert sol.heuristics.R_E.sum().requires_grad and bool((sol.heuristics.E <= 1.0).all())
    Y0.requires_grad_(False)


RALSTON = ExplicitTableau("ralston21", 2, 1, c=(0, 0.75), a=((), (0.75,)), b=(1 / 3, 2 / 3), b_hat=(1, 0))


@pytest.mark.parametrize("options", [{}, {"checkpoint_every": 2}], ids=["whole", "checkpoints"])
def test_a_lane_without_a_slope_at_its_end_does_not_reach_the_others(options):
    """Row 0's last step ends beyond t = 1, where its slope and that one's derivative are NaN; its stages did not look
    there.
    """

    def field(t, y):
        edge = torch.where(rate.expand_as(y) > 0, torch.log(1.0 - t).expand_as(y), torch.zeros_like(y))
        return -weight * y + 0.01 * edge

    rate = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[1.0], [1.0], [2.0]], dtype=torch.float64)
    sol = ss.neural.odeint(field, y0, torch.tensor([0.0, 0.4, 2.0]), RALSTON, LAW, rtol=1e-2, atol=1e-2, **options)
    assert sol.status[0] < 0 and (sol.status[1:] == 1).all() and torch.isnan(sol.y[-1, 0]).all()
    (grad,) = torch.autograd.grad(sol.y[-1, 1:].sum(), weight)
    assert float(grad) == pytest.approx(-2.0 * 3.0 * np.exp(-1.0), rel=0.05)


def test_outputs_that_need_a_slope_that_is_not_finite():
    """The last step lands on a time at which the field is not finite: without outputs inside nobody needs it."""

    def field(t, y):
        return 0.0 * y / (1.0 - t) + 1.0

    y0 = torch.full((2, 1), 0.5, dtype=torch.float64)
    for per_sample in (True, False):
        options = {"method": RALSTON, "controller": LAW, "rtol": 1e-3, "atol": 1e-3, "per_sample": per_sample}
        sol = ss.neural.odeint(field, y0, [0.0, 1.0], **options)
        assert sol.success and torch.allclose(sol.y[-1], torch.tensor(1.5, dtype=torch.float64))
        sol = ss.neural.odeint(field, y0, [0.0, 1.0 - 1e-9, 1.0], **options)
        assert (
            not sol.success
            and (sol.status == NON_FINITE).all()
            and torch.isnan(sol.y[1:]).all()
            and torch.isfinite(sol.y_last).all()
        )


@pytest.mark.parametrize("regulariser", ["er_mean", "local_unbiased", "local_biased"])
def test_regularisers_take_the_pair(regulariser):
    field = Cubic()
    ode = ss.neural.NeuralODE(field, FEHLBERG4, rtol=1e-4, atol=1e-4, regulariser=regulariser)
    assert "fehlberg4" in repr(ode)
    out = ode(Y0, T, torch.Generator().manual_seed(0))
    (out.y[-1].sum() + out.penalty).backward()
    assert out.solution.success and float(out.penalty.detach()) > 0 and torch.isfinite(field.A.grad).all()


def test_controllers_and_estimates_that_it_cannot_serve():
    with pytest.raises(ValueError, match="no stage-based stiffness"):
        ss.neural.NeuralODE(Cubic(), HEUN, regulariser="sr_mean")
    named = get("tsit5")
    a, b = (ss.neural.odeint(Cubic(), Y0, T, m, LAW, rtol=1e-4, atol=1e-6, adjoint="none") for m in (named, "tsit5"))
    assert torch.equal(a.y, b.y)
