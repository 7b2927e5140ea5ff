"""The torch solver: values against SciPy and torchdiffeq, gradients against autograd, differences and torchdiffeq."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from stepsmith.controllers import registry
from stepsmith.integrators.methods.tableaus import get as get_tableau
from stepsmith.integrators.neural.estimates import ScaledError
from torch_fields import F64, field_of, mlp, odeint, state, vdp

METHODS = ["bs32", "dopri5", "tsit5", "dop853"]


def by_hand(func, y, tab, ts, hs):
    """The fixed-grid solve of one lane in plain autograd operations: end state and (E, S) of each step."""
    rows = []
    for t, h in zip(ts, hs, strict=True):
        k, g = [], []
        for i in range(tab.stages):
            g.append(y + h * sum((tab.A[i, j] * k[j] for j in range(i)), torch.zeros_like(y)))
            k.append(func(torch.tensor(t + tab.C[i] * h, dtype=y.dtype), g[i]))
        y1 = y + h * sum(b * kk for b, kk in zip(tab.B, k, strict=True))
        e = h * sum(w * kk for w, kk in zip(tab.E, k, strict=True))
        i, j = tab.stiffness
        rows.append((y, y1, e, (k[j] - k[i]).norm() / (g[j] - g[i]).norm()))
        y = y1
    return y, rows


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("method", METHODS)
def test_dense_output_is_as_good_as_the_steps(method):
    t = np.linspace(0, 4, 101)
    y0 = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=F64)
    rotate = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=F64)
    sol = odeint(lambda _, y: y @ rotate, y0, t, method, rtol=1e-7, atol=1e-10)
    angle = torch.tensor(2 * t)[:, None]
    exact = torch.stack([y0[:, 0] * angle.cos() + y0[:, 1] * angle.sin(), y0[:, 1] * angle.cos() - y0[:, 0] * angle.sin()], 2)
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


# -- per sample and coupled ------------------------------------------------------------------------------------------------


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


# -- gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("checkpoint_every", [None, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradient_is_autograd_through_the_fixed_grid(method, per_sample, checkpoint_every, sign):
    net, tab, rtol, atol = mlp(), get_tableau(method), 1e-3, 1e-6
    y0 = state(3).requires_grad_()
    sol = odeint(
        field_of(net), y0, [0.0, 3.0 * sign], method, rtol=rtol, atol=atol, per_sample=per_sample,
        checkpoint_every=checkpoint_every,
    )  # fmt: skip
    assert sol.stats.naccept_per_sample.min() > 3
    hx = sol.heuristics
    loss = (sol.y[-1] ** 2).sum() + 3.0 * hx.R_E.sum() + 2.0 * hx.R_E2.sum() + 0.1 * hx.R_S.sum()
    inputs = [y0, *net.parameters()]
    got = torch.autograd.grad(loss, inputs)

    want_loss, lanes = 0.0, range(3) if per_sample else [slice(None)]
    for b in lanes:
        n = sol.stats.naccept_per_sample[b] if per_sample else sol.stats.naccept
        pick = (slice(None, n), b) if per_sample else slice(None, n)
        y1, rows = by_hand(field_of(net), y0[b], tab, hx.t[pick].numpy(), sign * hx.h[pick].numpy())
        want_loss = want_loss + (y1**2).sum()
        for j, (ya, yb, e, s) in enumerate(rows):
            err = (e / (atol + rtol * torch.maximum(ya.abs(), yb.abs()))).pow(2).mean().sqrt()
            h = hx.h[pick][j]
            torch.testing.assert_close(hx.E[pick][j], err, rtol=1e-9, atol=1e-13)
            torch.testing.assert_close(hx.S[pick][j], s, rtol=1e-9, atol=0)
            want_loss = want_loss + 3.0 * err * h + 2.0 * err**2 + 0.1 * s * h
    torch.testing.assert_close(loss, want_loss, rtol=1e-11, atol=0)
    for a, b in zip(got, torch.autograd.grad(want_loss, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradient_is_the_difference_quotient_on_the_frozen_grid():
    net, tab = mlp(), get_tableau("tsit5")
    y0 = state(1).requires_grad_()
    sol = odeint(field_of(net), y0, [0.0, 2.0])
    sol.y[-1].sum().backward()
    ts, hs = sol.heuristics.t[:, 0].numpy(), sol.heuristics.h[:, 0].numpy()

    def value():
        with torch.no_grad():
            return by_hand(field_of(net), y0, tab, ts, hs)[0].sum().item()

    eps = 1e-5
    for tensor in (y0, *net.parameters()):
        flat, grad = tensor.data.view(-1), tensor.grad.view(-1)
        for i in range(0, len(flat), 3):
            keep = flat[i].item()
            flat[i] = keep + eps
            high = value()
            flat[i] = keep - eps
            low = value()
            flat[i] = keep
            assert (high - low) / (2 * eps) == pytest.approx(grad[i].item(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("checkpoint_every", [None, 3])
@pytest.mark.parametrize("method", ["tsit5", "dop853"])
def test_gradcheck_with_a_constant_step(method, checkpoint_every):
    step = registry.get("constant", h=0.2)
    y0, w = state(2, 2).requires_grad_(), torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64, requires_grad=True)

    def run(y0, w):
        sol = odeint(
            lambda t, y: torch.tanh(y @ w) + t, y0, [0.0, 0.5, 1.0], method, step, first_step=0.2,
            checkpoint_every=checkpoint_every,
        )  # fmt: skip
        return sol.y, sol.heuristics.R_E2

    assert torch.autograd.gradcheck(run, (y0, w), rtol=1e-4, atol=1e-6)


def test_second_derivatives():
    step = registry.get("constant", h=0.5)
    y0 = state(2, 2).requires_grad_()

    def run(y0):
        return odeint(lambda t, y: torch.sin(y), y0, [0.0, 1.0], "bs32", step, first_step=0.5, heuristics=False).y[-1]

    assert torch.autograd.gradgradcheck(run, (y0,))


def test_checkpoints_keep_less_and_evaluate_more():
    net, saved = mlp(), {}
    for every in (None, 4):
        kept = 0

        def pack(x):
            nonlocal kept
            kept += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            sol = odeint(field_of(net), state(), [0.0, 8.0], rtol=1e-8, checkpoint_every=every, heuristics=False)
        before = sol.stats.nfev_replay
        sol.y[-1].sum().backward()
        saved[every] = kept, before, sol.stats.nfev_replay
    assert saved[4][0] < 0.5 * saved[None][0]
    assert saved[None][1] == saved[None][2] == saved[4][1]
    assert 1.8 * saved[4][1] < saved[4][2] <= 2 * saved[4][1]


# -- precision, counts, heuristics --------------------------------------------------------------------------------------


def test_float32_works_and_tolerances_near_its_resolution_warn():
    y0 = state(dtype=torch.float32)
    net = mlp(dtype=torch.float32)
    sol = odeint(field_of(net), y0, [0.0, 1.0], rtol=1e-5, atol=1e-6)
    assert sol.y.dtype == torch.float32 and sol.success
    exact = odeint(field_of(mlp()), y0.double(), [0.0, 1.0], rtol=1e-10, atol=1e-12)
    assert (sol.y.double() - exact.y).abs().max() < 1e-3
    with pytest.warns(UserWarning, match="near the resolution of torch.float32"):
        odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=1.4e-8)


def test_no_grad_skips_the_replay():
    with torch.no_grad():
        sol = odeint(field_of(mlp()), state(), [0.0, 1.0])
    assert sol.stats.nfev_replay == 0 and sol.success


def test_counts_add_up():
    sol = odeint(vdp, torch.tensor([[2.0, 0.0], [0.5, 0.0]], dtype=F64), [0.0, 3.0], first_step=1.0)
    s = sol.stats
    assert s.naccept == s.naccept_per_sample.sum() and s.nreject == s.nreject_per_sample.sum() > 0
    assert (s.nfev_per_sample == 1 + 6 * (s.naccept_per_sample + s.nreject_per_sample)).all()
    assert s.nfev == s.nfev_per_sample.max()
    assert s.nfev_replay == 1 + 6 * s.naccept_per_sample.max()
    assert s.nfallback == 0 and s.wall_s > 0


def test_no_stiffness_estimate_without_a_stage_pair():
    hx = odeint(vdp, torch.tensor([[2.0, 0.0]], dtype=F64), [0.0, 1.0], "bs32").heuristics
    assert hx.S is None and hx.R_E.item() > 0
    with pytest.raises(ValueError, match="bs32"):
        _ = hx.R_S


@pytest.mark.parametrize("per_sample", [True, False])
def test_estimates_carry_gradient_where_it_is_asked_for(per_sample):
    net = mlp()

    def run(heuristics, **options):
        sol = odeint(field_of(net), state(), [0.0, 2.0], rtol=1e-5, per_sample=per_sample, heuristics=heuristics, **options)
        return sol.heuristics

    both = run(True)
    for name, other in (("E", "S"), ("S", "E")):
        one = run(name)
        assert getattr(one, name).requires_grad and not getattr(one, other).requires_grad
        assert torch.equal(getattr(one, name), getattr(both, name))
        torch.testing.assert_close(getattr(one, other), getattr(both, other).detach(), rtol=1e-6, atol=1e-9)
        wanted = torch.autograd.grad(getattr(run(True), name).sum(), list(net.parameters()), allow_unused=True)
        found = torch.autograd.grad(getattr(one, name).sum(), list(net.parameters()), allow_unused=True)
        for w, f in zip(wanted, found, strict=True):
            assert torch.equal(w, f)
    numbers = run("values")
    assert not numbers.E.requires_grad and not numbers.S.requires_grad
    torch.testing.assert_close(numbers.E, both.E.detach(), rtol=1e-6, atol=1e-9)
    assert run(False) is None
    for wrong in ("ES", "e", 1.0, None):
        with pytest.raises(ValueError, match="heuristics must be True"):
            run(wrong)
    with pytest.raises(ValueError, match="bs32.*no stage-based"):
        run("S", method="bs32")


@pytest.mark.parametrize("atol", [0.0, 0.3])
def test_error_norm_against_autograd(atol):
    gen = torch.Generator().manual_seed(0)
    e, y, y1 = (torch.randn(5, 4, dtype=F64, generator=gen).requires_grad_() for _ in range(3))
    with torch.no_grad():
        y1[1] = 2.0 * y[1]
        e[2] = 0.0  # no error: the root has no derivative
        y[3, 0] = y1[3, 0] = e[3, 0] = 0.0  # with atol = 0, no scale either

    def plainly(e, y, y1):
        scale = torch.maximum(y.abs(), y1.abs()) * 0.7 + atol
        ratio = e / torch.where(scale > 0, scale, 1.0)
        mean = (ratio * ratio).mean(1)
        return torch.where(mean > 0, torch.where(mean > 0, mean, 1.0).sqrt(), 0.0)

    weight = torch.tensor([1.0, -2.0, 3.0, 0.5, 0.0], dtype=F64)
    wanted = torch.autograd.grad((weight * plainly(e, y, y1)).sum(), (e, y, y1), create_graph=True)
    found = torch.autograd.grad((weight * ScaledError.apply(e, y, y1, 0.7, atol)).sum(), (e, y, y1), create_graph=True)
    torch.testing.assert_close(ScaledError.apply(e, y, y1, 0.7, atol), plainly(e, y, y1), rtol=1e-14, atol=0.0)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    # and once more
    again = [torch.autograd.grad(sum((g * g).sum() for g in first), (e, y, y1)) for first in (found, wanted)]
    torch.testing.assert_close(*again, rtol=1e-11, atol=1e-12)


def test_error_norm_where_nothing_moved():
    # the scale has two equal ends: together they have its derivative
    e, y = torch.tensor([[0.3, -0.4]], dtype=F64), torch.tensor([[1.5, -2.0]], dtype=F64)
    ends = (y.clone().requires_grad_(), y.clone().requires_grad_())
    gy, g1 = torch.autograd.grad(ScaledError.apply(e, *ends, 0.7, 0.1).sum(), ends)
    both = y.clone().requires_grad_()
    (g,) = torch.autograd.grad((e / (0.7 * both.abs() + 0.1)).square().mean().sqrt(), both)
    torch.testing.assert_close(gy + g1, g, rtol=1e-13, atol=0.0)


def test_a_lane_without_weight_may_hold_anything():
    e, y = torch.tensor([[1.0, 2.0], [math.nan, math.inf]], dtype=F64, requires_grad=True), torch.ones(2, 2, dtype=F64)
    err = ScaledError.apply(e, y, 2.0 * y, 1e-3, 1e-3)
    (g,) = torch.autograd.grad(torch.where(torch.tensor([True, False]), err, 0.0).sum(), e)
    assert torch.isfinite(g).all() and not g[1].any() and g[0].all()


def test_error_falls_with_the_step_at_the_embedded_order():
    for method, order in (("bs32", 2), ("dopri5", 4), ("tsit5", 4), ("dop853", 7)):
        error = []
        for h in (0.2, 0.1):
            step = registry.get("constant", h=h)
            sol = odeint(
                lambda t, y: torch.sin(2 * y) + t.cos(), torch.tensor([[0.4]], dtype=F64), [0.0, h], method, step, first_step=h
            )
            error.append(sol.heuristics.E[0, 0].item())
        assert math.log2(error[0] / error[1]) == pytest.approx(order + 1, abs=0.35)
