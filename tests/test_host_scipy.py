"""SciPy as a host: with SciPy's own law its solvers take their own steps; with others, those of the engine."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from scipy.integrate import Radau, solve_ivp

import stepsmith as ss
from stepsmith.controllers import hosts
from stepsmith.controllers.hosts import fitting
from stepsmith.controllers.hosts.scipy import Sight
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.runner import slots_read
from stepsmith.integrators.engine.decisions import Decisions

END = "The solver successfully reached the end of the integration interval."


def predator(t, y):
    return np.array([1.5 * y[0] - y[0] * y[1], y[0] * y[1] - 3.0 * y[1]])


def relaxation(t, y):
    return np.array([y[1], 20.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])


def robertson(t, y):
    fast, slow = 1e4 * y[1] * y[2], 0.04 * y[0]
    return np.array([fast - slow, slow - fast - 3e7 * y[1] ** 2, 3e7 * y[1] ** 2])


def stiff_follower(t, y):
    return np.array([-500.0 * (y[0] - np.cos(t)), -y[1]])


def rotation(t, y):
    return 1j * y


PLAIN = [
    (predator, (0.0, 15.0), [10.0, 5.0]), (predator, (15.0, 0.0), [10.0, 5.0]), (relaxation, (0.0, 30.0), [2.0, 0.0]),
    (rotation, (0.0, 10.0), [1.0 + 0.5j, 0.2j]),
]  # fmt: skip


def both(problem, method, law, rtol=1e-5, atol=1e-8, **options):
    fn, span, y0 = problem
    return (
        solve_ivp(fn, span, y0, method=method, rtol=rtol, atol=atol, **options),
        solve_ivp(fn, span, y0, method=law.for_scipy(method), rtol=rtol, atol=atol, **options),
    )


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853"])
@pytest.mark.parametrize("problem", PLAIN, ids=["forward", "backward", "rejections", "complex"])
def test_with_scipys_law_explicit_methods_take_scipys_steps(problem, method):
    theirs, ours = both(problem, method, ss.controller("scipy"))
    assert ours.message == END and (ours.nfev, len(ours.t)) == (theirs.nfev, len(theirs.t))
    if problem[0] is not relaxation:  # there a rounding grows a millionfold
        np.testing.assert_allclose(ours.t, theirs.t, rtol=0.0, atol=1e-6)
        np.testing.assert_allclose(ours.y, theirs.y, rtol=1e-6, atol=1e-6)
    else:
        assert theirs.nfev > 1.05 * (len(theirs.t) - 1) * {"RK23": 3, "RK45": 6, "DOP853": 12}[method]  # rejections


@pytest.mark.parametrize("problem", [(predator, (0.0, 15.0), [10.0, 5.0]), (robertson, (0.0, 1e4), [1.0, 0.0, 0.0])])
def test_bdf_with_scipys_law(problem):
    """SciPy's law in BDF: the I law with the Newton limiter of four iterations, and one half where Newton fails."""
    law = ss.controller("scipy").replace(newton_m=4.0, newton_all=1.0, reject_own=1.0, nonfinite=0.5)
    theirs, ours = both(problem, "BDF", law)
    assert (ours.nfev, ours.njev, ours.nlu, len(ours.t)) == (theirs.nfev, theirs.njev, theirs.nlu, len(theirs.t))
    np.testing.assert_allclose(ours.t, theirs.t, rtol=1e-6)


def test_radau_with_scipys_law():
    """Before any rejection: after one, SciPy's predictor holds the size that the step began with for the accepted one.

    SciPy looks at Newton's rate only after three iterations and more, which the test does here.
    """
    host = ss.controller("scipy_radau").for_scipy("Radau")

    class Looking(host):
        def measured(self, *args):
            seen, finite = super().measured(*args)
            if seen[rec.NEWTON_ITERS] <= 2.0:
                seen[rec.NEWTON_RATE] = np.nan
            return seen, finite

    theirs = Radau(stiff_follower, 0.0, [0.0, 1.0], 4.0, rtol=1e-5, atol=1e-8)
    ours = Looking(stiff_follower, 0.0, [0.0, 1.0], 4.0, rtol=1e-5, atol=1e-8)
    steps = 0
    while theirs.status == "running":
        theirs.step(), ours.step()
        if ours.sight.rejected:
            break
        steps += 1
        assert ours.t == pytest.approx(theirs.t, rel=1e-9)
        if theirs.status == "running":
            # the last step is cut: SciPy keeps LU factors of another size there, and goes on from the size of the cut
            assert ours.h_abs == pytest.approx(theirs.h_abs, rel=1e-6)
            assert (ours.nlu, ours.njev) == (theirs.nlu, theirs.njev)
    assert steps >= 15


