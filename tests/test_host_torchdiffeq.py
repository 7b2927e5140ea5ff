"""torchdiffeq as a host: with its own law its solvers take their own steps, and options do what they say."""

from __future__ import annotations

import copy
import gc
import importlib
import math
import pickle
import sys
import threading

import numpy as np
import pytest
import torch
from torchdiffeq import odeint, odeint_adjoint, odeint_event

import stepsmith as ss
from stepsmith.controllers.hosts import torchdiffeq as host

importlib.import_module("torchdiffeq")
SOLVERS = sys.modules["torchdiffeq._impl.odeint"].SOLVERS
OWN, PI = ss.controller("torchdiffeq"), ss.controller("pi34")
F64 = torch.float64


def relaxation(t, y):
    return torch.stack([y[1], 8.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])


def predator(t, y):
    return torch.stack([1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]])


def pulses(t, y):
    # narrow bumps, which every method meets with a rejection
    return -y + 50.0 * torch.exp(-((5.0 * torch.sin(t * 2.0)) ** 2))


def turn(t, y):
    return 1j * y - 0.1 * y


PROBLEMS = {
    "relaxation": (relaxation, [2.0, 0.0], 5.0), "predator": (predator, [10.0, 5.0], 4.0),
    "pulses": (pulses, [1.0, -0.5], 4.0), "turn": (turn, [1.0 + 0.5j, 0.2j], 6.0),
}  # fmt: skip


@pytest.fixture
def own_log():
    """torchdiffeq's own methods under the name "logged_<method>", and a list of their attempts (t, size, accepted)."""
    log = []
    for base in host.METHODS:

        def step(self, state, _solver=SOLVERS[base]):
            after = _solver._adaptive_step(self, state)
            log.append((float(state.t1.detach()), float(state.dt.detach()), bool(after.t1 > state.t1)))
            return after

        SOLVERS["logged_" + base] = type("Logged", (SOLVERS[base],), {"_adaptive_step": step})
    yield log
    for base in host.METHODS:
        del SOLVERS["logged_" + base]


@pytest.mark.parametrize(
    ("base", "name", "rtol"),
    # dopri8's long steps over the pulses amplify rounding: it is not among them
    [("dopri5", n, 1e-5) for n in PROBLEMS] + [("dopri8", n, 1e-5) for n in PROBLEMS if n != "pulses"]
    + [("bosh3", "relaxation", 1e-4), ("bosh3", "pulses", 1e-3), ("adaptive_heun", "predator", 1e-3),
       ("fehlberg2", "pulses", 1e-3)],
)  # fmt: skip
@pytest.mark.parametrize("backwards", [False, True])
def test_with_its_own_law_steps_outputs_and_gradients_are_its_own(own_log, base, name, rtol, backwards):
    func, y0, end = PROBLEMS[name]
    t = torch.linspace(0.0, end, 4, dtype=F64)
    if backwards:
        t, func = -t, lambda t, y, forward=func: -forward(-t, y)
    found = []
    method = OWN.for_torchdiffeq(base)
    for which in ("logged_" + base, method):
        y = torch.tensor(y0, requires_grad=True) if name == "turn" else torch.tensor(y0, dtype=F64, requires_grad=True)
        out = odeint(func, y, t, method=which, rtol=rtol, atol=rtol / 100.0)
        found.append((out.detach(), torch.autograd.grad(out[-1].abs().sum(), y)[0]))
    sizes = np.array([h for _, h, accepted in own_log if accepted])
    stats = method.stats
    assert (stats.naccept, stats.nreject) == (len(sizes), len(own_log) - len(sizes))
    np.testing.assert_allclose(stats.steps, sizes, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.diff(stats.times)), sizes, rtol=1e-6)
    for mine, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7 if name != "turn" else 1e-4, atol=1e-9)
    if name == "pulses":
        assert stats.nreject >= 4


