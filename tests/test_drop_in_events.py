"""torchdiffeq's calls on our solver: solves that end with an event."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
import torchdiffeq
from stepsmith.integrators.tableaus import ExplicitTableau
from torch.func import functional_call

from module_fields import close
from stepsmith.neural.torchdiffeq import SolveFailed, odeint, odeint_adjoint, odeint_event

F64 = torch.float64


class Ball(torch.nn.Module):
    """A ball that falls; the fall's time and speed are known."""

    def __init__(self):
        super().__init__()
        self.g = torch.nn.Parameter(torch.tensor(9.81, dtype=F64))

    def forward(self, t, y):
        return y[1], -self.g * torch.ones_like(y[1])


def ball():
    given = [torch.tensor(x, dtype=F64, requires_grad=True) for x in (10.0, 1.5, 0.5)]
    return Ball(), *given


@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
def test_a_bounce_and_its_gradients_are_exact(interface):
    func, h, v, t0 = ball()
    t, (height, speed) = odeint_event(
        func, (h, v), t0, event_fn=lambda t, y: y[0], odeint_interface=interface, rtol=1e-10, atol=1e-12
    )
    fall = (v + torch.sqrt(v * v + 2 * func.g * h)) / func.g
    assert height.shape == speed.shape == (2,) and t.shape == ()
    assert t.item() == pytest.approx(0.5 + fall.item(), abs=1e-12)
    assert speed[-1].item() == pytest.approx((v - func.g * fall).item(), abs=1e-11)
    assert abs(height[-1].item()) < 1e-12
    for mine, exact in ((t, t0 + fall), (speed[-1], v - func.g * fall), (height[-1], 0.0 * h)):
        ours = torch.autograd.grad(mine, (h, v, t0, func.g), retain_graph=True)
        true = torch.autograd.grad(exact, (h, v, t0, func.g), retain_graph=True, allow_unused=True)
        for a, b in zip(ours, true, strict=True):
            assert float(a) == pytest.approx(0.0 if b is None else float(b), abs=1e-10)