@pytest.mark.parametrize("method", ["Radau", "BDF"])
@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive"])
def test_implicit_methods_solve_robertson_under_any_law(method, name):
    """Against the reference solution of the Robertson problem at t = 40 (Mazzia and Magherini, Test Set for IVP)."""
    sol = solve_ivp(
        robertson, (0.0, 40.0), [1.0, 0.0, 0.0], method=ss.controller(name).for_scipy(method), rtol=1e-7, atol=1e-11
    )
    assert sol.success
    assert sol.y[:, -1] == pytest.approx([0.7158270688, 9.185534764e-06, 0.2841637457], rel=1e-4)


ENGINE = [("RK23", "bs32"), ("RK45", "dopri5"), ("DOP853", "dop853")]
FAMILIES = ["lotka_volterra", "brusselator", "henon_heiles", "kepler", "arenstorf"]


@pytest.mark.parametrize(("host", "own"), ENGINE)
@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive"])
def test_closed_loop_takes_the_engines_steps(host, own, name):
    """The same pairs are in the engine, which has its tableaus from elsewhere."""
    controller = ss.controller(name)
    for family in FAMILIES:
        steps_agree(family, host, own, controller)


def test_closed_loop_with_a_learned_controller():
    """One that reads stages and the time left."""
    for family in FAMILIES:
        steps_agree(family, "RK45", "dopri5", ss.controller("kuramoto"))


def steps_agree(family, host, own, controller):
    problem = ss.problems.make(family, seed=1)
    lo, hi = problem.t_span
    span = (lo, lo + 0.2 * (hi - lo))

    def fn(t, y):
        dy = np.empty_like(y)
        problem.rhs(t, y, problem.p, dy)
        return dy

    theirs = solve_ivp(
        fn, span, problem.y0, method=controller.for_scipy(host), rtol=1e-4, atol=1e-7, first_step=1e-3 * (span[1] - lo)
    )
    cut = ss.Problem(rhs=problem.rhs, y0=problem.y0, t_span=span, p=problem.p)
    ours = ss.solve(cut, own, controller, rtol=1e-4, atol=1e-7, first_step=1e-3 * (span[1] - lo), log=True)
    assert theirs.success and len(theirs.t) - 1 == ours.stats.naccept
    np.testing.assert_allclose(theirs.t, ours.t, rtol=1e-6, atol=1e-6 * (span[1] - lo))


@pytest.mark.parametrize("name", ["pi34", "h211b", "predictive", "three-body"])
def test_decisions_on_records_that_the_engine_wrote(name):
    controller = ss.controller(name)
    log = hosts.recorded(ss.problems.make("arenstorf"), "tsit5", controller, rtol=1e-5, atol=1e-8)
    sight = Sight(Decisions(controller), slots_read(controller))
    assert (log.accept == 0.0).any() or name == "three-body"
    for row, accept, answer in zip(log.records, log.accept, log.log_factor, strict=True):
        got = sight.decide({slot: float(value) for slot, value in enumerate(row)})
        assert got[0] == bool(accept)
        assert abs(np.log(got[1]) - answer) <= 4.0 * np.spacing(max(1.0, abs(answer)))


def test_dense_output_events_and_times():
    law = ss.controller("pi34").for_scipy("RK45")
    times = np.linspace(0.0, 10.0, 41)
    sol = solve_ivp(
        lambda t, y: [y[1], -y[0]], (0.0, 10.0), [0.0, 1.0], method=law, t_eval=times, dense_output=True, rtol=1e-8,
        atol=1e-10, events=lambda t, y: y[0],
    )  # fmt: skip
    assert sol.y[0] == pytest.approx(np.sin(times), abs=1e-6) and sol.sol(0.123)[0] == pytest.approx(np.sin(0.123))
    assert sol.t_events[0][1:] == pytest.approx(np.pi * np.arange(1, 4), abs=1e-6)


