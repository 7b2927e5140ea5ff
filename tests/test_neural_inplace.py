"""Fields that write to their arguments are refused; results in a buffer that is used again are right, or refused."""

import math

import pytest
import torch

import stepsmith as ss
from torch_fields import F64

odeint = ss.neural.odeint
ROUTES = {
    "adaptive": {"adjoint": "none"}, "replay": {"per_sample": True}, "checkpoints": {"checkpoint_every": 2},
    "direct": {"per_sample": False}, "backsolve": {"adjoint": "backsolve"},
    "interpolating": {"adjoint": "interpolating"},
    "compact": {"compact": True}, "batch": {"per_sample": False, "adjoint": "none"},
}  # fmt: skip
CONTINUOUS = ("backsolve", "interpolating")


def options_of(route, *params):
    return ROUTES[route] | ({"adjoint_params": params} if route in CONTINUOUS else {})


def writes_y(t, y):
    return y.mul_(-1.0)


def relu_in_place(t, y):
    return -torch.nn.functional.relu(y, inplace=True)


def writes_a_view(t, y):
    y[:, 0] = 0.0
    return -y


def writes_t(t, y):
    return -y * torch.cos(t.sub_(1.0))


def behind_torchs_back(t, y):
    y.detach().numpy()[:] *= 2.0
    return -y


def through_data(t, y):
    y.data.mul_(2.0)
    return -y


WRITERS = [writes_y, relu_in_place, writes_a_view, writes_t, behind_torchs_back, through_data]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("func", WRITERS)
@pytest.mark.parametrize("grad", ["y0", "grad mode", "no grad", "inference"])
def test_a_field_that_writes_to_its_arguments_is_refused(func, route, grad):
    y0 = torch.tensor([[1.0, -2.0], [3.0, 4.0]], dtype=F64)
    kept = y0.clone()
    given = y0.requires_grad_() if grad == "y0" else y0
    with torch.inference_mode(grad == "inference"), torch.set_grad_enabled(grad in ("y0", "grad mode")):
        with pytest.raises(ValueError, match=r"func modifies its argument in place.*y = y.clone\(\)"):
            odeint(func, given, [0.0, 1.0], **options_of(route))
    assert torch.equal(y0.detach(), kept)


def test_a_field_that_writes_later_in_the_solve_is_found():
    def late(t, y):
        return -y if float(t) < 0.5 else y.mul_(-1.0)

    for options in ({"adjoint": "none"}, {}):
        with pytest.raises(ValueError, match="in place"):
            odeint(late, torch.ones(3, dtype=F64), [0.0, 1.0], **options)


@pytest.mark.parametrize("name", ["kinetic", "frobenius", "local_unbiased"])
def test_a_field_that_writes_is_refused_under_a_regulariser(name):
    ode = ss.neural.NeuralODE(writes_a_view, regulariser=name)
    with pytest.raises(ValueError, match="in place"):
        ode(torch.ones(2, 2, dtype=F64, requires_grad=True), [0.0, 1.0])


# -- what func returns
# -----------------------------------------------------------------------------------------------------


class Buffer(torch.nn.Module):
    """y' = -w y with its result in one of `size` buffers, used in turn."""

    def __init__(self, size, numpy=False):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))
        self.size, self.numpy, self.calls, self.held = size, numpy, 0, {}

    def forward(self, t, y):
        self.calls += 1
        key = (self.calls % self.size, tuple(y.shape))
        if key not in self.held:
            self.held[key] = torch.empty_like(y, requires_grad=False)
        if self.numpy:
            self.held[key].numpy()[...] = -y.detach().numpy()
            return torch.from_numpy(self.held[key].numpy())
        buffer = self.held[key]
        return buffer.copy_(-self.w * y) if torch.is_grad_enabled() else torch.mul(y, -self.w, out=buffer)