class Spring(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.k = torch.nn.Parameter(torch.tensor(1.3, dtype=F64))

    def forward(self, t, y):
        return torch.stack([y[1], -self.k * torch.sin(y[0]) - 0.1 * t * y[1]])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint"])
def test_events_are_torchdiffeq_s(name, reverse):
    """Two events, of which the second comes first; the first changes from below."""

    def event(t, y):
        return torch.stack([0.9 * y[0] - 5.0, y[1] + 0.01 * t])

    found = []
    for library, interface in ((odeint_event, (odeint, odeint_adjoint)), (torchdiffeq.odeint_event, None)):
        interface = dict(zip(("odeint", "odeint_adjoint"), interface, strict=True))[name] if interface else getattr(
            torchdiffeq, name
        )
        func, y0 = Spring(), torch.tensor([0.3, 1.0], dtype=F64, requires_grad=True)
        t, y = library(func, y0, torch.tensor(0.2, dtype=F64), event_fn=event, reverse_time=reverse,
                       odeint_interface=interface, rtol=1e-11, atol=1e-13)  # fmt: skip
        grads = [torch.autograd.grad(x, (y0, func.k), retain_graph=True) for x in (t, y[-1].square().sum())]
        found.append([t.detach(), y.detach(), *(g for pair in grads for g in pair)])
    assert (float(found[0][0]) < 0.2) == reverse
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", ["tsit5", "bosh3", "dopri8", "fehlberg2", "adaptive_heun", "rk4", "midpoint"])
@pytest.mark.parametrize("interface", [odeint, odeint_adjoint])
def test_every_method_finds_its_event(interface, method):
    fixed = method in ("rk4", "midpoint")
    options = {"step_size": 0.01, "interp": "cubic"} if fixed else {}
    func, h, v, t0 = ball()
    t, (height, _) = odeint_event(func, (h, v), t0, event_fn=lambda t, y: y[0], odeint_interface=interface,
                                  method=method, options=options)  # fmt: skip
    fall = (v + torch.sqrt(v * v + 2 * func.g * h)) / func.g
    assert t.item() == pytest.approx(0.5 + fall.item(), abs=1e-9)
    assert abs(height[-1].item()) < 1e-9
    ours, true = (torch.autograd.grad(x, (h, v, t0, func.g), allow_unused=True) for x in (t, t0 + fall))
    assert [float(x) for x in ours] == pytest.approx([float(x) for x in true], abs=1e-8)


@pytest.mark.parametrize("grad", [False, True])
def test_a_method_that_is_not_first_same_as_last(grad):
    half = Fraction(1, 2)
    heun = ExplicitTableau("heun21", order=2, embedded_order=1, c=(0, 1), a=((), (1,)), b=(half, half), b_hat=(1, 0))
    with torch.set_grad_enabled(grad):
        func, h, v, t0 = ball()
        t, (height, _) = odeint_event(func, (h, v), t0, event_fn=lambda t, y: y[0], method=heun, rtol=1e-4, atol=1e-4)
    fall = (v + torch.sqrt(v * v + 2 * func.g * h)) / func.g
    assert t.item() == pytest.approx(0.5 + fall.item(), abs=1e-9) and abs(height[-1].item()) < 1e-9
    assert t.requires_grad == height.requires_grad == grad


def test_what_the_event_function_uses_gets_its_gradient():
    level = torch.tensor(0.25, dtype=F64, requires_grad=True)
    y0 = torch.ones((), dtype=F64)
    t, _ = odeint_event(lambda t, y: -y, y0, torch.zeros((), dtype=F64), event_fn=lambda t, y: y - level)
    assert float(t) == pytest.approx(math.log(4.0), abs=1e-7)
    (g,) = torch.autograd.grad(t, level)
    assert float(g) == pytest.approx(-4.0, rel=1e-6)


def test_an_event_that_jumps_and_one_in_time():
    y0, t0 = torch.ones((), dtype=F64), torch.zeros((), dtype=F64)
    t, _ = odeint_event(lambda t, y: -y, y0, t0, event_fn=lambda t, y: torch.where(y > 0.5, 1.0, -1.0))
    assert float(t) == pytest.approx(math.log(2.0), abs=1e-7)
    t, y = odeint_event(lambda t, y: -y, y0, t0, event_fn=lambda t, y: t - 0.7)
    assert float(t) == pytest.approx(0.7, abs=1e-12) and float(y[-1]) == pytest.approx(math.exp(-0.7), abs=1e-7)


def test_an_event_at_the_start_and_none_at_all():
    y0, t0 = torch.ones((), dtype=F64), torch.tensor(0.3, dtype=F64)
    t, y = odeint_event(lambda t, y: -y, y0, t0, event_fn=lambda t, y: y - 1.0)
    assert float(t) == 0.3 and y.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="no event"):
        odeint_event(lambda t, y: 0.0 * y, y0, t0, event_fn=lambda t, y: y + 1.0)
    with pytest.raises(SolveFailed, match="50 attempts"):
        odeint_event(lambda t, y: t.cos() * y, y0, t0, event_fn=lambda t, y: y, options={"max_num_steps": 50})
    with pytest.raises(RuntimeError, match="20000 steps"):
        odeint_event(lambda t, y: -y, y0, t0, event_fn=lambda t, y: y + 1.0, method="euler",
                     options={"step_size": 0.1})  # fmt: skip


def test_an_event_function_that_is_nan_where_the_event_is_looked_for_is_refused():
    def event(t, y):
        return torch.where((y - 0.5).abs() < 0.05, math.nan, y - 0.5)

    with pytest.raises(ValueError, match="event_fn is NaN at t = 0.[67]"):
        odeint_event(lambda t, y: -y, torch.ones((), dtype=F64), torch.zeros((), dtype=F64), event_fn=event,
                     options={"first_step": 0.55, "min_step": 0.55})  # fmt: skip


def test_an_event_at_the_start_moves_with_the_start():
    t0 = torch.tensor(0.3, dtype=F64, requires_grad=True)
    t, _ = odeint_event(lambda t, y: -y, torch.ones((), dtype=F64), t0, event_fn=lambda t, y: y - 1.0)
    assert torch.autograd.grad(t, t0) == (1.0,)


