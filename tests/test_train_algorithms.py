"""Every algorithm at toy size: TD3 and DDPG, linear policies, and `--algo` and `--set` in the place of what a config
says.
"""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stepsmith.controllers.file import load_controller
from stepsmith.train.config import config as configs
from stepsmith.train.config import overrides
from stepsmith.train.config.resolved import resolved
from stepsmith.train.run import run as runs
from toy_runs import ENV, TRAIN, command, logged, make

SMALL = {"td3": {"total_steps": 512}, "ddpg": {"total_steps": 512}, "sac": {"total_steps": 512}}


@pytest.mark.parametrize("algorithm", ["es", "ppo", "sac", "td3", "ddpg", "dqn"])
def test_a_linear_policy_is_trained_validated_and_exported(algorithm, tmp_path):
    train = {**TRAIN["td3" if algorithm == "ddpg" else algorithm], **SMALL.get(algorithm, {})}
    path = runs.train(make(algorithm, policy={"hidden": []}, train=train), out=tmp_path / "run", progress=False)
    learned = load_controller(path)
    n_out = 3 if algorithm == "dqn" else 2
    assert learned.shapes == ((3, n_out, "linear"),) and learned.provenance["algorithm"] == algorithm
    rows = logged(tmp_path / "run")
    assert all(np.isfinite(r["validation"]) for r in rows) and rows[-1]["best"] == min(r["validation"] for r in rows)


def test_ppo_chooses_from_a_table(tmp_path):
    table = TRAIN["dqn"]["actions"]
    cfg = make("ppo", train={**TRAIN["ppo"], "actions": table}, policy={"hidden": [4], "activation": "silu"})
    learned = load_controller(runs.train(cfg, out=tmp_path / "run", progress=False))
    assert learned.squash == "argmax" and np.array_equal(learned.table, table) and learned.shapes[0][2] == "silu"


@pytest.mark.parametrize("activation", ["elu", "gelu", "gelu_tanh", "leaky_relu"])
def test_every_activation_is_trained(activation, tmp_path):
    from stepsmith.policies.small_actor import ACTIVATIONS
    from stepsmith.train.config import settings

    assert tuple(ACTIVATIONS) == settings.ACTIVATIONS
    cfg = make("es" if activation == "leaky_relu" else "ppo", policy={"hidden": [3], "activation": activation})
    learned = load_controller(runs.train(cfg, out=tmp_path / "run", progress=False))
    assert learned.shapes[0][2].startswith(activation)


def test_td3_begins_as_the_law_and_explores_around_it(tmp_path, monkeypatch):
    from stepsmith.train.algorithms import sb3

    seen = {}

    def look(self):
        if self.num_timesteps > 128:  # behind the random actions of learning_starts
            seen.setdefault("noise", []).append(self.locals["actions"] - self.model.predict(self.locals["new_obs"])[0])
        seen.setdefault("first", self.model.predict(self.locals["new_obs"])[0])
        return True

    monkeypatch.setattr(sb3.Validate, "_on_step", look)
    train = {**TRAIN["td3"], "learning_rate": 1e-12, "exploration_noise": 0.2}
    runs.train(make("td3", train=train), out=tmp_path / "run", progress=False)
    assert np.all(seen["first"] == 0.0)
    noise = np.array(seen["noise"])
    assert noise.std() == pytest.approx(0.2, rel=0.05) and abs(noise.mean()) < 0.02


def test_the_critic_has_a_size_of_its_own():
    from stepsmith.train.algorithms.sb3 import _environment, _model

    for algorithm in ("ppo", "sac", "td3"):
        left_out = ("value_hidden", "total_steps", "num_envs", "batch_size")
        train = {k: v for k, v in TRAIN[algorithm].items() if k not in left_out}
        cfg = make(algorithm, policy={"hidden": [], "critic": [24, 12]}, train=train)
        assert cfg.as_dict()["policy"]["critic"] == [24, 12] and configs.from_dict(cfg.as_dict()) == cfg
        assert resolved(cfg)["train"]["value_hidden"] == [24, 12]

        class Run:
            def costs(self):
                return {}

        venv, _ = _environment(cfg, Run(), 16, None)
        policy = _model(cfg, dict(train), venv, None).policy
        critic = policy.mlp_extractor.value_net if algorithm == "ppo" else policy.critic.qf0
        assert [layer.out_features for layer in critic if hasattr(layer, "out_features")][:2] == [24, 12]
    assert "critic" not in make("ppo").as_dict()["policy"]  # an older run's folder is resumed


def test_td3_has_defaults_for_many_environments():
    whole = resolved(make("td3", train={}))["train"]
    assert whole["num_envs"] == 256 and whole["gradient_steps"] == 16 and whole["exploration_noise"] == 0.3
    assert whole["policy_delay"] == 16 and whole["target_policy_noise"] == 0.2  # the last is Stable-Baselines3's own
    shipped = resolved(configs.load("three_body_td3"))
    assert shipped["train"]["learning_starts"] == 16_000 and shipped["env"]["reward"] == "propagated"


