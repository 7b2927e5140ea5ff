"""The adaptive pass with gradient: that of the replay, at half of its evaluations; and fields that do not fit the
state.
"""

import pytest
import torch

from method_kinds import EXPLICIT
from stepsmith.controllers.laws import registry
from torch_fields import F64, field_of, mlp, odeint, state, vdp


def reachable(y, kind):
    """Nodes of the autograd graph behind y whose name begins with `kind`."""
    seen, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [child for child, _ in node.next_functions]
    return sum(node.name().startswith(kind) for node in seen)


@pytest.mark.parametrize("method", EXPLICIT)
@pytest.mark.parametrize("heuristics", [True, False])
def test_the_gradient_is_the_replays(method, heuristics):
    t, results = [0.0, 0.1, 0.11, 0.7, 2.0], []
    for checkpoint_every in (None, 10**6):
        net = mlp()
        y0 = state().requires_grad_()
        sol = odeint(
            field_of(net), y0, t, method, rtol=1e-4, atol=1e-6, first_step=1.5, per_sample=False, heuristics=heuristics,
            checkpoint_every=checkpoint_every,
        )  # fmt: skip
        assert sol.stats.nreject > 0
        loss = sol.y.square().sum()
        values = [sol.y.detach()]
        if heuristics:
            loss = loss + 3.0 * sol.heuristics.R_E + sol.heuristics.R_E2
            if method != "bs32":
                loss = loss + 0.1 * sol.heuristics.R_S
            values += [sol.heuristics.E.detach()]
        results.append([*values, *torch.autograd.grad(loss, [y0, *net.parameters()])])
        assert (sol.stats.nfev_replay == 0) == (checkpoint_every is None)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_rejected_attempts_are_not_in_the_graph():
    net = mlp()
    sol = odeint(field_of(net), state(), [0.0, 2.0], rtol=1e-6, first_step=2.0, per_sample=False)
    assert sol.stats.nreject >= 2
    # the slope at the end is in no answer
    assert reachable(sol.y, "TanhBackward") == 6 * sol.stats.naccept
    assert not sol.y_last.requires_grad and torch.equal(sol.y_last, sol.y[-1])


def test_a_rejected_attempt_through_nan_leaves_nothing():
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[0.1], [0.3]], dtype=F64, requires_grad=True)
    # beyond 1 there is nothing; the first attempts look there
    sol = odeint(
        lambda t, y: -w * torch.sqrt(1.0 - y * y) * y, y0, [0.0, 40.0], first_step=40.0, per_sample=False, rtol=1e-8
    )
    assert sol.success and sol.stats.nreject > 0
    loss = sol.y[-1].sum() + sol.heuristics.R_E + sol.heuristics.R_S
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, [y0, w]))


def test_a_batch_that_fails_half_way_has_the_gradient_of_what_it_reached():
    w = torch.tensor(1.0, dtype=F64, requires_grad=True)
    y0 = torch.tensor([[1.0], [0.5]], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: w * y * y, y0, [0.0, 0.5, 2.0], max_steps=100, per_sample=False, rtol=1e-8)
    assert not sol.success and sol.y[2].isnan().all() and sol.y_last.isfinite().all()
    grads = torch.autograd.grad(sol.y[1].sum(), [y0, w])
    # y = y0 / (1 - w t y0)
    d = 1.0 / (1.0 - 0.5 * y0.detach()).square()
    torch.testing.assert_close(grads[0], d, rtol=1e-6, atol=0)
    torch.testing.assert_close(grads[1], (0.5 * y0.detach().square() * d).sum(), rtol=1e-6, atol=0)
    start = odeint(lambda t, y: w * torch.sqrt(y - 5.0), y0, [0.0, 1.0], per_sample=False)
    assert start.heuristics.E.shape == (0,) and start.y[1].isnan().all()
    assert torch.equal(torch.autograd.grad(start.y[0].sum(), y0)[0], torch.ones_like(y0))


@pytest.mark.parametrize("method", ["tsit5", "dop853"])
def test_values_and_heuristics_pass_gradcheck(method):
    step = registry.get("constant", h=0.2)
    y0, w = state(2, 2).requires_grad_(), torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64, requires_grad=True)

    def run(y0, w):
        sol = odeint(
            lambda t, y: torch.tanh(y @ w) + t,
            y0,
            [0.0, 0.5, 1.0],
            method,
            step,
            first_step=0.2,
            per_sample=False,
            rtol=1e-3,
            atol=1e-3,
        )
        # the stage states of dop853's pair lie too close together for differences of S
        return sol.y, sol.heuristics.R_E, sol.heuristics.R_E2, *([sol.heuristics.R_S] if method == "tsit5" else [])

    assert torch.autograd.gradcheck(run, (y0, w), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("per_sample", [True, False])
def test_heuristics_gradients_are_difference_quotients_on_the_frozen_grid(per_sample):
    # a constant step freezes the grid
    step, net, y0 = registry.get("constant", h=0.2), mlp(), state(3).requires_grad_()

    def loss():
        sol = odeint(
            field_of(net), y0, [0.0, 1.0], "tsit5", step, first_step=0.2, per_sample=per_sample, rtol=1e-3, atol=1e-3
        )
        hx = sol.heuristics
        assert sol.stats.naccept == (15 if per_sample else 5)
        return sol.y[-1].sum() + 10.0 * hx.R_E.sum() + 10.0 * hx.R_E2.sum() + 0.1 * hx.R_S.sum()

    inputs = [y0, *net.parameters()]
    for tensor, grad in zip(inputs, torch.autograd.grad(loss(), inputs), strict=True):
        flat, eps = tensor.data.view(-1), 1e-5
        for i in range(0, len(flat), 5):
            keep, values = flat[i].item(), []
            for x in (keep + eps, keep - eps):
                flat[i] = x
                with torch.no_grad():
                    values.append(loss().item())
            flat[i] = keep
            assert (values[0] - values[1]) / (2 * eps) == pytest.approx(grad.view(-1)[i].item(), rel=1e-6, abs=1e-7)


# -- fields and states that do not fit
# -----------------------------------------------------------------------------------------


class Field(torch.nn.Module):
    def __init__(self, dtype=F64, device=None):
        super().__init__()
        self.net = torch.nn.Linear(3, 3, dtype=dtype, device=device)

    def forward(self, t, y):
        return self.net(y)


def test_parameters_of_another_dtype_or_device_are_named():
    for adjoint in ("discrete", "backsolve"):
        with pytest.raises(
            ValueError, match=r"y0 is torch.float32 on cpu, func's parameter 'net.weight' is torch.float64 on cpu"
        ):
            odeint(Field(), state().float(), [0.0, 1.0], rtol=1e-3, adjoint=adjoint)
        with pytest.raises(ValueError, match=r"y0 is torch.float64 on cpu.* on meta"):
            odeint(Field(device="meta"), state(), [0.0, 1.0], adjoint=adjoint)


def test_an_error_of_the_fields_own_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        odeint(Field(), state(dim=4), [0.0, 1.0])


def test_slopes_states_and_times_on_a_device_without_values():
    with pytest.raises(ValueError, match="func must return a tensor like y.*cpu; got .*meta"):
        odeint(lambda t, y: y.to("meta"), state(), [0.0, 1.0])
    with pytest.raises(ValueError, match="y0 is on the device meta"):
        odeint(vdp, state().to("meta"), [0.0, 1.0])
    with pytest.raises(ValueError, match="t is on the device meta"):
        odeint(vdp, state(), torch.tensor([0.0, 1.0], device="meta"))
