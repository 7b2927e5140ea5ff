"""Exports of policies that saw raw observations, or observations that other wrappers changed: nothing is guessed."""

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecEnvWrapper, VecNormalize

from normalised_models import ENV, bare, decision_of, make, stir
from stepsmith.policies.export import from_sb3
from stepsmith.policies.normalisation import keep


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model trained on raw observations, and the folder of its file."""
    folder = tmp_path_factory.mktemp("plain")
    model = make(bare())
    model.learn(256)
    stir(model).save(folder / "model.zip")
    return model, folder


def test_where_nothing_tells_the_caller_must(plain):
    model, folder = plain
    decision = decision_of(model.get_env())
    loaded = PPO.load(folder / "model.zip", device="cpu")
    with pytest.raises(ValueError, match="no environment, and nothing says.*normalised=False"):
        from_sb3(loaded, decision)
    expected = from_sb3(model, decision)
    for learned in (
        from_sb3(loaded, decision, normalised=False), from_sb3(loaded, decision, env=bare()),
        from_sb3(PPO.load(folder / "model.zip", env=bare(), device="cpu"), decision),
    ):  # fmt: skip
        np.testing.assert_array_equal(learned.params, expected.params)
        assert learned.decision.plain
    with pytest.raises(ValueError, match="normalised=True, but there are no statistics"):
        from_sb3(loaded, decision, normalised=True)
    with pytest.raises(ValueError, match="normalised must be True or False"):
        from_sb3(loaded, decision, normalised="no")


def test_a_model_may_know_that_it_saw_raw_observations(plain, tmp_path):
    model, folder = plain
    keep(model, False)
    model.save(tmp_path / "knows.zip")
    loaded = PPO.load(tmp_path / "knows.zip", device="cpu")
    assert from_sb3(loaded, decision_of(model.get_env())).decision.plain
    with pytest.raises(ValueError, match="holds no VecNormalize"):
        keep(loaded)
    del model.stepsmith_observations


class Halved(VecEnvWrapper):
    """A wrapper that nobody here knows."""

    def reset(self):
        return 0.5 * self.venv.reset()

    def step_wait(self):
        obs, reward, done, info = self.venv.step_wait()
        return 0.5 * obs, reward, done, info


def test_a_wrapper_that_changes_observations_is_found():
    venv = Halved(bare())
    model = stir(make(venv))
    decision = decision_of(venv)
    with pytest.raises(ValueError, match="wrapped in Halved, which may change observations"):
        from_sb3(model, decision)
    with pytest.raises(ValueError, match="does not answer as the policy"):
        from_sb3(model, decision, env=venv)
    normalised = VecNormalize(venv)
    normalised.reset()
    with pytest.raises(ValueError, match="wrapped in Halved"):  # under the statistics there is more
        from_sb3(stir(make(normalised)), decision)


def test_wrappers_of_gymnasium():
    def single(wrap):
        return DummyVecEnv([lambda: wrap(gymnasium.make("stepsmith/ODE-v0", **ENV)) for _ in range(2)])

    passing = single(gymnasium.wrappers.RecordEpisodeStatistics)
    model = stir(make(passing))
    decision = passing.envs[0].unwrapped.core.decision
    ours = from_sb3(model, decision)
    np.testing.assert_array_equal(from_sb3(model, decision, env=passing).params, ours.params)
    changed = single(gymnasium.wrappers.NormalizeObservation)
    with pytest.raises(ValueError, match="wrapped in NormalizeObservation"):
        from_sb3(stir(make(changed)), decision)
    with pytest.raises(ValueError, match="does not answer as the policy"):
        from_sb3(stir(make(changed)), decision, env=changed)


def test_rewards_alone(tmp_path):
    venv = VecNormalize(VecCheckNan(bare()), norm_obs=False)
    model = make(venv)
    model.learn(128)
    stir(model)
    decision = decision_of(venv)
    assert from_sb3(model, decision).decision.plain
    model.save(tmp_path / "m.zip")
    venv.save(tmp_path / "s.pkl")
    loaded = PPO.load(tmp_path / "m.zip", device="cpu")
    with pytest.raises(ValueError, match="as where rewards alone were normalised"):
        from_sb3(loaded, decision)
    with pytest.raises(ValueError, match="normalised=False, but the model was trained under a VecNormalize"):
        from_sb3(loaded, decision, normalised=False)
    for kw in ({"normaliser": tmp_path / "s.pkl"}, {"env": venv}, {"env": venv, "normalised": False}):
        assert from_sb3(loaded, decision, **kw).decision.plain
    keep(loaded, False)
    assert from_sb3(loaded, decision, normalised=False).decision.plain


def test_a_policy_of_other_bounds_is_refused(tmp_path):
    env = gymnasium.make("stepsmith/ODE-v0", **ENV)
    model = make(DummyVecEnv([lambda: gymnasium.wrappers.NormalizeObservation(env)]))
    model.save(tmp_path / "m.zip")
    loaded = PPO.load(tmp_path / "m.zip", device="cpu")
    with pytest.raises(ValueError, match="a wrapper that is missing from env"):
        from_sb3(loaded, env.unwrapped.core.decision, env=gymnasium.make("stepsmith/ODE-v0", **ENV))


def test_another_decision_than_the_environments_is_refused(plain):
    model, _ = plain
    decision = decision_of(model.get_env())
    for other in (
        decision.replace(law="pi34" if decision.law.name != "pi34" else "i"),
        decision.replace(residual_scale=1.0),
    ):
        with pytest.raises(ValueError, match="made with another decision"):
            from_sb3(model, other)


def test_too_few_features(plain):
    model, _ = plain
    with pytest.raises(ValueError, match="statistics of 4 features, got 2"):
        from_sb3(model, decision_of(model.get_env()), {"mean": [0.0, 0.0], "var": [1.0, 1.0]})
    with pytest.raises(FileNotFoundError, match="no such file"):
        from_sb3(model, decision_of(model.get_env()), "none.pkl")