def test_options_of_solve_ivp():
    fn, span, y0 = PLAIN[0]
    law = ss.controller("scipy")
    theirs, ours = both(PLAIN[0], "RK45", law, max_step=0.05)
    assert len(ours.t) == len(theirs.t) and np.diff(ours.t).max() <= 0.05 + 1e-12
    theirs, ours = both(PLAIN[0], "RK45", law, atol=np.array([1e-8, 1e-5]), first_step=0.01)
    np.testing.assert_allclose(ours.t, theirs.t, rtol=1e-7)
    with pytest.warns(UserWarning, match="safety"):
        solve_ivp(fn, span, y0, method=law.for_scipy(), safety=0.5)
    with pytest.raises(ValueError, match="max_steps"):
        solve_ivp(fn, span, y0, method=law.for_scipy(), max_steps=0)


def test_a_tolerance_scale_holds():
    controller = ss.controller("lorenz96")
    assert controller.tolerance_scale != 1.0
    scaled = solve_ivp(*PLAIN[0], method=controller.for_scipy("RK45"), rtol=1e-6, atol=1e-8)
    plain = solve_ivp(
        *PLAIN[0], method=controller.unscaled().for_scipy("RK45"), rtol=1e-6 * controller.tolerance_scale,
        atol=1e-8 * controller.tolerance_scale,
    )  # fmt: skip
    assert scaled.t.tolist() == plain.t.tolist() and scaled.success


def test_the_constant_law_chooses_its_first_step():
    law = registry.get("constant", h=0.05)
    sol = solve_ivp(*PLAIN[0], method=law.for_scipy("RK45"))
    assert np.diff(sol.t) == pytest.approx(np.full(300, 0.05))


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853", "Radau", "BDF"])
def test_no_number_at_the_start_fails_at_once(method):
    """Where SciPy's own explicit methods never end."""
    sol = solve_ivp(
        lambda t, y: y * np.nan, (0.0, 1.0), [1.0], method=ss.controller("pi34").for_scipy(method),
        **({"jac": np.array([[0.0]])} if method in ("Radau", "BDF") else {}),
    )  # fmt: skip
    assert not sol.success and "not finite at the start" in sol.message


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853", "Radau", "BDF"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_later_fails_with_a_message(method, value):
    def fn(t, y):
        return np.where(t > 0.5, value, -y)

    jac = {"jac": np.array([[-1.0]])} if method in ("Radau", "BDF") else {}
    sol = solve_ivp(fn, (0.0, 1.0), [1.0], method=ss.controller("h211b").for_scipy(method), **jac)
    assert not sol.success and 0.4 < sol.t[-1] <= 0.5
    assert "less than spacing between numbers" in sol.message and "was not finite" in sol.message


