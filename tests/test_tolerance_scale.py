"""A controller's tolerance scale s: solving at rtol, atol is solving at s rtol, s atol without it, on every host."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch

import stepsmith as ss
from controller_files import forge, network, parts, same
from stepsmith.controllers import file, hosts
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core import tolerance_scale
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine.solve import Solution

torch.set_num_threads(1)

S = 0.3


def zoo(name: str = "three-body", scale: float = S) -> tuple[Learned, Learned]:
    """A shipped controller without a scale, and with one."""
    plain = ss.load_controller(name).unscaled()
    return plain, plain.replace(tolerance_scale=scale)


def equal(a, b) -> None:
    """Two solutions are the same to the last bit, counts included."""
    for field in dataclasses.fields(a.stats):
        if field.name != "wall_s":
            np.testing.assert_array_equal(getattr(a.stats, field.name), getattr(b.stats, field.name), field.name)
    for name in ("t", "y", "record", "y_eval", "status"):
        x, y = getattr(a, name, None), getattr(b, name, None)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y, err_msg=name)


CASES = [  # family, method, controller, relative and absolute tolerance
    ("three_body", "tsit5", "three-body", 1e-5, 1e-6),
    ("steppo_vdpol", "kvaerno5", "steppo", 1e-4, np.array([1e-6, 1e-7])),
]


@pytest.mark.parametrize("family, method, name, rtol, atol", CASES)
def test_one_solve_and_ensembles_work_at_the_scaled_tolerances(family, method, name, rtol, atol):
    plain, scaled = zoo(name)
    problem = ss.problems.make(family)
    got = ss.solve(problem, method, scaled, rtol, atol, log=True)
    hand = ss.solve(problem, method, plain, S * rtol, S * atol, log=True)
    equal(got, hand)
    assert got.stats.nfev != ss.solve(problem, method, plain, rtol, atol).stats.nfev
    assert set(got.record[:, rec.RTOL]) == {S * rtol} and got.tolerance_scale == S and hand.tolerance_scale == 1.0
    assert "at 0.3 times the tolerances asked for" in str(got) and "asked for" not in str(hand)
    batch = ss.problems.sample(family, n=10, seed=1)
    each = rtol * np.geomspace(0.1, 1.0, 10)
    for chunk in (None, 4):
        more = ss.solve_ensemble(batch, method, scaled, each, atol, [0.5 * batch.t1.min()], chunk=chunk)
        equal(more, ss.solve_ensemble(batch, method, plain, S * each, S * atol, [0.5 * batch.t1.min()]))
        assert more.tolerance_scale == S and "at 0.3 times the tolerances asked for" in repr(more)


def test_a_method_of_n_bodies_works_at_the_scaled_tolerances():
    decision = Decision(("log_err", "log_err_1", "log_tol"), "pi34")
    plain = Learned.random(decision, (4,), 0, 0.5)
    problem = ss.problems.make("three_body")
    got = ss.solve(problem, "hermite4", plain.replace(tolerance_scale=S), 1e-5, 1e-6)
    equal(got, ss.solve(problem, "hermite4", plain, S * 1e-5, S * 1e-6))


def test_a_scale_of_one_changes_nothing():
    plain, _ = zoo()
    again = plain.replace(tolerance_scale=1)
    assert same(plain, again) and repr(plain) == repr(again) and "tolerance_scale" not in file.document(again)
    problem = ss.problems.make("three_body")
    equal(ss.solve(problem, "tsit5", plain, 1e-5, 1e-6), ss.solve(problem, "tsit5", again, 1e-5, 1e-6))
    assert tolerance_scale.of(ss.controller("pi34")) == tolerance_scale.of(plain.decision) == 1.0
    assert tolerance_scale.unscaled(plain) is plain
    with pytest.raises(ValueError, match="rtol must be at most 10"):
        ss.solve(problem, "tsit5", again, 11.0)


def field(t, y):
    return torch.stack([y[:, 1], -torch.sin(y[:, 0])], 1)


@pytest.mark.parametrize("adjoint", ["discrete", "backsolve"])
@pytest.mark.parametrize("per_sample", [True, False])
def test_the_solver_in_torch_works_at_the_scaled_tolerances(adjoint, per_sample):
    plain, scaled = zoo("neural-field")
    outs = []
    for controller, factor in ((scaled, 1.0), (plain, S)):
        y0 = torch.linspace(0.2, 2.0, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
        more = {} if adjoint == "discrete" else {"adjoint_params": (), "adjoint_atol": factor * 1e-5}
        sol = ss.neural.odeint(
            field, y0, torch.tensor([0.0, 3.0]), "tsit5", controller, factor * 1e-4, factor * 1e-4, adjoint,
            per_sample=per_sample, **more,
        )  # fmt: skip
        sol.y.square().sum().backward()
        s = sol.stats  # the first solve of a function also looks at it
        outs.append((sol.y, y0.grad, sol.heuristics.E, torch.tensor([s.nfev - s.nfev_check, s.nfev_backward])))
        assert sol.tolerance_scale == S / factor
    for got, hand in zip(*outs, strict=True):
        assert torch.equal(got, hand)


def test_a_module_works_at_the_scaled_tolerances():
    plain, scaled = zoo("neural-field")
    y0, t = torch.linspace(0.2, 2.0, 6, dtype=torch.float64).reshape(3, 2), torch.tensor([0.0, 3.0])
    module = ss.neural.NeuralODE(field, controller=scaled, rtol=1e-4, atol=1e-4, regulariser="er_mean")
    hand = ss.neural.NeuralODE(field, controller=plain, rtol=S * 1e-4, atol=S * 1e-4, regulariser="er_mean")
    for ode in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(ode(y0, t).y, hand(y0, t).y) and torch.equal(ode(y0, t).penalty, hand(y0, t).penalty)


class Host:
    """A host whose tolerances cannot be reached: its adapter scales what the host has measured."""

    slots = frozenset(range(rec.N_RECORD))

    def __init__(self, controller, lanes):
        self.runner, self.scale = Runner(controller, lanes), tolerance_scale.of(controller)

    def decide(self, record):
        out = self.runner.decide(hosts.at_scale(record, self.scale))
        return out[ACCEPT], out[LOG_FACTOR]


def test_a_host_that_divides_errors_decides_as_one_that_scales_its_tolerances():
    _, scaled = zoo()
    log = hosts.recorded(ss.problems.make("three_body"), "tsit5", scaled, 1e-5, 1e-6)
    # a host that works at the scaled tolerances itself
    hosts.check(lambda c, lanes: Host(c.unscaled(), lanes), scaled, log.records)
    # what a host would have measured of the same attempts at the tolerances that were asked for
    measured = np.array([hosts.at_scale(row, 1.0 / S) for row in log.records])
    np.testing.assert_allclose(measured[:, rec.RTOL], 1e-5, rtol=1e-15)
    host = Host(scaled, 1)
    for row, accept, log_factor in zip(measured, log.accept, log.log_factor, strict=True):
        found = host.decide([np.array([v]) for v in row])
        assert found[0][0] == accept
        np.testing.assert_allclose(found[1][0], log_factor, rtol=0.0, atol=1e-12)
    assert hosts.at_scale(log.records[0], 1.0) == list(log.records[0]) or np.isnan(log.records[0]).any()


def test_it_goes_with_the_file(tmp_path):
    controller = network().replace(tolerance_scale=0.25)
    path = file.save(controller, tmp_path / "c.safetensors")
    back = file.load(path)
    assert same(back, controller) and back.tolerance_scale == 0.25 and parts(path)[0]["tolerance_scale"] == 0.25
    assert "works at 0.25 times the rtol and atol asked for" in file.describe(back)
    doc, arrays = parts(file.save(controller.unscaled(), tmp_path / "d.safetensors"))
    assert "tolerance_scale" not in doc
    for bad in (0, -1.0, "0.5", True, None, [1.0], 1e300):
        forge(path, {**doc, "tolerance_scale": bad}, arrays)
        with pytest.raises(ValueError, match="tolerance_scale must be a number in"):
            file.load(path)


def test_it_goes_with_copies_and_pickles_and_older_ones_have_none():
    _, scaled = zoo()
    for way in (copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), lambda c: c.with_weights(c.weights)):
        assert way(scaled).tolerance_scale == S and "tolerance_scale=0.3" in repr(way(scaled))
    state = scaled.__getstate__()
    del state["tolerance_scale"]
    older = object.__new__(Learned)
    older.__setstate__(state)
    assert older.tolerance_scale == 1.0 and same(older, scaled.unscaled())
    sol = ss.solve(ss.problems.make("three_body"), "tsit5", scaled, 1e-5, 1e-6)
    assert pickle.loads(pickle.dumps(sol)).tolerance_scale == S
    before = {f.name: getattr(sol, f.name) for f in dataclasses.fields(sol) if f.name != "tolerance_scale"}
    old = object.__new__(Solution)
    old.__setstate__((None, before))
    assert old.tolerance_scale == 1.0 and str(old)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1e300, 1e-300, "1", True, None])
def test_what_is_no_scale_is_refused(bad):
    takes = "tolerance_scale must be a finite number of at least 0.0001 and at most 10000"
    with pytest.raises(ValueError, match=takes):
        network().replace(tolerance_scale=bad)
    own = copy.copy(ss.load_controller("three-body"))
    own.tolerance_scale = bad
    if bad is not True:  # which equals 1
        with pytest.raises(ValueError, match="tolerance_scale must be a finite number"):
            ss.solve(ss.problems.make("three_body"), "tsit5", own)


def test_scaled_tolerances_out_of_range_say_so():
    problem, batch = ss.problems.make("three_body"), ss.problems.sample("three_body", n=2, seed=0)
    tiny, huge = zoo(scale=1e-4)[1], zoo(scale=1e4)[1]
    for run, what in ((ss.solve, problem), (ss.solve_ensemble, batch)):
        with pytest.warns(UserWarning, match=r"rtol 1e-15 \(the one asked for times the controller's tolerance_scale"):
            run(what, "tsit5", tiny, 1e-11, 1e-3, max_steps=10)
        with pytest.raises(ValueError, match=r"rtol must be at most 10, .* got 100 \(the one asked for times"):
            run(what, "tsit5", huge, 1e-2, 1e-3)
        with pytest.raises(ValueError, match=r"atol must be finite \(the one asked for times"):
            run(what, "tsit5", huge, 1e-6, 1e305)
        with pytest.raises(ValueError, match="both 0 for at least one component"):
            run(what, "tsit5", tiny, 0.0, 5e-324)
    y0, t = torch.ones(2, 2), torch.tensor([0.0, 1.0])
    with pytest.warns(UserWarning, match=r"rtol = 1e-08 \(the one asked for times"):
        ss.neural.odeint(field, y0, t, "tsit5", zoo("neural-field", 1e-4)[1], 1e-4, 1e-2)
    with pytest.raises(ValueError, match="tolerance_scale 10000 of the controller times rtol must be .* at most 1"):
        ss.neural.odeint(field, y0, t, "tsit5", zoo("neural-field", 1e4)[1], 1e-2, 1e-2)


def test_messages_count_in_the_tolerance_that_was_meant():
    # longer steps than the law's, and a threshold that is five times the law's
    eager = Learned(Decision(("log_err",), "pi34"), [(np.zeros((2, 1)), np.array([0.3, 1.0]), "linear")])
    problem, scale = ss.problems.make("three_body"), 0.5
    sol = ss.solve(problem, "tsit5", eager.replace(tolerance_scale=scale), 1e-4, 1e-4)
    assert sol.stats.naccept_over and "above 0.5 times the tolerance, where this controller works" in sol.message
    ens = ss.solve_ensemble(problem, "tsit5", eager.replace(tolerance_scale=scale), 1e-4, 1e-4)
    assert ens.message(0) == sol.message and "above the tolerance times 0.5" in repr(ens)


def test_comparisons_at_equal_error_and_environments_leave_it_out():
    from stepsmith.train.evaluate import contestants
    from stepsmith.train.evaluate.splits import draw

    plain, scaled = zoo()
    split = draw("three_body", "tsit5", "test", 3, 0)
    swept = contestants.by_tolerance("x", "learned", scaled, split).sweep(split)
    hand = split.sweep(plain)
    assert np.array_equal(swept.err, hand.err) and np.array_equal(swept.nfev, hand.nfev)
    # a search for the tolerance that a person asks for runs what the person will run
    assert not np.array_equal(split.sweep(scaled).nfev, hand.nfev)
    assert tolerance_scale.of(scaled.decision) == 1.0
    (note,) = contestants.scale_notes(contestants.guests({"x": scaled, "y": plain}, "three_body", "tsit5", ()))
    assert note == "x: its tolerance scale (0.3) is left out, for this is a comparison at equal error"


def test_comparisons_on_fields_of_neural_training_leave_it_out():
    from stepsmith.train.neural.fields import Instance

    y0, t = torch.ones(2, 2, dtype=torch.float64), torch.tensor([0.0, 2.0])
    instance = Instance("pendulum", field, y0, t, torch.zeros(1, 2, 2), (y0, t))
    plain, scaled = zoo("neural-field")
    assert torch.equal(*(instance.solve(c, "tsit5", 1e-4).y for c in (plain, scaled)))