def test_another_algorithm_is_trained_by_its_shipped_settings(tmp_path):
    data = {"name": "toy", "algorithm": "ppo", "env": {**ENV, "reward": "matched"}, "policy": {"hidden": [4]},
            "train": {"n_steps": 384}}  # fmt: skip
    for algorithm in configs.ALGORITHMS:
        cfg = configs.from_dict(overrides.with_algorithm(data, algorithm))
        hidden = () if algorithm == "closed_form" else (4,)  # a closed form has no hidden layer
        assert resolved(cfg)["algorithm"] == algorithm and cfg.policy.hidden == hidden
        if algorithm != "ppo":
            assert cfg.evaluate.every == configs.load(overrides.SHIPPED[algorithm]).evaluate.every
            assert cfg.train and cfg.train.get("n_steps") != 384  # of TD3 it means something else
    assert overrides.with_algorithm(data, "ppo") == data
    assert overrides.with_algorithm(data, "dqn")["train"]["actions"][0] == [-1.0, 0.0]
    critic = {**data, "policy": {"critic": [8]}, "train": {}}
    assert configs.from_dict(overrides.with_algorithm(critic, "td3")).policy.critic == (8,)
    assert configs.from_dict(overrides.with_algorithm(critic, "dqn")).policy.critic is None
    with pytest.raises(ValueError, match="did you mean 'td3'|one of"):
        overrides.with_algorithm(data, "td33")
    with pytest.raises(ValueError, match="no algorithm to choose"):
        overrides.with_algorithm(configs.read("neural_digits"), "td3")


def test_settings_are_changed_one_by_one():
    data = {"name": "toy", "algorithm": "td3", "env": ENV}
    changed = overrides.with_settings(data, ["train.total_steps=5_000", "env.law = pi34", "policy.hidden=[]"])
    assert changed["train"] == {"total_steps": 5000} and changed["env"]["law"] == "pi34"
    assert changed["policy"] == {"hidden": []} and data == {"name": "toy", "algorithm": "td3", "env": ENV}
    assert overrides.with_settings(data, ["name = mine"]) == {**data, "name": "mine"}
    assert overrides.with_settings(data, ["name=7"])["name"] == "7"
    for bad in ("total_steps=3", "train.total_steps", "train.=3", "run.x=3"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            overrides.with_settings(data, [bad])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"policy_kwargs": {}}}, r"\[train\] 'policy_kwargs': its place is \[policy\] hidden, critic"),
        ({"train": {"net_arch": [4]}}, r"its place is \[policy\] hidden"),
        ({"policy": {"net_arch": [4]}}, r"\[policy\] 'net_arch': its place is \[policy\] hidden"),
        ({"policy": {"learning_rate": 1e-3}}, r"\[policy\] 'learning_rate': it stands in \[train\]"),
        ({"policy": {"family": "lorenz"}}, r"it stands in \[env\]"),
        ({"train": {"hidden": [4]}}, r"it stands in \[policy\]"),
        ({"train": {"against": "pi34"}}, r"it stands in \[evaluate\]"),
        ({"train": {"total_timesteps": 5}}, r"its place is \[train\] total_steps"),
        ({"train": {"ent_coef": 0.1}}, r"'ent_coef': a setting of ppo, time_aware_ppo, sac, not of td3"),
        ({"train": {"generations": 3}}, r"a setting of es, closed_form, not of td3"),
        ({"train": {"seed": 3}}, "at the top of the config"),
        ({"train": {"device": "cuda"}}, "cannot be set, for training runs on the CPU"),
        ({"train": {"action_noise": 0.1}}, "exploration_noise is the standard deviation"),
        ({"train": {"exploration_noise": 0.0}}, "exploration_noise"),
        ({"train": {"learning_rat": 0.1}}, "did you mean 'learning_rate'"),
        ({"policy": {"hiden": [4]}}, "did you mean 'hidden'"),
        ({"algorithm": "TD3"}, "did you mean 'td3'"),
    ],
)
def test_a_likely_mistake_names_what_to_change(change, message):
    with pytest.raises(ValueError, match=message):
        configs.from_dict({"name": "toy", "algorithm": "td3", "env": ENV, **change})


def test_the_command_takes_an_algorithm(tmp_path, capsys):
    config, out = tmp_path / "toy.toml", tmp_path / "run"
    tables = {"env": ENV, "policy": {"hidden": [3]}, "evaluate": {"instances": 4, "against": "i"}}
    text = 'name = "toy"\nalgorithm = "ppo"\n'
    for name, table in tables.items():
        text += f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items())
    config.write_text(text)
    sets = [f"train.{k}={json.dumps(v)}" for k, v in {**TRAIN["td3"], "total_steps": 512}.items()]
    given = [part for text in sets for part in ("--set", text)]
    code, said = command(capsys, "train", config, "--algo", "td3", "--out", out, *given)
    assert code == 0, said
    learned = load_controller(out / "controller.safetensors")
    assert learned.squash == "tanh" and learned.provenance["algorithm"] == "td3"
    assert json.loads((out / "config.json").read_text())["train"]["learning_starts"] == 128
    code, said = command(capsys, "train", config, "--algo", "tD3", "--out", tmp_path / "other")
    assert code == 2 and "td3" in said[-1]
