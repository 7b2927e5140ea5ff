"""Infos of episodes that are cut before their end hold finite numbers alone, in every environment and every form."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import stepsmith  # noqa: F401 (registers the environments)
from stepsmith.envs import make_sb3
from stepsmith.envs.faces import UNREACHED, told
from stepsmith.envs.pool import ERROR_GRID
from stepsmith.envs.specs import SPECS

LANES, CUT = 8, 3


def options(spec):
    """A small pool, and episodes of three attempts or decisions."""
    given = {"pool_size": 8, "steps" if spec.prefix == "ThreeBodyPaper" else "max_attempts": CUT}
    if spec.prefix == "NeuralODE":  # the decision on the first size is none of the attempts; no solve ends within two
        given |= {"max_attempts": CUT - 1, "rtol": (1e-6, 1e-6)}
    if spec.prefix == "SDE":  # kernels that its own tests have compiled
        given |= {"method": "milstein_ito", "paths": 4}
    if spec.fixed.get("n_act") == 4:
        given["costs"] = {"jacobian": 2.0, "lu": 1.0, "solve": 0.5}
    return given


def numbers(value):
    """Every number in an info, whatever it is nested in, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ((f"{key}.{at}", x) for at, x in numbers(inner))
    elif isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
        for inner in value:
            yield from numbers(inner)
    elif value is not None:
        yield "", np.asarray(value)


def check(info):
    """The info holds numbers, and they are finite."""
    found = list(numbers(info))
    assert found and {at: x for at, x in found if not np.isfinite(x).all()} == {}


def check_episode(episode, spec):
    assert episode["status"] == 0 and episode["length"] == CUT and episode["error"] > 0.0
    if spec.steps:  # no error is known; the paper's environment knows the energy error at any time
        assert episode["error"] == UNREACHED and abs(episode["log_ratio"]) < 50.0


# a training has a fixed length and is never truncated; its infos are in its own tests
TRUNCATED = [spec for spec in SPECS.values() if spec.id != "stepsmith/Regularization-v0"]


@pytest.mark.parametrize("spec", TRUNCATED, ids=lambda spec: spec.id.rpartition("/")[2])
def test_infos_of_truncated_episodes_are_finite(spec):
    rng = np.random.default_rng(0)
    given = options(spec)

    env = gymnasium.make(spec.id, **given)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(CUT):
        *_, truncated, info = env.step(env.action_space.sample())
    assert truncated
    check(info)
    check_episode(info["stepsmith"], spec)

    for mode in ("next_step", "same_step"):
        vector = gymnasium.make_vec(spec.id, num_envs=LANES, autoreset_mode=mode, **given)
        vector.action_space.seed(0)
        vector.reset(seed=0)
        for _ in range(CUT):
            *_, truncated, infos = vector.step(vector.action_space.sample())
        assert truncated.sum() > LANES / 2  # at loose tolerances three attempts may be enough
        check(infos)
        stats = (infos["final_info"] if mode == "same_step" else infos)["stepsmith"]
        for i in np.flatnonzero(truncated):
            check_episode({name: values[i] for name, values in stats.items()}, spec)

    venv = make_sb3(spec.id, LANES, seed=0, **given)
    venv.reset()
    for _ in range(CUT):
        actions = [venv.action_space.sample() for _ in range(LANES)]
        _, rewards, dones, infos = venv.step(np.array(actions)[rng.permutation(LANES)])
        assert np.isfinite(rewards).all()
    cut = [info for info in infos if info.get("TimeLimit.truncated")]
    assert len(cut) > LANES / 2 and dones.sum() >= len(cut)
    for info in cut:
        check(info)
        assert info["episode"]["l"] == CUT
        check_episode(info["episode"], spec)


def test_the_error_of_a_cut_episode_is_that_of_its_work_ratio():
    """log_ratio compares with the baseline's work at the largest error of the table."""
    assert pytest.approx(np.exp(ERROR_GRID[-1])) == UNREACHED == 10.0
    spec = SPECS["stepsmith/ODE-v0"]
    venv = make_sb3(spec.id, LANES, seed=0, **options(spec))
    venv.reset()
    for _ in range(CUT):
        _, _, _, infos = venv.step(np.zeros((LANES, 2), np.float32))
    for info in infos:
        e = info["episode"]
        base = venv.core.pool.table[int(e["instance"]), -1]
        assert e["log_ratio"] == pytest.approx(base - np.log(e["nfev"]), abs=1e-11)


def test_a_failed_episode_is_told_with_a_finite_error():
    class Core:
        def episode(self, lane):
            return {"error": (np.inf, np.nan, 0.5)[lane], "status": -1.0}

    assert [told(Core(), lane)["error"] for lane in range(3)] == [UNREACHED, UNREACHED, 0.5]
