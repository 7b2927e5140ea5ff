"""A residual on a law: zero is the law bit for bit, the law's limits hold for the sum, invalid actions fall back and
are counted.
"""

import math

import numba
import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.observation import Observation
from stepsmith.controllers.learned.residual import SHRINK, SLACK
from stepsmith.integrators.compile import vecmath
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import (
    ACCEPT,
    ACCEPT_MAX,
    FALLBACK,
    LOG_FACTOR,
    N_OUT,
    S_LE1,
    S_LH1,
    S_NACC,
    S_STREAK,
    bind,
)

LINEAR = registry.names("linear")
TAUS = (R.TAU_AMUSE, R.TAU_AARSETH, R.TAU_PRS)


def row(err, h=0.1, order=5.0, **slots):
    r = np.full(R.N_RECORD, np.nan)
    r[[R.ERR, R.H, R.H_FREE, R.ORDER, R.TRUNCATED, R.FINITE, R.RTOL, R.T_LEFT]] = err, h, h, order, 0.0, 1.0, 1e-6, 1.0
    for name, value in slots.items():
        r[R.NAMES.index(name)] = value
    return r


def sequence(seed, n=80):
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(n):
        r = row(10.0 ** rng.uniform(-6, 2), 10.0 ** rng.uniform(-3, 0), float(rng.integers(2, 9)))
        r[R.TRUNCATED] = float(rng.random() < 0.1)
        r[R.H_FREE] = r[R.H] * (1.0 + r[R.TRUNCATED] * rng.random())
        r[R.FINITE] = float(rng.random() > 0.05)
        r[R.NEWTON_ITERS] = float(rng.integers(1, 8)) if rng.random() < 0.7 else np.nan
        r[R.NEWTON_RATE] = 10.0 ** rng.uniform(-5, 0) if rng.random() < 0.7 else np.nan
        r[list(TAUS)] = 10.0 ** rng.uniform(-2, 1, 3)
        if rng.random() < 0.1:
            r[R.ERR] = rng.choice([0.0, np.inf, np.nan])
        records.append(r)
    return records


def play(decision, records, actions, fn=None, squash="none"):
    """Answers (attempts, N_OUT) and states of a sequence with actions written between features and apply."""
    features, apply = decision.features, fn or decision.squashing(squash)
    params, state = decision.params, np.ones(decision.n_state)
    decision.init(params, state)
    answers, states = [], []
    for r, a in zip(records, actions, strict=True):
        out = np.zeros(N_OUT)
        with np.errstate(all="ignore"):
            features(params, state, r, out)
            state[decision.act_at :] = a
            apply(params, state, r, out)
        answers.append(out)
        states.append(state.copy())
    return np.array(answers), np.array(states)


def play_law(law, records):
    params, state, answers = law.params, np.zeros(law.n_state), []
    for r in records:
        out = np.zeros(N_OUT)
        with np.errstate(all="ignore"):
            law.phases[0].fn(params, state, r, out)
        answers.append(out)
    return np.array(answers), state


def one(law, record, action, streak=0.0, **kw):
    d = Decision(("log_err",), law, n_act=len(action), **kw)
    params, state, out = d.params, np.zeros(d.n_state), np.zeros(N_OUT)
    state[S_NACC], state[S_STREAK], state[S_LH1], state[S_LE1] = 1.0, streak, math.log(record[R.H]), 0.0
    state[d.act_at :] = action
    with np.errstate(all="ignore"):
        d.apply(params, state, record, out)
    return out


@pytest.mark.parametrize("name", [*LINEAR, "amuse", "aarseth", "ias15"])
@pytest.mark.parametrize("bad", [None, np.nan, -np.inf, 1.0 + 2 * SLACK])
def test_zero_is_the_law_and_invalid_actions_are_too(name, bad):
    law = registry.get(name)
    records = sequence(1, 40)
    for r in records:  # above ACCEPT_MAX no law is followed: test_acceptance_bound
        r[R.ERR] = r[R.ERR] / 10.0 if ACCEPT_MAX < r[R.ERR] < np.inf else r[R.ERR]
    for n_act in (1, 2) if law.kind == "linear" else (1,):
        d = Decision(law=law, n_act=n_act)
        action = np.zeros(n_act)
        if bad is not None:
            action[-1] = bad
        got, states = play(d, records, [action] * len(records))
        expected, head = play_law(law, records)
        expected[:, FALLBACK] = 0.0 if bad is None else 1.0
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(states[-1][: len(head)], head)


def test_a_decision_is_a_controller_equal_to_its_law():
    law = registry.get("pi34")
    d = Decision(law=law)
    records = sequence(2)
    params, state = d.params, np.ones(d.n_state)
    d.init(params, state)
    answers = []
    for r in records:
        out = np.zeros(N_OUT)
        with np.errstate(all="ignore"):
            for phase in d.phases:
                phase.fn(params, state, r, out)
        answers.append(out)
    np.testing.assert_array_equal(answers, play_law(law, records)[0])