@pytest.mark.parametrize("method", ["RK45", "DOP853", "Radau", "BDF"])
def test_blow_up_is_a_failure(method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sol = solve_ivp(lambda t, y: y**2, (0.0, 2.0), [1.0], method=ss.controller("pi34").for_scipy(method))
    assert not sol.success and sol.t[-1] == pytest.approx(1.0, abs=1e-2)


def test_attempts_are_limited():
    sol = solve_ivp(*PLAIN[0], method=ss.controller("pi34").for_scipy("RK45"), max_steps=20)
    assert not sol.success and "20 attempts" in sol.message and "max_steps" in sol.message


def test_what_a_host_does_not_show_is_refused_by_name():
    blind = Learned.random(Decision(("log_err", "log_hs"), "pi34"), (4,), rng=0)
    blind.for_scipy("RK45")
    with pytest.raises(ValueError, match="SciPy's RK23 cannot run controller 'learned': its features log_hs need hs"):
        blind.for_scipy("RK23")  # whose pair has no two stages at its end
    with pytest.raises(ValueError, match="tau_aarseth"):
        ss.controller("aarseth").for_scipy("RK45")
    with pytest.raises(ValueError, match="renewal"):
        Learned.random(Decision(("log_err",), "pi34", n_act=4), (4,), rng=0).for_scipy("Radau")
    with pytest.raises(ValueError, match="RK45"):
        ss.controller("pi34").for_scipy("RK54")
    with pytest.raises(TypeError, match="lacks"):
        fitting.fit(object(), "host", fitting.TIER0)


def test_another_method_than_it_was_trained_on_is_said():
    with pytest.warns(UserWarning, match="was trained with method 'dopri5' and is used with SciPy's RK23"):
            Learned.random(
            Decision(("log_err",), "pi34"), (4,), rng=0, name="told of nowhere", provenance={"method": "dopri5"}
        ).for_scipy("RK23")


def test_classes_are_pickled_copied_and_used_in_threads():
    host = ss.controller("three-body").unscaled().for_scipy("RK45")
    again = pickle.loads(pickle.dumps(host))
    assert again.controller.params.tolist() == host.controller.params.tolist() and again.host_name == "RK45"
    assert copy.deepcopy(ss.controller("pi34").for_scipy("BDF")).host_name == "BDF"
    alone = solve_ivp(*PLAIN[0], method=host).t
    found = {}

    def work(i):
        found[i] = solve_ivp(*PLAIN[0], method=host).t

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert all(found[i].tolist() == alone.tolist() for i in range(4))


@pytest.mark.parametrize("missing", ["torch", "torchdiffeq"])
def test_what_a_host_stands_on_is_named_with_the_command(missing, tmp_path):
    """In a process of its own, where the library cannot be found."""
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "import stepsmith as ss\n"
        "try:\n    ss.controller('pi34').for_torchdiffeq()\n"
        "except ImportError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pip install 'stepsmith[torchdiffeq]'" in done.stdout and missing in done.stdout


def test_a_library_that_is_missing_or_another_version(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ImportError, match=r"pip install 'stepsmith\[diffrax\]'"):
        fitting.library("diffrax", "0.7", "0.8")
    with pytest.warns(UserWarning, match="scipy .* is not among the versions .* tested with, 99.0 to before 100"):
        fitting.library("scipy", "99.0", "100")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitting.library("scipy", "1.13", "100")


def test_bdf_begins_with_the_laws_own_first_size():
    """Its table of differences is that of the size: the first step has the error of SciPy's with that first_step."""
    law = registry.get("constant", h=0.01)
    ends = []
    for method, options in ((law.for_scipy("BDF"), {}), ("BDF", {"first_step": 0.01})):
        sol = solve_ivp(lambda t, y: -y, (0.0, 1.0), [1.0], method=method, rtol=1e-3, atol=1e-6, **options)
        assert sol.t[1] == pytest.approx(0.01)
        ends.append(abs(sol.y[0, 1] - np.exp(-0.01)))
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)


def test_bdf_grows_tenfold_at_most():
    law = ss.controller("i").replace(fmax=1000.0, fmax_first=1000.0)
    sol = solve_ivp(lambda t, y: 0.0 * y, (0.0, 1e6), [1.0], method=law.for_scipy("BDF"), first_step=1e-3)
    steps = np.diff(sol.t)
    assert sol.success and (steps[1:] / steps[:-1]).max() <= 10.0 * (1.0 + 1e-9)


def test_a_tolerance_that_is_no_number():
    with pytest.raises(ValueError, match="rtol must be finite, got nan"):
        solve_ivp(*PLAIN[0], method=ss.controller("pi34").for_scipy(), rtol=np.nan)


@pytest.mark.parametrize("method", ["Radau", "BDF"])
def test_a_jacobian_that_is_not_finite_in_mid_flight(method):
    """SciPy's own methods raise ValueError out of the linear algebra."""
    def fn(t, y):
        return np.where(t > 0.5, np.nan, -50.0 * y * (1.0 + y**2))

    sol = solve_ivp(fn, (0.0, 1.0), [3.0], method=ss.controller("pi34").for_scipy(method))
    assert not sol.success and sol.t[-1] <= 0.5
    assert "not finite" in sol.message
