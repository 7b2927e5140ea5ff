"""torchdiffeq's calls on our solver: a backward solve of another kind than the forward one, and its norms."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchdiffeq

from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint, odeint_event

F64 = torch.float64
T = torch.tensor([0.2, 0.7, 1.5], dtype=F64)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return self.net(y) * (1.0 + torch.sin(3.0 * t))


def gradients(library=odeint_adjoint, t=T, **given):
    """Gradients in y0, t and parameters, and the calls of the backward pass."""
    func, y0 = Net(), torch.tensor([[0.5, -1.0], [0.1, 0.3]], dtype=F64, requires_grad=True)
    t = t.clone().requires_grad_()
    y = library(func, y0, t, **given)
    func.calls = 0
    (y * t.new_tensor([3.0, 1.0, -2.0])[:, None, None]).square().sum().backward()
    return [y0.grad, t.grad, *(p.grad for p in func.parameters())], func.calls


GRID = {"step_size": 0.05}
MIXED = {
    "adaptive, grid": {"method": "dopri5", "adjoint_method": "rk4", "adjoint_options": GRID},
    "adaptive, implicit grid": {"method": "tsit5", "adjoint_method": "radauIIA5", "adjoint_options": GRID},
    "adaptive, adams": {"method": "dopri5", "adjoint_method": "implicit_adams",
                        "adjoint_options": {**GRID, "max_order": 6}},
    "grid, adaptive": {"method": "rk4", "options": GRID, "adjoint_method": "dopri5", "adjoint_options": {}},
    "implicit grid, adaptive": {"method": "gl6", "options": GRID, "adjoint_method": "bosh3", "adjoint_options": {}},
    "grid, another grid": {"method": "rk4", "options": GRID, "adjoint_method": "gl4", "adjoint_options": GRID},
    "grid, law": {"method": "rk4", "options": GRID, "adjoint_method": "dopri5",
                  "adjoint_options": {"controller": "pi34"}},
}  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", MIXED)
def test_methods_of_two_kinds(case, reverse):
    t = T.flip(0) if reverse else T
    ours, _ = gradients(t=t, rtol=1e-8, atol=1e-9, **MIXED[case])
    true, _ = gradients(torchdiffeq.odeint_adjoint, t=t, rtol=1e-11, atol=1e-12, method="dopri8")
    for mine, other in zip(ours, true, strict=True):
        torch.testing.assert_close(mine, other, rtol=2e-5, atol=2e-5)


def test_the_loss_s_scale_changes_no_step_of_an_adaptive_backward_solve():
    func, y0 = Net(), torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    found = []
    for scale in (1.0, 2.0**40):
        y = odeint_adjoint(func, y0, T, method="rk4", options=GRID, adjoint_method="bosh3", adjoint_options={},
                           adjoint_rtol=1e-6, adjoint_atol=1e-6)  # fmt: skip
        (g,) = torch.autograd.grad(scale * y[-1].sum(), y0)
        found.append(g / scale)
    assert torch.equal(*found)


def test_callbacks_of_an_adaptive_backward_solve_see_state_and_cotangent():
    func, told = Net(), []
    func.callback_accept_step_adjoint = lambda t, pair, dt: told.append((float(t), pair, float(dt)))
    y0 = torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    y = odeint_adjoint(func, y0, T, method="rk4", options=GRID, adjoint_method="dopri5", adjoint_options={})
    (g,) = torch.autograd.grad(7.0 * y[-1].sum(), y0)
    t, (state, cotangent), _ = told[0]
    assert t == 1.5 and torch.equal(state, y[-1]) and cotangent.tolist() == [7.0, 7.0]
    assert told[-1][0] - told[-1][2] == pytest.approx(0.2)


def mixed(parts):
    return max(part.pow(2).mean().sqrt() for part in parts)


def test_a_norm_of_all_parts_decides_the_backward_steps_as_in_torchdiffeq():
    """The largest root mean square of all parts is torchdiffeq's own; it takes the same steps."""
    seen = []

    def norm(parts):
        seen.append([part.shape for part in parts])
        return mixed(parts)

    given = {"rtol": 1e-5, "atol": 1e-6, "method": "bosh3"}
    own = {"options": {"controller": "torchdiffeq"}}
    ours, calls = gradients(adjoint_options={"norm": norm}, **own, **given)
    theirs, calls_ = gradients(torchdiffeq.odeint_adjoint, adjoint_options={"norm": norm}, **given)
    # the steps of two intervals, the last one of each shorter here, and torchdiffeq's slopes for gradients in t
    assert abs(calls - calls_) <= 16
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
    assert seen[0] == [(), (2, 2), (2, 2), (8, 2), (8,), (2, 8), (2,)] == seen[-1]
    _, seminorm = gradients(adjoint_options={"norm": "seminorm"}, **own, **given)
    _, more = gradients(adjoint_options={"norm": lambda parts: 30.0 * mixed(parts)}, **own, **given)
    assert seminorm <= calls < more


