"""Single and native vector environments: Gymnasium's checker, bit-equality, autoreset, seeds, lanes that do not know
their neighbours.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepsmith  # noqa: F401 (registers the ids)
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs.core import Core, Reward
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv, make_core
from stepsmith.envs.pool import ERROR_GRID, LARGEST, Pool, make_pool
from stepsmith.integrators import problems
from stepsmith.integrators.kernels.layout import NON_FINITE, SUCCESS, UNDERFLOW
from stepsmith.integrators.problems.families import Family
from stepsmith.integrators.problems.problem import Batch
from stepsmith.train.algorithms.validate import Validator

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
BODIES = {"pool_size": 6, "rtol": (1e-3, 1e-6), "method": "tsit5"}
IDS = [("stepsmith/ODE-v0", SMALL), ("stepsmith/ThreeBody-v0", BODIES)]


@pytest.mark.parametrize("env_id, kwargs", IDS)
@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_passes(env_id, kwargs):
    env = gym.make(env_id, render_mode="rgb_array", disable_env_checker=True, **kwargs)
    check_env(env.unwrapped)
    env.close()


def same_info(a: Any, b: Any) -> None:
    if isinstance(b, dict):
        assert set(a) == set(b)
        for k in b:
            same_info(a[k], b[k])
    elif isinstance(b, np.ndarray) and b.dtype == object:
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None) and (x is None or np.array_equal(x, y))
    else:
        assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("cut", [20_000, 25])
def test_native_vector_environment_is_sync_vector_environment_bit_for_bit(mode, cut):
    n, kwargs = 5, {**SMALL, "max_attempts": cut}
    sync = SyncVectorEnv([lambda: ODEEnv(**kwargs)] * n, autoreset_mode=mode)
    native = ODEVectorEnv(n, autoreset_mode=mode, **kwargs)
    assert native.metadata["autoreset_mode"] == mode
    assert native.observation_space == sync.observation_space and native.action_space == sync.action_space
    rng = np.random.default_rng(0)
    ends = 0
    for seed in (11, None, [3, None, 5, 1, None]):
        a, b = native.reset(seed=seed), sync.reset(seed=seed)
        assert np.array_equal(a[0], b[0])  # a lane whose seed is None goes on with its own generator
        same_info(a[1], b[1])
        for _ in range(260):
            act = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
            x, y = native.step(act), sync.step(act)
            for u, v in zip(x[:4], y[:4], strict=True):
                assert u.dtype == v.dtype and np.array_equal(u, v)
            same_info(x[4], y[4])
            ends += int((x[2] | x[3]).sum())
            assert native.observation_space.contains(x[0])
    assert ends > 5


def test_masked_reset_leaves_other_lanes_alone():
    n = 4
    kwargs = {**SMALL, "max_attempts": 25}
    native = ODEVectorEnv(n, **kwargs)
    sync = SyncVectorEnv([lambda: ODEEnv(**kwargs)] * n)
    native.reset(seed=2), sync.reset(seed=2)
    act = np.full((n, 2), 0.1, np.float32)
    for k in range(60):
        x, y = native.step(act), sync.step(act)
        assert np.array_equal(x[0], y[0]) and np.array_equal(x[1], y[1])
        if k in (7, 24, 25, 40):  # in the middle, at an end, and one call after
            mask = np.array([True, False, True, False])
            a = native.reset(options={"reset_mask": mask.copy()})[0]
            b = sync.reset(options={"reset_mask": mask.copy()})[0]
            assert np.array_equal(a, b)
    for bad in (np.zeros(n, bool), np.ones(n), np.ones(n + 1, bool)):
        with pytest.raises(ValueError, match="reset_mask"):
            native.reset(options={"reset_mask": bad})


def test_make_vec_takes_the_native_one_and_make_finds_the_ids():
    venv = gym.make_vec("stepsmith/ODE-v0", num_envs=3, **SMALL)
    assert isinstance(venv.unwrapped, ODEVectorEnv) and venv.num_envs == 3
    venv = gym.make_vec("stepsmith/ODE-v0", num_envs=3, autoreset_mode="same_step", **SMALL)
    assert venv.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    env = gym.make("stepsmith:stepsmith/ODE-v0", **SMALL)
    obs, _ = env.reset(seed=1)
    assert env.observation_space.contains(obs)


def play(c: Core, steps: int, lanes: list[int]) -> list[np.ndarray]:
    out = []
    c.reset()
    for k in range(steps):
        act = np.tile(np.sin(0.3 * k + np.arange(2)), (c.lanes, 1)).astype(np.float32)
        c.step(act)
        out += [c.obs[lanes].copy(), c.reward[lanes].copy(), c.terminated[lanes].copy(), c.stats[lanes].copy()]
    return out


def test_a_lane_depends_on_its_key_alone():
    keys = np.random.default_rng(4).integers(0, 2**63, 150).astype(np.uint64)
    few, many = make_core(3, True, **SMALL), make_core(150, True, **SMALL)
    few.seed(keys[[70, 149, 3]])
    many.seed(keys)
    for a, b in zip(play(few, 200, [0, 1, 2]), play(many, 200, [70, 149, 3]), strict=True):
        assert np.array_equal(a, b)


def test_episodes_of_a_lane_and_of_lanes_differ_and_cover_pool_and_range():
    c = make_core(64, True, **{**SMALL, "max_attempts": 1})
    c.seed(np.arange(64, dtype=np.uint64))  # neighbouring keys: the worst case for the mixing
    c.reset()
    seen, tols = [], []
    for _ in range(40):
        c.step(np.zeros((64, 2), np.float32))
        assert c.truncated.all()
        seen.append(c.stats[:, 7].copy())
        tols.append(c.stats[:, 8].copy())
    lr = (np.log(np.array(tols)) - np.log(1e-6)) / (np.log(1e-3) - np.log(1e-6))
    assert lr.min() >= 0 and lr.max() <= 1
    counts = np.bincount(np.array(seen, int).ravel(), minlength=12)
    # 2560 draws over 12 instances: chi-squared with 11 degrees of freedom; 99.99 % below 37
    assert ((counts - 2560 / 12) ** 2 / (2560 / 12)).sum() < 37
    u = np.sort(lr.ravel())
    assert np.abs(u - (np.arange(2560) + 0.5) / 2560).max() < 2.2 / np.sqrt(2560)  # Kolmogorov-Smirnov, 99.99 %
    for a in (lr, lr.T):  # along a lane and across lanes
        flat = a[1:].ravel() - 0.5, a[:-1].ravel() - 0.5
        assert abs(np.mean(flat[0] * flat[1])) / (1 / 12) < 4 / np.sqrt(2480)


def test_no_state_outlives_an_episode():
    # the second episode of a lane is the first one of a lane that has played nothing before
    def first(core: Core, skip: int) -> list[np.ndarray]:
        out = []
        while skip:
            core.step(np.full((1, 2), 0.5, np.float32))
            skip -= int(core.terminated[0])
        for _ in range(50):
            core.step(np.zeros((1, 2), np.float32))
            out += [core.obs.copy(), core.reward.copy()]
        return out

    a = make_core(1, True, **SMALL)
    a.seed(np.array([9], np.uint64))
    a.reset()
    old = first(a, 1)
    b = make_core(1, True, **SMALL)
    b.seed(np.array([9], np.uint64))
    b.episodes[:] = 1
    b.reset()
    for x, y in zip(old, first(b, 0), strict=True):
        assert np.array_equal(x, y)


def test_truncation_observes_what_comes_next_and_goes_on_if_not_cut():
    cut, whole = (make_core(2, True, **{**SMALL, "max_attempts": k}) for k in (10, 20_000))
    for c in (cut, whole):
        c.seed(np.array([1, 2], np.uint64))
        c.reset()
        for _ in range(10):
            c.step(np.zeros((2, 2), np.float32))
    assert cut.truncated.all() and not cut.terminated.any()
    assert np.array_equal(cut.final_obs, whole.obs) and np.array_equal(cut.reward, whole.reward)
    assert not np.array_equal(cut.obs, whole.obs)


def blow_up_rhs(t, y, p, dy):
    dy[0] = p[0] * y[0] * y[0]


def test_a_solution_that_blows_up_ends_its_episode_as_a_failure():
    # y' = p y^2, y(0) = 1: infinite at t = 1 for p = 1, and harmless for p = .1
    count = 6
    p = np.where(np.arange(count) == 2, 1.0, 0.1)[:, None]
    batch = Batch(blow_up_rhs, np.ones((count, 1)), p, np.zeros(count), np.full(count, 2.0), name="blow_up")
    family = Family(name="blow_up", doc="", rhs=blow_up_rhs, n=1, m=1, sampler=lambda rng, n: batch[:n], error="final")
    with np.errstate(divide="ignore"):
        ref = (1.0 / (1.0 - 2.0 * p))[:, :, None]
    pool = Pool(
        family,
        batch,
        np.full((count, 1), 2.0),
        ref,
        np.full((count, ERROR_GRID.size), np.log(100.0)),
        np.log([1e-8, 1e-2]),
        np.log([np.full((count, 2), 50.0), np.full((count, 2), 1e-6)]),
        0,
        "dopri5",
    )
    c = Core(pool, "dopri5", Decision(), 40, Reward(fail=3.0), pool.span((1e-3, 1e-6)), 20_000, True)
    c.seed(np.arange(40, dtype=np.uint64))
    c.reset()
    failed = good = 0
    for _ in range(1500):
        c.step(np.zeros((40, 2), np.float32))
        assert np.all(np.isfinite(c.obs)) and np.all(np.isfinite(c.reward)) and np.all(np.isfinite(c.final_obs))
        assert not c.truncated.any()
        for i in np.flatnonzero(c.terminated):
            e = c.episode(i)
            if e["instance"] == 2:
                failed += 1
                assert e["status"] in (UNDERFLOW, NON_FINITE) and e["error"] == np.inf
                assert e["return"] == pytest.approx(np.log(100.0) - np.log(e["nfev"]) - 3.0, abs=1e-11)
                # the last attempt was rejected; it is counted, and no action was asked for after it
                assert e["length"] == e["naccept"] + e["nreject"]
            else:
                good += 1
                assert e["status"] == SUCCESS and e["error"] < 1e-2
    assert failed > 5 and good > 50


def test_pictures_show_orbits_and_rejected_attempts():
    from stepsmith.envs.render import draw

    env = gym.make("stepsmith/ODE-v0", render_mode="rgb_array", disable_env_checker=True, **SMALL)
    env.reset(seed=1)
    assert env.render().shape == (480, 960, 3) and env.render().dtype == np.uint8
    rejected = 0
    for _ in range(40):
        before = env.unwrapped.core.rows("NREJ")[0, 0]
        env.step(np.array([0.6, 0.0], np.float32))
        rejected += env.unwrapped.core.rows("NREJ")[0, 0] - before
    assert rejected > 3
    trace = np.array(env.unwrapped._trace)
    assert np.sum(trace[1:, 2] == 0.0) == rejected and np.all(np.diff(trace[:, 0]) >= 0)

    def orange(picture: np.ndarray) -> int:
        # the mark of rejected attempts, #D55E00, on the right half
        return int(np.sum(np.all(np.abs(picture[:, 520:].astype(int) - [0xD5, 0x5E, 0]) < 30, axis=-1)))

    all_good = trace.copy()
    all_good[:, 2] = 1.0
    assert orange(env.render()) > 50 and orange(draw(None, all_good)) == 0
    # bodies: the left panel is square, so that circles are circles; NaN states are left out
    angle = np.linspace(0, 6, 50)
    circle = np.stack([np.cos(angle), np.sin(angle), -0.5 * np.cos(angle), -0.5 * np.sin(angle)], 1)
    orbit = np.concatenate([angle[:, None], np.full((50, 1), 0.1), np.ones((50, 1)), circle, 0 * circle], 1)
    orbit[-1, 3:] = np.nan
    picture = draw((2, 2), orbit)[:, :450].astype(int)
    blue = np.argwhere((picture[:, :, 2] - picture[:, :, 0] > 60) & (picture[:, :, 2] > 120))
    spread = blue.max(axis=0) - blue.min(axis=0)
    assert abs(spread[0] - spread[1]) < 12 and spread[0] > 150
    for bad in (np.zeros(5), np.zeros((4, 3)), np.zeros((0, 6))):
        with pytest.raises(ValueError, match="trace must have shape"):
            draw(None, bad)


def test_misuse_is_refused():
    env = ODEEnv(**SMALL)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2, np.float32))
    env = ODEEnv(**{**SMALL, "max_attempts": 1})
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[3]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2, np.float32))
    env.reset()
    with pytest.raises(ValueError, match="actions must have shape"):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="render_mode"):
        ODEEnv(render_mode="human", **SMALL)
    with pytest.raises(ValueError, match="autoreset_mode"):
        ODEVectorEnv(2, autoreset_mode="never", **SMALL)
    with pytest.raises(ValueError, match="autoreset_mode"):
        ODEVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED, **SMALL)
    venv = ODEVectorEnv(2, **SMALL)
    with pytest.raises(ValueError, match="seed"):
        venv.reset(seed=[1, 2, 3])
    with pytest.raises(RuntimeError, match="reset"):
        make_core(1, True, **SMALL).step(np.zeros((1, 2), np.float32))


def test_band_draws_only_tolerances_where_the_baseline_error_is_compared():
    core = make_core(64, True, "three_body", features=("log_err",), n_act=1, law="pi34", pool_size=32, band=True)
    whole, band = core.pool.span((1.0, 1e-11)), core.pool.span((1.0, 1e-11), band=True)
    assert np.all(band[:, 0] < band[:, 1]) and np.all(band >= whole[:, :1]) and np.all(band <= whole[:, 1:])
    assert np.median(band[:, 1] - band[:, 0]) < 0.5 * (whole[0, 1] - whole[0, 0])
    core.seed(np.arange(64, dtype=np.uint64) + 7)
    core.reset()
    ends = []
    for _ in range(1500):
        core.step(np.zeros((64, 1), np.float32))
        done = core.terminated | core.truncated
        ends += [core.stats[i].copy() for i in np.flatnonzero(done)]
    rows = np.array(ends)
    index, rtol = rows[:, core.columns.index("instance")].astype(int), rows[:, core.columns.index("rtol")]
    assert len(rows) > 100
    assert np.all(np.log(rtol) >= band[index, 0] - 1e-9) and np.all(np.log(rtol) <= band[index, 1] + 1e-9)
    # the action 0 is the baseline itself: its errors lie about the band of levels, 1e-5 to 1e-3
    error = rows[:, core.columns.index("error")]
    assert np.mean((error > 1e-6) & (error < 1e-2)) > 0.7


def test_band_is_not_misled_by_a_tight_tolerance_at_which_the_baseline_gave_up():
    family = problems.family("lotka_volterra")  # levels 1e-7 to 1e-3
    log_rtol = np.log(np.logspace(-10, -1, 10))
    error = np.tile(log_rtol, (3, 1))
    error[1, 0] = np.log(LARGEST)  # gave up at the tightest
    error[2] = np.log(LARGEST)  # everywhere
    pool = Pool(family, family.split("train", 3, 0), np.zeros((3, 1)), np.zeros((3, 1, 2)), np.zeros((3, 1)), log_rtol,
                np.stack([-error, error]), 0, "dopri5")  # fmt: skip
    span = np.exp(pool.span((1e-2, 1e-9), band=True))
    wanted = np.array([1e-7, 1e-3]) * [10.0**-0.5, 10.0**0.5]
    np.testing.assert_allclose(span, [wanted, wanted, [1e-9, 1e-2]], rtol=1e-9)


def test_pool_and_validation_keep_the_instances_that_the_comparison_keeps():
    family = problems.family("three_body")
    found = family.reference(family.split("train", 64, 0))
    # some references fall between the family's bound and the engine's own
    assert np.any((found.self_error > 1e-8) & (found.self_error <= family.reference_bound))
    pool = make_pool(family, "tsit5", registry.get("pi34"), 64, "train", 0, (1e-3, 1e-6), points=4)
    assert pool.dropped == np.sum(~found.ok)
    assert Validator("three_body", "tsit5", instances=64).dropped == np.sum(
        ~family.reference(family.split("validation", 64, 0)).ok
    )
