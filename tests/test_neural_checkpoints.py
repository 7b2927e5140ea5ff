"""Checkpoints: the plain graph's gradients, from few kept states; what is chosen by a budget."""

import functools
import math
import warnings

import pytest
import torch

import stepsmith as ss
from alive import Alive
from stepsmith.controllers.laws import registry
from stepsmith.integrators.neural import recompute, scheme
from torch_fields import F64, field_of, mlp, odeint, state

#: by name: checkpoint options.  The smallest budget takes the binomial schedule, one step a block
SCHEMES = {
    "every": {"checkpoint_every": 3},
    "plain": {"checkpoint": "auto"},
    "even": {"checkpoint": "auto", "checkpoint_mb": 1.0},
    "binomial": {"checkpoint": "auto", "checkpoint_mb": 0.1},
}
pytestmark = pytest.mark.filterwarnings("ignore:checkpoint_mb = 0.1 is less")


def gradients(options, method="tsit5", net=None, t=(0.0, 0.4, 1.5), **more):
    """The gradient of a loss that everything is in, y, E, S and outputs between steps, and the solution."""
    net = mlp() if net is None else net
    y0 = state(3).requires_grad_()
    sol = odeint(field_of(net), y0, list(t), method, rtol=1e-6, atol=1e-6, **more, **options)
    loss = sol.y[1:].nan_to_num().square().sum()
    if sol.heuristics is not None and sol.heuristics.E.requires_grad:
        loss = loss + 3.0 * sol.heuristics.R_E.sum() + sol.heuristics.R_E2.sum()
        loss = loss + (0.0 if sol.heuristics.S is None else 0.1 * sol.heuristics.R_S.sum())
    return torch.autograd.grad(loss, [y0, *net.parameters()]), sol


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("method", ["tsit5", "bs32", "adaptive_heun"])
@pytest.mark.parametrize("more", [{}, {"compact": True}, {"per_sample": False}, {"heuristics": False}], ids=str)
def test_gradients_are_those_of_the_plain_graph(name, method, more):
    if method == "adaptive_heun":
        more = {**more, "t": (0.0, 0.02, 0.06)}
    want, plain = gradients({}, method, **more)
    got, sol = gradients(SCHEMES[name], method, **more)
    assert torch.equal(sol.y, plain.y) and sol.success
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12 * float(b.abs().max()))
    if more.get("per_sample", True):
        once = gradients(SCHEMES["plain"], method, **more)[1].stats.nfev_replay
        assert sol.stats.nfev_replay == once if name == "plain" else sol.stats.nfev_replay > once > 0
    assert plain.stats.nfev_replay == 0


def test_the_schemes_are_the_ones_meant(monkeypatch):
    seen = []
    chosen = scheme.Auto.next
    monkeypatch.setattr(scheme.Auto, "next", lambda *args: seen.append(chosen(*args)) or seen[-1])
    for name, slots, block in (("plain", 0, None), ("even", 0, 2), ("binomial", 1, 1)):
        seen.clear()
        sol = gradients(SCHEMES[name])[1]
        assert seen[0].steps == 1 and seen[0].block is None and sum(c.steps for c in seen) == sol.heuristics.h.shape[0]
        assert all((c.block is None) == (block is None) for c in seen[1:])
        if block is not None:
            assert (seen[1].slots > 0) == (slots > 0) and seen[1].steps > 1 and (seen[1].block == 1) == (slots > 0)


