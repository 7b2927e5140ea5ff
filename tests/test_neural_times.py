"""Times that float32 cannot hold, and first steps without an absolute tolerance."""

import math

import pytest
import torch

import stepsmith as ss
from torch_fields import F64

odeint = ss.neural.odeint
F32 = torch.float32
ROUTES = {
    "adaptive": {"adjoint": "none"}, "replay": {}, "checkpoints": {"checkpoint_every": 2},
    "direct": {"per_sample": False},
    "backsolve": {"adjoint": "backsolve"}, "interpolating": {"adjoint": "interpolating"},
}  # fmt: skip


def span(t0, length):
    return torch.tensor([t0, t0 + length], dtype=F64)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("start", [1e9, -1e9, 1e7, 1e5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_forcing_at_large_times_is_right_with_float32_states(start, sign, route):
    """y' = w cos(t - t0), y(0) = 0: w sin(1), and its derivative sin(1)."""
    w = torch.ones((), requires_grad=True)
    more = {"adjoint_params": (w,)} if "adjoint" in ROUTES[route] and route != "adaptive" else {}
    sol = odeint(
        lambda t, y: w * torch.cos(t - start).to(y.dtype) + 0 * y, torch.zeros(3, 1), span(start, sign), rtol=1e-5,
        atol=1e-5,
        **ROUTES[route], **more,
    )  # fmt: skip
    assert sol.success and sol.y.dtype == F32
    exact = sign * math.sin(1.0)
    torch.testing.assert_close(sol.y[-1].detach(), torch.full((3, 1), exact), rtol=1e-4, atol=0.0)
    assert (sol.heuristics.t[0] == start).all()
    if sol.y.requires_grad:
        assert torch.autograd.grad(sol.y[-1].mean(), w)[0].item() == pytest.approx(exact, rel=1e-4)


def test_one_system_and_a_module_with_a_penalty_at_large_times():
    func = lambda t, y: torch.cos(t - 1e9).expand_as(y)  # noqa: E731
    assert odeint(func, torch.zeros(1), span(1e9, 1.0), rtol=1e-5).y[-1].item() == pytest.approx(
        math.sin(1.0), rel=1e-5
    )
    for name in ("er_mean", "kinetic", "local_unbiased", "local_biased"):
        found = []
        for dtype in (F32, F64):
            ode = ss.neural.NeuralODE(func, rtol=1e-4, atol=1e-4, regulariser=name)
            out = ode(
                torch.zeros(2, 1, dtype=dtype, requires_grad=True), span(1e9, 1.0), torch.Generator().manual_seed(1)
            )
            assert out.y[-1, 0].item() == pytest.approx(math.sin(1.0), rel=1e-3)
            found.append(out.penalty.item())
        if name in ("kinetic", "local_biased"):
            # a local error, in units of the tolerance, may be below float32's round-off: eps / rtol times the step
            assert found[0] == pytest.approx(found[1], rel=0.05, abs=1e-6 if name == "local_biased" else 0.0)
        if name == "kinetic":
            # int_0^1 cos^2
            assert found[0] == pytest.approx(0.5 + math.sin(2.0) / 4, rel=1e-3)


def test_a_slope_that_is_still_at_the_start_of_a_long_span():
    """Forcing that begins late in a span which float32 resolves at first: cos(t - c) for t > c, else 0."""
    c = 2e6

    def func(t, y):
        return torch.where(t > c, torch.sin(t - c), torch.zeros_like(t)).to(y.dtype).expand_as(y)

    t = torch.tensor([0.0, c, c + 1.0], dtype=F64)
    for per_sample in (True, False):
        sol = odeint(func, torch.zeros(2, 1), t, rtol=1e-4, atol=1e-4, per_sample=per_sample, max_steps=2000)
        if sol.success:
            assert sol.y[-1, 0, 0].item() == pytest.approx(1 - math.cos(1.0), abs=2e-2)


def test_periodic_forcing_far_out():
    # y' = cos t from 0 to 3e5: sin(3e5), by float64 arithmetic of the standard library
    sol = odeint(
        lambda t, y: torch.cos(t).to(y.dtype).expand_as(y), torch.zeros(1), span(3e5, 20.0), rtol=1e-4, atol=1e-4
    )
    assert sol.y[-1].item() == pytest.approx(math.sin(3e5 + 20.0) - math.sin(3e5), abs=1e-3)


@pytest.mark.parametrize("per_sample", [True, False])
def test_a_field_without_time_gets_the_same_steps_wherever_it_starts(per_sample):
    found = [
        odeint(
            lambda t, y: -y * y,
            torch.ones(2, 1),
            span(t0, 1.0),
            rtol=1e-5,
            atol=1e-5,
            per_sample=per_sample,
            first_step=0.125,
        )
        for t0 in (0.0, 2.0**30)
    ]
    # the last step is shorter by round-off of the time alone
    torch.testing.assert_close(found[0].y, found[1].y, rtol=1e-6, atol=0.0)
    assert found[0].stats.naccept == found[1].stats.naccept


@pytest.mark.parametrize("per_sample", [True, False])
def test_ordinary_times_come_in_the_states_dtype(per_sample):
    for dtype in (F32, F64):
        seen = set()

        def func(t, y, seen=seen):
            seen.add(t.dtype)
            return -y * torch.cos(t)

        odeint(func, torch.ones(2, 1, dtype=dtype), span(0.0, 10.0), rtol=1e-5, per_sample=per_sample)
        assert seen == {dtype}


@pytest.mark.parametrize("per_sample", [True, False])
def test_a_layer_that_cannot_take_such_times_says_what_to_do(per_sample):
    net = torch.nn.Linear(2, 1)

    def func(t, y):
        return net(torch.cat([y, t.expand(len(y), 1)], 1))

    assert odeint(func, torch.ones(2, 1), span(0.0, 1.0), rtol=1e-4, per_sample=per_sample).success
    with pytest.raises(
        ValueError, match="t is torch.float64 here, since torch.float32 does not resolve.*nearer origin"
    ):
        odeint(func, torch.ones(2, 1), span(1e9, 1.0), rtol=1e-4, per_sample=per_sample)


class Layer(torch.nn.Module):
    """A layer that takes t next to y, and fails with a float64 t."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, t, y):
        return torch.tanh(self.layer(torch.cat([y, t.expand(len(y), 1)], 1)))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("t", [(20.0, 0.0), (100.0, 90.0), (-20.0, 5.0)])
def test_a_layer_with_a_tiny_first_step_or_a_short_last_one(t, route):
    """The automatic first step from zero is shorter than 64 ulp of t; the answer is that of the same solve in float64.
    """
    func, exact = Layer(), Layer().double()
    sol = odeint(func, torch.zeros(4, 2), torch.tensor(t), rtol=1e-4, atol=1e-4, **ROUTES[route])
    reference = odeint(
        exact, torch.zeros(4, 2, dtype=F64), torch.tensor(t, dtype=F64), rtol=1e-8, atol=1e-8, adjoint="none"
    )
    assert sol.success
    torch.testing.assert_close(sol.y[-1].detach().double(), reference.y[-1], rtol=1e-2, atol=1e-2)
    if sol.y.requires_grad:
        sol.y[-1].sum().backward()
        assert torch.isfinite(func.layer.weight.grad).all()


def test_a_layer_that_float32_times_do_not_serve_is_warned_of():
    net = torch.nn.Linear(2, 1)

    def func(t, y):
        return torch.cos(t) + 0 * net(torch.cat([y, t.expand(len(y), 1)], 1))

    with pytest.warns(UserWarning, match="does not resolve func's slope.*nearer origin"):
        odeint(func, torch.ones(2, 1), span(1e6, 50.0), rtol=1e-4, atol=1e-4, max_steps=300)


def test_float32_output_times_that_fall_together_name_the_remedy():
    with pytest.raises(ValueError, match="holds a time twice in torch.float32: make it float64"):
        odeint(lambda t, y: -y, torch.ones(2, 1), torch.tensor([1e9, 1e9 + 1]))


# -- no absolute tolerance
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("start", [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0, 0.0]])
def test_a_component_that_stays_at_zero_has_no_say(start, route, dtype):
    y0 = torch.tensor([start, start], dtype=dtype, requires_grad=True)
    more = {"adjoint_params": ()} if "adjoint" in ROUTES[route] and route != "adaptive" else {}
    sol = odeint(lambda t, y: -y, y0, [0.0, 0.5, 1.0], rtol=1e-5, atol=0.0, **ROUTES[route], **more)
    assert sol.success and sol.stats.nreject <= 4
    torch.testing.assert_close(sol.y[-1].detach(), y0.detach() * math.exp(-1.0), rtol=1e-4, atol=0.0)
    if sol.y.requires_grad:
        (g,) = torch.autograd.grad(sol.y[-1].sum(), y0)
        torch.testing.assert_close(g, torch.full_like(g, math.exp(-1.0)), rtol=1e-3, atol=0.0)
    assert torch.isfinite(sol.heuristics.R_E).all()
