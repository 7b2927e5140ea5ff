"""Events that end the solve of `neural.odeint`: every sample's own, or one of the whole state."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

import stepsmith as ss
from stepsmith.integrators.neural.events import crossing
from stepsmith.neural import torchdiffeq as face
from torch_fields import F64

odeint = ss.neural.odeint
T = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=F64)
ROUTES = [
    {}, {"compact": True}, {"checkpoint_every": 2}, {"adjoint": "backsolve"}, {"adjoint": "interpolating"},
    {"method": "dop853"}, {"method": "adaptive_heun", "rtol": 1e-6, "atol": 1e-6},
]  # fmt: skip


class Decay(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t, y):
        return -self.rate * y


def start():
    return torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.6, 1.0], [20000.0, 1.0]], dtype=F64, requires_grad=True)


@pytest.mark.parametrize("options", ROUTES)
def test_every_sample_ends_at_its_own_event_with_its_gradient(options):
    func, y0, t = Decay(), start(), T.clone().requires_grad_()
    level = torch.tensor(0.5, dtype=F64, requires_grad=True)
    tight = 1e-10 if "rtol" not in options else 1e-6
    options = {"rtol": tight, "atol": tight, **options}
    sol = odeint(func, y0, t, event_fn=lambda t, y: y[:, 0] - level, **options)
    event_t = t[0] + torch.log(y0[:, 0] / level) / func.rate
    event_y = y0 * (level / y0[:, :1])
    y = y0 * torch.exp(-func.rate * (t - t[0]))[:, None, None]
    met = torch.tensor([True, True, True, False])
    assert sol.success and "3 of 4 met the event" in sol.message and torch.equal(sol.event_t.isfinite(), met)
    assert sol.event_y[3].isnan().all()
    close = {"rtol": 1e4 * tight, "atol": 1e3 * tight}
    torch.testing.assert_close(sol.event_t[met], event_t[met], **close)
    torch.testing.assert_close(sol.event_y[met], event_y[met], **close)
    # outputs behind the event are NaN, those before it the solution
    before = (t[:, None] <= torch.where(met, event_t, torch.inf)).detach()
    assert torch.equal(~sol.y.isnan().any(2), before)
    torch.testing.assert_close(sol.y[before], y[before], **close)
    np.testing.assert_allclose(sol.t_last[:3], event_t.detach().numpy()[:3], rtol=1e4 * tight)
    assert sol.t_last[3] == 3.0 and torch.equal(sol.y_last[:3], sol.event_y[:3].detach())

    w = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=F64)

    def loss(at, there, outputs):
        return (w * at)[met].sum() + (w[:, None] * there**2)[met].sum() + outputs[before].square().sum()

    inputs = [y0, func.rate, t, level]
    found = torch.autograd.grad(loss(sol.event_t, sol.event_y, sol.y), inputs)
    expected = torch.autograd.grad(loss(event_t, event_y, y), inputs)
    torch.testing.assert_close(found, expected, rtol=2e4 * tight, atol=1e4 * tight)


def test_events_per_sample_are_those_of_each_sample_alone_with_times_of_its_own():
    def oscillator(t, y):
        return torch.stack([y[..., 1], -y[..., 0]], -1)

    y0 = torch.tensor([[1.0, 0.0], [0.2, 0.5], [-1.0, 0.3]], dtype=F64)
    t = torch.tensor([[0.0, 1.0, 2.0], [0.5, 0.0, 2.1], [9.0, -7.0, 2.2]], dtype=F64)
    sol = odeint(oscillator, y0, t, event_fn=lambda t, y: y[:, 0], rtol=1e-9, atol=1e-9, compact=True)
    phase = torch.atan2(-y0[:, 1], y0[:, 0])
    for i in range(2):
        sign = 1.0 if i == 0 else -1.0
        # y_0(t) = r cos(t - t0 + phase)
        zero = min(s for k in range(-4, 5) if (s := sign * (math.pi / 2 + k * math.pi - float(phase[i]))) > 0)
        assert sol.event_t[i].item() == pytest.approx(float(t[0, i]) + sign * zero, abs=1e-7)
        alone = odeint(oscillator, y0[i], t[:, i], event_fn=lambda t, y: y[0], rtol=1e-9, atol=1e-9)
        assert alone.event_t.item() == pytest.approx(sol.event_t[i].item(), abs=1e-12)
        torch.testing.assert_close(alone.event_y, sol.event_y[i], rtol=1e-11, atol=1e-12)
    assert sol.event_t[2].isnan() and not sol.y[:, 2].isnan().any() and sol.y[2, :2].isnan().all()


@pytest.mark.parametrize(
    "options", [{}, {"checkpoint_every": 3}, {"adjoint": "backsolve"}, {"adjoint": "interpolating"}]
)
def test_one_event_of_the_whole_state_is_the_faces(options):
    """A ball under gravity and drag: the fields of the face's own tests."""

    class Ball(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gravity = torch.nn.Parameter(torch.tensor(9.8, dtype=F64))

        def forward(self, t, s):
            return s[1], -self.gravity - 0.1 * s[1]

    func = Ball()
    t = torch.tensor([0.3, 9.0], dtype=F64, requires_grad=True)
    y0 = (torch.tensor([10.0], dtype=F64, requires_grad=True), torch.tensor([2.0], dtype=F64, requires_grad=True))
    floor = torch.tensor(1.0, dtype=F64, requires_grad=True)

    def event(t, s):
        return s[0] - floor

    tight = {"rtol": 1e-10, "atol": 1e-10}
    sol = odeint(func, y0, t, event_fn=event, **tight, **options)
    at, states = face.odeint_event(func, y0, t[0], event_fn=event, rtol=1e-11, atol=1e-11)
    assert sol.event_t.shape == () and sol.message.endswith("event met") and sol.y[0][1].isnan().all()
    torch.testing.assert_close(sol.event_t, at, rtol=1e-7, atol=0.0)
    torch.testing.assert_close(sol.event_y, tuple(s[1] for s in states), rtol=1e-7, atol=1e-8)
    inputs = [*y0, func.gravity, floor, t]
    found = torch.autograd.grad(2 * sol.event_t + sol.event_y[1].square().sum(), inputs)
    expected = torch.autograd.grad(2 * at + states[1][1].square().sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_several_numbers_end_at_the_first_and_a_batch_with_one_step_ends_as_one():
    func, y0 = Decay(), start().detach()[:2]

    def levels(t, y):
        return torch.stack([y[:, 0] - 0.5, 2.9 - y[:, 1], t[:, 0] - 0.8], 1)

    sol = odeint(func, y0, T, event_fn=levels, rtol=1e-9, atol=1e-9)
    expected = torch.tensor([math.log(2.0), math.log(4.0 / 2.9)], dtype=F64)
    torch.testing.assert_close(sol.event_t.detach(), expected, rtol=1e-7, atol=0.0)
    one = odeint(func, y0, T, per_sample=False, event_fn=lambda t, y: y - 0.5, rtol=1e-9, atol=1e-9)
    assert one.event_t.shape == () and one.event_y.shape == (2, 2)
    assert one.event_t.item() == pytest.approx(math.log(2.0), abs=1e-7)


def test_an_event_at_the_start_is_the_start():
    y0 = torch.tensor([[0.5], [1.0]], dtype=F64, requires_grad=True)
    t = torch.tensor([0.2, 3.0], dtype=F64, requires_grad=True)
    for options in ({}, {"compact": True}, {"adjoint": "backsolve"}):
        sol = odeint(Decay(), y0, t, event_fn=lambda t, y: y[:, 0] - 0.5, **options)
        assert sol.event_t[0] == 0.2 and sol.stats.naccept_per_sample[0] == 0 and sol.status[0] == 1
        assert torch.equal(sol.event_y[0], y0[0]) and sol.y[1, 0].isnan()
        g, by_t = torch.autograd.grad(sol.event_y[0].sum() + sol.event_t[0], [y0, t])
        assert g[:, 0].tolist() == [1.0, 0.0] and by_t.tolist() == [1.0, 0.0]


def test_events_at_large_times_of_float32_states():
    """float32 tells times apart by 64 there, and the event function gets float64 ones as func does."""
    t, y0 = torch.tensor([1e9, 1e9 + 100], dtype=F64), torch.zeros(2, 1, requires_grad=True)
    late = torch.tensor([3.0, 40.0], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: torch.ones_like(y), y0, t, event_fn=lambda t, y: t[:, 0] - 1e9 - late)
    torch.testing.assert_close(sol.event_t - 1e9, late, rtol=0, atol=1e-6)
    torch.testing.assert_close(sol.event_y[:, 0].double(), late, rtol=1e-5, atol=0.0)
    assert torch.autograd.grad(sol.event_t.sum() + sol.event_y.sum(), late)[0].tolist() == [2.0, 2.0]
    by_y = odeint(lambda t, y: torch.ones_like(y), y0, t, event_fn=lambda t, y: y[:, 0] - 3.0)
    assert torch.autograd.grad(by_y.event_t.sum(), y0)[0].flatten().tolist() == [-1.0, -1.0]


def test_samples_that_fail_before_their_event_say_so():
    y0 = torch.tensor([[0.5], [5.0]], dtype=F64)
    sol = odeint(lambda t, y: y**3, y0, T / 3, event_fn=lambda t, y: 0.6 - y[:, 0], max_steps=60)
    # the second begins beyond the level and never comes back
    assert sol.status[0] == 1 and sol.status[1] < 0 and sol.event_t.isfinite().tolist() == [True, False]
    assert sol.event_t[0].item() == pytest.approx((0.5**-2 - 0.6**-2) / 2, rel=1e-5)


def test_what_is_no_event_function_is_refused():
    func, y0 = Decay(), start().detach()
    for wrong, said in (
        (3.0, "event_fn must be a function"),
        (lambda t, y: y.sum(), r"one number a sample, \(4,\)"),
        (lambda t, y: y[:2, 0], r"one number a sample, \(4,\)"),
        (lambda t, y: y[:, 0] + 1j, "real numbers"),
        (lambda t, y: 1.0, "real numbers, got float"),
        (lambda t, y: y[:, 0] < 0.5, "got truth values"),
        (lambda t, y: y[:, 0] * torch.nan, "event_fn is NaN at the start, t = 0"),
        (lambda t, y: y.mul_(0.5)[:, 0], "event_fn must not modify t or y"),
        (lambda t, y: torch.where(t > 0.3, torch.nan, 1.0) * y[:, :1], "event_fn is NaN at t = "),
    ):
        with pytest.raises(ValueError, match=said):
            odeint(func, y0, T, event_fn=wrong)


@pytest.mark.parametrize("wrong", [lambda t, y: y < 0.5, lambda t, y: y.mul_(0.5)])
def test_what_is_no_event_function_is_refused_in_torchdiffeqs_calls_too(wrong):
    with pytest.raises(ValueError, match="event_fn must"):
        face.odeint(Decay(), torch.ones(2, dtype=F64), T[:2], event_fn=wrong)


def test_an_event_function_is_lent_copies_where_writes_are_not_counted():
    with torch.inference_mode():
        y0 = start()[:1].detach().clone()
        sol = odeint(Decay(), y0, T, event_fn=lambda t, y: y.sub_(0.5)[:, 0])
    assert sol.event_t.item() == pytest.approx(math.log(2.0), abs=1e-6)
    assert sol.event_y[0, 0].item() == pytest.approx(0.5, abs=1e-6)


def test_a_detached_solution_holds_no_graph():
    state = {"a": torch.ones(2, 1, dtype=F64, requires_grad=True)}
    t = T.clone().requires_grad_()
    sol = odeint(lambda t, y: {"a": -y["a"]}, state, t, per_sample=True, event_fn=lambda t, y: y["a"] - 0.1)
    free = sol.detach()
    assert sol.y["a"].requires_grad and sol.event_t.requires_grad and sol.event_y["a"].requires_grad
    assert not any(x.requires_grad for x in (free.t, free.y["a"], free.event_t, free.event_y["a"]))
    assert torch.equal(free.event_t, sol.event_t) and free.y["a"].data_ptr() == sol.y["a"].data_ptr()


def test_an_event_time_without_derivative_is_no_gradient():
    """The function jumps from 1 to -1 at t = 1 whatever y is."""
    y0 = torch.tensor([[1.0]], dtype=F64, requires_grad=True)
    sol = odeint(lambda t, y: 0 * y, y0, T, event_fn=lambda t, y: torch.where(t[:, 0] < 1.0, 1.0, -1.0) * y[:, 0])
    assert sol.event_t.item() == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(RuntimeError, match="its time has no derivative"):
        sol.event_t.sum().backward()


FUNCTIONS = [
    lambda x: 0.3 - x, lambda x: math.exp(-30 * x) - 1e-6, lambda x: 1 - 1e4 * x**9,
    lambda x: 0.7 if x < 0.123 else -1e-9, lambda x: (0.5 - x) ** 3, lambda x: math.atan(0.9 - x) * 1e-12,
]  # fmt: skip


def test_crossings_are_scipys():
    def many(x):
        return np.array([f(v) for f, v in zip(FUNCTIONS, x, strict=True)])

    found = crossing(many, many(np.zeros(6)), many(np.ones(6)))
    expected = [brentq(f, 0.0, 1.0, xtol=1e-16) for f in FUNCTIONS]
    assert (np.abs(found - expected) < [1e-14, 1e-14, 1e-13, 1e-14, 1e-5, 1e-14]).all()
    # those that do not change their sign
    np.testing.assert_array_equal(crossing(lambda x: x + 1, np.ones(2), np.ones(2)), 1.0)


def test_a_function_that_is_zero_from_its_event_on_has_it_where_it_becomes_zero():
    """Falls from several heights, every one to the floor or until the time is over."""
    y0 = torch.tensor([[10.0, 0.0], [3.0, 0.0], [40.0, 0.0], [1.0, 0.0]], dtype=F64)
    last = torch.tensor([5.0, 0.5, 2.5, 9.0], dtype=F64)

    def event(t, y):
        return torch.relu(y[:, 0]) * torch.relu(last - t.reshape(-1))

    sol = odeint(lambda t, y: torch.stack([y[:, 1], torch.full_like(y[:, 1], -10.0)], 1), y0, T * 10, rtol=1e-9,
                 event_fn=event)  # fmt: skip
    falls = torch.minimum(torch.sqrt(y0[:, 0] / 5.0), last)
    torch.testing.assert_close(sol.event_t, falls, rtol=0.0, atol=1e-9)
    # one that is zero at a step's end alone is there
    one = odeint(lambda t, y: torch.ones_like(y), y0[:1, :1], [0.0, 8.0], event_fn=lambda t, y: 11.0 - y[:, 0],
                 first_step=1.0, max_step=1.0)  # fmt: skip
    assert float(one.event_t) == 1.0
