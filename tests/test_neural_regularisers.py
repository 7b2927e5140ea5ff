"""Regularisers of whole solves: values against closed forms and hand formulas; gradients against central differences.
"""

import math

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.neural.regularisers import Sum
from stepsmith.integrators.neural.regularisers.taylor import total_derivative
from torch_fields import F64, field_of, mlp, odeint, state

NeuralODE, regulariser = ss.neural.NeuralODE, ss.neural.regulariser
T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
A = np.array([[-0.3, 2.0], [-1.0, -0.1]])
ROTATE = torch.tensor(A)


def linear(t, y):
    return y @ ROTATE.T


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def penalty_of(reg, func, y0=None, t=T, generator=None, **options):
    ode = NeuralODE(func, regulariser=reg, **{"rtol": 1e-6, "atol": 1e-6, **options})
    return ode(state() if y0 is None else y0, t, generator).penalty


# -- global ------------------------------------------------------------------------------------------------------------

#: large steps, whose estimates are far above round-off
TOL = 1e-2

BY_HAND = {
    "er_sum": lambda E, S, h, r: (E * h).sum(),
    "er_mean": lambda E, S, h, r: (E * h).mean(),
    "er_max": lambda E, S, h, r: (E * h).max(),
    "er2_sum": lambda E, S, h, r: (E**2).sum(),
    "er2_mean": lambda E, S, h, r: (E**2).mean(),
    "sr_sum": lambda E, S, h, r: (S * h).sum(),
    "sr_mean": lambda E, S, h, r: (S * h).mean(),
    "sr_max": lambda E, S, h, r: S.max() / r,
}


