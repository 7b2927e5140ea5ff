"""The torch solver: values against SciPy and torchdiffeq, steps per sample and per batch, precision, counts."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from method_kinds import EXPLICIT
from torch_fields import F64, field_of, mlp, odeint, state, vdp

# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EXPLICIT)
@pytest.mark.parametrize("span", [(0.0, 6.0), (6.0, 0.0)])
def test_agrees_with_scipy_forwards_and_backwards(method, span):
    t = np.linspace(*span, 7)
    y0 = np.array([[0.7, 0.2], [-1.0, 0.4]])
    tol = 1e-7 if method == "bs32" else 1e-9
    if span[0] > span[1]:
        y0 = y0 * 1e-3  # the limit cycle repels backwards in time
    sol = odeint(vdp, torch.tensor(y0), t, method, rtol=tol, atol=1e-3 * tol, adjoint="none")
    assert sol.success and sol.y.shape == (7, 2, 2)
    for b in range(2):
        ref = solve_ivp(
            lambda s, u: [u[1], 4 * (1 - u[0] ** 2) * u[1] - u[0]], span, y0[b], "DOP853", t, rtol=1e-12, atol=1e-14
        )
        np.testing.assert_allclose(sol.y[:, b].numpy(), ref.y.T, rtol=2e3 * tol, atol=20 * tol)


@pytest.mark.parametrize("method, scipy_name", [("dopri5", "RK45"), ("dop853", "DOP853"), ("bs32", "RK23")])
def test_scipy_law_takes_scipy_steps(method, scipy_name):
    sol = odeint(vdp, torch.tensor([[2.0, 0.0]], dtype=F64), [0.0, 3.0], method, "scipy", rtol=1e-5, atol=1e-8)
    ref = solve_ivp(
        lambda t, u: [u[1], 4 * (1 - u[0] ** 2) * u[1] - u[0]], (0, 3), [2.0, 0.0], scipy_name, rtol=1e-5, atol=1e-8
    )
    ends = sol.heuristics.t[:, 0].numpy() + sol.heuristics.h[:, 0].numpy()
    np.testing.assert_allclose(ends, ref.t[1:], rtol=1e-6)
    assert sol.stats.nfev == ref.nfev


@pytest.mark.parametrize("per_sample", [True, False])
def test_agrees_with_torchdiffeq_in_values_and_gradients(per_sample):
    from torchdiffeq import odeint as reference

    net, t = mlp(), torch.linspace(0.0, 1.5, 4, dtype=F64)
    weight = torch.randn(4, 5, 3, dtype=F64)

    def run(solve):
        y0 = state().requires_grad_()
        net.zero_grad()
        y = solve(y0)
        (y * weight).sum().backward()
        return [y.detach(), y0.grad, *(p.grad.clone() for p in net.parameters())]

    ours = run(lambda y0: odeint(field_of(net), y0, t, "dopri5", rtol=1e-10, atol=1e-12, per_sample=per_sample).y)
    theirs = run(lambda y0: reference(field_of(net), y0, t, rtol=1e-10, atol=1e-12, method="dopri5"))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-8, atol=2e-8)


@pytest.mark.parametrize("method", EXPLICIT)
def test_dense_output_is_as_good_as_the_steps(method):
    t = np.linspace(0, 4, 101)
    y0 = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=F64)
    rotate = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=F64)
    sol = odeint(lambda _, y: y @ rotate, y0, t, method, rtol=1e-7, atol=1e-10)
    angle = torch.tensor(2 * t)[:, None]
    exact = torch.stack(
        [y0[:, 0] * angle.cos() + y0[:, 1] * angle.sin(), y0[:, 1] * angle.cos() - y0[:, 0] * angle.sin()], 2
    )
    assert sol.stats.naccept_per_sample.max() < 100 or method == "bs32"
    assert (sol.y - exact).abs().max() < 3e-5
    quiet = odeint(lambda _, y: y @ rotate, y0, t, method, rtol=1e-7, atol=1e-10, adjoint="none")
    torch.testing.assert_close(sol.y, quiet.y, rtol=0, atol=1e-15)


def test_replay_repeats_the_adaptive_pass():
    for per_sample in (True, False):
        sol = odeint(field_of(mlp()), state(), [0.0, 2.0], per_sample=per_sample)
        assert torch.equal(sol.y[-1], sol.y_last)
        blind = odeint(field_of(mlp()), state(), [0.0, 2.0], per_sample=per_sample, adjoint="none")
        assert torch.equal(sol.y, blind.y)
        torch.testing.assert_close(sol.heuristics.E, blind.heuristics.E, rtol=1e-10, atol=0)
        torch.testing.assert_close(sol.heuristics.S, blind.heuristics.S, rtol=1e-9, atol=0)
        assert blind.stats.nfev_replay == 0 and not blind.y.requires_grad


# -- per sample and coupled --------------------------------------------------------------------------------------------


def test_per_sample_is_each_sample_alone_and_compaction_changes_nothing():
    y0 = torch.tensor([[2.0, 0.0], [0.01, 0.0], [1.0, 5.0], [0.5, -3.0], [0.02, 0.0]], dtype=F64)
    t = [0.0, 1.0, 2.5]
    sol = odeint(vdp, y0, t)
    assert len(set(sol.stats.naccept_per_sample)) > 2
    for b in range(len(y0)):
        one = odeint(vdp, y0[b : b + 1], t)
        torch.testing.assert_close(sol.y[:, b], one.y[:, 0], rtol=1e-12, atol=1e-12)
        for name in ("naccept_per_sample", "nreject_per_sample", "nfev_per_sample"):
            assert getattr(sol.stats, name)[b] == getattr(one.stats, name)[0]
    small = odeint(vdp, y0, t, compact=True)
    torch.testing.assert_close(small.y, sol.y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(small.heuristics.R_E, sol.heuristics.R_E, rtol=1e-9, atol=0)
    torch.testing.assert_close(small.y_last, sol.y_last, rtol=1e-12, atol=1e-12)
    assert (small.stats.naccept_per_sample == sol.stats.naccept_per_sample).all()


def test_compaction_evaluates_fewer_rows():
    rows = 0

    def counted(t, y):
        nonlocal rows
        rows += len(y)
        rate, x = y[:, :1], y[:, 1:]
        return torch.cat([torch.zeros_like(rate), torch.sin(rate * t) - x], 1)

    y0 = torch.ones(32, 2, dtype=F64)
    y0[0, 0] = 100.0
    sol = odeint(counted, y0, [0.0, 3.0], compact=False)
    full, rows = rows, 0
    small = odeint(counted, y0, [0.0, 3.0], compact=True)
    torch.testing.assert_close(small.y, sol.y, rtol=1e-12, atol=1e-12)
    needed = 2 * small.stats.nfev_per_sample.sum()
    assert rows < 1.3 * needed < 0.5 * full


def test_coupled_batch_is_one_system():
    y0, net = state(), mlp()
    both = odeint(lambda t, y: net(y), y0, [0.0, 2.0], per_sample=False)
    flat = odeint(lambda t, y: net(y.view(5, 3)).view(1, 15), y0.view(1, 15), [0.0, 2.0])
    torch.testing.assert_close(both.y.view(-1), flat.y.view(-1), rtol=1e-13, atol=1e-13)
    assert both.stats.naccept == flat.stats.naccept and both.heuristics.E.shape == (both.stats.naccept,)
    assert both.heuristics.R_E.dim() == 0 and flat.heuristics.R_E.shape == (1,)


def test_any_feature_shape():
    y0 = state(4, 6)
    a = odeint(lambda t, y: -y * (1 + t), y0.view(4, 2, 3), [0.0, 1.0])
    b = odeint(lambda t, y: -y * (1 + t), y0, [0.0, 1.0])
    c = odeint(lambda t, y: -y * (1 + t), y0[:, 0], [0.0, 1.0])
    assert a.y.shape == (2, 4, 2, 3) and c.y.shape == (2, 4)
    assert torch.equal(a.y.view(2, 4, 6), b.y)
    torch.testing.assert_close(c.y[-1], y0[:, 0] * math.exp(-1.5), rtol=1e-6, atol=1e-9)


# -- precision and counts ----------------------------------------------------------------------------------------------


def test_float32_works_and_tolerances_near_its_resolution_warn():
    y0 = state(dtype=torch.float32)
    net = mlp(dtype=torch.float32)
    sol = odeint(field_of(net), y0, [0.0, 1.0], rtol=1e-5, atol=1e-6)
    assert sol.y.dtype == torch.float32 and sol.success
    exact = odeint(field_of(mlp()), y0.double(), [0.0, 1.0], rtol=1e-10, atol=1e-12)
    assert (sol.y.double() - exact.y).abs().max() < 1e-3
    with pytest.warns(UserWarning, match="below what torch.float32 resolves"):
        odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=1.4e-8)


def test_no_grad_skips_the_replay():
    with torch.no_grad():
        sol = odeint(field_of(mlp()), state(), [0.0, 1.0])
    assert sol.stats.nfev_replay == 0 and sol.success


@pytest.mark.parametrize("options", [{}, {"checkpoint": "auto"}], ids=str)
def test_counts_add_up(options):
    sol = odeint(vdp, torch.tensor([[2.0, 0.0], [0.5, 0.0]], dtype=F64), [0.0, 3.0], first_step=1.0, **options)
    s = sol.stats
    assert s.naccept == s.naccept_per_sample.sum() and s.nreject == s.nreject_per_sample.sum() > 0
    assert (s.nfev_per_sample == 1 + 6 * (s.naccept_per_sample + s.nreject_per_sample)).all()
    assert s.nfev - s.nfev_check == s.nfev_per_sample.max()
    assert s.nfev_replay == (1 + 6 * s.naccept_per_sample.max() if options else 0)
    assert s.nfallback == 0 and s.wall_s > 0
