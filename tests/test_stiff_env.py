"""Stiff-v0: zero is the law, linear algebra is charged, the actions on hold and Jacobian do what they say."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import stepsmith as ss
from stepsmith.controllers import resolve
from stepsmith.controllers.learned.observation import STIFF
from stepsmith.envs.ode import make_core

COSTS = {"jacobian": 1.0, "lu": 5.0, "solve": 2.0}
ARGS = {
    "family": "vdpol_stiff",
    "method": "esdirk43",
    "law": "predictive",
    "n_act": 4,
    "pool_size": 6,
    "rtol": (1e-3, 1e-6),
    "baseline": "predictive",
    "costs": COSTS,
}


def episodes(core, action, count):
    """Statistics of `count` episodes under one constant action."""
    core.seed(np.arange(core.lanes, dtype=np.uint64))
    core.reset()
    actions = np.tile(np.asarray(action, np.float32), (core.lanes, 1))
    out = []
    while len(out) < count:
        out += [core.episode(int(lane)) | {"lane": int(lane)} for lane in core.ended[: core.step(actions)].copy()]
    return out


@pytest.fixture(scope="module")
def core():
    return make_core(8, True, **ARGS)


@pytest.mark.filterwarnings("error")
def test_gymnasiums_checker_passes():
    env = gym.make(
        "stepsmith/Stiff-v0",
        disable_env_checker=True,
        **{k: ARGS[k] for k in ("pool_size", "rtol", "baseline", "costs")},
    )
    check_env(env.unwrapped)
    assert env.action_space.shape == (4,) and env.observation_space.shape == (len(STIFF),)
    env.close()


def test_zero_is_the_law_and_work_is_what_it_costs(core):
    law = resolve.controller("predictive")
    for e in episodes(core, [0.0, 0.0, 0.0, 0.0], 6):
        i = int(e["instance"])
        batch = core.pool.batch[i : i + 1]
        tol = e["rtol"]
        sol = ss.solve_ensemble(
            batch,
            method="esdirk43",
            controller=law,
            rtol=tol,
            atol=tol * core.pool.family.atol_factor,
            t_eval=core.pool.tgrid[i],
        )
        s = sol.stats
        assert (e["nfev"], e["naccept"], e["nreject"]) == (s.nfev[0], s.naccept[0], s.nreject[0])
        work = s.nfev[0] + COSTS["jacobian"] * s.njev[0] + COSTS["lu"] * s.nlu[0] + COSTS["solve"] * s.nsolve[0]
        # matched: the return is log(w_base(e)/w); the row of the baseline at this error gives it back
        from stepsmith.envs.pool import ERROR_GRID

        base = np.interp(np.log(e["error"]), ERROR_GRID, core.pool.table[i])
        assert e["log_ratio"] == pytest.approx(base - np.log(work), abs=1e-6)
        assert e["return"] == pytest.approx(e["log_ratio"], abs=1e-4)


def counts(core, action):
    """Mean Jacobians and factorisations an attempt, over the lanes' episodes so far."""
    core.seed(np.arange(core.lanes, dtype=np.uint64))
    core.reset()
    actions = np.tile(np.asarray(action, np.float32), (core.lanes, 1))
    jac = lu = attempts = 0.0
    for _ in range(300):
        core.step(actions)
        jac += np.sum(core.rows("R", 24)[13])
        lu += np.sum(core.rows("R", 24)[14])
        attempts += core.lanes
    return jac / attempts, lu / attempts


def test_actions_on_hold_and_jacobian(core):
    plain = counts(core, [0.0, 0.0, 0.0, 0.0])
    lazy, eager = counts(core, [0.0, 0.0, 0.0, 1.0]), counts(core, [0.0, 0.0, 0.0, -1.0])
    assert lazy[0] < 0.7 * plain[0] and eager[0] > 1.1 * plain[0]
    wide = counts(core, [0.0, 0.0, 1.0, 1.0])
    assert wide[1] < 0.8 * lazy[1]


def test_costs_are_measured_where_none_are_given():
    core = make_core(2, True, **{**ARGS, "costs": None})
    assert core.pool.costs.lu > 0.0
    with pytest.raises(ValueError, match="cost of lu"):
        make_core(2, True, **{**ARGS, "costs": {"lu": -1.0}})
