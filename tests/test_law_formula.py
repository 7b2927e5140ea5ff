"""The compiled, NumPy, scalar and torch versions of the formulas are one formula; edge cases of a
single decision.
"""

import math

import numba
import numpy as np
import pytest

from law_driver import row
from stepsmith.controllers.laws import registry
from stepsmith.integrators.compile import vecmath
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import (
    ACCEPT,
    FALLBACK,
    FLAGS,
    LOG_FACTOR,
    N_HEAD,
    N_OUT,
    S_LE1,
    S_LE2,
    S_LH1,
    S_LH2,
    S_NACC,
    S_STREAK,
    bind,
)
from stepsmith.integrators.core.namespaces import SCALAR, torch_namespace

LINEAR = registry.names("linear")
LAWS = [registry.get(n) for n in LINEAR] + [
    registry.amuse(),
    registry.aarseth(),
    registry.ias15(),
    registry.constant(0.01),
]


def decide(law, records, fn=None):
    """Answers and final state of a sequence of records."""
    fn = fn or law.phases[0].fn
    params, state, out = law.params, np.ones(law.n_state), np.zeros(N_OUT)
    law.init(params, state)
    answers = []
    for r in records:
        fn(params, state, r, out)
        answers.append(out.copy())
    return np.array(answers), state


def sequence(seed, n=60):
    """Records with errors over eight decades, sizes that jump, truncated and non-finite attempts,
    Newton figures.
    """
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(n):
        r = row(10.0 ** rng.uniform(-6, 2), 10.0 ** rng.uniform(-3, 0), float(rng.integers(2, 9)))
        r[R.TRUNCATED] = float(rng.random() < 0.1)
        r[R.H_FREE] = r[R.H] * (1.0 + r[R.TRUNCATED] * rng.random())
        r[R.FINITE] = float(rng.random() > 0.05)
        r[R.NEWTON_ITERS] = float(rng.integers(1, 8)) if rng.random() < 0.7 else np.nan
        r[R.NEWTON_RATE] = 10.0 ** rng.uniform(-5, 0) if rng.random() < 0.7 else np.nan
        r[[R.TAU_AMUSE, R.TAU_AARSETH, R.TAU_PRS]] = 10.0 ** rng.uniform(-2, 1, 3)
        if rng.random() < 0.1:
            r[R.ERR] = rng.choice([0.0, np.inf, np.nan])
        records.append(r)
    return records


def same(a, b, ulps=64):
    """Equality to a few ulp of the largest intermediate (logarithms of up to a few tens)."""
    np.testing.assert_allclose(a, b, rtol=ulps * 2.3e-16, atol=ulps * 2.3e-16, equal_nan=True)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_scalar_version_equals_numpy(law):
    records = sequence(1)
    a, sa = decide(law, records)
    b, sb = decide(law, records, law.phases[0].bound(SCALAR))
    assert np.array_equal(a[:, [ACCEPT, FLAGS, FALLBACK]], b[:, [ACCEPT, FLAGS, FALLBACK]])
    same(a, b)
    same(sa, sb)


@pytest.mark.parametrize(
    "law",
    [registry.get(n) for n in ("pi34", "h211b", "radau5")] + [registry.ias15(), registry.constant(0.01)],
    ids=lambda law: law.name,
)  # fmt: skip
def test_compiled_version_equals_numpy(law):
    fn = numba.njit(error_model="numpy")(law.phases[0].bound(vecmath.NAMESPACE))
    for seed in (1, 2, 3):
        records = sequence(seed)
        a, sa = decide(law, records)
        b, sb = decide(law, records, fn)
        assert np.array_equal(a[:, ACCEPT], b[:, ACCEPT])
        same(a, b)
        same(sa, sb)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_laws_share_four_compiled_formulas(name):
    law = registry.get(name)
    assert law.key[0] == "linear" and len(law.phases) == 1
    assert law.replace(safety=0.8).phases[0].fn is law.phases[0].fn


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_torch_batch_equals_numpy_lane_by_lane(law):
    torch = pytest.importorskip("torch")
    lanes = [sequence(seed) for seed in range(5)]
    expected = [decide(law, lane) for lane in lanes]
    fn = law.phases[0].bound(torch_namespace())
    params = torch.tensor(law.params)
    state = torch.zeros(law.n_state, 5, dtype=torch.float64)
    out = torch.zeros(N_OUT, 5, dtype=torch.float64)
    for n in range(60):
        fn(params, state, torch.tensor(np.array([lane[n] for lane in lanes]).T), out)
        for lane, (answers, _) in enumerate(expected):
            assert out[ACCEPT, lane].item() == answers[n, ACCEPT]
            same(out[:, lane].numpy(), answers[n])
    for lane, (_, final) in enumerate(expected):
        same(state[:, lane].numpy(), final)


def test_numpy_rows_are_lanes():
    law = registry.get("h312b")
    lanes = [sequence(seed) for seed in range(4)]
    state, out = np.zeros((law.n_state, 4)), np.zeros((N_OUT, 4))
    for n in range(60):
        law.phases[0].fn(law.params, state, np.array([lane[n] for lane in lanes]).T, out)
    for lane in range(4):
        answers, final = decide(law, lanes[lane])
        assert np.array_equal(out[:, lane], answers[-1])
        assert np.array_equal(state[:, lane], final)


def test_lists_take_the_place_of_arrays():
    """A library with immutable arrays passes lists; nothing but item assignment is used."""
    law = registry.get("pi34")
    state, out = [0.0] * N_HEAD, [0.0] * N_OUT
    law.phases[0].fn(law.params, state, row(0.5), out)
    answers, final = decide(law, [row(0.5)])
    assert [float(x) for x in out] == answers[0].tolist() and [float(x) for x in state] == final.tolist()


