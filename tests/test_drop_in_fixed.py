"""torchdiffeq's calls on our solver: methods on a fixed grid."""

from __future__ import annotations

import pytest
import torch
import torchdiffeq

from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint

F32, F64 = torch.float32, torch.float64
METHODS = ("euler", "midpoint", "heun2", "heun3", "rk4")
GRIDS = {
    "the outputs": {},
    "a step size": {"step_size": 0.13},
    "a step size that fits": {"step_size": 0.25},
    "cubic": {"step_size": 0.13, "interp": "cubic"},
    "a grid": {"grid_constructor": lambda func, y0, t: torch.linspace(*t[[0, -1]].tolist(), 7, dtype=t.dtype)},
    "perturbed": {"step_size": 0.13, "perturb": True},
}


class Field(torch.nn.Module):
    def __init__(self, dtype=F64):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).to(dtype)
        self.times = []

    def forward(self, t, y):
        self.times.append(float(t.detach()))
        return self.net(y) * (1.0 + torch.sin(3.0 * t))


def solved(solve, method, options, dtype=F64, ends=(0.0, 1.0)):
    """Outputs, gradients in y0, t and parameters, and the times at which the field was evaluated."""
    func = Field(dtype)
    y0 = torch.tensor([[0.5, -1.0], [0.1, 0.3]], dtype=dtype, requires_grad=True)
    t = torch.linspace(*ends, 5, dtype=F64, requires_grad=True)
    y = solve(func, y0, t, method=method, options=options)
    loss = (y * torch.linspace(1.0, 2.0, 5, dtype=dtype)[:, None, None]).square().sum()
    return y, torch.autograd.grad(loss, (y0, t, *func.parameters())), func.times


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("options", GRIDS)
@pytest.mark.parametrize("method", METHODS)
def test_numbers_and_gradients_are_torchdiffeq_s(method, options, ends):
    y, g, times = solved(odeint, method, GRIDS[options], ends=ends)
    y_, g_, times_ = solved(torchdiffeq.odeint, method, GRIDS[options], ends=ends)
    torch.testing.assert_close(y, y_, rtol=1e-13, atol=1e-13)
    # torchdiffeq evaluates the slope at a step's end for a cubic even where the output is that end
    assert {round(x, 13) for x in times} <= {round(x, 13) for x in times_} and len(times) <= len(times_)
    for i, (mine, other) in enumerate(zip(g, g_, strict=True)):
        if i == 1 and options in ("a step size that fits", "a grid"):
            continue  # torchdiffeq takes outputs at grid points for constants there
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("options", GRIDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_adjoint_s_gradients_are_torchdiffeq_s(method, options):
    y, g, times = solved(odeint_adjoint, method, GRIDS[options])
    y_, g_, times_ = solved(torchdiffeq.odeint_adjoint, method, GRIDS[options])
    torch.testing.assert_close(y, y_, rtol=1e-13, atol=1e-13)
    assert len(times) <= len(times_) + 1
    for i, (mine, other) in enumerate(zip(g, g_, strict=True)):
        # at the start torchdiffeq integrates what is -f(t0, y0) . dL/dy0 exactly
        mine, other = (mine[1:], other[1:]) if i == 1 else (mine, other)
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_float32_states_and_float64_times(method):
    y, _, _ = solved(odeint, method, {"step_size": 0.1}, F32)
    y_, _, _ = solved(torchdiffeq.odeint, method, {"step_size": 0.1}, F32)
    assert y.dtype == F32
    torch.testing.assert_close(y, y_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_is_the_method_s(method):
    order = {"euler": 1, "heun3": 3, "rk4": 4}.get(method, 2)
    t = torch.tensor([0.0, 1.0], dtype=F64)

    def error(h):
        y = odeint(lambda t, y: -y * t.cos(), torch.ones((), dtype=F64), t, method=method, options={"step_size": h})
        return float((y[-1] - torch.exp(-torch.sin(t[1]))).abs())

    assert error(0.05) / error(0.025) == pytest.approx(2.0**order, rel=0.15)


def test_an_output_on_a_grid_point_moves_with_its_time():
    t = torch.tensor([0.0, 0.5, 1.0], dtype=F64, requires_grad=True)
    y0 = torch.ones(1, dtype=F64)
    y = odeint(lambda t, y: -y, y0, t, method="rk4", options={"step_size": 0.001})
    (g,) = torch.autograd.grad(y[1].sum(), t)
    assert float(g[1]) == pytest.approx(-float(torch.exp(torch.tensor(-0.5))), rel=1e-3)


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_torch_func_and_second_derivatives(method):
    a = torch.tensor([[0.1, 1.0], [-1.0, -0.2]], dtype=F64)
    t = torch.linspace(0.0, 1.0, 4, dtype=F64)

    def solve(y0, t=t):
        return odeint(lambda t, y: torch.tanh(a @ y) * t.cos(), y0, t, method=method, options={"step_size": 0.21})[-1]

    rows = torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.func.vmap(solve)(rows), torch.stack([solve(y) for y in rows]))
    jacobian = torch.autograd.functional.jacobian(solve, rows[0])
    torch.testing.assert_close(torch.func.jacrev(solve)(rows[0]), jacobian)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(lambda y: solve(y).sum()))(rows)[0], jacobian.sum(0))
    assert torch.autograd.gradgradcheck(solve, (rows[0].requires_grad_(), t.clone().requires_grad_()))


