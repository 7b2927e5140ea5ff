"""Training end to end at toy size: run folders, improvement, interruption and resumption, and configs that are refused.
"""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stepsmith.controllers.file import load_controller
from stepsmith.train.algorithms.evolution import Settings
from stepsmith.train.algorithms.sb3 import Falling
from stepsmith.train.config import config as configs
from stepsmith.train.config.resolved import env_arguments, resolved
from stepsmith.train.run import run as runs
from stepsmith.train.run.rundir import RunDir

ENV = {
    "family": "lotka_volterra",
    "method": "tsit5",
    "law": "i",
    "features": ["log_err", "log_err_1", "log_ratio_1"],
    "pool_size": 12,
}
ES = {
    "name": "toy", "algorithm": "es", "env": ENV, "policy": {"hidden": [3], "activation": "relu"},
    "train": {"generations": 30, "population": 6, "instances": 8, "sigma": 0.3},
    "evaluate": {"every": 300_000, "instances": 6, "against": "i"},
}  # fmt: skip
PPO = {
    "name": "toy", "algorithm": "ppo", "env": ENV, "policy": {"hidden": [4]},
    "train": {"total_steps": 4096, "num_envs": 16, "n_steps": 64, "batch_size": 512, "n_epochs": 2},
    "evaluate": {"every": 1024, "instances": 4, "against": "i"},
}  # fmt: skip