def test_the_adjoint_gradients_are_its_own_and_counts_are_kept_apart():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    calls = []

    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, t, y):
            calls.append(1)
            return self.net(y)

    field, y0, t = Field(), torch.randn(4, 3, dtype=F64), torch.linspace(0.0, 2.0, 4, dtype=F64)
    found = []
    method = OWN.for_torchdiffeq("dopri5")
    for which in ("dopri5", method):
        calls.clear()
        out = odeint_adjoint(field, y0, t, method=which, rtol=1e-6, atol=1e-8)
        forward = len(calls)
        field.zero_grad()
        out[-1].pow(2).sum().backward()
        found.append([p.grad.clone() for p in net.parameters()] + [out.detach()])
    for mine, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    totals = method.totals(restart=True)
    assert totals == {
        "nfev": forward, "nfev_adjoint": len(calls) - forward, "solves": 1, "solves_adjoint": 3
    }  # fmt: skip
    assert totals["nfev_adjoint"] > 0 and set(method.totals().values()) == {0}
    assert [s.adjoint for s in method.history] == [False, True, True, True]
    assert method.stats is method.history[0] and method.stats.nfev == forward
    assert method.history[1].times[0] == 2.0 and method.history[1].times[-1] < 4.0 / 3.0 + 1e-12


def test_events_and_their_gradient():
    method = OWN.for_torchdiffeq("dopri5")
    found = []
    for which in ("dopri5", method):
        y0 = torch.tensor([1.0, 0.0], dtype=F64, requires_grad=True)
        when, y = odeint_event(
            lambda t, y: torch.stack([y[1], -torch.ones_like(y[1])]), y0, torch.tensor(0.0, dtype=F64),
            event_fn=lambda t, y: y[0], method=which, atol=1e-9, rtol=1e-9,
        )  # fmt: skip
        found.append((when.detach(), y.detach(), torch.autograd.grad(when, y0)[0]))
    for mine, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    assert float(found[1][0]) == pytest.approx(math.sqrt(2.0), abs=1e-8)
    assert method.stats.failure is None and method.stats.naccept > 0
    fall = (lambda t, y: -y, torch.ones(1, dtype=F64), torch.tensor(0.0, dtype=F64))
    for refused, what in (
        (OWN.for_torchdiffeq(even_steps=True), "even_steps needs an end time"),
        (ss.controller("kuramoto").for_torchdiffeq(), "odeint_event.*time_left.*t_left, span"),
    ):
        with pytest.raises(ValueError, match=what):
            odeint_event(*fall, event_fn=lambda t, y: y[0] - 0.5, method=refused)


def test_tuples_tolerances_of_each_and_float32():
    def func(t, state):
        return -state[0], state[1] * 0.5

    y0 = (torch.ones(3, dtype=torch.float32), torch.full((2, 2), 2.0, dtype=torch.float32))
    t = torch.tensor([0.0, 1.0])
    for rtol, atol in ((1e-5, 1e-7), ((1e-5, 1e-3), (1e-7, 1e-5))):
        method = OWN.for_torchdiffeq("dopri5")
        theirs = odeint(func, y0, t, rtol=rtol, atol=atol, method="dopri5")
        mine = odeint(func, y0, t, rtol=rtol, atol=atol, method=method)
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == torch.float32 and a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(mine[0][-1], torch.full((3,), math.exp(-1.0)), rtol=1e-3, atol=0.0)