def test_a_norm_sees_the_parts_of_a_tuple_and_of_nothing_else():
    a, b = torch.ones((), dtype=F64, requires_grad=True), torch.ones(2, 2, dtype=F64)
    seen = []

    def norm(parts):
        seen.append([part.shape for part in parts])
        return mixed(parts)

    def func(t, y):
        return (-y[0], -y[0] * y[1])

    ya, yb = odeint_adjoint(func, (a, b), T, adjoint_params=(), adjoint_options={"norm": norm})
    (g,) = torch.autograd.grad(ya[-1] + yb[-1].sum(), a)
    assert seen[0] == [(), (), (2, 2), (), (2, 2)]
    e = torch.exp(torch.tensor(-1.3, dtype=F64))
    torch.testing.assert_close(g, e - 4.0 * (1.0 - e) * torch.exp(-(1.0 - e)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("given", [{"adjoint_options": {"norm": mixed}}, {"method": "rk4", "options": GRID,
                                   "adjoint_method": "dopri5",
                                   "adjoint_options": {"jump_t": torch.tensor([0.5], dtype=F64)}}])  # fmt: skip
def test_jumps(given):
    """y' = -y up to 0.5, then y' = -3 y."""
    y0 = torch.ones(1, dtype=F64, requires_grad=True)
    if "method" not in given:
        given = {**given, "options": {"jump_t": torch.tensor([0.5], dtype=F64)}}
    calls = []

    def func(t, y):
        calls.append(float(t))
        return -y if t < 0.5 else -3.0 * y

    y = odeint_adjoint(func, y0, torch.tensor([0.0, 1.0], dtype=F64), adjoint_params=(), **given)
    calls.clear()
    (g,) = torch.autograd.grad(y[-1].sum(), y0)
    assert g.item() == pytest.approx(torch.exp(torch.tensor(-2.0)).item(), rel=1e-2 if "method" in given else 1e-6)
    assert len(calls) < 250 and 0.5 not in calls


@pytest.mark.parametrize("given", [
    {"method": "dopri5", "adjoint_method": "rk4", "adjoint_options": GRID},
    {"method": "rk4", "options": {**GRID, "interp": "cubic"}, "adjoint_method": "dopri5", "adjoint_options": {}},
    {"method": "gl4", "options": {**GRID, "interp": "cubic"}},
    {"method": "dopri5", "adjoint_options": {"norm": mixed}},
])  # fmt: skip
def test_events(given):
    class Ball(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.g = torch.nn.Parameter(torch.tensor(9.81, dtype=F64))

        def forward(self, t, y):
            return y[1], -self.g * torch.ones_like(y[1])

    func, start = Ball(), (torch.tensor(10.0, dtype=F64, requires_grad=True), torch.zeros((), dtype=F64))
    t, (_, speed) = odeint_event(func, start, torch.zeros((), dtype=F64), event_fn=lambda t, y: y[0],
                                 odeint_interface=odeint_adjoint, **given)  # fmt: skip
    fall = torch.sqrt(2.0 * start[0] / func.g)
    for mine, true in ((t, fall), (speed[-1], -func.g * fall)):
        ours = torch.autograd.grad(mine, (start[0], func.g), retain_graph=True)
        exact = torch.autograd.grad(true, (start[0], func.g), retain_graph=True)
        assert [float(x) for x in ours] == pytest.approx([float(x) for x in exact], abs=1e-6)


def test_a_backward_solve_that_fails_says_so():
    y0 = torch.ones(1, dtype=F64, requires_grad=True)

    class Bad(torch.nn.Module):
        bad = False

        def forward(self, t, y):
            return y / 0.0 if self.bad else -y

    for given in (
        {"method": "rk4", "adjoint_method": "dopri5", "adjoint_options": {}},
        {"method": "dopri5", "adjoint_method": "implicit_euler"},
        {"adjoint_options": {"norm": mixed}},
        {"method": "dopri5", "adjoint_method": "scipy_solver"},
    ):
        func = Bad()
        y = odeint_adjoint(func, y0, torch.tensor([0.0, 1.0], dtype=F64), **given)
        func.bad = True
        with warnings.catch_warnings(), pytest.raises(RuntimeError, match="backward solve from t = 1 to t = 0 failed"):
            warnings.simplefilter("ignore")
            y.sum().backward()


@pytest.mark.parametrize("given", [{"method": "rk4"}, {"method": "gl4"}, {"adjoint_options": {"norm": mixed}},
                                   {"method": "dopri5", "adjoint_method": "scipy_solver"}])  # fmt: skip
def test_a_loss_that_is_not_finite_is_seen_in_every_gradient(given):
    func, y0 = Net(), torch.tensor([0.5, -1.0], dtype=F64, requires_grad=True)
    y = odeint_adjoint(func, y0, T, **given)
    (y[-1].sum() * torch.nan).backward()
    assert all(g.isnan().all() for g in (y0.grad, *(p.grad for p in func.parameters())))


def test_a_state_that_drifts_off_backwards_brings_a_warning():
    """y' = -20 y is stable forwards alone: backwards errors grow by exp(20)."""
    y0 = torch.ones(2, dtype=F64, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=F64)
    y = odeint_adjoint(lambda t, y: -20.0 * (y - t.cos()), y0, t, rtol=1e-5, atol=1e-5, adjoint_params=(),
                       adjoint_options={"norm": mixed})  # fmt: skip
    with pytest.warns(UserWarning, match="misses the forward solution"):
        y[-1].sum().backward()


def test_wrong_norms_and_tolerances_are_refused():
    func, y0 = Net(), torch.ones(2, dtype=F64)
    with pytest.raises(ValueError, match='norm must be a function of .*"seminorm" or None'):
        odeint_adjoint(func, y0, T, adjoint_options={"norm": "semi"})
    for given in ({"adjoint_method": "rk4"}, {"method": "rk4", "adjoint_method": "dopri5"}):
        with pytest.raises(ValueError, match="pass adjoint_options"):
            odeint_adjoint(func, y0, T, options={"interp": "linear"} if "method" in given else {"min_step": 0.0},
                           **given)  # fmt: skip
    with pytest.raises(ValueError, match="adjoint_rtol"):
        odeint_adjoint(func, y0, T, adjoint_rtol=-1.0, adjoint_options={"norm": mixed})
    with pytest.raises(ValueError, match="step_t and jump_t belong to options"):
        odeint_adjoint(func, y0, T, adjoint_options={"step_t": torch.tensor([0.5])})
    y = odeint_adjoint(func, y0.requires_grad_(), T, method="gl4")
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(y.sum(), y0, create_graph=True)
    with torch.no_grad():
        assert not odeint(func, y0, T, method="gl4").requires_grad