@pytest.mark.parametrize("a0", [-1.0, -0.3, 0.2, 0.9])
@pytest.mark.parametrize("err", [1e-3, 0.3, 0.99])
def test_residual_adds_to_the_proposal_within_the_limiter(a0, err):
    out = one("i", row(err), [a0, 0.0])
    expected = math.log(0.9) - math.log(err) / 5.0 + 1.5 * a0
    assert out[ACCEPT] == 1.0 and out[FALLBACK] == 0.0
    assert out[LOG_FACTOR] == pytest.approx(min(max(expected, math.log(0.2)), math.log(10.0)), abs=1e-14)


def test_residual_scale():
    low, high = (one("i", row(0.5), [1.0], residual_scale=s)[LOG_FACTOR] for s in (0.25, 0.5))
    assert high - low == pytest.approx(0.25, abs=1e-14)


@pytest.mark.parametrize(("a1", "edge"), [(1.0, 5.0), (-1.0, 0.2), (0.5, math.sqrt(5.0)), (0.0, 1.0)])
def test_threshold_moves_from_a_fifth_to_five(a1, edge):
    assert one("i", row(edge * (1 - 1e-12)), [0.0, a1])[ACCEPT] == 1.0
    out = one("i", row(edge * (1 + 1e-12)), [0.0, a1])
    assert out[ACCEPT] == 0.0 and out[LOG_FACTOR] <= math.log(SHRINK) + 1e-15


@pytest.mark.parametrize(("a1", "shift"), [(1.0, math.log(5.0)), (-1.0, -math.log(5.0))])
def test_threshold_of_a_law_that_accepts_by_factor(a1, shift):
    """PETSc accepts where the factor of its limited law is at least .81: the threshold moves that by shift/k."""
    law = registry.get("petsc_dsp")
    for err in np.geomspace(0.05, 60.0, 101):
        record = row(err)
        unlimited = err ** (-3 / 25)  # gains 3/5, -1/5, lagged error 1, k = 5
        limited = 1.0 + math.atan(unlimited - 1.0)
        expected = math.log(limited) + shift / 5.0 >= math.log(0.81)
        assert one(law, record, [0.0, a1])[ACCEPT] == float(expected and err <= ACCEPT_MAX)


def test_rejected_attempts_shrink_and_accepted_ones_stay_within_the_limiter():
    rng = np.random.default_rng(3)
    for name in LINEAR:
        law = registry.get(name)
        records = sequence(4, 100)
        actions = rng.uniform(-1, 1, (100, 2))
        out, _ = play(Decision(law=law), records, actions)
        rejected = out[:, ACCEPT] == 0.0
        assert rejected.any() and (~rejected).any() and not out[:, FALLBACK].any()
        assert np.all(out[rejected, LOG_FACTOR] <= math.log(0.9) + 1e-15)
        top = max(law["fmax"], law["fmax_first"])
        assert np.all(out[:, LOG_FACTOR] <= math.log(top) + 1e-12)
        low = min(law["fmin"], law["nonfinite"], law["reject_first"], law["reject_max2"])
        assert np.all(out[:, LOG_FACTOR] >= math.log(low) - 1e-12)
        assert np.all(np.isfinite(out))


@pytest.mark.parametrize("slots", [{"finite": 0.0}, {"err": math.nan}, {"err": math.inf}])
@pytest.mark.parametrize("action", [[1.0, 1.0], [0.0, 0.0], [-1.0, -1.0], [math.nan, 0.0]])
def test_the_rule_for_non_finite_attempts_wins(slots, action):
    record = row(0.5, **slots) if "err" not in slots else row(slots["err"])
    out = one("scipy", record, action)
    assert out[ACCEPT] == 0.0 and out[LOG_FACTOR] == math.log(0.2)


def test_law_after_a_rejection_still_holds():
    assert one("i", row(1e-6), [1.0, 0.0], streak=1.0)[LOG_FACTOR] == 0.0  # no growth right after a rejection


def test_truncated_step_is_answered_with_zero():
    out = one("i", row(1e-6, truncated=1.0), [0.7, 0.0])
    assert out[ACCEPT] == 1.0 and out[LOG_FACTOR] == 0.0


def test_small_actions_are_close_to_the_law():
    records = [r for r in sequence(5)]
    d = Decision(law="pi34", n_act=1)
    near, _ = play(d, records, [[1e-9]] * len(records))
    law, _ = play_law(d.law, records)
    np.testing.assert_allclose(near, law, atol=1e-8)