def test_prescribed_times_callbacks_and_bounds_of_sizes():
    class Field(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.told = []

        def forward(self, t, y):
            return torch.where(t < 0.7, -1.0, 1.0) * y

        def callback_step(self, t0, y0, dt):
            self.told.append("step")

        def callback_accept_step(self, t0, y0, dt):
            self.told.append("accept")

        def callback_reject_step(self, t0, y0, dt):
            self.told.append("reject")

    y0, t = torch.ones(2, dtype=F64), torch.tensor([0.0, 1.5], dtype=F64)
    options = {"jump_t": torch.tensor([0.7], dtype=F64), "step_t": torch.tensor([0.25], dtype=F64), "max_step": 0.2}
    field, method = Field(), PI.for_torchdiffeq("dopri5")
    out = odeint(field, y0, t, method=method, options=options, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(out[-1], torch.full((2,), math.exp(0.1), dtype=F64), rtol=1e-7, atol=0.0)
    stats = method.stats
    assert {0.25, 0.7} <= set(stats.times) and max(stats.steps) <= 0.2 + 1e-15
    assert field.told.count("step") == stats.naccept + stats.nreject
    assert (field.told.count("accept"), field.told.count("reject")) == (stats.naccept, stats.nreject)
    # the step after a shortened one has the size that was asked for before
    after = stats.steps[stats.times.index(0.25)]
    assert after > 2.0 * stats.steps[stats.times.index(0.25) - 1]

    forced = PI.for_torchdiffeq("dopri5")
    odeint(relaxation, y0, t, method=forced, options={"min_step": 0.5}, rtol=1e-12, atol=1e-12)
    assert forced.stats.nforced == forced.stats.naccept == 3 and forced.stats.nreject == 0


@pytest.mark.parametrize("backwards", [False, True])
def test_even_steps_end_at_the_end_and_evaluate_nothing_beyond(backwards):
    seen = []

    def func(t, y):
        seen.append(float(t))
        return torch.cos(t) * y

    t = torch.tensor([0.0, 0.3, 2.0], dtype=F64)
    t = -t if backwards else t
    method = PI.for_torchdiffeq("dopri5", even_steps=True)
    y0 = torch.tensor([[1.0], [2.0]], dtype=F64)
    out = odeint(func, y0, t, method=method, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(out[-1], y0 * math.exp(math.sin(float(t[-1]))), rtol=1e-5, atol=0.0)
    assert max(map(abs, seen)) <= 2.0 and abs(method.stats.times[-1]) == 2.0
    # truncation would leave a last step of any size: here it is no shorter than half of what was asked for
    assert method.stats.steps[-1] > 0.2 * method.stats.steps[-2]
    plain = PI.for_torchdiffeq("dopri5")
    odeint(func, y0, t, method=plain, rtol=1e-7, atol=1e-9)
    assert abs(plain.stats.times[-1]) > 2.0 and max(map(abs, seen)) > 2.0
    seen.clear()
    constant = PI.for_torchdiffeq("dopri5", even_steps=True)
    odeint(lambda t, y: seen.append(float(t)) or 0.0 * y, y0, t, method=constant)
    assert max(map(abs, seen)) <= 2.0


def test_a_warm_start_goes_on_from_the_last_solve_of_its_kind():
    y0, t = torch.tensor([10.0, 5.0], dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    method, cold = PI.for_torchdiffeq("dopri5", warm_start=True), PI.for_torchdiffeq("dopri5")
    want = odeint(predator, y0, t, method=cold)
    odeint(predator, y0, t, method=method)
    assert method.stats.steps == cold.stats.steps and method.stats.nfev == cold.stats.nfev
    first = method.stats
    out = odeint(predator, y0, t, method=method)
    assert method.stats.steps[0] == pytest.approx(first.steps[1], rel=1e-12)
    assert method.stats.nfev == 1 + 6 * (method.stats.naccept + method.stats.nreject)
    assert method.stats.nfev < first.nfev
    torch.testing.assert_close(out, want, rtol=1e-5, atol=1e-7)
    for other in (t + 1.0, -t):  # another start, another direction: other kinds
        odeint(predator, y0, other, method=method)
        assert method.stats.nfev == 2 + 6 * (method.stats.naccept + method.stats.nreject)
    odeint(predator, y0, t * 1e-3, method=method)  # another end: the same kind, and no step beyond it
    assert method.stats.nfev == 7 and method.stats.steps == [2e-3]
    for size in (3, 2):  # another batch: the same kind
        odeint(lambda t, y: -y, torch.ones(size, 4, dtype=F64), t, method=method)
    assert method.stats.nfev == 1 + 6 * (method.stats.naccept + method.stats.nreject)
    method.reset()
    odeint(predator, y0, t, method=method)
    assert method.stats.steps == first.steps
    with pytest.raises(ValueError, match="warm_start chooses the first step"):
        odeint(predator, y0, t, method=method, options={"first_step": 0.1})
    for k in range(80):
        odeint(lambda t, y: -y, y0, torch.tensor([1e-3 * (k + 1), 0.5], dtype=F64), method=method)
    assert len(method.book._warm) == 64


def test_a_method_leaves_the_table_when_it_goes_and_copies_are_methods_of_their_own():
    gc.collect()
    before = set(SOLVERS)
    method = PI.for_torchdiffeq("bosh3", even_steps=True)
    y0, t = torch.tensor([10.0, 5.0], dtype=F64), torch.tensor([0.0, 2.0], dtype=F64)
    want = odeint(predator, y0, t, method=method, rtol=1e-5)
    twins = [copy.copy(method), copy.deepcopy(method), pickle.loads(pickle.dumps(method))]
    assert len({method, *twins}) == 4 and set(SOLVERS) == before | {method, *twins}
    for twin in twins:
        assert twin.stats is None and twin.book.even_steps
        assert torch.equal(odeint(predator, y0, t, method=twin, rtol=1e-5), want)
    del method, twins, twin
    gc.collect()
    assert set(SOLVERS) == before


def test_solves_one_after_the_other_and_in_threads_are_the_same():
    method, t = ss.controller("h211b").for_torchdiffeq("dopri5"), torch.tensor([0.0, 3.0], dtype=F64)
    starts = [torch.tensor([10.0, 5.0 + k], dtype=F64) for k in range(4)]
    want = [odeint(predator, y, t, method=method, rtol=1e-6) for y in starts]
    nfev = method.totals(restart=True)["nfev"]
    found = [None] * 4

    def solve(k):
        found[k] = odeint(predator, starts[k], t, method=method, rtol=1e-6)

    threads = [threading.Thread(target=solve, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    assert method.totals()["nfev"] == nfev and method.totals()["solves"] == 4


@pytest.mark.parametrize("kind", ["step_t", "jump_t"])
def test_prescribed_times_that_even_steps_land_on(kind):
    """Steps of .2 end exactly at the prescribed times: every one of them is seen, and the slope after a jump is new."""
    stops = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=F64)

    def func(t, y):
        return (t > stops).sum().to(y.dtype).expand_as(y)

    method = ss.controller("pi34").for_torchdiffeq(even_steps=True)
    y = odeint(
        func, torch.zeros(1, dtype=F64), torch.tensor([0.0, 1.0], dtype=F64), rtol=1e-2, atol=1e-2, method=method,
        options={kind: stops, "first_step": 0.2},
    )  # fmt: skip
    assert set(np.round(stops.numpy(), 9)) <= set(np.round(method.stats.times, 9))
    if kind == "jump_t":
        assert y[-1].item() == pytest.approx(0.2 * (0 + 1 + 2 + 3 + 4), abs=1e-9)


def test_the_gradient_of_the_start_under_even_steps():
    t = torch.tensor([0.0, 0.4, 1.0], dtype=F64, requires_grad=True)
    method = ss.controller("pi34").for_torchdiffeq(even_steps=True)
    y = odeint(lambda t, y: -y, torch.ones(1, dtype=F64), t, rtol=1e-8, atol=1e-8, method=method)
    (grad,) = torch.autograd.grad(y[-1].sum(), t)
    e = np.exp(-1.0)
    assert grad.tolist() == pytest.approx([e, 0.0, -e], abs=1e-6)
    assert method.stats.times[-1] == 1.0
