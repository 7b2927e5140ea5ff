"""Features against their formulas evaluated with `math`, their clips, missing slots, and one function for every array
library.
"""

import math

import numba
import numpy as np
import pytest
import torch

from stepsmith.controllers.learned import observation as O
from stepsmith.integrators.compile import vecmath
from stepsmith.integrators.core import record as R
from stepsmith.integrators.core.contract import N_HEAD, N_OUT, S_LE1, S_LE2, S_LH1, S_LH2, S_NACC, S_STREAK, bind
from stepsmith.integrators.core.namespaces import NUMPY, SCALAR, torch_namespace

ALL = tuple(O.FEATURES)


def params_for(n, shift=0.0, scale=1.0, bound=1e300):
    return np.concatenate([np.full(n, shift), np.full(n, scale), [bound]])


def observe(features, record, state=None, fn=None, params=None):
    """The observation rows; `state` is the head."""
    full = np.zeros(N_HEAD + len(features))
    if state is not None:
        full[:N_HEAD] = state
    out = np.full(N_OUT, 7.0)
    params = params_for(len(features)) if params is None else params
    with np.errstate(all="ignore"):
        (fn or O.Observation(features).function(0))(params, full, record, out)
    assert np.all(out == 7.0) and (state is None or np.array_equal(full[:N_HEAD], state))
    return full[N_HEAD:]


def random_record(rng):
    r = np.full(R.N_RECORD, np.nan)
    newton = (R.NEWTON_ITERS, R.NEWTON_RATE, R.JAC_AGE, R.LU_AGE, R.LU_SHIFT)
    for slot in (R.ERR, R.H, R.HS, R.CURV, R.YNORM, R.ENORM, R.TAU_AMUSE, R.TAU_AARSETH, R.TAU_PRS, *newton):
        r[slot] = 10.0 ** rng.uniform(-3, 1)
    r[R.T_LEFT] = r[R.H] * 10.0 ** rng.uniform(0, 3)
    r[R.SPAN] = r[R.T_LEFT] * rng.uniform(1, 10)
    r[[R.ORDER, R.TRUNCATED, R.FINITE, R.RTOL]] = rng.integers(2, 9), 0.0, 1.0, 10.0 ** rng.uniform(-10, -1)
    return r


def random_head(rng):
    s = rng.uniform(-3, 1, N_HEAD)
    s[S_STREAK], s[S_NACC] = rng.integers(0, 5), rng.integers(0, 4)
    return s


def by_hand(r, s):
    """Raw value, clip, shift, scale of every feature, written out a second time."""
    ln = math.log
    nacc, lh = s[S_NACC], ln(r[R.H])
    t10 = ln(10.0)
    return {
        "log_err": (ln(r[R.ERR]), -10, 10, 0, 0.5),
        "log_err_1": (s[S_LE1] if nacc >= 1 else 0.0, -10, 10, 0, 0.5),
        "log_err_2": (s[S_LE2] if nacc >= 2 else 0.0, -10, 10, 0, 0.5),
        "log_ratio_1": (lh - s[S_LH1] if nacc >= 1 and not r[R.TRUNCATED] else 0.0, -4, 4, 0, 1),
        "log_ratio_2": (s[S_LH1] - s[S_LH2] if nacc >= 2 else 0.0, -4, 4, 0, 1),
        "streak": (s[S_STREAK], 0, 3, 0, 1),
        "order": (r[R.ORDER], 1, 14, 5, 0.25),
        "low_order": (float(r[R.ORDER] <= 6.0), 0.0, 1.0, 0.0, 1.0),
        "log_tol": (ln(r[R.RTOL]), -14 * t10, 0, -5 * t10, 1 / (3 * t10)),
        "time_left": (r[R.T_LEFT] / r[R.SPAN], 0, 1, 0.5, 2),
        "log_left": (lh - ln(r[R.T_LEFT]), -12, 0, -4, 0.25),
        "log_ynorm": (ln(r[R.YNORM] * r[R.RTOL]), -10, 0, 0, 0.25),
        "log_enorm": (ln(r[R.ENORM]), 0, 5, 0, 0.5),
        "log_hs": (ln(r[R.HS]), -8, 4, -1, 0.5),
        "log_curv": (ln(r[R.CURV]), -8, 0, -3, 0.5),
        "log_stiff_left": (ln(r[R.HS] / r[R.H] * r[R.T_LEFT]), -4, 14, 4, 0.25),
        "log_h_tau": (lh - ln(r[R.TAU_AMUSE]), -8, 4, -4, 0.5),
        "log_tau_ratio": (ln(r[R.TAU_AMUSE] / r[R.TAU_AARSETH]), -6, 6, 0, 0.5),
        "log_newton_rate": (ln(r[R.NEWTON_RATE]), -14, 0, -5, 0.25),
        "newton_iters": (r[R.NEWTON_ITERS], 0, 10, 3, 0.4),
        "log_jac_age": (ln(1 + r[R.JAC_AGE]), 0, 4, 0, 0.5),
        "log_lu_age": (ln(1 + r[R.LU_AGE]), 0, 4, 0, 0.5),
        "lu_shift": (r[R.LU_SHIFT], -0.5, 0.5, 0, 4),
    }


def test_formulas():
    rng = np.random.default_rng(0)
    for i in range(300):
        r, s = random_record(rng), random_head(rng)
        r[R.TRUNCATED] = float(i % 5 == 0)
        table = by_hand(r, s)
        assert set(table) == set(ALL)
        expected = [(min(max(x, lo), hi) - shift) * scale for x, lo, hi, shift, scale in (table[n] for n in ALL)]
        np.testing.assert_allclose(observe(ALL, r, s), expected, rtol=1e-13, atol=1e-13)


