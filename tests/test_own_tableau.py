"""A tableau of one's own: what is derived, what is refused, and that every host takes it as `method`."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction as F

import gymnasium
import numpy as np
import pytest

import stepsmith as ss
from pairs import FEHLBERG4, FEHLBERG5, FOUR, HEUN, KUTTA, PAIRS
from stepsmith.envs.ode import make_core
from stepsmith.integrators import methods
from stepsmith.integrators.core import record
from stepsmith.integrators.core.contract import N_HEAD, Lane
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.methods.tableaus import NAMES, ExplicitTableau, get

HEUN_ROWS = {"c": (0, 1), "a": ((), (1,)), "b": (F(1, 2), F(1, 2))}


def heun(**changes):
    return ExplicitTableau(**{"name": "mine", "order": 2, "embedded_order": 1, **HEUN_ROWS, "b_hat": (1, 0), **changes})


def decay(t, y, p, dy):
    dy[0] = -y[0]


DECAY = ss.Problem(decay, (1.0,), (0.0, 1.0))
LAW = ss.controller("scipy")


# What is derived --------------------------------------------------------------------------------------------


def test_fsal_follows_from_the_coefficients():
    assert not any(t.fsal for t in PAIRS)
    assert [name for name in NAMES if not get(name).fsal] == [
        "vern7", "vern8", "vern9", "fehlberg45", "adaptive_heun", "fehlberg2",
    ]  # fmt: skip
    assert replace(get("dopri5"), fsal=None).fsal is True
    # Fehlberg 1(2), NASA TR R-315: the order 1 solution is its own third stage
    rows = {"c": (0, F(1, 2), 1), "a": ((), (F(1, 2),), (F(1, 256), F(255, 256)))}
    low, high = (F(1, 256), F(255, 256), 0), (F(1, 512), F(255, 256), F(1, 512))
    assert ExplicitTableau("fehlberg1", 1, 2, **rows, b=low, b_hat=high).fsal
    assert not ExplicitTableau("fehlberg2", 2, 1, **rows, b=high, b_hat=low).fsal
    with pytest.raises(ValueError, match="fsal=False, but its last stage"):
        replace(get("bs32"), fsal=False)
    with pytest.raises(ValueError, match="fsal needs"):
        heun(fsal=True)


def test_a_two_stage_pair_that_is_fsal():
    """Euler with its slope at the end: the estimate is the trapezoid's."""
    euler = ExplicitTableau("euler12", 1, 2, c=(0, 1), a=((), (1,)), b=(1, 0), b_hat=(F(1, 2), F(1, 2)))
    sol = solve(DECAY, euler, LAW, 1e-3, 1e-6)
    assert euler.fsal and sol.success and sol.y[-1, 0] == pytest.approx(np.exp(-1.0), abs=0.02)
    assert sol.stats.nfev == 2 + sol.stats.naccept + sol.stats.nreject


def test_dense_output_is_hermites_by_default_and_another_may_be_given():
    assert HEUN.dense_order == 2 and HEUN.dense_stages == 1 and HEUN.end == 2
    chord = heun(dense=((1, F(-1, 2)), (0, F(1, 2))))
    assert chord.dense_order == 2 and chord.dense_stages == 0 and chord.end is None
    at = np.linspace(0.0, 1.0, 9)
    for tableau in (HEUN, chord):
        sol = solve(DECAY, tableau, LAW, 1e-5, 1e-8, t_eval=at)
        assert np.abs(sol.y[:, 0] - np.exp(-at)).max() < 1e-5
        sol = solve(DECAY, tableau, LAW, 1e-5, 1e-8)
        assert sol.stats.nfev == 2 + sol.stats.naccept + sol.stats.nreject + sol.stats.naccept - 1


def test_numbers_of_every_kind_are_the_same_method():
    floats = heun(c=[0.0, 1.0], a=[[], np.array([1.0])], b=np.array([0.5, 0.5]), b_hat=[1.0, 0.0])
    decimals = heun(b=(Decimal("0.5"), Decimal("0.5")))
    assert decimals == heun() and hash(decimals) == hash(heun()) and not floats.exact and heun().exact
    assert np.array_equal(floats.B, heun().B) and np.array_equal(floats.P, heun().P)
    for twin in (copy.deepcopy(HEUN), pickle.loads(pickle.dumps(HEUN))):
        assert twin == HEUN and not twin.A.flags.writeable


def test_the_orders_of_fehlbergs_pair():
    assert (FEHLBERG4.order, FEHLBERG4.embedded_order) == (4, 4)  # the estimate is the lower formula's error: h^5
    assert (FEHLBERG5.order, FEHLBERG5.embedded_order) == (5, 4)
    assert [t.step_cost for t in (HEUN, KUTTA, FEHLBERG4, get("tsit5"))] == [2, 3, 6, 6]


