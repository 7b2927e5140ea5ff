"""torchdiffeq's calls on our solver: Adams's methods on a grid."""

from __future__ import annotations

import warnings
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
import torchdiffeq
from scipy.integrate import solve_ivp

from stepsmith.integrators.neural import adams
from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint, odeint_event

F32, F64 = torch.float32, torch.float64
METHODS = ("explicit_adams", "implicit_adams", "fixed_adams")


def gammas(count, implicit):
    """Coefficients of backward differences, Hairer, Norsett and Wanner I, (III.1.7) and (III.1.9), exactly."""
    found = []
    for j in range(count):
        rest = sum((g / (j + 1 - i) for i, g in enumerate(found)), Fraction(0))
        found.append(Fraction(int(j == 0 or not implicit)) - rest)
    return found


def classical(count, implicit):
    """The weights of f_{n+1}, f_n, ... (implicit) or f_n, f_{n-1}, ..., exactly."""
    weights = [Fraction(0)] * count
    for j, g in enumerate(gammas(count, implicit)):
        for i in range(j + 1):
            weights[i] += g * (-1) ** i * comb(j, i)
    return weights


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("count", range(1, 13))
def test_equal_steps_give_the_classical_coefficients(count, implicit):
    nodes = int(implicit) - torch.arange(count, dtype=F64)
    exact = classical(count, implicit)
    assert sum(exact) == 1
    if count == 4 and not implicit:
        assert exact == [Fraction(x, 24) for x in (55, -59, 37, -9)]
    found = adams.coefficients(nodes).tolist()
    assert found == pytest.approx([float(x) for x in exact], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("count", [1, 4, 8, 11])
def test_unequal_steps_integrate_polynomials(count):
    generator = torch.Generator().manual_seed(count)
    nodes = 1.0 - torch.cumsum(0.5 + torch.rand(count, dtype=F64, generator=generator), 0)
    weights = adams.coefficients(nodes)
    for degree in range(count):
        terms = weights * nodes**degree
        assert float(terms.sum()) == pytest.approx(1.0 / (degree + 1), abs=1e-14 * float(terms.abs().sum()))
    assert torch.autograd.gradcheck(adams.coefficients, (nodes.requires_grad_(),))


class Field(torch.nn.Module):
    def __init__(self, dtype=F64):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).to(dtype)
        self.times = []

    def forward(self, t, y):
        self.times.append(float(t.detach()))
        return self.net(y) * (1.0 + torch.sin(3.0 * t))


OPTIONS = {
    "plain": {"step_size": 0.0625},
    "cubic": {"step_size": 0.0625, "interp": "cubic"},
    "order 5": {"step_size": 0.0625, "max_order": 5},
    "perturbed": {"step_size": 0.0625, "perturb": True},
}


def solved(solve, method, options, dtype=F64, ends=(0.0, 2.0), **given):
    """Outputs, gradients in y0 and parameters, and the times at which the field was evaluated."""
    func = Field(dtype)
    y0 = torch.tensor([[0.5, -1.0], [0.1, 0.3]], dtype=dtype, requires_grad=True)
    y = solve(func, y0, torch.linspace(*ends, 5, dtype=F64), method=method, options=options, **given)
    (y * torch.linspace(1.0, 2.0, 5, dtype=dtype)[:, None, None]).square().sum().backward()
    return y.detach(), [y0.grad, *(p.grad for p in func.parameters())], func.times


