"""Features by name: the default spaces do not change, and a caller's own feature works wherever features are named."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import load_controller, save
from stepsmith.controllers.learned import features
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.controllers.learned.observation import Observation
from stepsmith.integrators.core import record
from stepsmith.integrators.core.formulas import formula, log, maximum, where
from stepsmith.integrators.core.runner import Runner

OWN = ("log_err", "streak", "log_size")


@formula
def log_size(state, record):
    """log of the attempted size over one."""
    return where(record[1] > 0.0, log(maximum(record[1], 1e-300)), 0.0)


SCALE = 3.0
TABLE = np.array([1.0, 2.0])


@formula
def helper(record):
    """Looks into an array one call further down."""
    return TABLE[0] + record[0]


def test_what_was_pickled_before_features_could_be_registered():
    old = Observation.__new__(Observation)
    old.__setstate__({"features": ("log_err", "streak")})
    assert old.table == Observation(("log_err", "streak")).table and old == Observation(("log_err", "streak"))


@formula
def scaled(state, record):
    """A number of this module times the curvature."""
    return SCALE * where(record[5] > 0.0, log(maximum(record[5], 1e-300)), 0.0)


def controller(feature="scaled"):
    return Learned.random(Decision(("log_err", feature), "i", n_act=1), (4,), rng=np.random.default_rng(3), scale=1.0)


def evaluations(c, many=False, **options):
    problem = ss.problems.make("lotka_volterra", seed=0)
    if many:
        return int(ss.solve_ensemble(problem.batch(), "bs32", c, 1e-4, 1e-6).stats.nfev[0])
    return ss.solve(problem, "bs32", c, 1e-4, 1e-6, **options).stats.nfev


def test_a_feature_that_is_replaced_leaves_selections_alone(own):
    features.register(scaled, -30.0, 30.0, 0.0, 0.1)
    old = controller()
    before = evaluations(old), evaluations(old, many=True)
    features.register(formula(lambda state, record: -scaled(state, record)), -30.0, 30.0, 0.0, 0.1, name="scaled")
    new = controller()
    assert evaluations(old, many=True) == before[1] == before[0] == evaluations(old)
    assert evaluations(new, many=True) == evaluations(new) != before[0]
    features.FEATURES.pop("scaled")
    assert evaluations(old, many=True) == before[1] and old.decision.observation.key != new.decision.observation.key


def test_what_a_feature_names_may_change(own, monkeypatch):
    features.register(scaled, -30.0, 30.0, 0.0, 0.1)
    c = controller()
    before = evaluations(c)
    monkeypatch.setitem(scaled.__globals__, "SCALE", -9.0)
    assert evaluations(c) == evaluations(c, many=True) == evaluations(controller()) != before


def test_slots_are_found(own):
    feature = features.register(scaled, -30.0, 30.0, 0.0, 0.1)
    assert feature.slots == {record.CURV}
    assert evaluations(controller()) == evaluations(controller(), log=True)


@pytest.mark.parametrize("name", ["for", "state", "clipped", "x0", "out"])
def test_any_name_will_do(own, name):
    features.register(log_size, -12.0, 2.0, -3.0, np.float32(0.3), name=name)
    assert evaluations(controller(name)) > 0


@pytest.fixture
def own():
    before = dict(features.FEATURES)
    yield features.register(log_size, -12.0, 2.0, -3.0, 0.3)
    features.FEATURES.clear()
    features.FEATURES.update(before)


def test_the_default_spaces_are_frozen(own):
    assert "log_size" in features.FEATURES
    for tier, n in ((0, 8), (1, 11), (2, 14)):
        assert Observation.of_tier(tier).n == n
    assert Observation().features == features.TIER2 and len(features.STIFF) == 16
    assert gymnasium.make("stepsmith/ODE-v0", family="lotka_volterra", pool_size=4).observation_space.shape == (14,)


def test_a_feature_of_ones_own_is_compiled_and_hosted_alike(own, tmp_path):
    d = Decision(OWN, "i", n_act=1)
    c = Learned.random(d, (4,), rng=np.random.default_rng(3), scale=1.0)
    problem = ss.problems.make("lotka_volterra", seed=0)
    sol = ss.solve(problem, "bs32", c, 1e-4, 1e-6, log=True)
    plain = ss.solve(problem, "bs32", "i", 1e-4, 1e-6)
    assert sol.success and sol.stats.naccept != plain.stats.naccept  # the network has a say
    runner = Runner(c, 1)
    for row in sol.record[:40]:
        accept, log_factor = (float(x[0]) for x in runner.decide([np.array([v]) for v in row[: record.N_RECORD]])[:2])
        assert accept == row[record.N_RECORD] and np.isclose(
            log_factor, row[record.N_RECORD + 1], rtol=1e-9, atol=1e-12
        )
    ens = ss.solve_ensemble(problem.batch(), "bs32", c, 1e-4, 1e-6)
    assert ens.stats.naccept[0] == sol.stats.naccept
    save(c, tmp_path / "own.safetensors")
    assert load_controller(tmp_path / "own.safetensors").decision.observation.features == OWN
    features.FEATURES.pop("log_size")
    with pytest.raises(ValueError, match="log_size"):
        load_controller(tmp_path / "own.safetensors")


def test_an_environment_shows_it(own):
    env = gymnasium.make("stepsmith/ODE-v0", family="lotka_volterra", features=OWN, pool_size=4)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3,) and env.observation_space.contains(obs)
    assert obs[2] != 0.0


def test_what_does_not_fit_is_refused(own):
    for arguments, words in (
        ((lambda state, record: 0.0, 0.0, 1.0, 0.0, 1.0), "marked by"),
        ((formula(lambda state, record: TABLE[0]), 0.0, 1.0, 0.0, 1.0), "not of arrays"),
        ((formula(lambda state, record: helper(record)), 0.0, 1.0, 0.0, 1.0), "not of arrays"),
        ((formula(lambda: 0.0), 0.0, 1.0, 0.0, 1.0), "fn must be a function of state and record"),
        ((log_size, 0.0, 1.0, 0.0, 1.0, [record.CURV]), "slots must hold what fn reads: h is missing"),
        ((log_size, 0.0, 1.0, 0.0, 1.0, 7), "slots must be record slots or None"),
        ((log_size, 1.0, 0.0, 0.0, 1.0), "low must be"),
        ((log_size, 0.0, 1.0, 0.0, -1.0), "scale must be a positive"),
        ((log_size, 0.0, 1.0, 0.0, 1.0, [99]), "slot must be"),
    ):
        with pytest.raises(ValueError, match=words):
            features.register(*arguments)
    with pytest.raises(ValueError, match="feature 'log_err' ships with the package"):
        features.register(log_size, 0.0, 1.0, 0.0, 1.0, name="log_err")
    with pytest.raises(ValueError, match="stands between the two features of a product"):
        features.register(log_size, 0.0, 1.0, 0.0, 1.0, name="log_err*log_left")
    assert features.register(log_size, -10.0, 2.0, -3.0, 0.3, slots=[record.H]).low == -10.0  # a cell that runs again


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 5.0), (3.0, -1.5)])
def test_the_span_is_that_of_the_whole_solve(t0, t1):
    """Output times do not shorten it, and it is positive backwards too; the share of it that is left falls from 1."""
    problem = ss.problems.make("lotka_volterra", seed=0)
    problem = ss.Problem(problem.rhs, problem.y0, (t0, t1), problem.p)
    sol = ss.solve(problem, "dopri5", "pi34", 1e-5, 1e-8, t_eval=np.linspace(t0, t1, 7), log=True)
    span, left = sol.record[:, record.SPAN], sol.record[:, record.T_LEFT]
    assert np.array_equal(span, np.full(len(span), abs(t1 - t0)))
    share = np.array([features.time_left(None, row) for row in sol.record])
    assert share[0] == 1.0 and np.array_equal(share, left / abs(t1 - t0))
    accepted = sol.record[:, record.N_RECORD] == 1.0
    assert np.all(np.diff(share[accepted]) < 0) and 0 < share[-1] < 0.2


def test_lanes_know_their_own_spans():
    """Instances of other spans, an empty one among them, side by side in lanes: each is solved as if it were alone."""
    d = Decision(("log_err", "time_left"), "pi34", n_act=1)
    c = Learned(d, [(np.array([[0.0, -0.3]]), np.zeros(1), "linear")], "clip")
    few = ss.problems.sample("lotka_volterra", n=4, seed=0)
    batch = ss.Batch(few.rhs, few.y0, few.p, few.t0, np.array([10.0, 0.0, 4.0, -3.0]))
    lanes = ss.solve_ensemble(batch, "bs32", c, 1e-4, 1e-6)
    alone = [ss.solve(batch[i], "bs32", c, 1e-4, 1e-6) for i in range(4)]
    assert lanes.success.all() and lanes.stats.nfev.tolist() == [int(sol.stats.nfev) for sol in alone]
    law = ss.solve(batch[0], "bs32", "pi34", 1e-4, 1e-6)
    assert law.stats.nfev != alone[0].stats.nfev  # the weight has a say