def stops_short(t, y, p, dy):
    dy[0] = y[0] if y[0] < 1.102 else math.nan


def accept(params, state, record, out):
    out[0] = 1.0
    out[1] = out[2] = out[3] = 0.0


def nothing(params, state):
    state[0] = 0.0


class AcceptsAll:
    """A controller that takes every step, whatever its error."""

    name, n_state, params, phases, key = "yes", N_HEAD, np.zeros(1), (Lane(accept),), ("accepts all, own tableau",)
    needs = frozenset({record.ERR})
    init = staticmethod(nothing)


@pytest.mark.parametrize("tolerance", [1.0, 1e-7])
def test_a_step_whose_end_has_no_slope_leaves_nothing(tolerance):
    """Heun's step of 0.1 goes from 1 to 1.105 by way of 1.1: only dense output asks for the slope at 1.105, which is
    not there.
    """
    problem = ss.Problem(stops_short, (1.0,), (0.0, 0.1))
    many = ss.solve_ensemble(
        problem.batch(), HEUN, AcceptsAll(), tolerance, tolerance, t_eval=[0.05, 0.1], first_step=0.1
    )
    assert not many.success[0] and many.t[0] == 0.0 and np.isnan(many.y_eval).all()
    assert (many.stats.naccept[0], many.stats.naccept_over[0]) == (0, 0)


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"order": 3}, "b is of order 2, not 3"),
        ({"order": 1}, "b is of order 2 or more, not 1"),
        ({"embedded_order": 2}, "behaves as h\\^2, so embedded_order is 1, not 2"),
        ({"c": (0, F(1, 2))}, "row 1 of a sums to 1, and c is 0.5"),
        ({"c": (F(1, 2), 1)}, "row 0 of a sums to 0, and c is 0.5"),
        ({"b_hat": (F(1, 2), F(1, 2))}, "no error estimate"),
        ({"e": (F(1, 2), F(-1, 2))}, "e or b_hat, not both"),
        ({"b_hat": (1,)}, "must have 2 entries"),
        ({"b_hat": (F(1, 2), F(1, 3))}, "behaves as h\\^1"),
        ({"dense": ((1,), (0,))}, "rows of dense must sum to b"),
        ({"dense": ((1, F(-1, 2)), (0, F(1, 2))), "dense_order": 3}, "dense is of order 2, not 3"),
        ({"stiffness": (0, 1)}, "stiffness"),
        ({"b": ("a", "b")}, "b must hold finite numbers, got 'a'"),
        ({"b": (float("nan"), 1.0)}, "b must hold finite numbers, got nan"),
        ({"a": ((), (True,))}, "row 1 of a must hold finite numbers, got True"),
        ({"c": 5}, "c must be a sequence, got 5"),
        ({"order": 2.0}, "order must be a whole number"),
        ({"fsal": "no"}, "fsal must be True or False"),
        ({"name": ""}, "name must be text"),
    ],
)
def test_coefficients_that_are_not_what_they_say(change, message):
    with pytest.raises(ValueError, match=message):
        heun(**change)


def test_a_slip_of_the_pen_in_fehlbergs_table():
    with pytest.raises(ValueError, match="b is of order"):
        replace(FEHLBERG4, b=(*FOUR[:4], F(-1, 6), F(-1, 30)), dense=(), dense_c=(), dense_a=())


@pytest.mark.parametrize("method", [[], 5, None, b"tsit5", {"name": "tsit5"}, ExplicitTableau])
def test_what_is_no_method_gets_one_clear_error(method):
    torch = pytest.importorskip("torch")
    ones = torch.ones(2, 1)
    calls = [
        lambda: ss.solve(DECAY, method),
        lambda: ss.solve_ensemble(DECAY.batch(), method),
        lambda: ss.neural.odeint(lambda t, y: -y, ones, [0.0, 1.0], method=method),
        lambda: ss.neural.NeuralODE(lambda t, y: -y, method=method),
    ]
    if method is not None:  # None: the family's own
        calls.append(lambda: make_core(1, True, method=method))
        calls.append(lambda: ss.compare("lorenz", method=method, n=2))
    for call in calls:
        with pytest.raises(ValueError, match="method must be"):
            call()


def test_a_tableau_without_an_estimate_drives_no_solver():
    euler = ExplicitTableau("euler", 1, 0, c=(0,), a=((),), b=(1,), e=(0,), dense=((1,),))
    for call in (lambda: ss.solve(DECAY, euler), lambda: ss.neural.odeint(None, None, None, method=euler)):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(ValueError, match="no error estimate"):
        methods.get(euler)