def make(data, **changes):
    return configs.from_dict({**data, **changes})


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_evolution_improves_on_its_law_and_leaves_a_whole_folder(tmp_path):
    path = runs.train(make(ES), out=tmp_path / "run", progress=False)
    learned = load_controller(path)
    rows = logged(tmp_path / "run")
    assert rows[-1]["generation"] == 30 and rows[-1]["best"] == min(r["validation"] for r in rows)
    assert rows[-1]["best"] < 1.0  # safety .9 and no memory: there is room above the I law
    assert learned.measured["validation_ratio"] == pytest.approx(rows[-1]["best"])
    assert learned.squash == "clip" and learned.shapes[0][2] == "relu" and learned.family == "lotka_volterra"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["generations"] == 30
    whole = json.loads((tmp_path / "run" / "resolved.json").read_text())
    assert whole["train"] == {**dataclasses.asdict(Settings()), **ES["train"]} and whole["env"]["baseline"] == "pi34"
    assert learned.trained_method == whole["env"]["method"]  # another one warns
    assert {"commit", "versions"} <= set(json.loads((tmp_path / "run" / "provenance.json").read_text()))
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_interrupted_evolution_goes_on_and_keeps_its_best(tmp_path, monkeypatch):
    from stepsmith.train.algorithms import evolution

    whole, cfg, out = evolution.evolve, make(ES), tmp_path / "run"

    def cut(*args, **kwargs):
        for row in whole(*args, **kwargs):
            if row[0] > 26:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(evolution, "evolve", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.train(cfg, out=out, progress=False)
    before = logged(out)
    # as if the best so far were better than anything to come
    better = before[-1] | {"validation": 0.01, "best": 0.01}
    with (out / "log.jsonl").open("a") as f:
        f.write(json.dumps(better) + "\n")
    kept = (out / "controller.safetensors").read_bytes()
    monkeypatch.setattr(evolution, "evolve", whole)
    with pytest.raises(ValueError, match="already holds a run"):
        runs.train(cfg, out=out, progress=False)
    with pytest.raises(ValueError, match="another config"):
        runs.train(dataclasses.replace(cfg, seed=5), out=out, resume=True, progress=False)
    runs.train(cfg, out=out, resume=True, progress=False)
    after = logged(out)
    # from the checkpoint at 25, and validated where an unbroken run would have been
    assert (
        26 <= after[len(before) + 1]["generation"] <= 30
        and after[len(before) + 1]["env_steps"] >= before[-1]["env_steps"] + 300_000
    )
    assert after[-1]["generation"] == 30 and after[-1]["best"] == 0.01
    assert (out / "controller.safetensors").read_bytes() == kept
    assert after[-1]["env_steps"] > before[-1]["env_steps"]


def test_ppo_trains_resumes_and_exports_what_it_validated(tmp_path):
    from stepsmith.train.algorithms.validate import Validator

    cfg, out = make(PPO), tmp_path / "run"
    path = runs.train(cfg, out=out, progress=False)
    rows = logged(out)
    assert [r["env_steps"] for r in rows][-1] == 4096 and all(np.isfinite(r["validation"]) for r in rows)
    learned = load_controller(path)
    ratio = Validator("lotka_volterra", "tsit5", "i", 4, 0).ratio(learned)
    assert ratio == pytest.approx(min(r["validation"] for r in rows), rel=1e-9)
    assert runs.export(out, tmp_path / "mine.safetensors").exists()
    runs.train(cfg, out=out, resume=True, progress=False)  # nothing is left to do: validated once more
    assert logged(out)[-1]["env_steps"] == 4096


def test_interrupted_sac_goes_on_with_its_replay_buffer(tmp_path, monkeypatch):
    from stepsmith.train.algorithms import sb3

    train = {
        "total_steps": 2048,
        "num_envs": 16,
        "buffer_size": 5000,
        "batch_size": 64,
        "learning_starts": 256,
        "train_freq": 4,
    }
    cfg, out = make(PPO, algorithm="sac", train=train), tmp_path / "run"
    step, sizes = sb3.Validate._on_step, []

    def cut(self):
        go = step(self)
        if self.num_timesteps >= 1200:
            raise KeyboardInterrupt
        return go

    def watch(self):
        sizes.append(self.model.replay_buffer.size())
        return step(self)

    monkeypatch.setattr(sb3.Validate, "_on_step", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.train(cfg, out=out, progress=False)
    monkeypatch.setattr(sb3.Validate, "_on_step", watch)
    path = runs.train(cfg, out=out, resume=True, progress=False)
    assert sizes[0] * 16 >= 1000  # what was collected before the checkpoint is there
    assert logged(out)[-1]["env_steps"] == 2048 and load_controller(path).squash == "tanh"


def test_run_folder_without_a_run(tmp_path):
    with pytest.raises(ValueError, match="no run to resume"):
        RunDir(make(ES), tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match="no controller"):
        runs.export(tmp_path, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "pp0"}, "ppo"),
        ({"train": {"generation": 3}}, "generations"),
        ({"env": {"method": "tsit5"}}, "family"),
        ({"policy": {"hidden": 3}}, "hidden"),
        ({"policy": {"critic": [4]}}, "es has no critic"),
        (
            {"algorithm": "ppo", "train": {"value_hidden": [4]}, "policy": {"critic": [4]}},
            "critic and .train. value_hidden are two names",
        ),
        ({"algorithm": "td3", "train": {"exploration_noise": -1.0}}, "exploration_noise"),
        ({"algorithm": "td3", "train": {"policy_delay": 0}}, "policy_delay"),
        ({"algorithm": "ddpg", "train": {"policy_delay": 2}}, "policy_delay"),
        ({"algorithm": "td3", "train": {"log_std_init": -2.0}}, "log_std_init"),
        ({"policy": {"activation": "swish"}}, "activation"),
        ({"algorithm": "sac", "train": {"actions": [[0.0, 0.0], [1.0, 0.0]]}}, "actions"),
        ({"algorithm": "ppo", "train": {"actions": [[0.0], [1.0]]}}, r"actions.0. must be 2 numbers"),
        ({"algorithm": "ppo", "train": {"actions": [[0.0, 0.0], [1.0, 0.0]], "use_sde": True}}, "use_sde"),
        ({"train": {"sigma": 0.0}}, "sigma"),
        ({"env": {"famly": "lorenz", "family": "lorenz"}}, "unknown key in .env. 'famly': did you mean 'family'"),
        ({"env": {"family": "lorentz"}}, "did you mean 'lorenz'"),
        ({"env": {"family": "lorenz", "method": "tsit4"}}, "did you mean 'tsit5'"),
        ({"env": {"family": "lorenz", "law": "pi43"}}, "unknown law 'pi43'"),
        ({"env": {"family": "lorenz", "baseline": "pi43"}}, "unknown law 'pi43'"),
        ({"env": {"family": "lorenz", "features": ["log_er"]}}, "did you mean 'log_err'"),
        ({"env": {"family": "lorenz", "reward": "matchd"}}, "did you mean 'matched'"),
        ({"evaluate": {"against": "pi43"}}, "unknown controller 'pi43'"),
        ({"env": {"id": "stepsmith/TreeBody-v0"}}, "did you mean 'stepsmith/ThreeBody-v0'"),
        ({"env": {"id": "stepsmith/ThreeBodyPaper-v0"}}, "es trains controllers, and none comes out of"),
        ({"algorithm": "ppo", "train": {"n_stepz": 3}}, "unknown key in .train. 'n_stepz': did you mean 'n_steps'"),
        ({"algorithm": "dqn", "train": {"batchsize": 3}}, "did you mean 'batch_size'"),
    ],
)
def test_bad_configs_are_named(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        runs.train(make(ES, **change), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_resolved_config_holds_every_default():
    whole = resolved(configs.load("three_body_ppo"))
    # Stable-Baselines3's, and ours
    assert whole["train"]["vf_coef"] == 0.5 and whole["train"]["value_hidden"] == [
        64,
        64,
    ]
    env = whole["env"]
    assert env["reward"] == "propagated" and env["fail"] == 1.0 and env["n_act"] == 2 and env["rtol"] == [1.0, 1e-11]
    bodies = make(ES, env={"id": "stepsmith/ThreeBody-v0"})
    assert resolved(bodies)["env"]["method"] == "tsit5" and env_arguments(bodies) == {"family": "three_body"}
    assert resolved(configs.load("three_body_paper_dqn"))["env"]["energy_limit"] == 0.1
    for name in ("three_body_es", "three_body_sac", "neural_field_es"):
        assert resolved(configs.load(name))["env"]["pool_size"] == configs.load(name).env["pool_size"]


def test_a_log_that_an_interruption_cut_short_is_read_and_continued(tmp_path):
    run = RunDir(make(ES), tmp_path / "run", resume=False)
    run.log(validation=0.9)
    run.log(validation=float("nan"))
    with (run.path / "log.jsonl").open("a") as f:
        f.write('{"seconds": 3.1, "valid')
    assert run.best == 0.9
    run.log(validation=0.8)
    assert run.best == 0.8 and len((run.path / "log.jsonl").read_text().splitlines()) == 3


def test_the_learning_rate_falls_to_its_last_value(tmp_path):
    train = {**PPO["train"], "learning_rate": 1e-3, "final_learning_rate": 1e-4}
    runs.train(make(PPO, train=train), out=tmp_path / "run", progress=False)
    rate = Falling(1e-3, 1e-4)
    assert rate(1.0) == 1e-3 and rate(0.0) == 1e-4
    saved = RunDir(make(PPO, train=train), tmp_path / "run", resume=True).checkpoint.load()
    # the last update began with the rollout before it still to come
    assert saved["model"]["parameters"]["policy.optimizer"]["param_groups"][0]["lr"] < 4e-4
    with pytest.raises(ValueError, match="final_learning_rate"):
        runs.train(make(PPO, train={**train, "final_learning_rate": 0.1}), out=tmp_path / "other", progress=False)