def test_parts_of_a_tuple_are_one_state():
    a, b = odeint(lambda t, y: (-y[1].sum(), y[0] * y[1]), (torch.ones(()), torch.ones(2)), torch.tensor([0.0, 1.0]),
                  method="rk4", options={"step_size": 0.1})  # fmt: skip
    a_, b_ = torchdiffeq.odeint(
        lambda t, y: (-y[1].sum(), y[0] * y[1]), (torch.ones(()), torch.ones(2)), torch.tensor([0.0, 1.0]),
        method="rk4", options={"step_size": 0.1},
    )  # fmt: skip
    torch.testing.assert_close(a, a_)
    torch.testing.assert_close(b, b_)


@pytest.mark.parametrize("method", METHODS)
def test_perturbed_times_are_those_of_torchdiffeq(method):
    y0, t = torch.ones(2, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    found = []
    for library in (odeint, torchdiffeq.odeint):
        func = Field()
        library(func, y0, t, method=method, options={"step_size": 0.5, "perturb": True})
        found.append(func.times)
    assert found[0] == pytest.approx(found[1], abs=1e-16)
    assert not {0.0, 0.5, 1.0} & set(found[0])


WRONG = {
    "both": ({"step_size": 0.1, "grid_constructor": GRIDS["a grid"]["grid_constructor"]}, "two ways"),
    "negative": ({"step_size": -0.1}, "step_size must be a positive"),
    "interp": ({"interp": "quartic"}, "unknown interp 'quartic'"),
    "perturb": ({"perturb": 1}, "perturb must be True or False"),
    "grid": ({"grid_constructor": lambda f, y, t: t[:-1]}, "from t.0. to t.-1."),
    "turning": ({"grid_constructor": lambda f, y, t: torch.tensor([0.0, 0.7, 0.6, 1.0])}, "in one direction"),
    "no function": ({"grid_constructor": 3}, "grid_constructor must be a function"),
    "unknown": ({"stepsize": 0.1}, "stepsize"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_refused(case):
    options, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 0.5, 1.0]), method="euler", options=options)


@pytest.mark.parametrize("method", ["euler", "rk4", "explicit_adams"])
def test_a_func_that_writes_to_the_state_is_refused(method):
    with pytest.raises(ValueError, match="in place"):
        odeint(lambda t, y: y.mul_(-1.0), torch.ones(2), torch.tensor([0.0, 1.0]), method=method)
    with torch.inference_mode():
        y = odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]), method=method)
    assert y.shape == (2, 2)


@pytest.mark.parametrize("method", ["rk4", "gl4", "explicit_adams", "trbdf2"])
def test_a_func_may_fill_the_same_tensor_in_every_call(method):
    slope, t = torch.empty(2, dtype=F64), torch.linspace(0.0, 0.4, 6, dtype=F64)
    y0 = torch.tensor([1.0, 2.0], dtype=F64)

    def func(t, y):
        return slope.copy_(y.detach() * t.cos() - 1.0)

    with torch.no_grad():
        y = odeint(func, y0, t, method=method)
        torch.testing.assert_close(y, odeint(lambda t, y: y * t.cos() - 1.0, y0, t, method=method))
