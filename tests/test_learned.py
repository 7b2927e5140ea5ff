"""The learned controller: compiled (one lane and many), NumPy and torch agree; zero weights are the law; bad weights
fall back.
"""

import math

import numpy as np
import pytest
import torch

from decisions import play_compiled, play_numpy, records
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.observation import TIER0
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR, N_OUT, Dense
from stepsmith.integrators.core.runner import Runner
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.problem import Batch, Problem


def lotka_volterra(t, y, p, dy):
    dy[0] = p[0] * y[0] - p[1] * y[0] * y[1]
    dy[1] = p[2] * y[0] * y[1] - p[3] * y[1]


PARAMS = np.array([1.5, 1.0, 1.0, 3.0])
PROBLEM = Problem(rhs=lotka_volterra, y0=[1.0, 1.0], t_span=(0.0, 20.0), p=PARAMS)


def network():
    """Default structure: tier 2, 16 tanh units, on PI34."""
    return Learned.random(Decision(law="pi34"), rng=0, scale=1.0)


def relu_network():
    d = Decision(TIER0, "petsc_dsp", n_act=1, shift=np.full(8, 0.1), scale=np.full(8, 1.5), obs_clip=3.0)
    return Learned.random(d, (12, 7), rng=1, scale=2.0, activation="relu", squash="clip")


def chooser():
    rng = np.random.default_rng(2)
    d = Decision(("log_h_tau", "log_tau_ratio", "log_left"), registry.amuse(), n_act=1, residual_scale=4.0)
    layers = [
        (rng.normal(size=(9, 3)), rng.normal(size=9), "tanh"),
        (rng.normal(size=(10, 9)), rng.normal(size=10), "linear"),
    ]
    return Learned(d, layers, "argmax", np.linspace(-1, 1, 10))


MAKERS = (network, relu_network, chooser)


def torch_actions(c, obs):
    """The network rebuilt from torch.nn."""
    acts = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "linear": torch.nn.Identity}
    modules = []
    for w, b, act in c.layers:
        layer = torch.nn.Linear(w.shape[1], w.shape[0], dtype=torch.float64)
        layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
        modules += [layer, acts[act]()]
    with torch.no_grad():
        z = torch.nn.Sequential(*modules)(torch.as_tensor(obs))
    if c.squash == "argmax":
        return c.table[z.argmax(-1).numpy()]
    return (torch.tanh(z) if c.squash == "tanh" else z.clamp(-1.0, 1.0)).numpy()


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("make", MAKERS)
def test_compiled_equals_numpy(make, lanes):
    c = make()
    recs = records(3, lanes)
    a, sa = play_numpy(c, recs)
    b, sb = play_compiled(c, recs)
    np.testing.assert_allclose(b, a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sb, sa, rtol=0, atol=1e-12)
    assert not a[:, FALLBACK].any() and len(np.unique(a[:, LOG_FACTOR].round(6))) > 10


@pytest.mark.parametrize("make", MAKERS)
def test_numpy_equals_a_torch_network(make):
    """Actions, and the decision that the plain `apply` takes with torch's actions."""
    c = make()
    d = c.decision
    plain, learned = np.zeros((d.n_state, 8)), np.zeros((c.n_state, 8))
    for r in records(4, 8):
        expected, state_before = np.zeros((N_OUT, 8)), learned.copy()
        got = c.decide_numpy(learned, r)
        with np.errstate(all="ignore"):
            d.features(d.params, plain, r, expected)
            obs = plain[d.obs_at : d.act_at].T.copy()
            actions = torch_actions(c, obs)
            plain[d.act_at : d.act_at + d.n_act] = actions.T
            d.apply(d.params, plain, r, expected)
        np.testing.assert_allclose(c.action_numpy(obs), actions, rtol=0, atol=1e-13)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        assert not np.array_equal(state_before, learned)
    np.testing.assert_allclose(learned[:6], plain[:6], rtol=0, atol=1e-12)


@pytest.mark.parametrize("xp", ["numpy", "torch"])
@pytest.mark.parametrize("make", MAKERS)
def test_batched_hosts_agree(make, xp):
    c = make()
    recs = records(5, 6)
    expected, _ = play_numpy(c, recs)
    host = Runner(c, 6, xp)
    convert = torch.tensor if xp == "torch" else np.array
    for r, want in zip(recs, expected, strict=True):
        got = host.decide([convert(row) for row in r])
        np.testing.assert_allclose(np.array([np.asarray(g) for g in got]), want, rtol=0, atol=1e-12)


