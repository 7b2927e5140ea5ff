"""Rewards of the environments: sums over whole episodes against what separate solves of the same instances say."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.envs.core import Core, Reward
from stepsmith.envs.ode import make_core
from stepsmith.envs.pool import ERROR_GRID, make_pool
from stepsmith.integrators import problems
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.measure import errors
from stepsmith.integrators.kernels.layout import BAD_START, SUCCESS

LORENZ = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
LANES = 20


def core(lanes: int = LANES, same_step: bool = True, **kwargs) -> Core:
    c = make_core(lanes, same_step, **{**LORENZ, **kwargs})
    c.seed(np.arange(lanes, dtype=np.uint64) * np.uint64(7919) + np.uint64(5))
    return c


def episodes(c: Core, policy, per_lane: int = 2) -> list[dict]:
    """Statistics of the first episodes of every lane, with the float64 sums of the rewards paid."""
    c.reset()
    sums, lengths = np.zeros(c.lanes), np.zeros(c.lanes)
    done: list[list[dict]] = [[] for _ in range(c.lanes)]
    rewards: list[list[float]] = [[] for _ in range(c.lanes)]
    while min(len(d) for d in done) < per_lane:
        c.step(policy(c))
        sums += c.reward
        lengths += 1
        for i in range(c.lanes):
            rewards[i].append(float(c.reward[i]))
        for i in np.flatnonzero(c.terminated | c.truncated):
            done[i].append({**c.episode(i), "sum": sums[i], "steps": lengths[i], "lane": i, "cut": c.truncated[i],
                            "rewards": rewards[i]})  # fmt: skip
            sums[i] = lengths[i] = 0
            rewards[i] = []
    return [e for d in done for e in d[:per_lane]]


def still(c: Core) -> np.ndarray:
    return np.zeros((c.lanes, c.decision.n_act), np.float32)


def noisy(c: Core, scale: float = 0.3, rng=np.random.default_rng(1)) -> np.ndarray:  # noqa: B008
    return np.clip(rng.normal(0.0, scale, (c.lanes, c.decision.n_act)), -1, 1).astype(np.float32)


@functools.cache
def base_runs(kind: str = "matched", **kwargs) -> list[dict]:
    return episodes(core(reward=kind), still)


def solved(c: Core, runs: list[dict], law: str = "i"):
    """The same instances at the same tolerances by the ensemble engine: solution and errors."""
    index = np.array([int(e["instance"]) for e in runs])
    rtol = np.array([e["rtol"] for e in runs])
    fam = c.pool.family
    batch = c.pool.batch[index]
    sol = solve_ensemble(
        batch, c.method, registry.get(law), rtol, (rtol * fam.atol_factor)[:, None], t_eval=batch.times(fam.fractions)
    )
    ref = c.pool.ref[index] if c.pool.ref.shape[1] else c.pool.ref
    return sol, errors(fam, batch, sol.y_eval, ref, sol.success)


def test_zero_action_is_the_law_itself():
    runs = base_runs()
    sol, err = solved(core(), runs)
    assert np.array_equal(sol.stats.nfev, [e["nfev"] for e in runs])
    assert np.array_equal(sol.stats.naccept, [e["naccept"] for e in runs])
    assert np.array_equal(sol.stats.nreject, [e["nreject"] for e in runs])
    # summed in another order, at dense outputs
    assert np.allclose(err, [e["error"] for e in runs], rtol=1e-6, atol=0)
    assert np.array_equal([e["length"] for e in runs], [e["steps"] for e in runs])
    assert all(
        e["length"] == e["naccept"] + e["nreject"] and e["status"] == SUCCESS and e["nfallback"] == 0 for e in runs
    )


def test_actions_that_are_no_numbers_fall_back_on_the_law():
    runs = base_runs()
    bad = [np.nan, np.inf, -np.inf, 1.5]
    c = core()
    fell = episodes(c, lambda c: np.full((c.lanes, 2), bad[int(c.rows("LENGTH")[0, 0]) % 4], np.float32))
    for a, b in zip(runs, fell, strict=True):
        assert b["nfallback"] == b["length"]
        assert {k: a[k] for k in ("nfev", "naccept", "nreject", "error", "return")} == {
            k: b[k] for k in ("nfev", "naccept", "nreject", "error", "return")
        }


def matched_return(c: Core, e: dict) -> float:
    """log(w_base(e)/w) from the pool's table, by NumPy."""
    return float(np.interp(np.log(e["error"]), ERROR_GRID, c.pool.table[int(e["instance"])]) - np.log(e["nfev"]))


