"""Exports of policies that saw normalised observations: statistics in every form, wrong ones, and damaged files of
them.
"""

import pickle

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from normalised_models import bare, decision_of, make, stir
from stepsmith.controllers.file import load, save
from stepsmith.policies.export import from_sb3
from stepsmith.policies.normalisation import Statistics, keep


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
    with pytest.raises(
        ValueError, match="trained under a VecNormalize, whose statistics it does not hold.*normaliser="
    ):
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
    np.testing.assert_array_equal(
        from_sb3(PPO.load(tmp_path / "m.zip", device="cpu"), decision_of(venv)).decision.shift, venv.obs_rms.mean
    )


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
        ({"mean": [0.0, 1.0], "var": [1.0]}, "equally long"),
        ({"mean": [0.0], "var": [1.0], "epsilon": 0.0}, "epsilon of"),
        ({"mean": ["a"], "var": [1.0]}, "an array of numbers"), (3, "normaliser must be a VecNormalize"),
    ],
)  # fmt: skip
def test_bad_statistics(source, message):
    with pytest.raises(ValueError, match=message):
        Statistics.of(source)


def learnt_sac(venv):
    """SAC after a few random steps, in `venv`."""
    model = SAC("MlpPolicy", venv, learning_starts=1000, buffer_size=100, device="cpu", seed=0,
                policy_kwargs={"net_arch": [8]})  # fmt: skip
    model.learn(64)
    return stir(model)


def test_a_replay_buffer_is_no_sign_of_normalised_observations(tmp_path):
    """SB3's algorithms with a replay buffer keep the last observation as it was before a VecNormalize without one too.
    """
    venv = bare()
    model = learnt_sac(venv)
    decision = decision_of(venv)
    raw = venv.reset()
    theirs, _ = model.predict(raw, deterministic=True)
    for kw in ({}, {"normalised": False}, {"env": venv}):
        np.testing.assert_allclose(answers(from_sb3(model, decision, **kw), raw.astype(float)), theirs, atol=1e-5)
    model.save(tmp_path / "m.zip")
    loaded = SAC.load(tmp_path / "m.zip", env=venv, device="cpu")
    for kw in ({}, {"env": venv}):
        with pytest.raises(ValueError, match="nothing says whether the model has learned under a VecNormalize"):
            from_sb3(loaded, decision, **kw)
    learned = from_sb3(loaded, decision, normalised=False)
    np.testing.assert_allclose(answers(learned, raw.astype(float)), theirs, rtol=0, atol=1e-5)


def test_a_replay_buffer_under_a_vecnormalize(tmp_path):
    venv = VecNormalize(bare())
    model = learnt_sac(venv)
    is_right(from_sb3(model, decision_of(venv)), model, venv)
    with pytest.raises(ValueError, match="normalised=False, but there are statistics"):
        from_sb3(model, decision_of(venv), normalised=False)
    model.save(tmp_path / "m.zip")
    loaded = SAC.load(tmp_path / "m.zip", env=bare(), device="cpu", force_reset=False)
    with pytest.raises(ValueError, match="nothing says whether the model has learned under a VecNormalize"):
        from_sb3(loaded, decision_of(venv))
