"""The rules of settings: what ships passes, every argument has one, and a run refused late leaves no folder."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("cma")

from malformed import DQN, EFFECTS, ES, FIELDS, PAPER, PPO, REGULARISED, SAC, SWEEP, TASK, ident, write  # noqa: E402
from stepsmith.train.config import config as configs  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


# -- what ships passes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ES, PPO, SAC, DQN, PAPER], ids=ident)
def test_the_bases_pass(base):
    from stepsmith.train.config.resolved import resolved

    assert resolved(configs.from_dict(copy.deepcopy(base)))["name"] == "toy"


def test_the_other_bases_pass(tmp_path):
    from stepsmith.train.neural import config, effects, learn, tasks
    from stepsmith.train.tune import sweep_space

    for base in (TASK, REGULARISED):
        tasks.check(config.from_dict(copy.deepcopy(base)))
    assert learn.from_dict(copy.deepcopy(FIELDS)).fields.batch == 16
    assert sweep_space.load(write(SWEEP, tmp_path / "s.toml")).trials == 2
    assert len(effects.load(write(EFFECTS, tmp_path / "e.toml")).units) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "train" / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_config_passes(path):
    from stepsmith.train.config.resolved import resolved
    from stepsmith.train.neural import config, tasks

    data = configs.read(path)
    assert data == configs.read(path.stem)
    if "task" in data:
        tasks.check(config.from_dict(data))
    else:
        whole = resolved(configs.from_dict(data))
        assert all(whole["train"][k] == v for k, v in data["train"].items())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.toml")), ids=lambda p: p.stem)
def test_every_benchmark_file_passes(path, monkeypatch):
    from stepsmith.train.neural import effects, learn

    monkeypatch.chdir(ROOT)  # their paths begin there
    data = configs.read(path)
    if "fields" in data:
        assert learn.from_dict(data).fields.warm
    else:
        assert effects.load(path).units


def test_the_example_of_a_sweep_passes():
    from stepsmith.train.tune import sweep_space

    assert sweep_space.load(ROOT / "examples" / "three_body_sweep.toml").trials == 12


# -- the rules against what they are rules of --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", list(configs.ALGORITHMS))
def test_every_argument_of_an_algorithm_has_a_rule_that_takes_its_default(algorithm):
    """The names and defaults are Stable-Baselines3's own."""
    from stepsmith.train.config import algorithms, settings
    from stepsmith.train.config.resolved import train_defaults

    bases = {"ppo": PPO, "time_aware_ppo": {**PPO, "train": {}}, "dqn": DQN, "es": ES, "closed_form": ES}
    base = bases.get(algorithm, SAC)
    defaults = train_defaults(configs.from_dict({**copy.deepcopy(base), "algorithm": algorithm}))
    assert set(defaults) == set(algorithms.TRAIN[algorithm])
    given = {k: v for k, v in defaults.items() if v is not None}
    assert settings.check("train", given, algorithms.TRAIN[algorithm]) == given


@pytest.mark.parametrize("base", [PPO, PAPER], ids=ident)
def test_every_argument_of_an_environment_has_a_rule(base):
    from stepsmith.train.config import settings
    from stepsmith.train.config.resolved import env_keys

    rules = settings.PAPER if base is PAPER else settings.ODE
    assert env_keys(configs.from_dict(copy.deepcopy(base))) | {"id"} == set(rules)


# -- late refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ES, PPO], ids=ident)
def test_a_run_refused_late_leaves_its_place_to_the_corrected_one(base, tmp_path, monkeypatch):
    from stepsmith.train.evaluate import splits
    from stepsmith.train.run import run

    def late(*args, **kwargs):
        raise ValueError("no reference passed its self-check")

    out = tmp_path / "runs" / "toy"
    with monkeypatch.context() as patch:
        patch.setattr(splits, "draw", late)
        patch.setattr("stepsmith.train.algorithms.sb3.make_sb3", late)
        with pytest.raises(ValueError, match="self-check"):
            run.train(configs.from_dict(copy.deepcopy(base)), out=out, progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_holds_something_learnt_is_kept(tmp_path):
    from stepsmith.train.run.refused import leaving_nothing

    def fail(path, *names, error=ValueError):
        with pytest.raises(error), leaving_nothing(path):
            path.mkdir(parents=True, exist_ok=True)
            for name in ("config.json", *names):
                (path / name).write_text("{}")
            raise error

    fail(tmp_path / "a" / "b", "resolved.json")
    assert list(tmp_path.iterdir()) == []
    for name in ("log.jsonl", "checkpoint.pickle", "controller.safetensors"):
        fail(tmp_path / name, name)
        assert (tmp_path / name / "config.json").exists()
    fail(tmp_path / "stopped", error=KeyboardInterrupt)
    assert (tmp_path / "stopped").exists()
    (tmp_path / "old").mkdir()
    fail(tmp_path / "old")
    assert (tmp_path / "old" / "config.json").exists()


@pytest.mark.parametrize(
    "change, says", [({"seed": -1}, "seed"), ({"hidden": "12"}, "hidden"), ({"settings": {}}, "settings")]
)
def test_the_papers_training_refuses_the_same(change, says):
    from stepsmith.train.algorithms.evolution import Settings
    from stepsmith.train.evaluate.paper import train_residual

    with pytest.raises(ValueError, match=f"{says} must be"):
        train_residual(**{"seed": 0, "settings": Settings(generations=1), "progress": False, **change})