def test_a_solve_takes_the_decisions_that_numpy_takes_on_its_records():
    c = network()
    sol = solve(PROBLEM, "tsit5", c, log=True)
    assert sol.success and sol.stats.nreject > 0 and sol.stats.nfallback == 0
    state = np.zeros(c.n_state)
    c.init(c.params, state)
    for attempt in sol.record:
        out = c.decide_numpy(state, attempt[: R.N_RECORD])
        np.testing.assert_allclose(attempt[R.N_RECORD :], out, rtol=0, atol=1e-12)


def test_zero_weights_are_the_law():
    c = network()
    law, zero = c.decision.law, c.with_weights(np.zeros(c.n_weights))
    a, b = solve(PROBLEM, "tsit5", law), solve(PROBLEM, "tsit5", zero)
    np.testing.assert_array_equal(a.t, b.t)
    np.testing.assert_array_equal(a.y, b.y)
    assert b.stats.nfallback == 0 and len(a.t) > 100
    assert len(solve(PROBLEM, "tsit5", c).t) != len(a.t)


def test_a_network_that_answers_nan_falls_back_and_is_counted():
    c = network()
    law = solve(PROBLEM, "tsit5", c.decision.law)
    for bad in (np.nan, np.inf):
        weights = c.weights
        weights[-1] = bad
        sol = solve(PROBLEM, "tsit5", c.with_weights(weights))
        np.testing.assert_array_equal(sol.t, law.t)
        assert sol.success and sol.stats.nfallback == sol.stats.naccept + sol.stats.nreject
    overflow = c.with_weights(np.full(c.n_weights, 1e308))
    assert solve(PROBLEM, "tsit5", overflow).stats.nfallback > 0


def test_ensemble_lanes_take_the_steps_of_single_solves():
    rng = np.random.default_rng(6)
    y0 = rng.uniform(0.5, 2.0, (37, 2))
    batch = Batch(lotka_volterra, y0, np.tile(PARAMS, (37, 1)), np.zeros(37), np.full(37, 10.0))
    c = network()
    ens = solve_ensemble(batch, "tsit5", c, threads=1)
    assert ens.success.all()
    for i in range(0, 37, 6):
        one = solve(Problem(rhs=lotka_volterra, y0=y0[i], t_span=(0.0, 10.0), p=PARAMS), "tsit5", c)
        assert one.stats.nfev == ens.stats.nfev[i] and one.stats.nreject == ens.stats.nreject[i]
        np.testing.assert_allclose(ens.y[i], one.y[-1], rtol=1e-9)


def test_actions_move_the_work():
    """Constant residuals: longer steps cost less, shorter ones more."""
    c = network()
    work = []
    for push in (-0.3, 0.0, 0.3):
        weights = np.zeros(c.n_weights)
        weights[-2] = push
        work.append(solve(PROBLEM, "tsit5", c.with_weights(weights), rtol=1e-4).stats.naccept)
    assert work[0] > 1.2 * work[1] and work[2] < work[1]


def test_weights_go_round_and_share_the_compiled_code():
    for make in MAKERS:
        c = make()
        other = c.with_weights(np.arange(c.n_weights, dtype=float))
        assert other.key == c.key and other.phases is c.phases and other.n_state == c.n_state
        np.testing.assert_array_equal(other.weights, np.arange(c.n_weights))
        back = Learned(other.decision, other.layers, c.squash, c.table)
        np.testing.assert_array_equal(back.params, other.params)
        assert not np.array_equal(c.weights, other.weights)
        end = max(p.offset + p.n_out * (p.n_in + 1) for p in c.phases if isinstance(p, Dense))
        assert end + (0 if c.table is None else c.table.size) == len(c.params)


def test_key_is_structure_only():
    c = network()
    assert c.key == Learned.random(Decision(law="dopri5_pi", residual_scale=0.5), rng=9).key
    assert c.key != Learned.random(Decision(law="pi34"), (8,), 0).key
    assert c.key != Learned.random(Decision(law="pi34"), rng=0, squash="clip").key
    assert c.key != Learned.random(Decision(TIER0, law="pi34"), rng=0).key
    assert hash(c.key) == hash(network().key)


