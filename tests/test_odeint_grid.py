"""Methods on a grid in `neural.odeint`: batches, trees, times of every sample, gradients, and what is refused."""

import numpy as np
import pytest
import torch
import torchdiffeq

import stepsmith as ss
from torch_fields import F64

odeint = ss.neural.odeint
METHODS = {"euler": (1, 1), "midpoint": (2, 2), "heun2": (2, 2), "heun3": (3, 3), "rk4": (4, 4)}  # slopes, order
T = torch.tensor([0.0, 0.5, 1.3], dtype=F64)


class Swing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(0.8, dtype=F64))
        self.shapes = set()

    def forward(self, t, y):
        self.shapes.add(t.shape)
        return -self.w * y * torch.cos(t)


def start():
    return torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("per_sample", [None, False])
@pytest.mark.parametrize("size", [None, 0.1])
@pytest.mark.parametrize("method", METHODS)
def test_numbers_and_gradients_are_torchdiffeqs(method, size, per_sample):
    func, y0, t = Swing(), start(), T.clone().requires_grad_()
    sol = odeint(func, y0, t, method=method, step_size=size, per_sample=per_sample)
    shapes = set(func.shapes)
    options = {"interp": "cubic"} if size is None else {"interp": "cubic", "step_size": size}
    theirs = torchdiffeq.odeint(func, y0, t, method=method, options=options)
    torch.testing.assert_close(sol.y, theirs, rtol=1e-13, atol=1e-13)
    assert shapes == {(4, 1) if per_sample is None else ()}
    inputs = [y0, t, func.w]
    found, expected = (torch.autograd.grad(y.square().sum(), inputs) for y in (sol.y, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    steps = 2 if size is None else 13
    # the output within a step takes the slope at the step's end, too
    assert sol.stats.nfev - steps * METHODS[method][0] in (0, 1)
    np.testing.assert_array_equal(sol.stats.naccept_per_sample, steps)
    assert sol.success and sol.heuristics is None and sol.stats.nreject == 0
    np.testing.assert_array_equal(sol.t_last, 1.3)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_a_method(method):
    func, y0 = Swing(), start().detach()
    exact = y0 * torch.exp(-func.w * torch.sin(T[-1]))
    coarse, fine = (odeint(func, y0, T, method=method, step_size=1.3 / n).y[-1] - exact for n in (20, 40))
    assert (coarse.norm() / fine.norm()).item() == pytest.approx(2 ** METHODS[method][1], rel=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_times_of_every_sample_are_the_grid_of_every_sample(method):
    func, y0 = Swing(), start()
    t = torch.stack([T, 2 * T, -T, T - 1], 1).requires_grad_()
    sol = odeint(func, y0, t, method=method)
    found = torch.autograd.grad(sol.y.square().sum(), [y0, t])
    for i in range(4):
        alone = odeint(func, y0[i], t[:, i], method=method)
        torch.testing.assert_close(sol.y[:, i], alone.y, rtol=1e-14, atol=1e-14)
        one = torch.autograd.grad(alone.y.square().sum(), [y0, t])
        torch.testing.assert_close((found[0][i], found[1][:, i]), (one[0][i], one[1][:, i]), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(sol.t_last, t[-1].detach().numpy())


def test_the_continuous_adjoint_on_a_grid():
    func, y0, t = Swing(), start(), T.clone().requires_grad_()
    sol = odeint(func, y0, t, method="rk4", step_size=0.01, adjoint="backsolve")
    assert sol.stats.nfev_backward == 0
    inputs = [y0, t, func.w]
    found = torch.autograd.grad(sol.y.square().sum(), inputs)
    assert sol.stats.nfev_backward > 500
    direct = odeint(func, y0, t, method="rk4", step_size=0.01)
    torch.testing.assert_close(sol.y, direct.y, rtol=0, atol=0)
    torch.testing.assert_close(found, torch.autograd.grad(direct.y.square().sum(), inputs), rtol=1e-7, atol=1e-8)
    with torch.no_grad():
        assert not odeint(func, y0, t, method="rk4").y.requires_grad
    assert not odeint(func, y0, t, method="rk4", adjoint="none").y.requires_grad


def test_trees_on_a_grid_and_second_derivatives():
    y0 = (torch.tensor(1.0, dtype=F64, requires_grad=True), {"a": torch.ones(2, 3, dtype=F64)})
    sol = odeint(lambda t, s: (-s[0] ** 2, {"a": -s[1]["a"] * s[0]}), y0, T, method="rk4", step_size=0.02)
    exact = 1 / (1 + T)
    torch.testing.assert_close(sol.y[0], exact, rtol=1e-7, atol=0.0)
    torch.testing.assert_close(sol.y[1]["a"][:, 1, 2], exact, rtol=1e-7, atol=0.0)
    assert sol.y_last[1]["a"].shape == (2, 3)
    (g,) = torch.autograd.grad(sol.y[0][-1], y0[0], create_graph=True)
    (h,) = torch.autograd.grad(g, y0[0])
    # y = y0 / (1 + y0 t): y' = 1 / (1 + y0 t)^2, y'' = -2 t / (1 + y0 t)^3
    assert g.item() == pytest.approx(1 / 2.3**2, rel=1e-6) and h.item() == pytest.approx(-2.6 / 2.3**3, rel=1e-5)


def test_a_solve_that_blows_up_fails_by_sample():
    y0 = torch.tensor([[0.5], [50.0]], dtype=F64)
    sol = odeint(lambda t, y: y**3, y0, T, method="euler")
    assert sol.success
    t = torch.linspace(0.0, 1.0, 30, dtype=F64)
    sol = odeint(lambda t, y: y**3, y0, t, method="euler")
    assert sol.status[0] == 1 and sol.status[1] < 0
    assert not sol.success and "finite" in sol.message and 0.0 < sol.t_last[1] < 1.0 and sol.t_last[0] == 1.0
    assert sol.y[-1, 1].isnan() and torch.isfinite(sol.y_last).all()
    last = int((t <= sol.t_last[1]).sum()) - 1
    assert torch.equal(sol.y_last[1], sol.y[last, 1])


def mixes(t, y):
    return y - y.mean(0)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"rtol": 1e-3}, "takes the steps of a grid, and rtol means nothing"),
        ({"controller": "i", "atol": 1e-3}, "atol, controller mean nothing"),
        ({"first_step": 0.1, "event_fn": len}, "event_fn, first_step mean"),
        ({"checkpoint_every": 2, "compact": True, "max_step": 1.0}, "checkpoint_every, compact, max_step"),
        ({"heuristics": "E"}, "no error estimate"),
        ({"heuristics": "e"}, "heuristics must be True, False"),
        ({"adjoint": "interpolating"}, "no dense output"),
        ({"adjoint": "discreet"}, "adjoint"),
        ({"adjoint_params": ()}, "belongs to adjoint"),
        ({"step_size": -1.0}, "step_size"),
        ({"t": torch.stack([T] * 4, 1), "step_size": 0.1}, "step_size needs one t"),
        ({"t": torch.stack([T] * 4, 1), "adjoint": "backsolve", "adjoint_params": ()}, "needs one t for all"),
        ({"func": mixes, "t": torch.stack([T] * 4, 1)}, "changes with the other rows"),
        ({"method": "rk5"}, "rk5"),
        ({"method": "tsit5", "step_size": 0.1}, "step_size belongs to the methods on a grid"),
    ],
)
def test_what_means_nothing_on_a_grid_is_refused(options, said):
    options = {"func": Swing(), "t": T, "method": "rk4", **options}
    with pytest.raises(ValueError, match=said):
        odeint(y0=start().detach(), **options)


def test_rows_may_depend_on_each_other_where_they_share_the_times():
    sol = odeint(mixes, start().detach(), T, method="rk4", step_size=0.05)
    mean = start().detach().mean(0)
    torch.testing.assert_close(sol.y[-1], mean + (start().detach() - mean) * torch.exp(T[-1]), rtol=1e-6, atol=1e-7)
    assert odeint(mixes, start().detach(), T, method="rk4", controller="pi34", rtol=1e-6).success  # the defaults
