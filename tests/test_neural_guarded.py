"""Steps per sample with gradient from the adaptive pass: the replay's gradients, whatever stands in rejected lanes."""

import pytest
import torch

from stepsmith.controllers.laws import registry
from torch_fields import F64, field_of, mlp, odeint, state

#: a replay with a plain graph, which holds no rejected attempt
REPLAY = {"checkpoint": "auto"}


def close(got, want, tol=1e-12):
    for a, b in zip(got, want, strict=True):
        assert bool((b != 0).any())
        torch.testing.assert_close(a, b, rtol=tol, atol=tol * float(b.abs().max()))


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dop853", "adaptive_heun"])
@pytest.mark.parametrize("compact", [False, True])
def test_the_gradient_is_that_of_the_replay(method, compact):
    found, hard, tol = [], [], 1e-4 if method == "adaptive_heun" else 1e-6
    for options in ({}, REPLAY):
        net, y0 = mlp(), state(8).requires_grad_()
        with torch.no_grad():
            net[0].weight.mul_(4.0)
        sol = odeint(
            field_of(net), y0, [0.0, 0.4, 1.5], method, rtol=tol, atol=tol, first_step=0.7, compact=compact, **options
        )
        hx, stats, inputs = sol.heuristics, sol.stats, [y0, *net.parameters()]
        found.append(torch.autograd.grad(sol.y.square().sum(), inputs, retain_graph=True))
        assert (stats.nfev_replay == 0) == (options == {})
        hard.append(torch.autograd.grad(hx.R_E2.sum() + (0.0 if hx.S is None else hx.R_S.sum()), inputs))
        assert len(set(stats.naccept_per_sample)) > 1 and 0 < stats.nreject and min(stats.nreject_per_sample) >= 0
        assert hx.E.shape == (stats.naccept_per_sample.max(), 8)
    close(*found)
    # differences of nearly equal slopes
    close(*hard, tol=1e-5 if method == "dop853" else 1e-8)


def falling(w):
    """y' = -w sqrt(y), and zero below zero, where its derivatives are NaN in torch."""
    return lambda t, y: -torch.where(y > 0.0, torch.sqrt(w * w * y), 0.0)


def test_an_infinite_derivative_in_a_rejected_lane_reaches_nobody():
    w, found = torch.tensor(1.0, dtype=F64, requires_grad=True), []
    for options in ({}, REPLAY):
        y0 = torch.tensor([[1.0], [400.0]], dtype=F64, requires_grad=True)
        sol = odeint(falling(w), y0, [0.0, 1.0, 1.9], rtol=1e-8, first_step=1.9, heuristics=False, **options)
        before = sol.stats.nfev_replay
        assert (before == 0) == (options == {})
        found.append(torch.autograd.grad(sol.y[1].sum(), [y0, w]))
        assert 0 < sol.stats.nfev_replay and (before == sol.stats.nfev_replay) == (options == REPLAY)
        assert sol.success and sol.stats.nreject_per_sample[0] > 1
    close(*found)
    # y = (sqrt(y0) - w t / 2)^2
    torch.testing.assert_close(found[0][0], torch.tensor([[0.5], [0.975]], dtype=F64), rtol=1e-6, atol=0)
    torch.testing.assert_close(found[0][1], torch.tensor(-20.0, dtype=F64), rtol=1e-6, atol=0)


class Falling(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w, dtype=F64))

    def forward(self, t, y):
        return falling(self.w)(t, y)


def test_the_steps_are_taken_again_with_the_parameters_of_the_solve():
    """functional_call has put a module's own parameters back when the backward pass needs the steps again."""
    found, y0 = [], torch.tensor([[1.0], [400.0]], dtype=F64)
    options = {"rtol": 1e-8, "first_step": 1.9, "heuristics": False}
    for field, given in ((Falling(7.0), {"w": torch.tensor(1.0, dtype=F64, requires_grad=True)}), (Falling(1.0), {})):
        solve = lambda t, y, f=field: f(t, y)  # noqa: E731
        with torch.nn.utils.stateless._reparametrize_module(field, given):
            sol = odeint(solve, y0, [0.0, 1.0, 1.9], **options)
        assert sol.stats.nfev_replay == 0
        found.append(torch.autograd.grad(sol.y[1].sum(), [*given.values()] or [field.w]))
        assert sol.stats.nfev_replay > 0
    close(*found)


@pytest.mark.parametrize("kind", ["hypernetwork", "no start", "not finite"])
def test_where_the_graph_is_no_use_the_solve_is_replayed(kind):
    found = []
    for options in ({}, REPLAY):
        w, y0 = torch.tensor(1.0, dtype=F64, requires_grad=True), torch.tensor([[1.0], [3.0], [9.0]], dtype=F64)
        v = torch.exp(w) if kind == "hypernetwork" else w
        y0[2] = float("nan") if kind == "no start" else 9.0
        end = 2.5 if kind == "not finite" else 0.5  # the first lane reaches zero, behind which the slope is NaN
        y0.requires_grad_()
        sol = odeint(lambda t, y, v=v: -v * torch.sqrt(y), y0, [0.0, end], first_step=end, max_steps=40, **options)
        assert sol.stats.nfev_replay > 0 and (sol.status[1] == 1)
        found.append(torch.autograd.grad(sol.y[-1, 1].sum(), [y0, w]))
    close(*found)


