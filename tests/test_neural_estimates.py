"""Error and stiffness estimates of the torch solver: which carry gradient, the error norm and its derivatives, its
order."""

import math

import pytest
import torch

from stepsmith.controllers.laws import registry
from stepsmith.integrators.neural.estimates import ScaledError
from torch_fields import F64, field_of, mlp, odeint, state, vdp


def test_no_stiffness_estimate_without_a_stage_pair():
    hx = odeint(vdp, torch.tensor([[2.0, 0.0]], dtype=F64), [0.0, 1.0], "bs32").heuristics
    assert hx.S is None and hx.R_E.item() > 0
    with pytest.raises(ValueError, match="bs32"):
        _ = hx.R_S


@pytest.mark.parametrize("per_sample", [True, False])
def test_estimates_carry_gradient_where_it_is_asked_for(per_sample):
    net = mlp()

    def run(heuristics, **options):
        sol = odeint(
            field_of(net), state(), [0.0, 2.0], rtol=1e-5, per_sample=per_sample, heuristics=heuristics, **options
        )
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
                lambda t, y: torch.sin(2 * y) + t.cos(),
                torch.tensor([[0.4]], dtype=F64),
                [0.0, h],
                method,
                step,
                first_step=h,
            )
            error.append(sol.heuristics.E[0, 0].item())
        assert math.log2(error[0] / error[1]) == pytest.approx(order + 1, abs=0.35)