@pytest.mark.parametrize("ends", [(0.0, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint"])
def test_equal_steps_give_torchdiffeq_s_numbers(name, method, options, ends):
    ours = solved({"odeint": odeint, "odeint_adjoint": odeint_adjoint}[name], method, OPTIONS[options], ends=ends)
    theirs = solved(getattr(torchdiffeq, name), method, OPTIONS[options], ends=ends)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-11, atol=1e-11)
    for mine, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_options_that_stop_early_are_torchdiffeq_s(method):
    """One or two corrections with loose tolerances; their warning is ours."""
    options = {"step_size": 0.125} if method == "explicit_adams" else {"step_size": 0.125, "max_iters": 2}
    given = {"rtol": 1e-3, "atol": 1e-4}
    ours, theirs = (solved(s, method, options, **given) for s in (odeint, torchdiffeq.odeint))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-11, atol=1e-11)
    y, _, _ = solved(odeint, method, options, F32, **given)
    torch.testing.assert_close(y, theirs[0].float(), rtol=1e-5, atol=1e-5)
    if method != "explicit_adams":
        plain = solved(odeint, "explicit_adams", {"step_size": 0.125}, **given)
        same = solved(odeint, method, {"step_size": 0.125, "implicit": False}, **given)
        assert torch.equal(plain[0], same[0])


def problem(t, y):
    return torch.stack([-y[0] * y[1] + torch.sin(3.0 * t), y[0] - y[1].pow(3) * (1.0 + t)])


def reference(ends):
    def rhs(t, y):
        return problem(torch.tensor(t, dtype=F64), torch.from_numpy(y)).numpy()

    return solve_ivp(rhs, ends, np.array([0.7, 0.4]), "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize(("method", "order"), [("explicit_adams", 4), ("implicit_adams", 5)])
def test_the_order_holds_on_equal_and_unequal_steps(method, order, uneven):
    true = torch.from_numpy(reference((0.0, 2.0)))

    def error(steps):
        points = torch.linspace(0.0, 1.0, steps + 1, dtype=F64)
        # steps grow smoothly by half from one end to the other
        times = 2.0 * (points + 0.25 * points * points) / 1.25 if uneven else 2.0 * points
        options = {"grid_constructor": lambda func, y0, t: times, "max_order": 5}
        options.update({"max_iters": 20} if method == "implicit_adams" else {})
        y = odeint(problem, torch.tensor([0.7, 0.4], dtype=F64), times[[0, -1]], rtol=1e-13, atol=1e-13,
                   method=method, options=options)  # fmt: skip
        return float((y[-1] - true).abs().max())

    assert np.log2(error(64) / error(128)) > order - 0.4


@pytest.mark.parametrize("method", METHODS[:2])
def test_a_last_step_of_another_length_is_as_exact(method):
    """Where the step size does not divide the span, torchdiffeq's last step has the weights of a whole one."""
    y0, t = torch.tensor([0.7, 0.4], dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    true = torch.from_numpy(reference((0.0, 2.0)))
    options = {"step_size": 0.03, "max_order": 5}
    ours, theirs = (
        float((solve(problem, y0, t, method=method, options=options)[-1] - true).abs().max())
        for solve in (odeint, torchdiffeq.odeint)
    )
    assert ours < 1e-5 and 20.0 * ours < theirs


def test_a_step_that_is_too_long_for_the_past_begins_anew():
    """Steps of a thousandth and one of a half: rk4 takes it, and the numbers stay bounded."""
    times = torch.tensor([0.0, *(0.001 * i for i in range(1, 9)), 0.5], dtype=F64)
    y0 = torch.tensor([0.7, 0.4], dtype=F64)
    y = odeint(problem, y0, times, method="explicit_adams")
    assert torch.equal(y[-1], odeint(problem, y[-2], times[-2:], method="rk4")[-1])


@pytest.mark.parametrize("options", [{}, {"step_size": 0.17}, {"step_size": 0.17, "interp": "cubic"}])
@pytest.mark.parametrize("method", METHODS[:2])
def test_gradcheck_in_state_and_times(method, options):
    y0 = torch.tensor([0.7, 0.4], dtype=F64, requires_grad=True)
    t = torch.cat([torch.linspace(0.0, 0.9, 6, dtype=F64), torch.tensor([1.3], dtype=F64)]).requires_grad_()
    given = {} if method == "explicit_adams" else {"max_iters": 30}

    def solve(y0, t):
        return odeint(problem, y0, t, rtol=1e-14, atol=1e-15, method=method, options={**options, **given})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.autograd.gradcheck(solve, (y0, t))
        if not options:
            assert torch.autograd.gradgradcheck(lambda y: solve(y, t.detach()), (y0,), atol=1e-4)


def test_the_explicit_method_goes_through_torch_func():
    t = torch.linspace(0.0, 1.0, 8, dtype=F64)
    rows = torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))

    def solve(y):
        return odeint(problem, y, t, method="explicit_adams")[-1]

    torch.testing.assert_close(torch.func.vmap(solve)(rows), torch.stack([solve(y) for y in rows]))
    with pytest.raises(RuntimeError, match="cannot transform a solve by 'implicit_adams'"):
        torch.func.vmap(lambda y: odeint(problem, y, t, method="implicit_adams"))(rows)


@pytest.mark.parametrize("method", METHODS)
def test_events_tuples_and_callbacks(method):
    g = torch.tensor(9.81, dtype=F64, requires_grad=True)
    start = (torch.tensor(10.0, dtype=F64), torch.tensor(0.0, dtype=F64))
    t, (height, _) = odeint_event(lambda t, y: (y[1], -g), start, torch.zeros((), dtype=F64),
                                  event_fn=lambda t, y: y[0], method=method,
                                  options={"step_size": 0.05, "interp": "cubic"})  # fmt: skip
    assert t.item() == pytest.approx((20.0 / 9.81) ** 0.5, abs=1e-9) and abs(height[-1].item()) < 1e-9
    (mine,) = torch.autograd.grad(t, g)
    assert mine.item() == pytest.approx(-0.5 * t.item() / 9.81, abs=1e-8)
    func, steps = Field(), []
    func.callback_step = lambda t, y, dt: steps.append(float(dt))
    odeint(func, torch.ones(2, dtype=F64), torch.tensor([0.0, 0.125], dtype=F64), method=method,
           options={"step_size": 0.03125})  # fmt: skip
    assert steps == [0.03125] * 4


def test_corrections_that_do_not_converge_bring_a_warning():
    y0, t = torch.ones(2, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)

    def stiff(t, y):
        return -60.0 * (y - t.cos())

    with pytest.warns(UserWarning, match="corrections of 'implicit_adams' have not converged.*step_size.*radauIIA3"):
        odeint(stiff, y0, t, method="implicit_adams", options={"step_size": 0.05})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        odeint(stiff, y0, t, method="implicit_adams", options={"step_size": 0.002})
        odeint(stiff, y0, t, method="explicit_adams", options={"step_size": 0.002})


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("implicit_adams", {"max_order": 13}, "max_order must be a whole number from 1 to 12"),
        ("implicit_adams", {"max_iters": 0}, "max_iters must be a whole number"),
        ("fixed_adams", {"implicit": 1}, "implicit must be True or False"),
        ("explicit_adams", {"order": 3}, "no option 'order'"),
    ],
)
def test_wrong_options_are_refused(method, options, words):
    with pytest.raises(ValueError, match=words):
        odeint(problem, torch.ones(2), torch.tensor([0.0, 1.0]), method=method, options=options)