@pytest.mark.parametrize("policy", [still, noisy])
def test_matched_rewards_sum_to_the_log_of_the_work_ratio(policy):
    c = core()
    for e in episodes(c, policy):
        want = matched_return(c, e)
        assert e["return"] == pytest.approx(want, abs=1e-11)
        assert e["log_ratio"] == pytest.approx(want, abs=1e-11)
        assert e["sum"] == pytest.approx(want, abs=1e-5)  # paid in float32


def test_matched_end_pays_the_same_sum_at_the_end():
    paid = []
    for kind in ("matched", "matched_end"):
        rng = np.random.default_rng(9)
        paid.append(episodes(core(reward=kind), lambda c, rng=rng: noisy(c, 0.3, rng)))
    assert len(paid[0]) == len(paid[1]) > 3
    for a, b in zip(*paid, strict=True):
        assert a["nfev"] == b["nfev"] and b["return"] == pytest.approx(a["return"], abs=1e-11)
    c = core(reward="matched_end")
    c.seed(np.arange(c.lanes, dtype=np.uint64))
    c.reset()
    for _ in range(60):
        c.step(still(c))
        assert np.all(c.reward[~(c.terminated | c.truncated)] == 0.0)


def test_the_baseline_itself_returns_about_zero():
    # interpolation between the points of its own curve, and its envelope, leave a few per cent
    runs = episodes(core(law="pi34"), still)
    assert np.median(np.abs([e["return"] for e in runs])) < 0.1


def test_window_charges_decades_outside_the_baselines_error():
    plain = {(e["lane"], e["instance"], e["rtol"]): e for e in base_runs()}
    c = core(window=0.7, law="i")
    c.pool.at_tol[1] -= 2.0 * np.log(10.0)  # pretend the baseline were two decades better
    charged = 0
    try:
        for e in episodes(c, still):
            b = np.interp(np.log(e["rtol"]), c.pool.log_rtol, c.pool.at_tol[1, int(e["instance"])])
            off = max(0.0, abs(np.log(e["error"]) - b) / np.log(10.0) - 1.0)
            charged += off > 0.2
            assert e["return"] == pytest.approx(
                plain[e["lane"], e["instance"], e["rtol"]]["return"] - 0.7 * off, abs=1e-11
            )
        assert charged > 3
    finally:
        c.pool.at_tol[1] += 2.0 * np.log(10.0)


def test_constraint_rewards_sum_to_work_and_violation():
    for lagrange in (0.0, 3.0):
        c = core(reward="constraint", lagrange=lagrange)
        violated = 0
        for e in episodes(c, lambda c: noisy(c, 0.6)):
            i = int(e["instance"])
            work = np.exp(np.interp(np.log(e["rtol"]), c.pool.log_rtol, c.pool.at_tol[0, i]))
            base = np.interp(np.log(e["rtol"]), c.pool.log_rtol, c.pool.at_tol[1, i])
            over = max(0.0, (np.log(e["error"]) - base) / np.log(10.0))
            violated += over > 0
            assert e["return"] == pytest.approx(-e["nfev"] / work - lagrange * over, abs=1e-11)
        assert violated > 3


def test_the_multiplier_can_change_between_steps():
    c = core(reward="constraint", lagrange=0.0)
    free = episodes(c, lambda c: noisy(c, 0.6, np.random.default_rng(3)), 1)
    c = core(reward="constraint", lagrange=0.0)
    c.consts[1] = 5.0
    bound = episodes(c, lambda c: noisy(c, 0.6, np.random.default_rng(3)), 1)
    assert sum(b["return"] for b in bound) < sum(f["return"] for f in free)