def test_bind_reaches_helpers_and_leaves_the_original_alone():
    calls = []

    def count(x):
        calls.append(x)
        return np.log(x)

    law = registry.get("i")
    bound = bind(law.phases[0].fn, {"log": count})
    bound(law.params, np.zeros(N_HEAD), row(0.5), np.zeros(N_OUT))
    assert len(calls) >= 2
    calls.clear()
    law.phases[0].fn(law.params, np.zeros(N_HEAD), row(0.5), np.zeros(N_OUT))
    assert calls == []


@pytest.mark.parametrize("name", LINEAR)
def test_zero_error_gives_the_largest_factor_and_a_finite_state(name):
    law = registry.get(name)
    answers, state = decide(law, [row(0.0), row(0.0), row(0.0)])
    kappa = law["kappa"]
    limit = 1.0 + kappa * math.pi / 2 if kappa else math.inf
    factors = np.exp(answers[:, LOG_FACTOR])
    assert factors == pytest.approx([min(limit, law["fmax_first"])] + 2 * [min(limit, law["fmax"])], rel=1e-12)
    assert np.isfinite(state).all() and answers[:, ACCEPT].tolist() == [1, 1, 1] and state[S_NACC] == 3


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_non_finite_error_is_rejected_and_leaves_the_lags_alone(name, bad):
    law = registry.get(name)
    _, before = decide(law, [row(0.5), row(0.4)])
    answers, state = decide(law, [row(0.5), row(0.4), row(bad)])
    assert answers[2, ACCEPT] == 0
    assert math.exp(answers[2, LOG_FACTOR]) == pytest.approx(law["nonfinite"])
    assert np.array_equal(state[[S_LE1, S_LE2, S_NACC]], before[[S_LE1, S_LE2, S_NACC]])
    # sizes stay, or move along with the attempt that follows
    moved = law["own_ratios"] * answers[2, LOG_FACTOR]
    np.testing.assert_allclose(state[[S_LH1, S_LH2]], before[[S_LH1, S_LH2]] + moved, rtol=1e-15)
    assert state[S_STREAK] == 1
    answers, _ = decide(law, [row(0.5), row(0.4, finite=0.0)])
    assert answers[1, ACCEPT] == 0


@pytest.mark.parametrize("name", LINEAR)
def test_truncated_step_leaves_the_history_alone(name):
    law = registry.get(name)
    plain, _ = decide(law, [row(0.5, 0.1), row(0.4, 0.12), row(0.6, 0.11)])
    with_cut, state = decide(law, [row(0.5, 0.1), row(0.4, 0.12), row(1e-9, 1e-4, truncated=1.0), row(0.6, 0.11)])
    assert with_cut[2, LOG_FACTOR] == 0 and with_cut[2, ACCEPT] == 1
    assert np.array_equal(with_cut[3], plain[2])
    assert state[S_NACC] == 3


def test_criteria_on_plain_numbers():
    r = row(np.nan, 0.01, tau_amuse=0.5, tau_aarseth=0.2, tau_prs=0.3)
    for law, size in (
        (registry.amuse(0.03), 0.015), (registry.aarseth(0.02), math.sqrt(0.02) * 0.2),
        (registry.constant(0.004), 0.004),
        (registry.ias15(), 0.3 * 0.17506702932189997),
    ):  # fmt: skip
        answers, state = decide(law, [r])
        expected = min(size, 0.04) if law.name == "ias15" else size
        assert answers[0, ACCEPT] == 1
        assert 0.01 * math.exp(answers[0, LOG_FACTOR]) == pytest.approx(expected, rel=1e-14)
        assert np.isfinite(state).all()


def test_prs_repeats_ambitious_steps_and_bounds_growth():
    law = registry.ias15()
    c = law["prs"]
    answers, _ = decide(law, [row(np.nan, 1.0, tau_prs=0.2499 / c), row(np.nan, 1.0, tau_prs=0.2501 / c)])
    assert answers[:, ACCEPT].tolist() == [0, 1]
    assert np.exp(answers[:, LOG_FACTOR]) == pytest.approx([0.2499, 0.2501])
    answers, _ = decide(law, [row(np.nan, 1.0, tau_prs=np.inf)])
    assert answers[0, ACCEPT] == 1 and math.exp(answers[0, LOG_FACTOR]) == pytest.approx(4)


@pytest.mark.parametrize("law", LAWS[-4:], ids=lambda law: law.name)
def test_non_finite_attempts_shrink_steps_without_an_error(law):
    r = row(np.nan, 0.3, finite=0.0, tau_amuse=1.0, tau_aarseth=1.0, tau_prs=1.0)
    answers, state = decide(law, [r, r])
    assert answers[:, ACCEPT].tolist() == [0, 0] and state[S_STREAK] == 2
    assert (answers[:, LOG_FACTOR] < 0).all() and np.isfinite(answers).all()
    if law.kind == "criterion":
        answers, _ = decide(law, [row(np.nan, 0.3)])  # a time scale that is not a number
        assert answers[0, ACCEPT] == 0 and math.exp(answers[0, LOG_FACTOR]) == pytest.approx(0.25)


def test_criterion_after_a_truncated_step_is_relative_to_the_size_asked_for():
    r = row(np.nan, 0.001, h_free=0.02, truncated=1.0, tau_amuse=1.0)
    answers, _ = decide(registry.amuse(0.03), [r])
    assert 0.02 * math.exp(answers[0, LOG_FACTOR]) == pytest.approx(0.03)