def test_random_is_seeded_and_scaled():
    d = Decision(law="i")
    a, b = Learned.random(d, rng=3), Learned.random(d, rng=3)
    np.testing.assert_array_equal(a.weights, b.weights)
    assert not Learned.random(d, rng=3, scale=0.0).weights.any()
    wide = Learned.random(d, (200, 200), 3, scale=2.0)
    assert np.std(wide.layers[1][0]) == pytest.approx(2.0 / math.sqrt(200), rel=0.02)


def test_ties_go_to_the_first_action_and_bad_values_fall_back():
    d = Decision(("streak",), registry.amuse(), n_act=1)
    record = records(7, 1, 1)[0, :, 0]
    record[[R.FINITE, R.TRUNCATED]] = 1.0, 0.0
    cases = {
        (1.0, 1.0, 0.0): 0,
        (0.0, 2.0, 2.0): 1,
        (0.0, 1.0, 3.0): 2,
        (0.0, np.nan, 1.0): None,
        (np.inf, 0.0, 0.0): None,
    }
    for values, pick in cases.items():
        c = Learned(d, [(np.zeros((3, 1)), values, "linear")], "argmax", [0.2, -0.4, 0.9])
        out = c.decide_numpy(np.zeros(c.n_state), record)
        law = np.zeros(N_OUT)
        d.law.phases[0].fn(d.law.params, np.zeros(6), record, law)
        shift = 0.0 if pick is None else 1.5 * c.table[pick, 0]
        assert out[FALLBACK] == float(pick is None) and out[ACCEPT] == 1.0
        assert out[LOG_FACTOR] == pytest.approx(law[LOG_FACTOR] + shift, abs=1e-14)


def layer(n_out, n_in, act="linear"):
    return np.zeros((n_out, n_in)), np.zeros(n_out), act


@pytest.mark.parametrize(
    ("layers", "kw", "message"),
    [
        ([], {}, "at least one layer"),
        ([layer(2, 7)], {}, r"layer 0: weight must have shape \(n_out, 8\)"),
        ([layer(4, 8, "tanh"), layer(2, 5)], {}, "layer 1: weight"),
        ([(np.zeros((2, 8)), np.zeros(3), "linear")], {}, "layer 0: bias"),
        ([layer(4, 8, "swish"), layer(2, 4)], {}, "layer 0: activation must be one of tanh, relu, .*got 'swish'"),
        ([layer(3, 8)], {}, "must have 2 outputs, got 3"),
        ([layer(2, 8, "tanh")], {}, "must be linear"),
        ([layer(2, 8)], {"squash": "sigmoid"}, "squash must be one of"),
        ([layer(3, 8)], {"squash": "argmax"}, "needs a table"),
        ([layer(2, 8)], {"table": [[0.0, 0.0], [1.0, 1.0]]}, "takes no table"),
        ([layer(2, 8)], {"squash": "argmax", "table": [[0.0, 0.0], [1.0, 1.5]]}, r"lie in \[-1, 1\]"),
        ([layer(2, 8)], {"squash": "argmax", "table": [0.0, 1.0]}, r"table must have shape \(actions, 2\)"),
    ],
)
def test_bad_networks(layers, kw, message):
    with pytest.raises(ValueError, match=message):
        Learned(Decision(TIER0, "i"), layers, **kw)


def test_bad_calls():
    c = network()
    with pytest.raises(ValueError, match="decision must be a Decision, got Law"):
        Learned(registry.get("i"), [layer(2, 14)])
    with pytest.raises(ValueError, match=r"weights must have shape \(274,\), got \(3,\)"):
        c.with_weights(np.zeros(3))
    with pytest.raises(ValueError, match=r"obs must have shape \(..., 14\)"):
        c.action_numpy(np.zeros(3))
    with pytest.raises(ValueError, match="has no colour"):
        c.replace(colour="red")
    # three bodies' time scales are not what a Runge-Kutta method reports
    with pytest.raises(ValueError, match="needs tau_amuse"):
        solve(PROBLEM, "tsit5", chooser())
