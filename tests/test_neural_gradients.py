"""Gradients of the torch solver against autograd through a fixed grid, differences, and torch's own checks."""

import pytest
import torch

from stepsmith.controllers.laws import registry
from stepsmith.integrators.methods.tableaus import get as get_tableau
from torch_fields import F64, field_of, mlp, odeint, state


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
    assert saved[None][1] == saved[None][2] == 0 < saved[4][1]
    assert 1.8 * saved[4][1] < saved[4][2] <= 2 * saved[4][1]