def test_backward_passes_may_be_repeated_batched_and_differentiated():
    w, y0 = torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64, requires_grad=True), state(3, 2).requires_grad_()
    step, sols = registry.get("constant", h=0.25), []
    for options in ({}, REPLAY):
        # y0 depends on w too: its gradient is to be counted once
        sol = odeint(lambda t, y: torch.tanh(y @ w), y0 @ w, [0.0, 2.0], "bs32", step, first_step=0.25, **options)
        sols.append(sol)
    outs = [sol.y[-1] for sol in sols]
    for _ in range(3):
        close(*(torch.autograd.grad(y.square().sum(), [y0, w], retain_graph=True) for y in outs))
    rows = torch.eye(6, dtype=F64).view(6, 3, 2)
    close(*(torch.autograd.grad(y, [y0, w], rows, retain_graph=True, is_grads_batched=True) for y in outs))
    second = []
    for y in outs:
        first = torch.autograd.grad(y.square().sum(), [y0, w], create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), [y0, w]))
    close(*second)


@pytest.mark.parametrize("options", [{}, {"checkpoint_every": 3}, REPLAY, {"per_sample": False}], ids=str)
def test_a_hook_of_a_parameter_is_called_once(options):
    net, y0 = mlp(), state(3)

    def gradient():
        net.zero_grad()
        odeint(field_of(net), y0, [0.0, 2.0], rtol=1e-6, **options).y[-1].sum().backward()
        return net[0].weight.grad.clone()

    plain, calls = gradient(), []
    handle = net[0].weight.register_hook(lambda g: calls.append(1) or 0.5 * g)
    half = gradient()
    assert len(calls) == 1 and torch.equal(half, 0.5 * plain)
    handle.remove()
    assert torch.equal(gradient(), plain)


def test_a_parameter_that_was_changed_before_the_steps_are_taken_again_is_noticed():
    net, y0 = mlp(), state(3).requires_grad_()
    loss = odeint(field_of(net), y0, [0.0, 2.0], rtol=1e-6).y[-1].sum()
    first = torch.autograd.grad(loss, [y0], retain_graph=True)
    with torch.no_grad():
        net[0].bias.mul_(1.1)
    # a bias is in no derivative: the graph is still that of the solve
    assert torch.equal(torch.autograd.grad(loss, [y0], retain_graph=True)[0], first[0])
    with pytest.raises(RuntimeError, match="modified in place between the solve and its backward pass"):
        torch.autograd.grad(loss, [y0], create_graph=True)


class Conditioned(torch.nn.Module):
    """A field with a context that is set from batch to batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.net, self.context = torch.nn.Linear(3, 2, dtype=F64), None

    def forward(self, t, y):
        return torch.tanh(self.net(torch.cat([y, self.context], 1)))


def conditioned(**options):
    """Two solves of a field whose context has changed in between: their loss, the first one's start and the field."""
    field, total = Conditioned(), 0.0
    starts = [torch.linspace(-1.0, 1.0, 8, dtype=F64).view(4, 2).requires_grad_() for _ in range(2)]
    for start, level in zip(starts, (0.3, -2.0), strict=True):
        field.context = torch.full((4, 1), level, dtype=F64)
        total = total + odeint(field, start, [0.0, 1.0], rtol=1e-8, **options).y[-1].square().sum()
    return total, starts[0], field


def test_a_second_backward_pass_is_that_of_the_solve_whatever_func_is_by_now():
    total, start, _ = conditioned()
    want = torch.autograd.grad(*conditioned(per_sample=False)[:2])[0]
    for _ in range(3):
        torch.testing.assert_close(torch.autograd.grad(total, start, retain_graph=True)[0], want, rtol=1e-6, atol=1e-8)


def test_a_func_that_has_changed_has_no_second_derivatives_by_these_steps_and_says_so():
    total, start, _ = conditioned()
    with pytest.raises(RuntimeError, match='func gave other numbers than in the solve.*checkpoint="auto"'):
        torch.autograd.grad(total, start, create_graph=True)
    total, start, field = conditioned(**REPLAY)
    grad = torch.autograd.grad(total, start, create_graph=True)[0]
    second = torch.autograd.grad(grad.square().sum(), field.net.weight)[0]
    other, begin, twin = conditioned(per_sample=False)
    grad = torch.autograd.grad(other, begin, create_graph=True)[0]
    want = torch.autograd.grad(grad.square().sum(), twin.net.weight)[0]
    torch.testing.assert_close(second, want, rtol=1e-5, atol=1e-7)


def test_what_func_hands_out_has_its_gradient_in_what_made_y0():
    found = []
    for options in ({}, {"per_sample": False}):
        torch.manual_seed(0)
        before, net, kept = torch.nn.Linear(2, 2, dtype=F64), torch.nn.Linear(2, 2, dtype=F64), []

        def func(t, y, net=net, kept=kept):
            slope = torch.tanh(net(y))
            if not kept:
                kept.append(slope.square().sum())
            return slope

        odeint(func, before(torch.ones(3, 2, dtype=F64)), [0.0, 1.0], rtol=1e-7, first_step=0.1, **options)
        extra = next(x for x in kept if x.requires_grad)
        found.append(torch.autograd.grad(extra, [before.weight, net.weight]))
    close(*found)


def test_modules_that_closures_hide_are_an_error_and_no_silent_none():
    nets = {"a": torch.nn.Linear(2, 2, dtype=F64)}

    class Hidden:
        def __init__(self):
            self.pick = lambda: nets["a"]

    hidden = Hidden()
    sol = odeint(lambda t, y: torch.tanh(hidden.pick()(y)), state(3, 2).requires_grad_(), [0.0, 1.0], rtol=1e-6)
    own, nets["a"] = nets["a"], torch.nn.Linear(2, 2, dtype=F64)
    nets["a"].load_state_dict(own.state_dict())
    with pytest.raises(RuntimeError, match="other parameters than in the solve"):
        torch.autograd.grad(sol.y.sum(), own.weight, create_graph=True)