@pytest.mark.parametrize("route", ["adaptive", "batch"])
@pytest.mark.parametrize("controller", ["pi34", "i"])
@pytest.mark.parametrize("size, numpy", [(1, False), (2, False), (7, False), (1, True), (2, True)])
def test_a_buffer_that_is_used_again_is_right(route, controller, size, numpy):
    y0 = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=F64)
    # a first step that is rejected, so that a first slope is used twice, and outputs between steps
    more = {"first_step": 3.0, "method": "dop853", "controller": controller, "rtol": 1e-10, "atol": 1e-10}
    sol = odeint(Buffer(size, numpy), y0, [0.0, 0.3, 1.7, 3.0], **ROUTES[route], **more)
    plain = odeint(lambda t, y: -y, y0, [0.0, 0.3, 1.7, 3.0], **ROUTES[route], **more)
    assert sol.stats.nreject > 0 and torch.equal(sol.y, plain.y) and sol.stats.naccept == plain.stats.naccept
    assert sol.y[-1, 0, 0].item() == pytest.approx(math.exp(-3.0), rel=1e-8)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_buffer_in_a_solve_with_gradient_is_right_or_refused(route, size):
    func = Buffer(size)
    y0 = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=F64, requires_grad=True)
    sol = None
    try:
        sol = odeint(func, y0, [0.0, 1.0], rtol=1e-8, atol=1e-10, **options_of(route, func.w))
        if sol.y.requires_grad:
            sol.y[-1].sum().backward()
    except (ValueError, RuntimeError) as error:
        assert any(text in str(error) for text in ("wrote over it", "in place", "inplace operation"))
        return
    assert sol.y[-1, 0, 0].item() == pytest.approx(math.exp(-1.0), rel=1e-7)
    if sol.y.requires_grad:
        # d/dw of 2 exp(-w) at w = 1
        assert func.w.grad.item() == pytest.approx(-2.0 * math.exp(-1.0), rel=1e-6)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("func, rate", [
    (lambda t, y: y, 1.0), (lambda t, y: y.view(-1, 2), 1.0), (lambda t, y: y[:], 1.0), (lambda t, y: y.T.T, 1.0),
    (lambda t, y: y.clone().mul_(-1.0), -1.0), (lambda t, y: torch.zeros_like(y).add_(y), 1.0),
])  # fmt: skip
def test_y_itself_a_view_of_it_and_a_copy_are_right(func, rate, route):
    y0 = torch.tensor([[1.0, 2.0], [3.0, -4.0]], dtype=F64, requires_grad=True)
    kept = y0.detach().clone()
    sol = odeint(func, y0, [0.0, 0.5, 1.0], rtol=1e-9, atol=1e-9, **options_of(route))
    torch.testing.assert_close(sol.y[-1].detach(), kept * math.exp(rate), rtol=1e-7, atol=0.0)
    assert torch.equal(y0.detach(), kept)
    if sol.y.requires_grad:
        (g,) = torch.autograd.grad(sol.y[-1].sum(), y0)
        torch.testing.assert_close(g, torch.full_like(g, math.exp(rate)), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("route", ROUTES)
def test_a_constant_that_is_returned_each_time_is_no_buffer(route):
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=F64))
    y0 = torch.zeros(2, 2, dtype=F64)
    for func in (lambda t, y: w.expand_as(y), lambda t, y: w.expand_as(y).contiguous()):
        sol = odeint(func, y0, [0.0, 3.0], **options_of(route, w))
        torch.testing.assert_close(sol.y[-1].detach(), (3.0 * w).detach().expand_as(y0), rtol=1e-9, atol=1e-9)
        if sol.y.requires_grad:
            (g,) = torch.autograd.grad(sol.y[-1].sum(), w)
            torch.testing.assert_close(g, torch.full_like(w, 6.0), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("route", ["adaptive", "replay", "direct"])
def test_states_and_times_that_a_field_keeps_stay_as_they_were(route):
    kept = []

    def func(t, y):
        kept.append((t, y, t.clone(), y.detach().clone()))
        return -y

    sol = odeint(func, torch.ones(2, 2, dtype=F64), [0.0, 1.0], **ROUTES[route])
    sol.y_last.zero_()
    for t, y, t_then, y_then in kept:
        assert torch.equal(t, t_then) and torch.equal(y, y_then)


class Kept:
    """y' = y^3 W in a buffer that is filled anew in every call and returned as `kind` says."""

    def __init__(self, w, kind):
        self.w, self.kind, self.calls = w, kind, 0
        self.buffer = torch.zeros(2, 1, 2, dtype=F64)

    def __call__(self, t, y):
        self.calls += 1
        slope = y**3 @ self.w
        if self.kind == "halves":
            self.buffer[self.calls % 2] = slope
            return self.buffer[self.calls % 2]
        if self.kind == "itself":
            if self.calls == 1:
                self.buffer = torch.zeros(1, 2, dtype=F64)
            return self.buffer.copy_(slope)
        self.buffer.copy_(slope.expand(2, 1, 2))
        return self.buffer[:1].view(1, 2) if self.kind == "view" else self.buffer[1, :]


@pytest.mark.parametrize("route", ["replay", "checkpoints", "direct", "backsolve", "interpolating"])
@pytest.mark.parametrize("kind", ["itself", "view", "slice", "halves"])
def test_a_buffer_with_gradient_however_it_is_returned_is_right(kind, route):
    """The same numbers, and the same gradient, as those of a field that makes a new tensor each time."""
    found = []
    for make in (lambda w: lambda t, y: y**3 @ w, lambda w: Kept(w, kind)):
        w = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=F64, requires_grad=True)
        y0 = torch.tensor([[2.0, 0.0]], dtype=F64)
        sol = odeint(make(w), y0, [0.0, 0.3, 1.0], rtol=1e-5, atol=1e-7, **options_of(route, w))
        found.append((sol.y.detach(), torch.autograd.grad(sol.y[1:].sum(), w)[0]))
    for ours, exact in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("route", ROUTES)
def test_a_state_that_is_not_contiguous(route):
    y0 = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, 1.0]], dtype=F64).T
    sol = odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=1e-9, atol=1e-9, **options_of(route))
    torch.testing.assert_close(sol.y[-1].detach(), y0 * math.exp(-1.0), rtol=1e-7, atol=0.0)