def test_slack_is_clipped():
    inside, outside = one("i", row(0.5), [1.0, 1.0]), one("i", row(0.5), [1.0 + SLACK / 2, 1.0 + SLACK / 2])
    np.testing.assert_array_equal(inside, outside)


@pytest.mark.parametrize(
    ("squash", "z", "a"), [("clip", 3.0, 1.0), ("clip", -0.25, -0.25), ("tanh", 0.7, math.tanh(0.7))]
)
def test_squashing(squash, z, a):
    d = Decision(law="i", n_act=1)
    records = sequence(6)
    raw, _ = play(d, records, [[z]] * len(records), squash=squash)
    plain, _ = play(d, records, [[a]] * len(records))
    np.testing.assert_allclose(raw, plain, atol=1e-15)
    for bad in (np.nan, np.inf, -np.inf):
        out, _ = play(d, records, [[bad]] * len(records), squash=squash)
        np.testing.assert_array_equal(out[:, LOG_FACTOR], play_law(d.law, records)[0][:, LOG_FACTOR])
        assert out[:, FALLBACK].all()


def test_residual_on_a_criterion_multiplies_the_size():
    law = registry.amuse(0.02)
    d = Decision(("log_h_tau",), law, n_act=1, residual_scale=1.0)
    record = row(math.nan, h=0.05, tau_amuse=3.0)
    out, _ = play(d, [record], [[0.5]])
    assert out[0, LOG_FACTOR] == pytest.approx(math.log(0.02 * 3.0 / 0.05) + 0.5, abs=1e-14)
    assert d.needs == {R.TAU_AMUSE} and R.TAU_AMUSE in d.slots
    out, _ = play(Decision(("log_h_tau",), registry.ias15(), n_act=1), [row(math.nan, h=1e-3, tau_prs=1.0)], [[1.0]])
    assert out[0, LOG_FACTOR] == math.log(4.0)  # its growth limit holds for the sum
    constant = Decision(("streak",), registry.constant(0.1), n_act=1)
    out, _ = play(constant, [row(math.nan, h=0.1)], [[1.0]])
    assert out[0, LOG_FACTOR] == pytest.approx(1.5, abs=1e-14)


@pytest.mark.parametrize("name", ["pi34", "petsc_dsp", "predictive", "amuse"])
def test_compiled_equals_numpy(name):
    law = registry.get(name)
    d = Decision(law=law, n_act=2 if law.kind == "linear" else 1)
    records, actions = sequence(7), np.random.default_rng(8).uniform(-1.2, 1.2, (80, d.n_act))
    compiled = numba.njit(bind(d.apply, vecmath.NAMESPACE), error_model="numpy")
    a, sa = play(d, records, actions)
    b, sb = play(d, records, actions, compiled)
    np.testing.assert_allclose(b, a, atol=1e-12)
    np.testing.assert_allclose(sb, sa, atol=1e-12)
    assert a[:, FALLBACK].any() and not a[:, FALLBACK].all()


def test_layout_and_normaliser():
    obs = Observation.of_tier(0)
    d = Decision(obs, "pi34", shift=np.arange(8.0), scale=np.full(8, 2.0), obs_clip=10.0)
    assert (d.obs_at, d.act_at, d.n_state, d.n_act) == (6, 14, 16, 2)
    assert len(d.params) == d.n_params
    np.testing.assert_array_equal(d.params[: len(d.law.params)], d.law.params)
    other = d.replace(law="i", residual_scale=1.0)
    np.testing.assert_array_equal(other.shift, d.shift)
    assert other.key == d.key and other.law.name == "i"
    r = row(0.3)
    plain = np.zeros(d.n_state)
    Decision(obs, "pi34").features(Decision(obs, "pi34").params, plain, r, None)
    state = np.zeros(d.n_state)
    d.features(d.params, state, r, None)
    np.testing.assert_allclose(state[6:14], np.clip((plain[6:14] - np.arange(8.0)) * 2.0, -10, 10), rtol=1e-15)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"residual_scale": 0.0}, "residual_scale must be in"),
        ({"residual_scale": math.nan}, "residual_scale must be in"),
        ({"threshold_scale": 11.0}, "threshold_scale must be in"),
        ({"n_act": 3}, "n_act must be 1"),
        ({"law": "amuse", "n_act": 2}, "does not accept by an error"),
        ({"law": "p34"}, "did you mean"),
        ({"observation": "log_err"}, "the string 'log_err'"),
        ({"observation": ["log_er"]}, "did you mean 'log_err'"),
        ({"shift": [0.0]}, "shift of the normaliser must be 14"),
        ({"scale": np.zeros(14)}, "must be positive"),
        ({"shift": np.full(14, np.nan)}, "finite"),
        ({"obs_clip": 0.0}, "obs_clip must be positive"),
    ],
)
def test_bad_arguments(kw, message):
    with pytest.raises(ValueError, match=message):
        Decision(**kw)
