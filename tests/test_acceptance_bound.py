"""What a controller may accept: learned decisions up to a stated factor; what is accepted above the tolerance is
counted and said.
"""

import warnings

import numpy as np
import pytest
import torch

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.residual import SHRINK
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import ACCEPT, ACCEPT_MAX, FALLBACK, LOG_FACTOR, N_HEAD, Lane
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine import trained_method
from stepsmith.integrators.kernels import layout

BIG = np.array([1.01, 5.0, 0.999 * ACCEPT_MAX, 1.001 * ACCEPT_MAX, 1e3, 20_861.0, 1e12, np.inf, np.nan])


def record(err):
    r = np.full((R.N_RECORD, len(err)), np.nan)
    r[R.ERR] = err
    for slot, value in (
        (R.H, 0.1),
        (R.H_FREE, 0.1),
        (R.ORDER, 5.0),
        (R.TRUNCATED, 0.0),
        (R.FINITE, 1.0),
        (R.RTOL, 1e-6),
        (R.T_LEFT, 1.0),
    ):
        r[slot] = value
    return r


def yes_to_all(law="pi34", n_act=2, **kw):
    """A controller whose weights ask for the longest step and the loosest threshold, always."""
    d = Decision(("log_err",), law, n_act=n_act, **kw)
    return Learned(d, [(np.zeros((n_act, 1)), np.full(n_act, 50.0), "linear")])


LAWS = ["pi34", "i", "pi42", "h211b", "h321", "predictive", "arkode"]


@pytest.mark.parametrize("n_act", [1, 2, 4])
@pytest.mark.parametrize("law", LAWS)
def test_no_learned_decision_accepts_more(law, n_act):
    generous = registry.get(law, accept_err=float("inf"), accept_factor=0.0)
    for squash, value in (("clip", 50.0), ("clip", 0.0), ("tanh", 50.0), ("clip", 1e308)):
        d = Decision(("log_err",), generous, n_act=n_act, threshold_scale=3.9)
        # 1e308: overflows, and falls back
        c = Learned(
            d, [(np.full((n_act, 1), value), np.full(n_act, value), "linear")], squash
        )
        answers = {}
        for hosts in ("numpy", "torch"):
            lanes = Runner(c, len(BIG), hosts)
            rows = record(BIG)
            rows = list(rows) if hosts == "numpy" else list(torch.from_numpy(rows))
            answers[hosts] = np.array([np.asarray(x) for x in lanes.decide(rows)])
        out = c.decide_numpy(np.zeros((c.n_state, len(BIG))), record(BIG))
        np.testing.assert_array_equal(out[ACCEPT], BIG <= ACCEPT_MAX)
        assert np.all(out[LOG_FACTOR][~(BIG <= ACCEPT_MAX)] <= np.log(SHRINK) + 1e-15)  # the retry is shorter
        for got in answers.values():
            np.testing.assert_allclose(
                got[[ACCEPT, LOG_FACTOR, FALLBACK]], out[[ACCEPT, LOG_FACTOR, FALLBACK]], rtol=0, atol=1e-12
            )


def test_the_bound_leaves_the_shipped_controllers_alone():
    """40.5 is what the widest of them could ask for: 8.1 of its law times e^T = 5."""
    for name in ("three-body", "neural-field", "steppo", "stiff"):
        d = ss.load_controller(name).decision
        assert d.law["accept_err"] * np.exp(d.threshold_scale) < 0.9 * ACCEPT_MAX


def rhs(t, y, p, dy):
    dy[0] = p[0] * y[1]
    dy[1] = -p[0] * y[0]


PROBLEM = ss.Problem(rhs, y0=[1.0, 0.0], t_span=(0.0, 20.0), p=[1.0])


def decide_all(params, state, record, out):
    out[0] = 1.0
    out[1] = 0.5
    out[2] = 0.0
    out[3] = 0.0


def init_all(params, state):
    state[0] = 0.0


class AcceptsAll:
    """Somebody's own controller: yes, and a longer step."""

    name, n_state, params, phases, key = "yes", N_HEAD, np.zeros(1), (Lane(decide_all),), ("accepts all",)
    needs = frozenset({R.ERR})
    init = staticmethod(init_all)


def logged_over(sol):
    accepted = sol.record[:, R.N_RECORD + ACCEPT] > 0.5
    return int(np.sum(sol.record[accepted, R.ERR] > 1.0))


CASES = {"law": lambda: registry.get("pi34", accept_err=30.0, safety=1.5), "learned": yes_to_all, "foreign": AcceptsAll}