def test_order_of_the_selection_is_kept():
    r = random_record(np.random.default_rng(1))
    names = ("log_hs", "log_err", "log_tol")
    whole = dict(zip(ALL, observe(ALL, r), strict=True))
    np.testing.assert_array_equal(observe(names, r), [whole[n] for n in names])


def test_tiers_are_nested_and_say_what_they_read():
    tiers = [O.Observation.of_tier(k) for k in (0, 1, 2)]
    assert [t.tier for t in tiers] == [0, 1, 2] and [t.n for t in tiers] == [8, 11, 14]
    assert set(tiers[0].features) < set(tiers[1].features) < set(tiers[2].features)
    assert tiers[0].slots == {R.ERR, R.H, R.TRUNCATED, R.ORDER, R.RTOL}
    assert {R.HS, R.CURV, R.YNORM, R.ENORM} <= tiers[2].slots


@pytest.mark.parametrize("name", ALL)
def test_a_feature_reads_only_its_slots(name):
    class Probe(list):
        read = set()

        def __getitem__(self, i):
            self.read.add(i)
            return super().__getitem__(i)

    probe = Probe(random_record(np.random.default_rng(2)))
    probe.read = set()
    observe((name,), probe)
    assert probe.read == O.FEATURES[name].slots


def test_a_missing_slot_gives_zero_and_touches_no_other_feature():
    rng = np.random.default_rng(3)
    r, s = random_record(rng), random_head(rng)
    s[S_NACC] = 3
    whole = observe(ALL, r, s)
    for slot in range(R.N_RECORD):
        holed = r.copy()
        holed[slot] = np.nan
        got = observe(ALL, holed, s)
        for i, name in enumerate(ALL):
            if slot == R.TRUNCATED:  # a mark, not a quantity
                continue
            assert got[i] == (0.0 if slot in O.FEATURES[name].slots else whole[i]), (name, slot)


@pytest.mark.parametrize("extreme", [0.0, 5e-324, 1e-310, 1e308, np.inf, -1.0])
def test_extremes_stay_within_the_published_bounds(extreme):
    rng = np.random.default_rng(4)
    obs = O.Observation(ALL)
    for slot in range(R.N_RECORD):
        r = random_record(rng)
        r[slot] = extreme
        got = observe(ALL, r, random_head(rng))
        assert np.all((got >= obs.low) & (got <= obs.high))
    everything = np.full(R.N_RECORD, extreme)
    got = observe(ALL, everything)
    assert np.all((got >= obs.low) & (got <= obs.high))


def test_scale_free():
    """Units of time and the size of the state do not enter."""
    rng = np.random.default_rng(5)
    r, s = random_record(rng), random_head(rng)
    s[S_NACC] = 3
    other, shifted = r.copy(), s.copy()
    for slot in (R.H, R.T_LEFT, R.SPAN, R.TAU_AMUSE, R.TAU_AARSETH):
        other[slot] *= 1e5
    shifted[[S_LH1, S_LH2]] += math.log(1e5)
    np.testing.assert_allclose(observe(ALL, other, shifted), observe(ALL, r, s), atol=1e-12)


def test_normaliser():
    r = random_record(np.random.default_rng(6))
    plain = observe(ALL, r)
    got = observe(ALL, r, params=params_for(len(ALL), 0.25, 3.0, 1.5))
    np.testing.assert_allclose(got, np.clip((plain - 0.25) * 3.0, -1.5, 1.5), rtol=1e-15)


def test_one_function_for_every_library():
    rng = np.random.default_rng(7)
    plain = O.Observation(ALL).function(0)
    compiled = numba.njit(bind(plain, vecmath.NAMESPACE))
    scalar, tensors = bind(plain, SCALAR), bind(plain, torch_namespace())
    rows, heads = [], []
    for i in range(40):
        r = random_record(rng)
        if i % 4 == 0:
            r[rng.integers(0, R.N_RECORD, 3)] = rng.choice([0.0, np.nan, np.inf, 1e-320])
        rows.append(r)
        heads.append(random_head(rng))
    one_by_one = np.array([observe(ALL, r, s) for r, s in zip(rows, heads, strict=True)])
    for fn in (compiled, scalar):
        got = np.array([observe(ALL, r, s, fn) for r, s in zip(rows, heads, strict=True)])
        np.testing.assert_allclose(got, one_by_one, rtol=1e-14, atol=1e-14)
    params = params_for(len(ALL))
    together = np.zeros((N_HEAD + len(ALL), len(rows)))
    together[:N_HEAD] = np.array(heads).T
    with np.errstate(all="ignore"):
        bind(plain, NUMPY)(params, together, np.array(rows).T, None)
    np.testing.assert_array_equal(together[N_HEAD:].T, one_by_one)
    state = [torch.tensor(x) for x in np.array(heads).T] + [None] * len(ALL)
    tensors(torch.tensor(params), state, [torch.tensor(x) for x in np.array(rows).T], None)
    np.testing.assert_allclose(torch.stack(state[N_HEAD:]).numpy().T, one_by_one, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (("log_eror",), "did you mean 'log_err'"),
        (("log_err", "streak", "log_err"), "repeated: log_err"),
        ((), "at least one"),
        ("log_err", "the string 'log_err'"),
    ],
)
def test_bad_selections(features, message):
    with pytest.raises(ValueError, match=message):
        O.Observation(features)


def test_unknown_tier():
    with pytest.raises(ValueError, match="0, 1 or 2, got 3"):
        O.Observation.of_tier(3)


def test_every_feature_is_documented_and_of_size_one():
    for f in O.FEATURES.values():
        assert f.doc.endswith(".") and f.bounds[0] < f.bounds[1] and max(-f.bounds[0], f.bounds[1]) <= 5.0, f.name