@pytest.mark.parametrize("method, radius", [("tsit5", 3.5068), ("dopri5", 3.3066)])
@pytest.mark.parametrize("name", sorted(BY_HAND))
@pytest.mark.parametrize("per_sample", [False, True])
def test_global_ones_are_reductions_over_each_samples_own_steps(name, method, radius, per_sample):
    y0 = state() * torch.tensor([[0.1], [1.0], [4.0], [8.0], [0.0]], dtype=F64)
    field = field_of(mlp())
    got = penalty_of(name, field, y0, method=method, per_sample=per_sample)
    sol = odeint(field, y0, T, method, rtol=1e-6, atol=1e-6, per_sample=per_sample)
    E, h, S = (x.detach().numpy() for x in (sol.heuristics.E, sol.heuristics.h, sol.heuristics.S))
    if per_sample:
        counts = sol.stats.naccept_per_sample
        assert len(set(counts)) > 1  # otherwise padding is not tried
        expected = np.mean([BY_HAND[name](E[:n, b], S[:n, b], h[:n, b], radius) for b, n in enumerate(counts)])
    else:
        expected = BY_HAND[name](E, S, h, radius)
    assert got.item() == pytest.approx(expected, rel=1e-4 if name == "sr_max" else 1e-12)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_gradients_of_global_ones_equal_differences_on_the_frozen_grid(name):
    """The steps of one solve, forced upon its perturbed copies by a controller that recites them."""
    net, y0 = mlp(), state()
    sol = odeint(field_of(net), y0, T, "dopri5", rtol=TOL, atol=TOL, per_sample=False)
    recital = Recite(sol.heuristics.h.numpy())
    ode = NeuralODE(field_of(net), "dopri5", recital, TOL, TOL, regulariser=name, first_step=float(recital.sizes[0]))
    weight = net[0].weight
    penalty = ode(y0, T).penalty
    (gradient,) = torch.autograd.grad(penalty, weight)
    for index in ((0, 0), (3, 2)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * 1e-5
            values.append(ode(y0, T).penalty.item())
            with torch.no_grad():
                weight[index] -= sign * 1e-5
        assert gradient[index].item() == pytest.approx(
            (values[0] - values[1]) / 2e-5, rel=2e-5, abs=1e-9 * penalty.item()
        )


class Recite:
    """A controller that accepts everything and answers with the sizes it was given."""

    n_state, needs = 1, ()

    def __init__(self, sizes):
        from stepsmith.integrators.core.contract import Lane

        ratios = np.append(sizes[1:] / sizes[:-1], 1.0)
        ratios[-2] *= 1.5  # the last step is cut to land on the end
        self.sizes, self.params = sizes, np.log(ratios)
        self.phases = (Lane(_recite),)


def _recite(params, state, record, out):
    out[0], out[1] = 1.0, params[int(state[0])]
    state[0] = state[0] + 1.0


# -- integrals ---------------------------------------------------------------------------------------------------------


def quadrature(integrand, t1=1.0):
    from scipy.integrate import quad

    return quad(integrand, 0.0, t1, epsabs=1e-13, epsrel=1e-12)[0]


@pytest.mark.parametrize("over", ["mean", "sum"])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name, power", [("kinetic", 1), ("taylor2", 2), ("taylor3", 3)])
def test_integrals_of_a_linear_field_have_a_closed_form(name, power, per_sample, over):
    """y = exp(A t) y0, d^K y/dt^K = A^K y."""
    from scipy.linalg import expm

    y0 = np.array([[1.0, 0.3], [-2.0, 0.5], [0.2, 0.1]])
    reg = regulariser(name, over=over)
    got = penalty_of(reg, linear, torch.tensor(y0), rtol=1e-10, atol=1e-12, per_sample=per_sample)
    B = np.linalg.matrix_power(A, power)
    each = [quadrature(lambda s, y=y: np.sum((B @ expm(A * s) @ y) ** 2)) for y in y0]
    assert got.item() == pytest.approx(np.mean(each) / (2 if over == "mean" else 1), rel=1e-8)


def test_total_derivatives_count_explicit_time():
    """y' = y sin t: y'' = y (cos t + sin^2 t), y''' = y (3 sin t cos t - sin t + sin^3 t)."""
    y = torch.tensor([[0.7], [-1.2]], dtype=F64)
    for t in (torch.tensor(0.4, dtype=F64), torch.tensor([[0.4], [1.9]], dtype=F64)):
        f = lambda t, y: y * torch.sin(t)  # noqa: E731
        s, c = torch.sin(t), torch.cos(t)
        torch.testing.assert_close(total_derivative(f, 2)(t, y), y * (c + s**2), rtol=1e-14, atol=0)
        torch.testing.assert_close(total_derivative(f, 3)(t, y), y * (3 * s * c - s + s**3), rtol=1e-13, atol=1e-14)


def test_a_parabola_costs_nothing_at_order_three():
    speed = lambda t, y: 2.0 * t + 0.0 * y  # noqa: E731
    assert penalty_of("taylor3", speed).item() == pytest.approx(0.0, abs=1e-14)
    assert penalty_of("taylor2", speed).item() == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("over", ["mean", "sum"])
def test_frobenius_is_the_probes_product_and_its_mean_is_the_norm(over):
    y0 = state(4, 2)
    got = penalty_of(regulariser("frobenius", over=over), linear, y0, generator=seeded(5))
    probe = torch.randn(4, 2, dtype=F64, generator=seeded(5))
    share = 2 if over == "mean" else 1
    assert got.item() == pytest.approx(((probe @ ROTATE) ** 2).sum(1).mean().item() / share, rel=1e-6)
    many = penalty_of(
        regulariser("frobenius", over=over), linear, torch.zeros(20000, 2, dtype=F64), generator=seeded(5)
    )
    assert many.item() == pytest.approx((A**2).sum() / share, rel=0.03)


def test_frobenius_of_a_field_that_ignores_the_state_is_zero():
    assert penalty_of("frobenius", lambda t, y: torch.ones_like(y)).item() == 0.0
    bias = torch.nn.Parameter(torch.ones(3, dtype=F64))
    assert penalty_of("frobenius", lambda t, y: bias.expand_as(y)).item() == 0.0


@pytest.mark.parametrize("name", ["kinetic", "frobenius", "taylor2", "taylor3"])
def test_integrals_do_not_change_sign_when_time_runs_backwards(name):
    net = mlp()
    forward = penalty_of(name, lambda t, y: net(y), rtol=1e-9, atol=1e-9, generator=seeded())
    backward = penalty_of(name, lambda t, y: -net(y), t=-T, rtol=1e-9, atol=1e-9, generator=seeded())
    assert forward.item() == pytest.approx(backward.item(), rel=1e-9) and forward > 0


@pytest.mark.parametrize("name", ["kinetic", "rnode", "taylor2", "taylor3"])
@pytest.mark.parametrize("adjoint", ["discrete", "backsolve", "interpolating"])
def test_gradients_of_integrals_equal_differences(name, adjoint):
    field = Field(mlp(scale=1.0))
    ode = NeuralODE(field, "dop853", rtol=1e-8, atol=1e-9, regulariser=name, adjoint=adjoint)
    weight = field.net[0].weight
    (gradient,) = torch.autograd.grad(ode(state(), T, seeded()).penalty, weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[2, 1] += sign * 1e-4
        values.append(ode(state(), T, seeded()).penalty.item())
        with torch.no_grad():
            weight[2, 1] -= sign * 1e-4
    assert gradient[2, 1].item() == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-5)


class Field(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(y) * (1 + 0.3 * torch.sin(t))


@pytest.mark.parametrize("shape", [(4,), (4, 2, 3), (4, 1)])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", ["rnode", "taylor2", "local_unbiased", "local_biased"])
def test_states_of_any_shape(shape, per_sample, name):
    y0 = torch.rand(shape, dtype=F64, generator=seeded()) + 0.5
    field = lambda t, y: -torch.sin(y) * (1 + t)  # noqa: E731
    ode = NeuralODE(field, per_sample=per_sample, regulariser=name)
    if per_sample and len(shape) == 1:
        with pytest.raises(ValueError, match="is one system"):
            ode(y0, T)
        return
    out = ode(y0.requires_grad_(), T)
    assert out.y.shape == (3, *shape) and out.penalty.shape == () and out.penalty > 0
    flat = odeint(field, y0.reshape(4, -1), T, per_sample=per_sample)
    torch.testing.assert_close(out.y.reshape(flat.y.shape), flat.y, rtol=1e-5, atol=1e-7)


# -- STEER -------------------------------------------------------------------------------------------------------------


def test_steer_reports_the_state_at_the_drawn_end_time_and_has_no_penalty():
    y0 = torch.tensor([[1.0]], dtype=F64)
    ode = NeuralODE(lambda t, y: -y, rtol=1e-10, atol=1e-12, regulariser=regulariser("steer", b=0.5))
    ends = []
    for seed in range(30):
        out = ode(y0, T, seeded(seed))
        ends.append(-math.log(out.y[-1].item()))
        assert ends[-1] == pytest.approx(
            1.0 + 0.5 * (2 * torch.rand((), dtype=F64, generator=seeded(seed)).item() - 1), abs=1e-8
        )
        assert out.y[1].item() == pytest.approx(math.exp(-0.4), abs=1e-8) and out.penalty == 0
    assert min(ends) < 0.65 and max(ends) > 1.35 and 0.5 <= min(ends) and max(ends) <= 1.5
    assert ode.eval()(y0, T).y[-1].item() == pytest.approx(math.exp(-1.0), abs=1e-8)


def test_sums_weigh_their_parts():
    field, options = field_of(mlp()), {"per_sample": False}
    parts = [("er_mean", 1.0), ("sr_max", 0.1), ("kinetic", 2.0)]
    alone = {n: penalty_of(n, field, **options).item() for n in ("er_mean", "sr_max")}
    both = penalty_of(regulariser("er_mean") + 0.1 * regulariser("sr_max"), field, **options)
    assert both.item() == pytest.approx(alone["er_mean"] + 0.1 * alone["sr_max"], rel=1e-13)
    total = Sum(*((w, regulariser(n)) for n, w in parts))
    assert [w for w, _ in (3 * total).parts()] == pytest.approx([3.0, 0.3, 6.0])
    assert (3 * total).describe()["parts"][1] == {"weight": pytest.approx(0.3), "name": "sr_max"}