def test_a_failing_sample_leaves_the_others_gradients_alone():
    y0 = torch.tensor([[1.0], [20.0], [0.5]], dtype=F64, requires_grad=True)  # 20 blows up at .1
    w = torch.tensor(0.5, dtype=F64, requires_grad=True)
    found = []
    for options in ({}, *SCHEMES.values()):
        sol = odeint(lambda t, y: w * y * y, y0, [0.0, 0.05, 1.0], rtol=1e-6, max_steps=60, **options)
        assert (sol.status > 0).tolist() == [True, False, True]
        loss = sol.y[2, [0, 2]].sum() + sol.y[1].sum() + sol.heuristics.R_E[[0, 2]].sum()
        found.append(torch.autograd.grad(loss, [y0, w]))
    for got in found[1:]:
        for a, b in zip(got, found[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=0)


# -- what func closes over ---------------------------------------------------------------------------------------------

W = torch.tensor([[0.3, -1.0], [0.8, 0.1]], dtype=F64)


def closing_over(kind, w, late):
    """A field that uses w as it is, computed from it outside, at late times alone, or through a gradient of its own."""
    outside = torch.sin(w)

    def hamilton(t, y):
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            energy = torch.tanh(y @ w).square().sum()
            (slope,) = torch.autograd.grad(energy, y, create_graph=True)
        return slope.flip(1) * torch.tensor([1.0, -1.0], dtype=F64)

    fields = {
        "leaf": lambda t, y: torch.tanh(y @ w),
        "outside": lambda t, y: torch.tanh(y @ outside),
        "late": lambda t, y: torch.tanh(y @ w) + (late * (t - 0.5).clamp(min=0.0) if float(t.max()) > 0.5 else 0.0),
        "hamilton": hamilton,
    }
    return fields[kind], outside


@pytest.mark.parametrize("name", ["every", "binomial"])
@pytest.mark.parametrize("kind", ["leaf", "outside", "late", "hamilton"])
def test_whatever_func_closes_over_gets_its_gradient(kind, name):
    found = []
    for options in ({}, SCHEMES[name]):
        w, late = W.clone().requires_grad_(), torch.ones(2, dtype=F64, requires_grad=True)
        func, outside = closing_over(kind, w, late)
        sol = odeint(func, state(3, 2), [0.0, 1.0], rtol=1e-6, per_sample=False, **options)
        inputs = {"outside": [w, outside], "late": [w, late]}.get(kind, [w])
        found.append(torch.autograd.grad(sol.y[-1].square().sum() + sol.heuristics.R_E, inputs))
    for a, b in zip(*found, strict=True):
        assert bool((b != 0).any())
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * float(b.abs().max()))


def test_second_derivatives():
    step = registry.get("constant", h=0.25)
    y0, w = state(2, 2).requires_grad_(), W.clone().requires_grad_()
    found = []
    for options in ({}, {"checkpoint_every": 2}):
        sol = odeint(lambda t, y: torch.tanh(y @ w), y0, [0.0, 2.0], "bs32", step, first_step=0.25, **options)
        first = torch.autograd.grad(sol.y[-1].square().sum() + sol.heuristics.R_E.sum(), [y0, w], create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), [y0, w]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_backward_pass_may_be_repeated_and_a_changed_parameter_is_noticed():
    net, y0 = mlp(), state(3).requires_grad_()
    loss = odeint(field_of(net), y0, [0.0, 4.0], rtol=1e-8, checkpoint_every=5).y[-1].sum()
    a = torch.autograd.grad(loss, [y0, *net.parameters()], retain_graph=True)
    b = torch.autograd.grad(loss, [y0, *net.parameters()], retain_graph=True)
    assert all(torch.equal(x, z) for x, z in zip(a, b, strict=True))
    with torch.no_grad():
        net[0].weight.mul_(1.1)
    with pytest.raises(RuntimeError, match="modified in place between the solve and its backward pass"):
        loss.backward()


