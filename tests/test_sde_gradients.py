"""Gradients of SDE solves: against differences on the same steps and path, and of what the solver measures."""

from __future__ import annotations

import pytest
import torch

import stepsmith as ss
from stepsmith.integrators.methods import sde

#: a shared size of all steps, so that differences see the same grid
STEPS = {"rtol": 0.5, "atol": 0.5, "controller": "i", "max_step": 0.1, "first_step": 0.1, "seed": 4}


def fields(drift, diffusion, noise):
    """A drift with a parameter, and a diffusion with one."""

    def f(t, y):
        return torch.sin(drift * y) - 0.5 * y

    def g(t, y):
        shape = torch.ones_like(y) if noise == "additive" else torch.cos(0.5 * y)
        return diffusion * shape * (1.0 + 0.3 * t)

    return f, g


def solved(drift, diffusion, y0, noise, **options):
    f, g = fields(drift, diffusion, noise)
    return ss.neural.sdeint(f, g, y0, [0.0, 0.35, 1.0], noise=noise, **{**STEPS, **options})


def value(sol):
    """A number that reads outputs, E and S."""
    total = (sol.y[1:] ** 2).mean() + sol.y[-1].sum()
    if sol.heuristics is not None:
        total = total + sol.heuristics.R_E.mean()
        if sol.heuristics.S is not None:
            total = total + sol.heuristics.R_S.mean()
    return total


def differences(drift, diffusion, y0, noise, **options):
    """d value / d (drift, diffusion, first number of y0) by central differences."""
    found, eps = [], 1e-6
    with torch.no_grad():
        for i in range(3):
            ends = []
            for sign in (1.0, -1.0):
                a, b, y = drift.clone(), diffusion.clone(), y0.clone()
                (a, b, y.view(-1)[:1])[i].add_(sign * eps)
                ends.append(value(solved(a, b, y, noise, **options)))
            found.append(float(ends[0] - ends[1]) / (2.0 * eps))
    return found


def gradients(drift, diffusion, y0, noise, **options):
    a, b, y = (x.clone().requires_grad_() for x in (drift, diffusion, y0))
    sol = solved(a, b, y, noise, **options)
    value(sol).backward()
    return [float(a.grad), float(b.grad), float(y.grad.view(-1)[0])], sol


def start():
    y0 = torch.tensor([[0.8, -0.3], [0.1, 1.2], [-0.7, 0.4]], dtype=torch.float64)
    return torch.tensor(1.3, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64), y0


def close(found, wanted):
    return all(abs(x - w) < 1e-6 * max(1.0, abs(w)) for x, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("method", sde.NAMES)
@pytest.mark.parametrize("per_sample", [True, False])
def test_gradients_are_those_of_the_numerical_solution(method, per_sample):
    noise = "additive" if sde.get(method).adaptive == ("additive",) else "diagonal"
    options = {"method": method, "per_sample": per_sample}
    found, sol = gradients(*start(), noise, **options)
    assert sol.success and sol.stats.nreject == 0
    assert close(found, differences(*start(), noise, **options))


@pytest.mark.parametrize("noise", ["diagonal", "scalar", "additive"])
def test_gradients_with_fixed_steps(noise):
    options = {"method": "sosri", "step_size": 0.1}
    assert close(gradients(*start(), noise, **options)[0], differences(*start(), noise, **options))


def test_gradients_of_one_system():
    a, b, y0 = start()
    assert close(gradients(a, b, y0[0], "diagonal")[0], differences(a, b, y0[0], "diagonal"))


@pytest.mark.parametrize("per_sample", [True, False])
def test_rejected_attempts_leave_nothing_in_the_gradient(per_sample):
    """The steps that were taken, taken again as fixed ones along the same tree, have the same gradient."""
    a, b, y0 = start()
    options = {"rtol": 0.02, "atol": 0.02, "max_step": None, "first_step": 1.0, "brownian": "tree", "controller": "i"}
    rows = y0[:1]
    params = [x.clone().requires_grad_() for x in (a, b)]
    f, g = fields(*params, "diagonal")
    sol = ss.neural.sdeint(f, g, rows, [0.0, 1.0], method="stochastic_heun", per_sample=per_sample, seed=4, **options)
    assert sol.stats.nreject > 0
    sol.y[-1].sum().backward()
    again = [x.clone().requires_grad_() for x in (a, b)]
    h = sol.heuristics.h.reshape(-1)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), h.detach().cumsum(0)])
    f, g = fields(*again, "diagonal")
    fixed = ss.neural.sdeint(
        f, g, rows, times / times[-1], method="stochastic_heun", step_size=2.0, brownian="tree", seed=4
    )
    fixed.y[-1].sum().backward()
    torch.testing.assert_close(fixed.y[-1], sol.y[-1], rtol=1e-6, atol=0)
    for x, z in zip(params, again, strict=True):
        torch.testing.assert_close(x.grad, z.grad, rtol=1e-6, atol=0)