def test_options_that_mean_nothing_bring_a_warning():
    y0, t = torch.ones(2, dtype=F64), torch.linspace(0.0, 1.0, 9, dtype=F64)
    with pytest.warns(UserWarning, match="'explicit_adams' does not use options..max_iters"):
        odeint(problem, y0, t, method="explicit_adams", options={"max_iters": 3})
    with pytest.warns(UserWarning, match="max_order.. = 3 leaves too few.*rk4"):
        y = odeint(problem, y0, t, method="implicit_adams", options={"max_order": 3})
    assert torch.equal(y, odeint(problem, y0, t, method="rk4"))


def test_tolerances_of_parts_decide_the_corrections():
    calls = []
    for rtol, atol in ((1e-3, 1e-3), ((1e-12, 1e-3), (1e-12, 1e-3)), (1e-12, 1e-12)):
        seen = []

        def func(t, y, seen=seen):
            seen.append(1)
            return (-y[0] * t.cos(), -0.01 * y[1])

        odeint(func, (torch.ones((), dtype=F64), torch.ones(2, dtype=F64)), torch.linspace(0.0, 2.0, 40, dtype=F64),
               rtol=rtol, atol=atol, method="implicit_adams", options={"max_iters": 30})  # fmt: skip
        calls.append(len(seen))
    assert calls[0] < calls[1] == calls[2]
    with pytest.raises(ValueError, match="adjoint_rtol must be"):
        odeint_adjoint(func, (torch.ones(()), torch.ones(2)), torch.tensor([0.0, 1.0]), rtol=(1e-3, 1e-3),
                       method="implicit_adams", adjoint_params=())  # fmt: skip
