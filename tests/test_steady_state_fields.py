"""The fields of `stepsmith/SteadyState-v0` against SciPy, its attempts and its baseline against the solvers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import torch

import stepsmith as ss
from steady_cores import begun, slope
from stepsmith.envs.steady_state import build, instances, kernel, places
from stepsmith.envs.steady_state.core import FEATURES
from stepsmith.integrators.neural import steady_pass

FIELDS = instances.fields("train", 24)


def jacobian(i, z):
    inner = 1.0 / np.cosh(FIELDS.w1[i].T @ z + FIELDS.b[i]) ** 2
    return FIELDS.w2[i].T @ (inner[:, None] * FIELDS.w1[i].T) - np.eye(places.WIDTH)


# -- the fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("i", range(6))
def test_the_fixed_point_and_its_spectrum_against_scipy(i):
    def field(z):
        return slope(i, z, FIELDS)

    found = scipy.optimize.root(field, np.zeros(places.WIDTH), jac=lambda z: jacobian(i, z), tol=1e-12)
    assert found.success
    np.testing.assert_allclose(found.x, FIELDS.fixed[i], atol=1e-9)
    values = np.linalg.eigvals(jacobian(i, found.x))
    # a cascade's eigenvalues are those of its blocks
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(FIELDS.spectrum[i]), rtol=1e-6, atol=1e-6)
    far = scipy.integrate.solve_ivp(lambda t, z: field(z), (0.0, 200.0), np.full(8, 20.0), "LSODA", rtol=1e-9)
    np.testing.assert_allclose(far.y[:, -1], FIELDS.fixed[i], atol=1e-5)


def test_spectra_vary_as_they_are_said_to():
    everything = instances.fields("train", instances.TRAIN)
    slow, stiff = -everything.spectrum.real.max(1), np.abs(everything.spectrum).max(1)
    assert slow.min() > 0.19 and slow.max() < 1.0 + 1e-9 and stiff.min() > 1.99 and stiff.max() < 50.1
    assert (stiff / slow).max() < 1.01 * instances.STRETCH and np.quantile(stiff, 0.5) == pytest.approx(10.0, rel=0.3)
    oscillating = (everything.spectrum.imag > 0.0).any(1)
    assert 0.6 < oscillating.mean() < 0.9


@pytest.mark.parametrize("number", range(40))
def test_every_block_contracts_in_all_corners_of_its_slopes(number, monkeypatch):
    """The premise of the proof in `instances`: negative symmetric parts, from the drawn rates, turns and units."""
    seen = []
    draw = instances._rate_and_turn

    def noted(rng, modulus, size):
        seen.append((draw(rng, modulus, size), size))
        return seen[-1][0]

    monkeypatch.setattr(instances, "_rate_and_turn", noted)
    instances.draw(number)
    assert sum(size for _, size in seen) == places.WIDTH
    for (rate, turn, off), size in seen:
        most = (np.cosh(off) ** 2).max()
        gain = (1.0 - rate) * np.eye(size) + (turn * np.array([[0.0, -1.0], [1.0, 0.0]]) if size == 2 else 0.0)
        for corner in np.ndindex(*[2] * size):
            a = gain @ np.diag(most * np.array(corner)) - np.eye(size)
            assert np.linalg.eigvalsh(0.5 * (a + a.T)).max() < -1e-3


def test_splits_share_no_instance_and_are_read_only():
    everything = [n for numbers in instances.SPLITS.values() for n in numbers]
    assert sorted(everything) == list(range(len(everything)))
    first = [instances.fields(split, 4).w1 for split in instances.SPLITS]
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])
    with pytest.raises(ValueError, match="read-only"):
        FIELDS.w1[0, 0, 0] = 1.0


# -- attempts and the baseline -----------------------------------------------------------------------------------------


def test_an_attempt_is_a_step_of_the_engine():
    """Our own compiled solver with a constant step gives the state after one attempt of this size."""
    core = begun(1, seed=5)
    i, z, h = int(core.rows("instance")[0]), core.states[0].copy(), 0.25
    w1, b, w2, c = (x[i] for x in (core.fields.w1, core.fields.b, core.fields.w2, core.fields.c))
    p = np.concatenate([w1.ravel(), b, w2.ravel(), c])

    def rhs(t, y, p, dy):
        for j in range(8):
            dy[j] = p[272 + j] - y[j]
        for k in range(16):
            u = p[128 + k]
            for j in range(8):
                u += p[16 * j + k] * y[j]
            for j in range(8):
                dy[j] += p[144 + 8 * k + j] * np.tanh(u)

    problem = ss.Problem(rhs, z, (0.0, h), p)
    law = ss.controllers.laws.get("constant", h=h)
    want = ss.solve(problem, method="tsit5", controller=law, rtol=1e-3, atol=1e-3)
    assert want.success and want.stats.naccept == 1
    core.step(np.array([[np.log(h) / kernel.LOG_FACTOR_MOST]]))
    np.testing.assert_allclose(core.states[0], want.y[-1], rtol=1e-12, atol=1e-13)
    assert core.rows("h")[0] == pytest.approx(h, rel=1e-14)


def test_what_is_observed_of_an_attempt_in_numpy():
    core = begun(1, seed=9)
    i, z, slope0 = int(core.rows("instance")[0]), core.states[0].copy(), core.rows("slope")[0]
    assert (core.obs[0, 1:10] == 0.0).all() and core.obs[0, 13] == 0.0 and core.obs[0, 14] == 0.0
    h = 4.0**-0.8
    a, e = build.coefficients()
    fields, k, stages = core.fields, np.zeros((7, 8)), np.zeros((7, 8))
    for s in range(7):
        stages[s] = z + h * a[s] @ k
        k[s] = slope(i, stages[s], fields)
    core.step(np.array([[-0.8]]))
    seen = dict(zip(FEATURES, core.obs[0].astype(np.float64), strict=True))
    new, err, d = stages[6], h * e @ k, h * k[0]
    stiff = np.linalg.norm(k[6] - k[5]) / np.linalg.norm(stages[6] - stages[5])
    scaled = np.sqrt(np.mean((err / (0.1 + 0.1 * np.maximum(np.abs(z), np.abs(new)))) ** 2))
    moved = np.sqrt(np.mean((d / (0.1 + 0.1 * np.abs(z))) ** 2))
    top, target = np.abs(k[6]).max(), 1e-3 * (1.0 + np.abs(new).max())
    assert top < kernel.GROWN * slope0
    want = {
        "log10 slope / target": np.log10(top / target),
        "log of the last attempt's slopes": np.log(top / np.abs(k[0]).max()),
        "log of the last but one attempt's slopes": 0.0,
        "log h S": np.log(h * stiff),
        "log h- S": np.log(h * stiff),
        "log h S-": 0.0,
        "log h radius": np.log(h * stiff),
        "log10 scaled error": np.log10(scaled * max(1.0, 1.0 / (0.05 * moved))),
        "1 + log10 error / move": 1.0 + np.log10(np.linalg.norm(err) / np.linalg.norm(d)),
        "log h- / size before it": 0.0,
        "rejected": 0.0,
        "log10 h": np.log10(h),
        "cosine of the last attempt's slopes": k[0] @ k[6] / np.linalg.norm(k[0]) / np.linalg.norm(k[6]),
        "share of the way": 1.0 - np.log10(top / target) / np.log10(slope0 / (1e-3 * (1.0 + np.abs(z).max()))),
        "share of the attempts": np.log10(2.0) / np.log10(1001.0),
    }
    assert list(want) == list(FEATURES)
    for name, value in want.items():
        assert seen[name] == pytest.approx(np.clip(value, -5.0, 5.0), rel=1e-5, abs=1e-6), name


def field(z, x):
    """f of many instances at once, in torch."""
    w1, b, w2, c = x
    return (torch.tanh((z[:, None] @ w1)[:, 0] + b)[:, None] @ w2)[:, 0] + c


def test_the_baseline_is_steady_state():
    """Evaluations of the compiled baseline and of `ss.neural.steady_state`, from the same starts."""
    core = begun(24, pool_size=24, seed=3)
    numbers, starts = core.rows("instance").astype(int), core.states.copy()
    for name in ("DIVERGED", "GROWTH", "SHARE", "PATIENCE", "BETTER", "CALMER", "LEAST_SHARE"):
        assert getattr(steady_pass, name) == getattr(kernel, name), name
    one = core.fields
    weights = tuple(torch.from_numpy(array[numbers].copy()) for array in (one.w1, one.b, one.w2, one.c))

    found = ss.neural.steady_state(field, torch.from_numpy(starts), weights)
    assert found.success and core.rows("base").tolist() == found.stats.nfev_per_sample.tolist()


def test_no_start_is_left_on_a_cycle_of_the_steps(monkeypatch):
    """Without patience `steady_state` stays where its step has a fixed point or a cycle that the field has not, from
    one start in twenty."""
    core = begun(200, pool_size=None, seed=1)
    numbers, starts, one = core.rows("instance").astype(int), torch.from_numpy(core.states.copy()), core.fields
    weights = tuple(torch.from_numpy(array[numbers].copy()) for array in (one.w1, one.b, one.w2, one.c))
    found = ss.neural.steady_state(field, starts, weights)
    assert found.success and core.rows("base").tolist() == found.stats.nfev_per_sample.tolist()
    distance = np.abs(found.z.numpy() - one.fixed[numbers]).max(1)
    assert np.median(distance) < 0.01 and distance.max() < 0.2  # the slope is small; the slowest rate may be .2
    monkeypatch.setattr(steady_pass, "PATIENCE", 10**9)
    without = ss.neural.steady_state(field, starts, weights, on_failure="mask")
    stuck = without.status != 1
    assert 0.02 < stuck.mean() < 0.1 and set(without.status[stuck].tolist()) == {-1}
    # where nothing settles nothing is changed
    same = without.stats.nfev_per_sample == found.stats.nfev_per_sample
    assert same[~stuck].mean() > 0.95


def test_starts_are_normal_and_instances_uniform():
    module, z, starts, places_ = build.module(), np.zeros(8), [], []
    for key in range(4000):
        places_.append(module.draw_start(np.uint64(key), 1, 10, z))
        starts.append(z.copy())
    starts = np.array(starts)
    assert np.abs(starts.mean(0)).max() < 0.15 and np.abs(starts.std(0) - kernel.START).max() < 0.1
    assert np.abs(np.corrcoef(starts.T) - np.eye(8)).max() < 0.07
    assert set(places_) == set(range(10)) and np.bincount(places_).min() > 320