def test_the_replay_gives_what_the_pass_gave():
    a, b, y0 = start()
    f, g = fields(a, b, "diagonal")
    plain = ss.neural.sdeint(f, g, y0, [0.0, 1.0], adjoint="none", rtol=0.05, atol=0.05)
    a.requires_grad_()
    f, g = fields(a, b, "diagonal")
    again = ss.neural.sdeint(f, g, y0, [0.0, 1.0], rtol=0.05, atol=0.05)
    torch.testing.assert_close(again.y.detach(), plain.y, rtol=1e-12, atol=0)
    torch.testing.assert_close(again.heuristics.E.detach(), plain.heuristics.E, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(again.heuristics.S.detach(), plain.heuristics.S, rtol=1e-8, atol=1e-12)
    assert again.stats.nfev_replay > 0 and again.y.requires_grad and not plain.y.requires_grad
    assert not again.W.requires_grad and again.detach().heuristics.E.requires_grad is False


def test_a_failed_sample_does_not_reach_the_gradient_of_the_others():
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def drift(t, y):
        return torch.where(y > 5.0, (scale * y) ** 3, -scale * y)

    y0 = torch.tensor([[0.5], [50.0], [0.7]], dtype=torch.float64)
    sol = ss.neural.sdeint(drift, lambda t, y: 0.1 * y, y0, [0.0, 1.0], rtol=0.1, atol=0.1, max_steps=100)
    sol.y[-1][torch.from_numpy(sol.status > 0)].sum().backward()
    mixed, scale.grad = scale.grad.clone(), None
    alone = ss.neural.sdeint(drift, lambda t, y: 0.1 * y, y0[[0, 2]], [0.0, 1.0], rtol=0.1, atol=0.1, sample_ids=[0, 2])
    alone.y[-1].sum().backward()
    assert torch.isfinite(mixed) and abs(float(mixed - scale.grad)) < 1e-12


def test_heuristics_carry_gradient_as_asked():
    a, b, y0 = start()
    a.requires_grad_()
    for wanted, has in ((True, (True, True)), ("E", (True, False)), ("S", (False, True)), ("values", (False, False))):
        for per_sample in (True, False):
            sol = solved(a, b, y0, "diagonal", heuristics=wanted, per_sample=per_sample)
            assert (sol.heuristics.E.requires_grad, sol.heuristics.S.requires_grad) == has
    assert solved(a, b, y0, "diagonal", heuristics=False).heuristics is None
    with pytest.raises(ValueError, match="use sosri"):
        _ = solved(a, b, y0, "diagonal", method="sriw1").heuristics.R_S


def test_no_graph_is_made_where_none_is_wanted():
    a, b, y0 = start()
    a.requires_grad_()
    with torch.no_grad():
        assert not solved(a, b, y0, "diagonal").y.requires_grad
    assert not solved(a, b, y0, "diagonal", adjoint="none").y.requires_grad
    assert not solved(a, b, y0, "diagonal", adjoint="none", step_size=0.1).y.requires_grad


def test_a_sample_that_is_done_early_leaves_no_infinite_derivatives():
    """A step of the whole span from the first sample's start would overflow float32."""
    scale = torch.tensor(1.0, requires_grad=True)

    def drift(t, y):
        x, kind = y[:, 0], y[:, 2]
        return torch.stack([-scale * x**5, 20.0 * kind * torch.cos(20.0 * t.reshape(-1)), 0.0 * kind], 1)

    y0 = torch.tensor([[20.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    sol = ss.neural.sdeint(drift, lambda t, y: 0.01 * torch.ones_like(y), y0, [0.0, 1.0], rtol=0.1, atol=0.1)
    first, second = sol.stats.naccept_per_sample
    assert sol.success and first < second
    sol.y[-1].sum().backward()
    assert torch.isfinite(scale.grad) and scale.grad < 0.0