@pytest.mark.parametrize("name", CASES)
def test_counted_and_said(name):
    controller = CASES[name]()
    sol = ss.solve(PROBLEM, "dopri5", controller, 1e-6, 1e-6, log=True)
    assert sol.success and sol.stats.naccept_over == logged_over(sol) > 0
    said = f"{sol.stats.naccept_over} accepted step"
    assert (
        sol.message.startswith("reached the end of the span; ")
        and said in sol.message
        and "above the tolerance" in sol.message
    )
    if name == "foreign":
        return  # one kernel less to compile
    ens = ss.solve_ensemble(PROBLEM.batch(), "dopri5", controller, 1e-6, 1e-6)
    assert ens.stats.naccept_over.tolist() == [sol.stats.naccept_over] and ens.message(0) == sol.message
    if name == "learned":
        errors = sol.record[sol.record[:, R.N_RECORD] > 0.5, R.ERR]
        assert 4.0 < errors.max() <= 5.0 * (1 + 1e-9)  # pi34's 1, times e^T


@pytest.mark.parametrize("law", ["pi34", "scipy"])
def test_nothing_is_said_where_nothing_was_over(law):
    sol = ss.solve(PROBLEM, "dopri5", law, 1e-6, 1e-6)
    assert sol.stats.naccept_over == 0 and sol.message == "reached the end of the span"


def test_a_step_that_is_not_finite_is_not_accepted_whoever_says_so():
    def blows(t, y, p, dy):
        dy[0] = y[0] * y[0]

    sol = ss.solve(ss.Problem(blows, y0=[1.0], t_span=(0.0, 2.0)), "dopri5", AcceptsAll(), 1e-6, 1e-6, max_steps=500)
    assert not sol.success and np.all(np.isfinite(sol.y))


def test_counted_in_torch():
    y0, t = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0.0, 20.0])

    def field(t, y):
        return torch.stack([y[:, 1], -y[:, 0]], 1)

    for per_sample in (True, False):
        sol = ss.neural.odeint(
            field, y0, t, "dopri5", yes_to_all(), rtol=1e-6, atol=1e-6, per_sample=per_sample, heuristics="values"
        )
        E = sol.heuristics.E
        assert sol.success and sol.stats.naccept_over == int((E > 1.0).sum()) > 0
        assert sol.stats.naccept_over_per_sample.tolist() == [sol.stats.naccept_over]
        assert f"{sol.stats.naccept_over} accepted steps had an error" in sol.message
        assert float(E.max()) <= 5.0 * (1 + 1e-9)
    quiet = ss.neural.odeint(field, y0, t, "dopri5", "pi34", rtol=1e-6, atol=1e-6)
    assert quiet.stats.naccept_over == 0 and quiet.message == "reached the end of the span"


def test_columns_are_named_once():
    assert layout.STATS[-1] == "naccept_over" and len(set(layout.STATS_ROWS.values())) == layout.N_STATS
    assert layout.message(layout.SUCCESS, 1).count("1 accepted step had")


@pytest.fixture
def untold(monkeypatch):
    monkeypatch.setattr(trained_method, "_TOLD", set())


def trained(method):
    return yes_to_all().replace(name="mine", provenance={"method": method} if method else {})


def test_another_method_than_it_was_trained_with_warns_once(untold):
    mine = trained("tsit5")
    with pytest.warns(
        UserWarning, match="'mine' was trained with method 'tsit5' and is used with 'dopri5'.*method='tsit5'"
    ) as said:
        ss.solve(PROBLEM, "dopri5", mine)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ss.solve(PROBLEM, "dopri5", trained("tsit5"))
        ss.solve_ensemble(PROBLEM.batch(), "dopri5", mine)
        ss.solve(PROBLEM, "dopri5", trained("dopri5"))
        ss.solve(PROBLEM, "dopri5", trained(None))  # who does not say is not asked


def test_the_warning_comes_from_every_host(untold):
    with pytest.warns(UserWarning, match="is used with 'dopri5'"):
        ss.solve_ensemble(PROBLEM.batch(), "dopri5", trained("tsit5"))
    with pytest.warns(UserWarning, match="'neural-field' was trained with method 'tsit5' and is used with 'bs32'"):
        ss.neural.odeint(lambda t, y: -y, torch.ones(1, 1), torch.tensor([0.0, 1.0]), "bs32", "neural-field")
    with pytest.warns(UserWarning, match="is used with 'dopri5'"):
        ss.neural.NeuralODE(lambda t, y: -y, "dopri5", "neural-field", adjoint="none")(
            torch.ones(1, 1), torch.tensor([0.0, 1.0])
        )


def test_the_zoo_knows_its_methods():
    names = ("three-body", "neural-field", "steppo", "stiff")
    assert [ss.load_controller(name).trained_method for name in names] == ["tsit5", "tsit5", "kvaerno5", "esdirk43"]