def test_time_discount_weighs_rewards_by_the_time_they_are_paid_at():
    g = 0.25
    runs = base_runs()
    c = core(time_discount=g)
    c.reset()
    times, paid = [], []
    while True:
        c.step(still(c))
        t = c.rows("T")[0, 0] if not c.terminated[0] else 5.0
        times.append(t / 5.0)
        paid.append(float(c.reward[0]))
        if c.terminated[0]:
            break
    plain = np.array(runs[0]["rewards"])
    assert np.allclose(paid, plain * g ** np.array(times), rtol=1e-5, atol=1e-7)
    assert min(times) < 0.05 and c.episode(0)["return"] == pytest.approx(sum(paid), abs=1e-5)


def test_a_cut_episode_pays_no_end():
    c = core(max_attempts=30)
    runs = episodes(c, still, 3)
    assert all(e["cut"] and e["length"] == 30 and e["error"] == np.inf and e["status"] == 0 for e in runs)
    for e in runs:
        # w' - w_start alone: two right-hand sides start a solve, six an attempt
        assert e["return"] == pytest.approx(np.log(2.0) - np.log(2.0 + 30 * 6), abs=1e-12)


def test_failures_end_the_episode_with_the_worst_return_and_touch_no_other_lane():
    good = episodes(core(), still, 3)
    c = core(fail=2.5)
    own = type(c.pool)(**{**c.pool.__dict__})
    bad = int(good[3]["instance"])
    p = c.pool.batch.p.copy()
    p[bad, 0] = np.nan
    params = list(c._pool)
    params[1] = p
    c._pool = tuple(params)
    failed = 0
    for a, b in zip(good, episodes(c, still, 3), strict=True):
        assert a["instance"] == b["instance"]
        if int(b["instance"]) == bad:
            failed += 1
            assert b["status"] == BAD_START and b["length"] == 1 and b["error"] == np.inf
            assert b["return"] == pytest.approx(own.table[bad, -1] - np.log(b["nfev"]) - 2.5, abs=1e-11)
        else:
            assert a["return"] == b["return"] and a["error"] == b["error"]
    assert failed >= 1


@functools.cache
def energy_pool():
    return make_pool(
        problems.family("three_body_paper"), "hermite4_pec", registry.get("pi34"), 4, "train", 0, (1e-4, 1e-7), points=6
    )


def test_energy_errors_are_those_of_the_comparison():
    pytest.importorskip("stepsmith.integrators.kernels.nbody.hermite")
    from stepsmith.controllers.learned.decision import Decision

    pool = energy_pool()
    c = Core(pool, "hermite4_pec", Decision(law="pi34"), 6, Reward(), pool.span((1e-4, 1e-7)), 50_000, True)
    c.seed(np.arange(6, dtype=np.uint64))
    runs = episodes(c, still, 1)
    sol, err = solved(c, runs, "pi34")
    assert np.array_equal(sol.stats.nfev, [e["nfev"] for e in runs])
    assert np.allclose(err, [e["error"] for e in runs], rtol=1e-6, atol=1e-14)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="unknown reward 'matchd': did you mean 'matched'"):
        Reward("matchd")
    for name in ("lagrange", "fail", "window"):
        with pytest.raises(ValueError, match=name):
            Reward(**{name: -1.0})
        with pytest.raises(ValueError, match=name):
            Reward(**{name: np.nan})
    with pytest.raises(ValueError, match="time_discount"):
        Reward(time_discount=0.0)
    with pytest.raises(ValueError, match="rtol"):
        make_core(1, True, **{**LORENZ, "rtol": (1e-6, 1e-3)})
    with pytest.raises(ValueError, match="pool_size"):
        make_core(1, True, **{**LORENZ, "pool_size": 0})
    with pytest.raises(ValueError, match="num_envs"):
        core(0)
    with pytest.raises(ValueError, match="max_attempts"):
        core(max_attempts=0)
    with pytest.raises(ValueError, match="lorenz"):
        make_core(1, True, family="lorentz")