def test_draws_and_autocast_are_repeated_as_they_were():
    drop, found = torch.nn.Dropout(0.3), []
    for options in (SCHEMES["plain"], {"checkpoint_every": 2}, SCHEMES["binomial"]):
        net = mlp()
        torch.manual_seed(5)
        step = registry.get("constant", h=0.1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "func draws random numbers")
            sol = odeint(lambda t, y, n=net: drop(n(y)), state(3), [0.0, 1.0], "bs32", step, first_step=0.1, **options)
        after = torch.get_rng_state()
        found.append((sol.y.detach(), *torch.autograd.grad(sol.y[-1].sum(), list(net.parameters()))))
        assert torch.equal(after, torch.get_rng_state())
    for got in found[1:]:
        for a, b in zip(got, found[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    found = []
    for options in ({}, {"checkpoint_every": 2}):
        net = mlp(dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            sol = odeint(
                lambda t, y, n=net: n(y).float(), state(3).float(), [0.0, 1.0], "bs32", step, first_step=0.1, **options
            )
        found.append((sol.y.detach(), *torch.autograd.grad(sol.y[-1].sum(), list(net.parameters()))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=1e-3)
    assert torch.equal(found[0][0], found[1][0])


# -- the schedule and the budget ---------------------------------------------------------------------------------------


class Counted(recompute.Sweep):
    """A sweep that takes no step, and counts them."""

    def __init__(self, *args):
        super().__init__(*args)
        self.advances, self.order = 0, []

    def _advance(self, first, last, y, k1):
        self.advances += last - first
        return y, k1

    def _block(self, i, y, k1, needs):
        self.order.append(i)


@functools.cache
def fewest(blocks, kept):
    """The fewest advances that reverse `blocks` with `kept` states, by trying every place of the next state."""
    if blocks == 1:
        return 0
    if kept == 1:
        return blocks * (blocks - 1) // 2
    return min(m + fewest(blocks - m, kept - 1) + fewest(m, kept) for m in range(1, blocks))


@pytest.mark.parametrize("kept", [1, 2, 3, 5, 60])
def test_the_schedule_takes_as_few_advances_as_any(kept):
    """Against trying all, and Griewank and Walther's r n - beta(s + 1, r - 1)."""
    for blocks in (1, 2, 3, 7, 20, 40):
        task = recompute.Task(lambda *_: None, 0, blocks, 1, kept - 1, [])
        counted = Counted(task, [], [None] * 4)
        counted.reverse(0, blocks, torch.zeros(1), None, kept)
        assert counted.order == list(range(blocks))[::-1] and counted.advances == fewest(blocks, kept)
        repeats = next(r for r in range(blocks + 1) if math.comb(kept + r, kept) >= blocks)
        if repeats > 0:
            assert counted.advances == repeats * blocks - math.comb(kept + repeats, repeats - 1)


def test_a_budget_is_kept_to():
    """The most bytes of tensors alive in both passes, 300 steps of 16 states of 32 features."""
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.Tanh(), torch.nn.Linear(64, 32)).double()
    step, peaks, calls = registry.get("constant", h=1 / 300 * (1 + 1e-12)), [], []
    for options in ({}, *({"checkpoint": "auto", "checkpoint_mb": mb} for mb in (1e3, 5.0, 0.8))):
        with Alive() as alive:
            y0 = state(16, 32).requires_grad_()
            options = {"heuristics": False, "first_step": 1 / 300, **options}
            sol = odeint(lambda t, y: net(y), y0, [0.0, 1.0], "bs32", step, **options)
            torch.autograd.grad(sol.y[-1].sum(), [y0, *net.parameters()])
        peaks.append(alive.peak / 1e6)
        calls.append(sol.stats.nfev_replay)
    assert peaks[1] == pytest.approx(peaks[0], rel=5e-3) and peaks[0] > 9.0
    assert peaks[2] < 5.0 and peaks[3] < 0.8
    assert calls[0] == 0 < calls[1] < calls[2] <= 2 * calls[1] < calls[3] < 5 * calls[1]


def test_a_batch_with_one_step_is_replayed_once_its_graph_is_over_the_budget():
    small = gradients({"checkpoint": "auto"}, per_sample=False)[1].stats
    large = gradients({"checkpoint": "auto", "checkpoint_mb": 1.0}, per_sample=False)[1].stats
    assert small.nfev_replay == 0 < large.nfev_replay and small.nfev == large.nfev


def test_a_module_takes_a_budget():
    net = mlp()
    found = []
    for options in ({}, {"checkpoint": "auto", "checkpoint_mb": 0.5}):
        ode = ss.neural.NeuralODE(lambda t, y: net(y), rtol=1e-6, regulariser="er_mean", **options)
        out = ode(state(), torch.tensor([0.0, 1.0]))
        grads = torch.autograd.grad(out.y[-1].square().sum() + out.penalty, list(net.parameters()))
        found.append((out.solution.stats.nfev_replay > 0, *grads))
    assert [f[0] for f in found] == [False, True]
    for a, b in zip(found[1][1:], found[0][1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * float(b.abs().max()))


def test_a_budget_that_holds_nothing_is_said():
    with pytest.warns(UserWarning, match="checkpoint_mb = 0.001 is less than this solve's gradient needs"):
        odeint(field_of(mlp()), state(), [0.0, 4.0], rtol=1e-8, checkpoint="auto", checkpoint_mb=1e-3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"checkpoint": "some"}, "checkpoint must be None or \"auto\""),
        ({"checkpoint": True}, "checkpoint must be None or \"auto\""),
        ({"checkpoint_mb": 3.0}, 'budget of checkpoint="auto", which was not given'),
        ({"checkpoint": "auto", "checkpoint_mb": 0.0}, "checkpoint_mb must be"),
        ({"checkpoint": "auto", "checkpoint_every": 3}, "checkpoint_every was given too"),
        ({"checkpoint": "auto", "adjoint": "backsolve"}, 'checkpoint belongs to adjoint="discrete"'),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        odeint(field_of(mlp()), state(), [0.0, 1.0], **options)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("per_sample", [False, True])
def test_a_func_that_uses_torch_func_has_the_plain_graphs_gradient(name, per_sample):
    """Its graph holds tensors that torch.func has wrapped, and whose storage cannot be read."""
    found = []
    for options in ({}, SCHEMES[name]):
        net = mlp()
        ode = ss.neural.NeuralODE(field_of(net), regulariser="taylor2", per_sample=per_sample, **options)
        out = ode(state(3), [0.0, 1.0])
        found.append(torch.autograd.grad(out.y[-1].square().sum() + out.penalty, list(net.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