# Every host takes it ----------------------------------------------------------------------------------------


def test_a_name_that_is_taken_shares_no_kernel():
    """Coefficients tell kernels apart, not names; a shipped tableau is its name."""
    mine = replace(HEUN, name="tsit5")
    ours, theirs = (ss.solve(DECAY, m, LAW, 1e-6, 1e-8) for m in ("tsit5", mine))
    assert (
        ours.stats.naccept < theirs.stats.naccept
        and ss.solve(DECAY, "tsit5", LAW, 1e-6, 1e-8).stats.nfev == ours.stats.nfev
    )
    many = [ss.solve_ensemble(DECAY.batch(), m, LAW, 1e-6, 1e-8).stats.nfev[0] for m in ("tsit5", mine)]
    assert many == [ours.stats.nfev, theirs.stats.nfev]
    assert methods.named(copy.deepcopy(get("tsit5"))) == "tsit5" and methods.named(mine) is mine
    with pytest.raises(ValueError, match="method must be a name"):
        ss.compare("lorenz", method=mine, n=2)


@pytest.fixture(scope="module")
def settings():
    return {
        "family": "kepler",
        "method": KUTTA,
        "law": "scipy",
        "baseline": "scipy",
        "pool_size": 6,
        "rtol": (1e-3, 1e-5),
        "n_act": 1,
    }


def test_environments_solve_with_it(settings):
    """With action 0 the environment is the law: counts and errors are the ensemble's."""
    core = make_core(4, True, **settings)
    core.seed(np.arange(4, dtype=np.uint64))
    core.reset()
    runs = []
    while len(runs) < 4:
        core.step(np.zeros((4, 1)))
        runs += [core.episode(i) for i in np.flatnonzero(core.terminated)]
    pool = core.pool
    pick = np.array([int(e["instance"]) for e in runs])
    rtol = np.array([e["rtol"] for e in runs])
    sol = ss.solve_ensemble(
        pool.batch[pick], KUTTA, LAW, rtol, (rtol * pool.family.atol_factor)[:, None], pool.tgrid[pick]
    )
    np.testing.assert_array_equal(sol.stats.nfev, [e["nfev"] for e in runs])
    np.testing.assert_array_equal(sol.stats.nreject, [e["nreject"] for e in runs])


def test_gymnasium_and_sb3_take_it(settings):
    env = gymnasium.make("stepsmith/ODE-v0", **settings)
    env.reset(seed=0)
    obs, reward, *_ = env.step(np.zeros(1, np.float32))
    assert np.isfinite(obs).all() and np.isfinite(reward)
    pytest.importorskip("stable_baselines3")
    from stepsmith.envs import make_sb3

    venv = make_sb3("stepsmith/ODE-v0", num_envs=2, seed=0, **settings)
    venv.reset()
    obs, reward, *_ = venv.step(np.zeros((2, 1), np.float32))
    assert np.isfinite(obs).all() and np.isfinite(reward).all()


def test_the_return_of_the_reward_propagated_holds_the_error_that_was_measured():
    """Local errors by Richardson, carried to the end along the reference, against the final error; the first slope of a
    half step too.
    """
    core = make_core(
        8, True, "three_body", FEHLBERG5, reward="propagated", pool_size=8, rtol=(1e-4, 1e-7), law="pi34", n_act=1
    )
    core.seed(np.arange(8, dtype=np.uint64))
    core.reset()
    runs = []
    for _ in range(2000):
        core.step(np.zeros((8, 1)))
        runs += [core.episode(i) for i in np.flatnonzero(core.terminated)]
        if len(runs) > 16:
            break
    pool, ratio = core.pool, []
    for e in runs:
        i = int(e["instance"])
        work = np.exp(np.interp(np.log(e["rtol"]), pool.log_rtol, pool.at_tol[0, i]))
        # 100 (1 - w/w_base - 2/p log(1 + |v|/e(tol))), solved for |v|
        left = 1.0 - e["nfev"] / work - e["return"] / 100.0
        ratio.append(np.expm1(left * 5.0 / 2.0) / (pool.price[i] * work**5) / e["error"])
    assert len(ratio) > 16 and np.median(ratio) == pytest.approx(1.0, abs=0.05)
    # the knots are steps that cost six evaluations each
    steps = np.diff(pool.arrivals.first) - 1
    np.testing.assert_allclose(pool.price, 4.0 / (pool.arrivals.error * (6.0 * steps) ** 5))