def test_an_event_that_is_only_touched_has_no_gradient():
    y0 = torch.ones((), dtype=F64, requires_grad=True)
    t, _ = odeint_event(lambda t, y: 0.0 * y + 1.0, y0, torch.zeros((), dtype=F64), rtol=1e-3, atol=1e-3,
                        event_fn=lambda t, y: (torch.where(y < 2.0, 1.0, -1.0) + 0.0 * y))  # fmt: skip
    with pytest.raises(RuntimeError, match="no derivative"):
        t.backward()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"event_fn": lambda t, y: y[0], "method": "rk4"}, "step_size"),
        ({"event_fn": lambda t, y: y[0], "options": {"even_steps": True}}, "even_steps does not go with event_fn"),
        ({"event_fn": lambda t, y: y[0], "options": {"jump_t": torch.tensor([0.5])}}, "jump_t does not go"),
        ({"event_fn": lambda t, y: float(y[0])}, "must return a tensor"),
        ({"event_fn": lambda t, y: y[0] * math.nan}, "NaN at the start, t = 0"),
        ({"event_fn": 3}, "event_fn must be a function"),
    ],
)
def test_what_does_not_go_with_events_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]), **given)
    if "method" not in given and callable(given["event_fn"]):
        with pytest.raises(ValueError, match="start and one time"):
            odeint(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0, 2.0]), event_fn=given["event_fn"])


@pytest.mark.parametrize("method", [None, "tsit5", "rk4"])
@pytest.mark.parametrize("last", [5.0, 0.5])
def test_a_function_that_is_zero_from_its_event_on_has_it_where_it_becomes_zero(method, last):
    """A fall from 10 that ends on the floor, or when the time is over: both numbers are zero from then on."""

    def event(t, state):
        return torch.relu(state[0]) * torch.relu(last - t)

    def fall(t, state):
        return state[1], torch.full_like(state[1], -10.0)

    start = (torch.tensor(10.0, dtype=F64), torch.tensor(0.0, dtype=F64))
    given = {"options": {"step_size": 0.3, "interp": "cubic"}} if method == "rk4" else {"rtol": 1e-8, "atol": 1e-8}
    t, (height, _) = odeint_event(fall, start, torch.tensor(0.0, dtype=F64), event_fn=event, method=method, **given)
    assert float(t) == pytest.approx(min(math.sqrt(2.0), last), abs=1e-9)
    assert float(height[-1]) == pytest.approx(max(10.0 - 5.0 * last * last, 0.0), abs=1e-8)


class Drop(torch.nn.Module):
    """A fall with friction, and the level at which it ends."""

    def __init__(self):
        super().__init__()
        self.g = torch.nn.Parameter(torch.tensor(9.8, dtype=F64))
        self.r = torch.nn.Parameter(torch.tensor(0.3, dtype=F64))

    def forward(self, t, y):
        return torch.stack([y[1], -self.g - 0.1 * y[1] * torch.cos(t)])


class Fall(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.F, self.options = Drop(), options

    def forward(self, y0, t0):
        ends = lambda t, y: y[0] - self.F.r  # noqa: E731
        t, y = odeint_event(self.F, y0, t0, event_fn=ends, rtol=1e-9, atol=1e-10, **self.options)
        return 2 * t + y[-1].square().sum() + y[0].sum()


GRID = {"method": "rk4", "options": {"step_size": 0.01}}


@pytest.mark.parametrize("options", [
    {}, GRID, {"odeint_interface": odeint_adjoint}, {"odeint_interface": odeint_adjoint, **GRID},
], ids=["odeint", "grid", "adjoint", "adjoint on a grid"])  # fmt: skip
def test_odeint_event_differentiates_in_the_parameters_that_were_given(options):
    """In the event's time and the state there, for the parameters, y0 and t0."""
    model, twin = Fall(options), Fall(options)
    given = {key: (0.7 * p.detach()).requires_grad_() for key, p in model.named_parameters()}
    twin.load_state_dict({key: p.detach() for key, p in given.items()})
    found = []
    for solve, params in (
        (lambda *args: functional_call(model, given, args), list(given.values())),
        (twin, list(twin.parameters())),
    ):
        y0, t0 = (torch.tensor(x, dtype=F64, requires_grad=True) for x in ([10.0, 1.0], 0.1))
        found.append(torch.autograd.grad(solve(y0, t0), [y0, t0, *params]))
    close(*found, 1e-12)
    assert all(p.grad is None for p in model.parameters()) and model.F.g.item() == 9.8
