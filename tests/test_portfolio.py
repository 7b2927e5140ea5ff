"""A portfolio of methods: what it computes, when it switches, and that nothing a rule says can do harm."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.controllers.switching.registry import RULES, switching
from stepsmith.controllers.switching.rule import Rule
from stepsmith.controllers.switching.stiffness import auto_switch_rule
from stepsmith.controllers.switching.switching import Switching
from stepsmith.integrators import methods
from stepsmith.integrators.core import record
from stepsmith.integrators.core.contract import ACCEPT, FLAGS, METHOD
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.formulas import where
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.methods.portfolio import Portfolio

PAIR = "tsit5+rodas5p"
TOL = {"rtol": 1e-6, "atol": 1e-8}


def vdp(t, y, p):
    return [y[1], p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]]


def vdp_jac(t, y, p):
    return [[0.0, 1.0], [-2.0 * p[0] * y[0] * y[1] - 1.0, p[0] * (1.0 - y[0] * y[0])]]


def problem(mu=1000.0, end=1000.0, start=0.0):
    return ss.Problem(vdp, [2.0, 0.0], (start, end), [mu])


def reference(mu, times):
    sol = solve_ivp(
        lambda t, y: vdp(t, y, [mu]), (0.0, times[-1]), [2.0, 0.0], "Radau", times, rtol=1e-10, atol=1e-12,
        jac=lambda t, y: vdp_jac(t, y, [mu]),
    )  # fmt: skip
    return sol.y.T


@pytest.fixture(scope="module")
def stiff():
    return ss.solve(problem(), PAIR, **TOL, log=True)


def test_it_goes_over_and_back_and_is_right(stiff):
    assert stiff.success and stiff.method == PAIR and "auto_switch" in stiff.controller
    names = [name for _, name in stiff.switches]
    assert names[0] == "tsit5" and "rodas5p" in names and names.count("tsit5") >= 2  # the jump at t = 806 is not stiff
    assert all(a != b for a, b in zip(names, names[1:], strict=False))
    assert stiff.stats.nswitch == len(names) - 1 and f"; {len(names) - 1} changes of the method" in str(stiff)
    times = np.array([t for t, _ in stiff.switches])
    assert (np.diff(times) > 0.0).all() and np.isin(times, stiff.t).all()
    np.testing.assert_allclose(stiff.y[-1], reference(1000.0, [1000.0])[-1], rtol=2e-5)
    alone = ss.solve(problem(), "rodas5p", **TOL)
    assert stiff.stats.nlu < 0.6 * alone.stats.nlu


def test_switches_are_those_of_the_published_rule(stiff):
    """AutoSwitch counted out in plain Python, over the log of all attempts."""
    count, here, asked, t, rows = 0, 0, [], 0.0, stiff.record
    for row in rows:
        accept, log_factor = row[record.N_RECORD : record.N_RECORD + 2]
        # the size that the law asked for; the rule's own factor is in the log where it switched
        went = bool(accept) and t + row[record.H] in [s for s, _ in stiff.switches]
        factor = np.exp(log_factor) / ((0.5 if here else 2.0) if went else 1.0)
        stiff_now = not row[record.HS] * factor / 3.5068 <= 0.9
        count = (1 if count < 0 else count + 1) if stiff_now else (-1 if count > 0 else count - 1)
        t = t + row[record.H] if accept else t
        if accept and ((here == 0 and count > 10) or (here == 1 and count < -3)):
            here = 1 - here
            asked.append(t)
    assert asked == [s for s, _ in stiff.switches[1:]]


def test_sizes_of_stability_intervals_are_the_published_ones():
    published = {"dopri5": 3.3066, "tsit5": 3.5068, "vern6": 4.8553, "vern7": 4.6400, "vern8": 5.8641, "vern9": 4.4762}
    for name, size in published.items():  # alg_stability_size of OrdinaryDiffEq.jl
        assert methods.get(name).tableau.stability_radius == pytest.approx(size, abs=6e-5)


@pytest.mark.parametrize("t_eval", [None, np.linspace(0.0, 20.0, 9)])
def test_where_nothing_switches_it_is_the_method_itself(t_eval):
    one, other = (ss.solve(problem(2.0, 20.0), m, **TOL, t_eval=t_eval) for m in ("tsit5", PAIR))
    np.testing.assert_array_equal(one.y, other.y)
    assert other.stats.nswitch == 0 and other.stats.nfev == one.stats.nfev and other.switches == [(0.0, "tsit5")]


MU = np.geomspace(1.0, 1000.0, 70)
TIMES = np.linspace(0.0, 90.0, 7)


@pytest.fixture(scope="module")
def mixed():
    return ss.solve_ensemble(problem(5.0, 90.0).batch(p=MU[:, None]), PAIR, **TOL, t_eval=TIMES)


def test_an_ensemble_is_its_single_solves(mixed):
    assert mixed.success.all() and mixed.stats.nswitch.max() > 0 and (mixed.stats.nswitch[:10] == 0).all()
    assert set(mixed.method) == {0, 1} and "changes of the method" in repr(mixed)
    for i in (0, 30, 50, 69):
        one = ss.solve(problem(MU[i], 90.0), PAIR, **TOL, t_eval=TIMES)
        np.testing.assert_allclose(mixed.y_eval[i], one.y, rtol=1e-9, atol=1e-12)
        assert mixed.stats.nswitch[i] == one.stats.nswitch and mixed.stats.nfev[i] == one.stats.nfev


def test_outputs_on_both_sides_of_a_switch_are_right(mixed):
    for i in (40, 55):
        np.testing.assert_allclose(mixed.y_eval[i], reference(MU[i], TIMES), rtol=1e-3, atol=1e-4)
    assert not np.isnan(mixed.y_eval).any()


def test_chunks_threads_and_reductions_change_nothing(mixed):
    batch = problem(5.0, 90.0).batch(p=MU[:, None])
    parts = ss.solve_ensemble(batch, PAIR, **TOL, t_eval=TIMES, chunk=9, threads=2)
    np.testing.assert_array_equal(parts.y_eval, mixed.y_eval)
    np.testing.assert_array_equal(parts.stats.nswitch, mixed.stats.nswitch)
    np.testing.assert_array_equal(parts.method, mixed.method)
    most = ss.solve_ensemble(batch, PAIR, **TOL, t_eval=TIMES, output="max")
    np.testing.assert_array_equal(most.output, mixed.y_eval.max(axis=1))
    assert len(ss.solve_ensemble(batch[:0], PAIR).y) == 0


def test_backwards_and_a_span_of_no_length():
    there = ss.solve(problem(30.0, 5.0), PAIR, **TOL)
    back = ss.solve(ss.Problem(vdp, there.y[-1], (5.0, 4.9), [30.0]), PAIR, **TOL)
    np.testing.assert_allclose(back.y[-1], reference(30.0, [0.0, 4.9])[-1], rtol=1e-3)
    still = ss.solve(ss.Problem(vdp, [2.0, 0.0], (1.0, 1.0), [3.0]), PAIR)
    assert still.success and still.stats.naccept == 0


# -- rules that misbehave ------------------------------------------------------------------------------------------


HERE = FROM = 0
NOBODY, NAN, THRASH, SECOND = 0.0, 1.0, 2.0, 3.0


def bad_rule(params, state, record, out):
    """Ask for a method that there is not, answer NaN, ask for the other method at every attempt, or for the second one
    wherever a step is accepted: one kernel for all."""
    kind = params[FROM]
    asks = where(kind == NOBODY, METHOD * 7.0, METHOD * (2.0 - HERE))
    asks = where(kind == SECOND, where(out[ACCEPT] > 0.5, METHOD * 2.0, 0.0), asks)
    out[FLAGS] = out[FLAGS] + where(kind == NAN, float("nan"), asks)


def own(kind):
    rule = Rule("bad_rule", bad_rule, (("kind", kind),), lambda values, here: [kind], 0)
    return Switching(Portfolio(PAIR), [ss.controller("universal_law"), ss.controller("rodas")], rule)


@pytest.mark.parametrize("kind", [NOBODY, NAN])
def test_an_answer_that_is_no_method_is_a_fallback(kind):
    sol = ss.solve(problem(2.0, 20.0), PAIR, own(kind), **TOL)
    plain = ss.solve(problem(2.0, 20.0), "tsit5", **TOL)
    np.testing.assert_array_equal(sol.y, plain.y)
    assert sol.stats.nswitch == 0 and sol.stats.nfallback == sol.stats.naccept + sol.stats.nreject


def test_switching_at_every_step_ends_and_is_right():
    sol = ss.solve(problem(2.0, 20.0), PAIR, own(THRASH), **TOL)
    assert sol.success and sol.stats.nswitch == sol.stats.naccept - 1
    np.testing.assert_allclose(sol.y[-1], reference(2.0, [20.0])[-1], rtol=1e-4)
    ens = ss.solve_ensemble(problem(2.0, 20.0).batch(p=np.full((3, 1), 2.0)), PAIR, own(THRASH), **TOL)
    assert ens.success.all() and (ens.stats.nswitch == sol.stats.nswitch).all()
    cut = ss.solve(problem(2.0, 20.0), PAIR, own(THRASH), **TOL, max_steps=17)
    assert cut.status == layout.MAX_STEPS and cut.stats.naccept + cut.stats.nreject == 17


def no_jacobian(t, y, p, J):
    J[0, 0] = np.nan
    J[0, 1] = 1.0
    J[1, 0] = 0.0
    J[1, 1] = 0.0


def test_a_method_that_fails_where_it_takes_over_hands_back():
    """Its Jacobian is NaN: the explicit method goes on, the failures are counted, and nothing loops."""
    bad = ss.Problem(vdp, [2.0, 0.0], (0.0, 20.0), [2.0], jac=no_jacobian)
    with pytest.warns(UserWarning, match="jac"):
        sol = ss.solve(bad, PAIR, own(SECOND), **TOL)
    assert sol.success and sol.stats.nfallback > 0
    np.testing.assert_allclose(sol.y[-1], reference(2.0, [20.0])[-1], rtol=1e-4)
    ens = ss.solve_ensemble(bad.batch(p=np.full((2, 1), 2.0)), PAIR, own(SECOND), **TOL)
    assert ens.success.all() and (ens.stats.nfallback == sol.stats.nfallback).all()


def blows_up(t, y, p):
    return [y[0] * y[0], 0.0 * y[1]]


def test_what_no_method_can_do_fails_once_with_its_last_state():
    sol = ss.solve(ss.Problem(blows_up, [1.0, 0.0], (0.0, 2.0)), PAIR, **TOL)  # y = 1/(1 - t)
    assert not sol.success and sol.status in (layout.UNDERFLOW, layout.NON_FINITE) and 0.9 < sol.t[-1] <= 1.01
    assert sol.stats.nswitch <= 4


# -- input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, says",
    [
        ("tsit5+", "a name stands on each side"), ("tsit5+tsit5", "holds a method once"), ("tsit5+rodas", "rodas5p"),
        ("tsit5+leapfrog", "cannot share a state"), (["tsit5"], "holds 2 to 16"), (7, "portfolio"),
        ([1, 2], "a method of a portfolio"),
    ],
)  # fmt: skip
def test_what_is_no_portfolio(given, says):
    with pytest.raises(ValueError, match=says):
        Portfolio(given)


@pytest.mark.parametrize(
    "controller, says",
    [
        ("nosuch", "nosuch"), (("pi34",), "one for each method"), (("pi34", None), "controller of a method"),
        (3, "controller"), ("aarseth", "aarseth"),
    ],
)  # fmt: skip
def test_controllers_that_do_not_fit(controller, says):
    with pytest.raises(ValueError, match=says):
        ss.solve(problem(), PAIR, controller)


def test_options_that_a_portfolio_does_not_take():
    with pytest.raises(OptionError, match="is a portfolio, which"):
        ss.envs.make_sb3("stepsmith/ODE-v0", num_envs=2, family="vdpol_stiff", method=PAIR)
    heavy = ss.Problem(vdp, [2.0, 0.0], (0.0, 1.0), [1.0], mass=np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match="mass"):
        ss.solve(heavy, PAIR)
    for options in ({"dense": True}, {"tstops": [1.0]}, {"max_step": 0.1}, {"events": lambda t, y, p: y[0]}):
        with pytest.raises(OptionError, match="are for one method"):
            ss.solve(problem(), PAIR, **options)
    with pytest.raises(OptionError, match="'cpu'"):
        ss.solve_ensemble(problem().batch(p=[[1.0]]), PAIR, device="cuda")
    with pytest.raises(OptionError, match="reads hs, which method 'bs32'"):
        ss.solve(problem(), "bs32+rodas5p", "auto_switch")
    with pytest.raises(OptionError, match="an explicit Runge-Kutta pair and an implicit"):
        ss.solve(problem(), "rodas5p+tsit5", "hairer")
    with pytest.raises(ValueError, match="did you mean 'maxstiffstep'"):
        auto_switch_rule(Portfolio(PAIR), maxstifstep=3.0)


def test_every_way_in_gives_the_same(stiff):
    def same(sol):
        np.testing.assert_array_equal(sol.y, stiff.y)

    portfolio = Portfolio(["tsit5", "rodas5p"])
    assert portfolio == Portfolio(PAIR) and len({portfolio, Portfolio(PAIR)}) == 1
    same(ss.solve(problem(), portfolio, **TOL))
    made = pickle.loads(pickle.dumps(switching(portfolio, None, _law)))
    same(ss.solve(problem(), "tsit5+rodas5p", made, **TOL))
    same(ss.solve(problem(), " tsit5 + rodas5p ", "auto", **TOL))
    found = []
    thread = threading.Thread(target=lambda: found.append(ss.solve(problem(), PAIR, "auto_switch", **TOL)))
    thread.start()
    thread.join()
    same(found[0])
    assert {"auto_switch", "hairer", "race"} <= set(RULES)
    with pytest.raises(AttributeError):
        portfolio.names = ("a",)


def _law(one, name):
    return ss.controller(one, None, name)
