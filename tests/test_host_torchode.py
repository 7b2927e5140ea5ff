"""torchode as a host: with its own law every sample takes torchode's steps, and options do what they say."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
import torchode as to

import stepsmith as ss
from stepsmith.controllers import hosts
from stepsmith.controllers.hosts import torchode as host
from stepsmith.controllers.hosts.fitting import fit
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR
from stepsmith.integrators.core.namespaces import torch_arrays
from stepsmith.integrators.core.pure import Decision

F64 = torch.float64
OWN, PI = ss.controller("torchode"), ss.controller("pi34")
MU = torch.tensor([1.0, 3.0, 8.0, 5.0], dtype=F64)
Y0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=F64)


def float32(x):
    """A number as torchode keeps tolerances."""
    return float(torch.tensor(x))


class Relaxation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stretch = torch.nn.Parameter(torch.tensor(1.0, dtype=F64))

    def forward(self, t, y):
        mu = MU[: len(y)].to(y.dtype) * self.stretch.to(y.dtype)
        return torch.stack([y[:, 1], mu * (1.0 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], dim=1)


class Pulses(Relaxation):
    def forward(self, t, y):
        return -y * self.stretch + MU[: len(y), None] * 10.0 * torch.exp(-((5.0 * torch.sin(2.0 * t)) ** 2))[:, None]


def problem(end=4.0, dtype=F64, y0=Y0, outputs=5, ask=True):
    t = torch.linspace(0.0, 1.0, outputs, dtype=dtype) * torch.tensor([[1.0], [0.8], [0.6], [1.0]])[: len(y0)] * end
    t = t.to(dtype)
    return to.InitialValueProblem(y0.to(dtype), t[:, 0], t[:, -1], t if ask else None)


def logged(controller):
    """The controller, and what it decides: (t0, dt, accept) of every attempt."""
    log, own = [], controller.adapt_step_size

    def adapt(t0, dt, *rest):
        found = own(t0, dt, *rest)
        log.append((t0.detach().clone(), dt.detach().clone(), found[0].clone()))
        return found

    controller.adapt_step_size = adapt
    return controller, log


def solved(controller, field, given, method=to.Dopri5, **options):
    y0 = given.y0.clone().requires_grad_()
    given = to.InitialValueProblem(y0, given.t_start, given.t_end, given.t_eval)
    solution = to.AutoDiffAdjoint(method(to.ODETerm(field)), controller, **options).solve(given)
    gradients = torch.autograd.grad(solution.ys[:, -1].sin().sum(), [y0, field.stretch])
    return solution, gradients


@pytest.mark.parametrize("kind", ["integral", "pid"])
@pytest.mark.parametrize(
    ("field", "method", "rtol"),
    [(Relaxation, to.Dopri5, 1e-5), (Pulses, to.Dopri5, 1e-5), (Relaxation, to.Tsit5, 1e-6), (Pulses, to.Heun, 1e-2)],
)
@pytest.mark.parametrize(("end", "ask", "through"), [(4.0, True, True), (-1.0, False, True), (4.0, False, False)])
def test_with_its_own_law_steps_outputs_and_gradients_are_its_own(kind, field, method, rtol, end, ask, through):
    atol, rtol = float32(rtol / 10.0), float32(rtol)
    term = to.ODETerm(field())
    if kind == "integral":
        law, theirs = OWN, to.IntegralController(atol, rtol, term=term)
    else:
        # gains of torchode's: e^-(ki + kp + kd), e1^(kp + 2 kd), e2^-kd; missing lags are 1
        law = OWN.replace(b1=0.9, b2=-0.3, b3=0.1, reject_max=1.0)
        theirs = to.PIDController(atol, rtol, pcoeff=0.1, icoeff=0.7, dcoeff=0.1, term=term)
    theirs, log = logged(theirs)
    mine, own_log = logged(law.for_torchode(atol, rtol, term=term))
    given = problem(end, ask=ask)
    found = [
        solved(c, term.f, given, method, backprop_through_step_size_control=through) for c in (theirs, mine)
    ]  # fmt: skip
    assert len(log) == len(own_log)
    for (t, dt, accept), (t_own, dt_own, accept_own) in zip(log, own_log, strict=True):
        live = (given.t_end - t).abs() > 1e-9
        assert torch.equal(accept[live], accept_own[live])
        torch.testing.assert_close(t_own, t, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(dt_own[live], dt[live], rtol=1e-6, atol=1e-9)
    (a, ga), (b, gb) = found
    assert torch.equal(a.stats["n_accepted"], b.stats["n_accepted"]) and torch.equal(a.status, b.status)
    assert torch.equal(b.stats["n_rejected"], b.stats["n_steps"] - b.stats["n_accepted"])
    assert not b.stats["n_fallback"].any() and (end < 0.0 or b.stats["n_rejected"].sum() > 0)
    torch.testing.assert_close(b.ys, a.ys, rtol=1e-6, atol=1e-8)
    for x, y in zip(gb, ga, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-7)


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [4.0, -1.0])
def test_even_steps_end_at_the_end(end):
    term, given = to.ODETerm(Relaxation()), problem(end)
    plain, log = logged(PI.for_torchode(1e-7, 1e-5, term=term))
    even, even_log = logged(PI.for_torchode(1e-7, 1e-5, term=term, even_steps=True))
    sols = [to.AutoDiffAdjoint(to.Dopri5(term), c).solve(given) for c in (plain, even)]
    torch.testing.assert_close(sols[1].ys, sols[0].ys, rtol=1e-2, atol=1e-3)
    assert not sols[1].status.any()

    def last_two(log, k):
        sizes = [abs(float(dt[k])) for t, dt, accept in log if accept[k] and abs(float(t[k] - given.t_end[k])) > 1e-12]
        return sizes[-1] / sizes[-2]

    assert min(last_two(even_log, k) for k in range(4)) > 0.2
    one = to.ODETerm(lambda t, y: torch.ones_like(y))
    t = torch.tensor([[0.0, 1.0]], dtype=F64)
    constant = ss.controllers.laws.get("constant", h=0.3).for_torchode(1e-7, 1e-5, even_steps=True, term=one)
    constant, log = logged(constant)
    to.AutoDiffAdjoint(to.Dopri5(one), constant).solve(to.InitialValueProblem(Y0[:1], t[:, 0], t[:, 1]))
    np.testing.assert_allclose([float(dt) for _, dt, _ in log], 0.25, rtol=1e-12)  # 4 equal steps of at most .3


def test_a_warm_start_goes_on_from_the_last_solve_of_its_kind():
    term, given = to.ODETerm(Relaxation()), problem()
    controller, log = logged(PI.for_torchode(1e-7, 1e-5, term=term, warm_start=True))
    solver = to.AutoDiffAdjoint(to.Dopri5(term), controller)
    first = solver.solve(given)
    begun = len(log)
    # the sizes after each sample's first accepted step; none was rejected before it
    assert all(log[0][2])
    second = solver.solve(given)
    sizes = log[begun][1]
    torch.testing.assert_close(sizes, log[1][1].min().expand(4), rtol=1e-12, atol=0.0)
    assert (second.stats["n_f_evals"] < first.stats["n_f_evals"]).all()
    assert second.stats["n_f_evals"][0] == 1 + 6 * second.stats["n_steps"].max()
    torch.testing.assert_close(second.ys, first.ys, rtol=1e-3, atol=1e-4)
    begun = len(log)
    solver.solve(given, dt0=torch.full((4,), 0.05, dtype=F64))
    assert (log[begun][1] == 0.05).all()
    begun = len(log)
    solver.solve(problem(end=2.0, y0=Y0[:3]))  # fewer samples and another end: the same kind
    assert len(set(log[begun][1].tolist())) == 1
    controller.reset()
    begun = len(log)
    assert solver.solve(given).stats["n_steps"].tolist() == first.stats["n_steps"].tolist()
    assert torch.equal(log[begun][1], log[0][1])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_dtypes_are_kept_and_a_cast_leaves_the_coefficients(dtype):
    field = Relaxation()
    term, controller = to.ODETerm(field), ss.controller("h211b").for_torchode(1e-6, 1e-5)
    controller.term = term
    controller = controller.to(torch.float32)
    assert controller.params.dtype == F64
    assert torch.equal(controller.params, torch.tensor(ss.controller("h211b").params))
    solution = to.AutoDiffAdjoint(to.Dopri5(term), controller).solve(problem(dtype=dtype))
    assert solution.ys.dtype == dtype and not solution.status.any()
    exact = to.AutoDiffAdjoint(to.Dopri5(term), to.IntegralController(1e-12, 1e-10, term=term)).solve(problem())
    torch.testing.assert_close(solution.ys.double(), exact.ys, rtol=1e-2, atol=3e-2)


def test_tolerances_of_each_component_and_bounds_of_sizes():
    term, given = to.ODETerm(Relaxation()), problem()
    same = [
        to.AutoDiffAdjoint(to.Dopri5(term), PI.for_torchode(atol, rtol, term=term)).solve(given)
        for atol, rtol in ((1e-7, 1e-5), (torch.full((4, 2), 1e-7), torch.tensor([1e-5, 1e-5], dtype=F64)))
    ]
    torch.testing.assert_close(same[1].ys, same[0].ys, rtol=1e-5, atol=1e-6)
    looser = PI.for_torchode(1e-7, torch.tensor([[1e-5], [1e-5], [1e-2], [1e-5]], dtype=F64), term=term)
    steps = to.AutoDiffAdjoint(to.Dopri5(term), looser).solve(given).stats["n_steps"]
    assert steps[2] < same[0].stats["n_steps"][2] and steps[0] == same[0].stats["n_steps"][0]
    short, log = logged(PI.for_torchode(1e-2, 1e-2, term=term, dt_max=0.02))
    to.AutoDiffAdjoint(to.Dopri5(term), short).solve(given)
    assert max(float(dt.abs().max()) for _, dt, _ in log) <= 0.02


def test_the_tolerance_scale_is_used():
    class Scaled:
        def __getattr__(self, name):
            return getattr(PI, name)

        tolerance_scale = 10.0

    term, given = to.ODETerm(Relaxation()), problem()
    a = to.AutoDiffAdjoint(to.Dopri5(term), host.step_size_controller(Scaled(), 1e-8, 1e-6, term=term)).solve(given)
    b = to.AutoDiffAdjoint(to.Dopri5(term), PI.for_torchode(1e-7, 1e-5, term=term)).solve(given)
    assert torch.equal(a.stats["n_steps"], b.stats["n_steps"])
    torch.testing.assert_close(a.ys, b.ys, rtol=1e-8, atol=1e-10)


def test_what_it_cannot_run_is_refused():
    with pytest.raises(ValueError, match="log_hs, log_curv need hs, curv"):
        ss.controller("three-body").for_torchode()
    with pytest.raises(TypeError, match="a controller is needed"):
        host.step_size_controller(object(), 1e-6, 1e-6)
    for option, value in (("rtol", -1.0), ("dt_min", 0.0), ("max_steps", 1.5), ("even_steps", 1)):
        with pytest.raises(ValueError, match=option):
            PI.for_torchode(**{option: value})
    field = to.ODETerm(Relaxation())
    with pytest.raises(ValueError, match=r"no term.*for_torchode\(term="):
        to.AutoDiffAdjoint(to.Dopri5(field), PI.for_torchode()).solve(problem())
    with pytest.raises(ValueError, match="needs an error estimate"):
        to.AutoDiffAdjoint(to.Euler(field), PI.for_torchode(term=field)).solve(problem())


def field_of_module(t, y):
    return -y


def test_one_object_serves_solves_threads_and_copies():
    term, given = to.ODETerm(Relaxation(), with_stats=False), problem()
    solver = to.AutoDiffAdjoint(to.Dopri5(term), ss.controller("h211b").for_torchode(1e-7, 1e-5, term=term))
    want = solver.solve(given).ys
    found = [None] * 3

    def solve(k):
        found[k] = solver.solve(given).ys

    threads = [threading.Thread(target=solve, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(ys, want) for ys in found)
    controller = PI.for_torchode(1e-7, torch.tensor(1e-5, dtype=F64), dt_max=0.5)
    twins = [controller, copy.deepcopy(controller), pickle.loads(pickle.dumps(controller))]
    ys = [to.AutoDiffAdjoint(to.Dopri5(term), twin).solve(given, term=term).ys for twin in twins]
    assert torch.equal(ys[1], ys[0]) and torch.equal(ys[2], ys[0]) and twins[1].controller is controller.controller


@pytest.mark.parametrize("name", ["pi34"])
def test_it_compiles_where_torchode_does(name):
    # torchode's loop branches on data: the frames within it are compiled, not the whole
    import torch._dynamo.testing

    term, given = to.ODETerm(field_of_module, with_stats=False), problem()
    solver = to.AutoDiffAdjoint(to.Dopri5(term), ss.controller(name).for_torchode(1e-7, 1e-5, term=term))
    want = solver.solve(given).ys
    torch._dynamo.reset()
    counted = torch._dynamo.testing.CompileCounter()
    assert torch.equal(torch.compile(solver.solve, backend=counted)(given).ys, want)
    assert counted.frame_count > 1


# -- the decision itself -----------------------------------------------------------------------------------------------


class Replayed:
    """The decision of a controller of this host, in torch, on records that were written down."""

    slots = host.SLOTS

    def __init__(self, controller, lanes):
        self.decide_ = Decision(controller, torch_arrays())
        self.params = torch.tensor(controller.params)
        self.state = self.decide_.start(self.params, torch.zeros(lanes, dtype=F64))

    def decide(self, record):
        out, self.state = self.decide_(self.params, self.state, [torch.from_numpy(row) for row in record])
        return out[ACCEPT].numpy(), out[LOG_FACTOR].numpy()


@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive", "lorenz96", "three-body"])
def test_the_decision_is_that_of_the_engine_on_its_records(name):
    controller = ss.controller(name)
    log = hosts.recorded(ss.problems.make("arenstorf"), controller.trained_method or "dopri5", controller)
    records = np.stack([log.records, np.roll(log.records, 7, axis=0)], axis=1)
    assert len(records) > 100
    if name == "three-body":  # not run here, but its network is a longer test of the arithmetic

        class Seeing(Replayed):
            slots = frozenset(range(rec.N_RECORD))

        hosts.check(Seeing, controller, records, tolerance=4e-15)
        return
    fit(controller, "torchode", host.SLOTS)
    hosts.check(Replayed, controller, records, tolerance=1e-15)


@pytest.mark.parametrize("through", [True, False])
def test_gradients_of_the_ends_under_even_steps(through):
    """d/dt1 exp(-(t1 - t0)) = -exp(-(t1 - t0)), of every sample."""
    term = to.ODETerm(lambda t, y: -y)
    sizes = ss.controller("pi34").for_torchode(1e-8, 1e-8, term=term, even_steps=True)
    solver = to.AutoDiffAdjoint(to.Dopri5(term=term), sizes, backprop_through_step_size_control=through)
    start = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    end = torch.tensor([1.0, 1.5, 2.0, 2.5], dtype=torch.float64, requires_grad=True)
    sol = solver.solve(to.InitialValueProblem(torch.ones(4, 1, dtype=torch.float64), start, end))
    grads = torch.autograd.grad(sol.ys[:, -1].sum(), (start, end))
    want = torch.exp(-end.detach())
    assert torch.allclose(grads[0], want, atol=1e-5) and torch.allclose(grads[1], -want, atol=1e-5)
