"""An export never guesses whether the policy's observations were normalised, and is checked on those that the environment itself gives."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecEnvWrapper, VecMonitor, VecNormalize

import stepsmith as ss
from stepsmith.controllers.file import load, save
from stepsmith.policies.export import from_sb3
from stepsmith.policies.normalisation import Statistics, keep

torch.set_num_threads(1)

ENV = {"family": "lorenz", "method": "dopri5", "features": ["log_err", "log_err_1", "log_ratio_1", "log_tol"], "pool_size": 2}


def bare(num_envs=8):
    return ss.envs.make_sb3("stepsmith/ODE-v0", num_envs, seed=1, **ENV)


def stir(model):
    """Weights as far from their start as training may bring them."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(1.5 * torch.randn_like(p) / np.sqrt(p.shape[-1]))
    return model


def make(venv):
    kwargs = {"n_steps": 16, "batch_size": 16 * venv.num_envs, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
    return PPO("MlpPolicy", venv, seed=0, device="cpu", **kwargs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained under VecNormalize as SB3's guide says, its two files, and the environment."""
    folder = tmp_path_factory.mktemp("normalised")
    with pytest.warns(UserWarning, match="already wrapped"):
        venv = VecNormalize(VecMonitor(bare()), clip_obs=5.0)
    model = make(venv)
    model.learn(256)
    stir(model)
    model.save(folder / "model.zip")
    venv.save(folder / "stats.pkl")
    return model, venv, folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same without it."""
    folder = tmp_path_factory.mktemp("plain")
    model = make(bare())
    model.learn(256)
    stir(model).save(folder / "model.zip")
    return model, folder


def decision_of(venv):
    return venv.unwrapped.core.decision


def answers(learned, raw):
    d = learned.decision
    return learned.action_numpy(np.clip((raw - d.shift) * d.scale, -d.obs_clip, d.obs_clip))


def is_right(learned, model, venv):
    """Raw observations in, SB3's own answer to its own normalised ones out."""
    venv.training = False
    seen = venv.reset()
    raw = venv.get_original_obs()
    theirs, _ = model.predict(seen, deterministic=True)
    assert np.std(theirs) > 0.05
    np.testing.assert_allclose(answers(learned, raw.astype(float)), theirs, rtol=0, atol=1e-5)


def test_a_loaded_model_that_was_normalised_is_not_exported_without_its_statistics(trained):
    _, venv, folder = trained
    loaded = PPO.load(folder / "model.zip", device="cpu")
    with pytest.raises(ValueError, match="trained under a VecNormalize, whose statistics it does not hold.*normaliser="):
        from_sb3(loaded, decision_of(venv))
    with pytest.raises(ValueError, match="trained under a VecNormalize"):
        from_sb3(PPO.load(folder / "model.zip", env=bare(), device="cpu"), decision_of(venv))
    with pytest.raises(ValueError, match="trained under a VecNormalize"):
        from_sb3(loaded, decision_of(venv), env=bare())


def given(trained):
    _, venv, folder = trained
    rms = venv.obs_rms
    numbers = {"mean": rms.mean, "var": rms.var, "epsilon": venv.epsilon, "clip": venv.clip_obs}
    return {
        "object": venv, "pickle": folder / "stats.pkl", "text": str(folder / "stats.pkl"), "mapping": numbers,
        "arrays": Statistics(**numbers), "npz": Statistics(**numbers).save(folder / "stats.npz"),
    }  # fmt: skip


@pytest.mark.parametrize("way", ["object", "pickle", "text", "mapping", "arrays", "npz"])
def test_statistics_in_every_form(trained, way, tmp_path):
    model, venv, folder = trained
    loaded = PPO.load(folder / "model.zip", device="cpu")
    learned = from_sb3(loaded, decision_of(venv), given(trained)[way])
    is_right(load(save(learned, tmp_path / "c.safetensors")), model, venv)
    assert learned.decision.obs_clip == 5.0


def test_statistics_from_an_environment_and_from_the_model_itself(trained, tmp_path):
    model, venv, folder = trained
    before = venv.obs_rms.mean.copy()
    is_right(from_sb3(model, decision_of(venv)), model, venv)
    venv.training = True
    is_right(from_sb3(PPO.load(folder / "model.zip", device="cpu"), decision_of(venv), env=venv), model, venv)
    np.testing.assert_array_equal(venv.obs_rms.mean, before)  # the check teaches nothing
    keep(model)
    model.save(tmp_path / "knows.zip")
    loaded = PPO.load(tmp_path / "knows.zip", device="cpu")
    is_right(from_sb3(loaded, decision_of(venv)), model, venv)
    with pytest.raises(ValueError, match="normalised=False, but"):
        from_sb3(loaded, decision_of(venv), normalised=False)
    del model.stepsmith_observations


def test_wrong_statistics_are_seen_on_raw_observations(trained):
    model, venv, folder = trained
    loaded = PPO.load(folder / "model.zip", device="cpu")
    for bad in ({"mean": np.zeros(4), "var": np.ones(4)}, {"mean": venv.obs_rms.mean, "var": 4.0 * venv.obs_rms.var}):
        with pytest.raises(ValueError, match="does not answer as the policy"):
            from_sb3(loaded, decision_of(venv), bad, env=venv)


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


def test_a_new_vecnormalize_has_no_statistics(trained, tmp_path):
    model, venv, folder = trained
    decision = decision_of(venv)
    loaded = PPO.load(folder / "model.zip", device="cpu")
    fresh = VecNormalize(bare())
    fresh.save(tmp_path / "s.pkl")
    for kw in ({"normaliser": fresh}, {"normaliser": tmp_path / "s.pkl"}, {"env": fresh}):
        with pytest.raises(ValueError, match="has seen no observations"):
            from_sb3(loaded, decision, **kw)
    with pytest.raises(ValueError, match="has seen no observations"):
        from_sb3(PPO.load(folder / "model.zip", env=VecNormalize(bare()), device="cpu"), decision)
    fresh.reset()
    for kw in ({"normaliser": fresh}, {"env": fresh}):
        with pytest.raises(ValueError, match="has seen 8 observations, and the model has learned from 256"):
            from_sb3(loaded, decision, **kw)
    with pytest.raises(ValueError, match="normalised=False, but the model was trained under a VecNormalize"):
        from_sb3(loaded, decision, normalised=False)


def test_kept_statistics_belong_to_their_step(tmp_path):
    venv = VecNormalize(bare())
    model = make(venv)
    model.learn(128)
    keep(model)
    model.learn(128, reset_num_timesteps=False)
    model.save(tmp_path / "m.zip")
    with pytest.raises(ValueError, match="are of step 128, and it has learned up to step 256"):
        from_sb3(PPO.load(tmp_path / "m.zip", device="cpu"), decision_of(venv))
    keep(model)
    model.save(tmp_path / "m.zip")
    np.testing.assert_array_equal(from_sb3(PPO.load(tmp_path / "m.zip", device="cpu"), decision_of(venv)).decision.shift, venv.obs_rms.mean)


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
    for other in (decision.replace(law="pi34" if decision.law.name != "pi34" else "i"), decision.replace(residual_scale=1.0)):
        with pytest.raises(ValueError, match="made with another decision"):
            from_sb3(model, other)


class Runs:
    """What unpickling must not call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_runs_nothing(tmp_path):
    target, path = tmp_path / "written", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"norm_obs": True, "x": Runs(str(target))}))
    with pytest.raises(ValueError, match="evil.pkl: not the statistics"):
        Statistics.of(path)
    assert not target.exists()


JUNK = [b"", b"\x80", b"junk", b"PK\x03\x04rest", pickle.dumps(3), pickle.dumps([1, {"a": 2}]), b"\x80\x04]\x94(K\x01"]


@pytest.mark.parametrize("content", JUNK)
def test_files_that_hold_no_statistics(content, tmp_path):
    path = tmp_path / "s.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="s.pkl: not the statistics"):
        Statistics.of(path)


def test_damaged_statistics_are_refused_or_read(trained):
    data = (trained[2] / "stats.pkl").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    path = trained[2] / "damaged.pkl"
    for _ in range(300):
        b = bytearray(data)
        for _ in range(3):
            b[int(rng.integers(len(b)))] = int(rng.integers(256))
        path.write_bytes(bytes(b))
        try:
            found = Statistics.of(path)
            assert found is None or np.all(np.isfinite(found.seen(np.zeros(len(found.mean)))))
        except ValueError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"mean": [0.0]}, "need mean and var"), ({"mean": [0.0], "var": [1.0], "std": [1.0]}, "no option 'std'"),
        ({"mean": [0.0], "var": [-1.0]}, "not negative"), ({"mean": [np.nan], "var": [1.0]}, "finite"),
        ({"mean": [0.0, 1.0], "var": [1.0]}, "equally long"), ({"mean": [0.0], "var": [1.0], "epsilon": 0.0}, "epsilon of"),
        ({"mean": ["a"], "var": [1.0]}, "an array of numbers"), (3, "normaliser must be a VecNormalize"),
    ],
)  # fmt: skip
def test_bad_statistics(source, message):
    with pytest.raises(ValueError, match=message):
        Statistics.of(source)


def test_too_few_features(plain):
    model, _ = plain
    with pytest.raises(ValueError, match="statistics of 4 features, got 2"):
        from_sb3(model, decision_of(model.get_env()), {"mean": [0.0, 0.0], "var": [1.0, 1.0]})
    with pytest.raises(FileNotFoundError, match="no such file"):
        from_sb3(model, decision_of(model.get_env()), "none.pkl")
