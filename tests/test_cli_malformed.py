"""Malformed calls of the command line: each is refused with one line that names what is wrong, before anything is drawn, solved or written.

The positive control: what ships passes the same checks.
"""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("cma")

from stepsmith.train import cli  # noqa: E402
from stepsmith.train import config as configs  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DEEP_LIST, DEEP_TABLE = "[" * 100_000 + "]" * 100_000, "x = " + "[" * 5_000 + "]" * 5_000


class Raw(str):
    """TOML as it is to stand in the file."""


ENV = {"family": "lotka_volterra", "method": "tsit5", "law": "i", "features": ["log_err", "log_err_1"], "pool_size": 8}
ES = {"name": "toy", "algorithm": "es", "env": ENV, "train": {"generations": 2, "population": 4, "instances": 4}}
PPO = {"name": "toy", "algorithm": "ppo", "env": ENV, "train": {"total_steps": 4096, "num_envs": 16, "n_steps": 64, "batch_size": 512}}
OFF = {"total_steps": 2048, "num_envs": 16, "buffer_size": 5000, "batch_size": 64}
SAC = {"name": "toy", "algorithm": "sac", "env": ENV, "train": OFF}
DQN = {"name": "toy", "algorithm": "dqn", "env": ENV, "train": {**OFF, "actions": [[-0.5, 0.0], [0.5, 0.0]]}}
PAPER = {"name": "toy", "algorithm": "dqn", "env": {"id": "stepsmith/ThreeBodyPaper-v0"}, "train": OFF}
SWEEP = {**ES, "sweep": {"trials": 2, "parameters": {"train.sigma": [0.1, 0.2]}}}
TASK = {"name": "toy", "task": {"name": "digits", "hidden": 4}, "solver": {"tolerance": 1e-2}, "train": {"epochs": 1}}
REGULARISED = {**TASK, "regulariser": {"name": "er_mean", "strength": {"kind": "constant", "value": 1.0}}}
FIELDS = {"name": "toy", "fields": {"train": ["a"], "validation": ["b"]}}
EFFECTS = {
    "name": "toy", "seeds": [0], "tolerances": [1e-2], "baseline": "plain", "tasks": {"d": {"config": "neural_digits"}},
    "variants": {"plain": {}, "other": {"solver": {"controller": "i"}}},
}  # fmt: skip

# (command's config, dotted setting, value, what the line says)
CONFIGS = [
    (ES, "train.sigma", math.inf, "sigma"),
    (ES, "train.sigma", math.nan, "sigma"),
    (ES, "train.sigma", "x", "sigma"),
    (ES, "train.sigma", True, "sigma"),
    (ES, "train.generations", -1, "generations"),
    (ES, "train.generations", 2.5, "generations"),
    (ES, "train.population", 1, "population"),
    (ES, "train.instances", 0, "instances"),
    (ES, "train.dearest", math.nan, "dearest"),
    (ES, "train.reach", -1.0, "reach"),
    (ES, "train.miss", [1.0], "miss"),
    (ES, "train.decay", math.inf, "decay"),
    (ES, "train.max_steps", 10**400, "max_steps"),
    (ES, "train.generation", 3, "did you mean 'generations'"),
    (ES, "train", 3, "[train] must be a table"),
    (ES, "policy.hidden", [[8]], "hidden"),
    (ES, "policy.hidden", [1_000_000_000], "hidden"),
    (ES, "policy.hidden", [60_000, 60_000], "weights"),
    (ES, "policy.hidden", "12", "hidden"),
    (ES, "policy.hidden", 12, "hidden"),
    (ES, "policy.hidden", [8.0], "hidden"),
    (ES, "policy.hidden", [], "hidden"),
    (ES, "policy.activation", ["tanh"], "activation"),
    (ES, "policy.activation", "tahn", "did you mean 'tanh'"),
    (ES, "policy", [1], "[policy] must be a table"),
    (ES, "evaluate.every", 0, "every"),
    (ES, "evaluate.instances", 10**13, "instances"),
    (ES, "evaluate.seed", -1, "seed"),
    (ES, "evaluate.against", ["i"], "against"),
    (ES, "evaluate.against", "pi43", "unknown controller 'pi43'"),
    (ES, "env.pool_size", 1e13, "pool_size"),
    (ES, "env.pool_size", 10**13, "pool_size"),
    (ES, "env.pool_size", 10**6, "GiB"),
    (ES, "env.pool_seed", "0", "pool_seed"),
    (ES, "env.law", [1, 2], "law"),
    (ES, "env.law", {"kappa": 0.0}, "law must have a base"),
    (ES, "env.law", {"base": "i", "kappa": "x"}, "kappa"),
    (ES, "env.law", {"base": ["i"]}, "base"),
    (ES, "env.law", {"base": "i", "kapa": 0.0}, "did you mean 'kappa'"),
    (ES, "env.family", ["a"], "family"),
    (ES, "env.family", "lotka", "lotka_volterra"),
    (ES, "env.method", ["tsit5"], "method"),
    (ES, "env.method", "tsit4", "did you mean 'tsit5'"),
    (ES, "env.method", "leapfrog", "leapfrog"),
    (ES, "env.features", "log_err", "features"),
    (ES, "env.features", [1], "features"),
    (ES, "env.features", ["log_er"], "did you mean 'log_err'"),
    (ES, "env.features", ["log_err", "log_err"], "twice"),
    (ES, "env.n_act", 3, "n_act"),
    (ES, "env.n_act", True, "n_act"),
    (ES, "env.n_act", 4, "n_act = 4"),
    (ES, "env.baseline", 3, "baseline"),
    (ES, "env.costs", {"lu": -1.0}, "lu"),
    (ES, "env.id", "stepsmith/TreeBody-v0", "did you mean 'stepsmith/ThreeBody-v0'"),
    (ES, "env.id", 3, "id"),
    (ES, "env.reward", "matched", "does not use reward"),
    (ES, "env", {}, "must name a family"),
    (ES, "name", 3, "name"),
    (ES, "name", "../../elsewhere", "name"),
    (ES, "name", "", "name"),
    (ES, "name", "x" * 200, "name"),
    (ES, "seed", -1, "seed"),
    (ES, "seed", 2**40, "seed"),
    (ES, "seed", Raw("1979-05-27"), "seed"),
    (ES, "algorithm", ["es"], "algorithm"),
    (ES, "algorithm", "pp0", "did you mean 'ppo'"),
    (ES, "extra", 1, "'extra'"),
    (PPO, "train.total_steps", -1, "total_steps"),
    (PPO, "train.total_steps", math.nan, "total_steps"),
    (PPO, "train.num_envs", 0, "num_envs"),
    (PPO, "train.num_envs", 10**12, "num_envs"),
    (PPO, "train.gamma", 5, "gamma"),
    (PPO, "train.gamma", 0.0, "gamma"),
    (PPO, "train.gae_lambda", -0.1, "gae_lambda"),
    (PPO, "train.learning_rate", -1e-3, "learning_rate"),
    (PPO, "train.learning_rate", "fast", "learning_rate"),
    (PPO, "train.final_learning_rate", 0.1, "final_learning_rate"),
    (PPO, "train.batch_size", "x", "batch_size"),
    (PPO, "train.batch_size", 1, "batch_size"),
    (PPO, "train.batch_size", 500, "batch_size must be a divisor"),
    (PPO, "train.n_steps", 2**30, "GiB"),
    (PPO, "train.n_epochs", 0.5, "n_epochs"),
    (PPO, "train.clip_range", 0.0, "clip_range"),
    (PPO, "train.ent_coef", "auto", "ent_coef"),
    (PPO, "train.max_grad_norm", math.inf, "max_grad_norm"),
    (PPO, "train.normalize_advantage", 1, "normalize_advantage"),
    (PPO, "train.value_hidden", [0], "value_hidden"),
    (PPO, "train.log_std_init", 100.0, "log_std_init"),
    (PPO, "train.rollout_buffer_class", "RolloutBuffer", "rollout_buffer_class"),
    (PPO, "train.actions", [[0.0]], "actions"),
    (PPO, "env.rtol", [1e-6, 1e-3], "rtol"),
    (PPO, "env.rtol", 1e-3, "rtol"),
    (PPO, "env.band", "x", "band"),
    (PPO, "env.time_discount", 2.0, "time_discount"),
    (PPO, "env.max_attempts", math.nan, "max_attempts"),
    (PPO, "env.split", "training", "did you mean 'train'"),
    (PPO, "env.reward", "propagated", "propagated"),
    (PPO, "env.reward", ["matched"], "reward"),
    (PPO, "env.family", "stiff", "suite"),
    (PPO, "env", {"id": "stepsmith/ThreeBodyPaper-v0"}, "discrete"),
    (SAC, "train.tau", 0.0, "tau"),
    (SAC, "train.buffer_size", 10, "buffer_size"),
    (SAC, "train.buffer_size", 10**13, "buffer_size"),
    (SAC, "train.train_freq", [1, "episode"], "train_freq"),
    (SAC, "train.gradient_steps", 0, "gradient_steps"),
    (SAC, "train.learning_starts", 4096, "learning_starts"),
    (SAC, "train.ent_coef", "auto_x", "ent_coef"),
    (SAC, "train.target_entropy", "automatic", "target_entropy"),
    (SAC, "train.use_sde", True, "use_sde"),
    (SAC, "train.action_noise", "normal", "action_noise"),
    (SAC, "train.optimize_memory_usage", True, "optimize_memory_usage"),
    (DQN, "train.actions", [[2.0, 0.0], [0.0, 0.0]], "actions"),
    (DQN, "train.actions", [[0.5], [0.0]], "actions"),
    (DQN, "train.actions", "all", "actions"),
    (DQN, "train.exploration_fraction", 0.0, "exploration_fraction"),
    (DQN, "train.exploration_final_eps", 1.5, "exploration_final_eps"),
    (DQN, "train.value_hidden", [8], "value_hidden"),
    (DQN, "train", OFF, "chooses from a table"),
    (PAPER, "env.weights", [1.0], "weights"),
    (PAPER, "env.counter", "seen", "counter"),
    (PAPER, "env.steps", 0, "steps"),
    (PAPER, "env.seeds", [-1], "seeds"),
    (PAPER, "env.family", "lorenz", "unknown key in [env] 'family'"),
    (TASK, "task.hidden", 2.5, "hidden"),
    (TASK, "task.hidden", math.inf, "hidden"),
    (TASK, "task.hidden", 10**9, "hidden"),
    (TASK, "task.name", ["digits"], "task"),
    (TASK, "task", 3, "[task] must be a table"),
    (TASK, "solver.tolerance", 0.0, "tolerance"),
    (TASK, "solver.tolerance", 1e300, "tolerance"),
    (TASK, "solver.method", ["tsit5"], "method"),
    (TASK, "solver.controller", 3, "controller"),
    (TASK, "solver.options", [1], "options"),
    (TASK, "solver.options", {"max_step": 3}, "max_step"),
    (TASK, "solver.options", {"max_steps": 10**400}, "[solver]"),
    (TASK, "solver.per_sample", "no", "per_sample"),
    (TASK, "train.epochs", 0, "epochs"),
    (TASK, "train.batch", "x", "batch"),
    (TASK, "train.threads", 10**9, "threads"),
    (TASK, "train.momentum", math.nan, "momentum"),
    (TASK, "train.keep", [5], "keep"),
    (TASK, "train.device", "meta", "device"),
    (TASK, "train.optimiser", ["adam"], "optimiser"),
    (TASK, "seed", True, "seed"),
    (REGULARISED, "regulariser.strength", 3, "strength"),
    (REGULARISED, "regulariser.strength.kind", ["constant"], "strength"),
    (REGULARISED, "regulariser.strength.value", "x", "strength"),
    (REGULARISED, "regulariser.plus", [3], "plus"),
    (REGULARISED, "regulariser.options", 3, "options"),
    (REGULARISED, "regulariser.name", 3, "name"),
    (FIELDS, "fields", 3, "[fields] must be a table"),
    (FIELDS, "fields.train", "a", "must be a list"),
    (FIELDS, "fields.train", [1], "train"),
    (FIELDS, "fields.validation", ["a"], "a training and a validation run"),
    (FIELDS, "fields.batch", "x", "batch"),
    (FIELDS, "fields.n_act", 4, "n_act"),
    (FIELDS, "fields.method", "rodas5p", "method"),
    (FIELDS, "fields.law", [1], "law"),
    (FIELDS, "train", [1], "[train] must be a table"),
    (FIELDS, "train.sigma", math.inf, "sigma"),
    (FIELDS, "name", [1], "name"),
    (SWEEP, "sweep", 3, "[sweep]"),
    (SWEEP, "sweep.trials", -1, "trials"),
    (SWEEP, "sweep.seeds", 1e6, "seeds"),
    (SWEEP, "sweep.sampler", ["tpe"], "sampler"),
    (SWEEP, "sweep.prune", "yes", "prune"),
    (SWEEP, "sweep.parameters", 3, "parameters"),
    (SWEEP, "sweep.parameters", {"train.sigma": [0.1, math.inf]}, "sigma"),
    (SWEEP, "sweep.parameters", {"train.sigma": [Raw("1979-05-27")]}, "train.sigma"),
    (SWEEP, "sweep.parameters", {"train.sigma": {"low": 0.1, "high": 10**400}}, "train.sigma"),
    (SWEEP, "sweep.parameters", {"env.family": ["lotka_volterra", "lorentz"]}, "did you mean 'lorenz'"),
    (SWEEP, "sweep.parameters", {"train.generations": {"low": 1.5, "high": 3.5}}, "generations"),
    (SWEEP, "env.family", "lotka", "lotka_volterra"),
    (EFFECTS, "seeds", [-1], "seeds"),
    (EFFECTS, "seeds", 3, "seeds"),
    (EFFECTS, "tolerances", ["x"], "tolerances"),
    (EFFECTS, "tasks", [1], "tasks"),
    (EFFECTS, "tasks.d", 3, "tasks.d"),
    (EFFECTS, "tasks.d.config", 3, "config"),
    (EFFECTS, "variants.other", 3, "variants.other"),
    (EFFECTS, "variants.other.only", "d", "only"),
    (EFFECTS, "variants.other.at", [1], "at"),
    (EFFECTS, "variants.other.at", {"d": 3}, "variants.other.at.d"),
    (EFFECTS, "variants.other.solver", {"method": "tsit6"}, "tsit6"),
    (EFFECTS, "variants.other.solver", 3, "variants.other"),
    (EFFECTS, "variants.other.seed", 3, "seed"),
    (EFFECTS, "variants.other.tolerance", True, "tolerance"),
    (EFFECTS, "variants.other.tolerance", {"x": 1e-2}, "tolerance"),
    (EFFECTS, "baseline", ["plain"], "baseline"),
    (EFFECTS, "name", "a/b", "name"),
]

HUGE = "9" * 17
# arguments, and what the line says; {x} stands for files of `files`
CALLS = [
    (["nosuch"], "nosuch"),
    (["train"], "Missing"),
    (["train", "nosuch"], "unknown config"),
    (["train", "x" * 5000], "File name too long"),
    (["train", "{deep_toml}"], "nested too deeply"),
    (["train", "{binary}"], "not a TOML file"),
    (["train", "{empty}"], "missing"),
    (["train", "{folder}"], "a folder, not a TOML file"),
    (["train", "/dev/zero"], "more than 16 MiB"),
    (["train", "{not_toml}"], "not a TOML file"),
    (["train", "{digits}"], "not a TOML file"),
    (["train", "{good}", "--seed", "-1"], "--seed"),
    (["train", "{good}", "--seed", HUGE], "--seed"),
    (["train", "{good}", "--seed", "nan"], "--seed"),
    (["train", "{good}", "--out", "{binary}"], "out cannot be"),
    (["train", "{good}", "--out", "{binary}/x"], "out cannot be"),
    (["train", "{good}", "--out", "{folder}/none", "--resume"], "no run to resume"),
    (["tune"], "Missing"),
    (["tune", "lorens"], "did you mean 'lorenz'"),
    (["tune", "x" * 5000], "unknown problem family"),
    (["tune", "lorenz", "--n", HUGE], "--n"),
    (["tune", "lorenz", "--n", "-1"], "--n"),
    (["tune", "lorenz", "--n", "1000000"], "GiB"),
    (["tune", "lorenz", "--n-validation", HUGE], "--n-validation"),
    (["tune", "lorenz", "--evaluations", "5"], "evaluations"),
    (["tune", "lorenz", "--evaluations", "9" * 30], "evaluations"),
    (["tune", "lorenz", "--restarts", HUGE], "restarts"),
    (["tune", "lorenz", "--seed", HUGE], "--seed"),
    (["tune", "lorenz", "--method", "tsit6"], "did you mean 'tsit5'"),
    (["tune", "lorenz", "--method", ""], "method"),
    (["tune", "lorenz", "--start", "{deep_json}"], "nested too deeply"),
    (["tune", "lorenz", "--start", "{missing}"], "--start"),
    (["tune", "lorenz", "--start", "{folder}"], "--start"),
    (["tune", "lorenz", "--start", "{binary}"], "not a JSON file"),
    (["tune", "lorenz", "--start", "{list_json}"], "not a tuned law"),
    (["tune", "lorenz", "--out", "{folder}"], "--out"),
    (["tune", "lorenz", "--warm"], "--warm"),
    (["compare"], "Missing"),
    (["compare", "lorens"], "did you mean 'lorenz'"),
    (["compare", "lorenz", "--n", "x"], "--n"),
    (["compare", "lorenz", "--n", "1"], "--n"),
    (["compare", "lorenz", "--n", HUGE], "--n"),
    (["compare", "lorenz", "--seed", "1e3"], "--seed"),
    (["compare", "lorenz", "--method", "tsit6"], "did you mean 'tsit5'"),
    (["compare", "lorenz", "--method", "rodas5p", "--oracle", "1"], "oracle"),
    (["compare", "lorenz", "-c", "pi43"], "unknown controller"),
    (["compare", "lorenz", "-c", ""], "unknown controller"),
    (["compare", "lorenz", "-c", "{deep_json}"], "nested too deeply"),
    (["compare", "lorenz", "-c", "{binary}"], "binary"),
    (["compare", "lorenz", "--repeats", HUGE], "repeats"),
    (["compare", "lorenz", "--oracle", "-1"], "--oracle"),
    (["compare", "lorenz", "--out", "{binary}"], "--out"),
    (["compare", "stiff", "--headline", "x"], "--headline"),
    (["compare", "stiff", "--n", "1000000"], "n must be"),
    (["export", "{missing}", "--out", "x.safetensors"], "no controller"),
    (["export", "{binary}", "--out", "x.safetensors"], "no controller"),
    (["export", "{folder}"], "--out"),
    (["export", "{folder}", "--out", "{folder}"], "--out"),
    (["inspect"], "Missing"),
    (["inspect", "nosuch"], "unknown controller"),
    (["inspect", "{missing}.json"], "no such file"),
    (["inspect", "{missing}.safetensors"], "missing"),
    (["inspect", "{deep_json}"], "nested too deeply"),
    (["inspect", "{list_json}"], "not a tuned law"),
    (["inspect", "{binary_json}"], "not a JSON file"),
    (["inspect", "{folder_json}"], "a folder, not a JSON file"),
    (["list", "famlies"], "did you mean 'families'"),
    (["list"], "Missing"),
    (["sweep", "{missing}"], "no such file"),
    (["sweep", "{good}"], "no [sweep] table"),
    (["sweep", "{deep_toml}"], "nested too deeply"),
    (["sweep", "{good_sweep}", "--seed", HUGE], "--seed"),
    (["sweep", "{good_sweep}", "--out", "{binary}"], "out cannot be"),
    (["effects", "{missing}"], "no such comparison file"),
    (["effects", "{deep_toml}"], "nested too deeply"),
    (["effects", "{folder}"], "a folder"),
    (["effects", "{good_effects}", "--part", "3/2"], "part"),
    (["effects", "{good_effects}", "--part", "x"], "part"),
    (["effects", "{good_effects}", "--part", "0/" + "9" * 5000], "part"),
    (["effects", "{good_effects}", "--seed", HUGE], "--seed"),
    (["effects", "{good_effects}", "--out", "{binary}"], "--out"),
    (["demo", "--seed", "-1"], "--seed"),
    (["demo", "--seed", HUGE], "--seed"),
    (["demo", "--out", "{binary}"], "out cannot be"),
    (["demo", "--quik"], "--quik"),
]


def toml(value):
    """A value as TOML, tables inline."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


def write(data, path):
    path.write_text("".join(f"{k} = {toml(v)}\n" for k, v in data.items()))
    return path


def changed(base, name, value):
    data = copy.deepcopy(base)
    *tables, key = name.split(".")
    at = data
    for table in tables:
        at = at.setdefault(table, {})
    at[key] = value
    return data


def command_of(base):
    return "sweep" if "sweep" in base else "effects" if "variants" in base else "train"


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """refused(*args): runs the command, which must end with one line on standard error; returns the line."""
    from stepsmith.train import compare, rundir, suite_compare, sweep, tune
    from stepsmith.train.neural_tasks import effects, folder

    def began(*args, **kwargs):
        raise AssertionError("work began")

    for module, name in (
        (rundir.RunDir, "write"), (folder.NeuralRun, "write"), (tune, "draw"), (compare, "draw"), (suite_compare, "draw"),
        (sweep, "_train"), (effects, "train"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, began)
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*args):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            cli.main([str(a) for a in args])
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.strip()]
        assert stop.value.code == 2 and out == "", err
        assert len(lines) == 1 and lines[0].startswith("stepsmith: ") and "Traceback" not in err
        assert len(lines[0]) < 2100 and lines[0].isprintable()
        assert sorted(tmp_path.rglob("*")) == before  # nothing is left behind
        return lines[0]

    return call


@pytest.fixture
def files(tmp_path):
    """Files of every kind, by the names that `CALLS` uses."""
    made = {name: tmp_path / name for name in ("binary", "empty", "folder", "missing")}
    made["binary"].write_bytes(b"\x00\xff\xfe" * 100)
    made["empty"].write_text("")
    made["folder"].mkdir()
    texts = {"deep_toml": DEEP_TABLE, "not_toml": "name = ", "digits": "seed = " + "9" * 5000}
    for name, text in texts.items():
        made[name] = tmp_path / f"{name}.toml"
        made[name].write_text(text)
    for name, text in (("deep_json", DEEP_LIST), ("list_json", "[]")):
        made[name] = tmp_path / f"{name}.json"
        made[name].write_text(text)
    made["binary_json"], made["folder_json"] = tmp_path / "b.json", tmp_path / "f.json"
    made["binary_json"].write_bytes(made["binary"].read_bytes())
    made["folder_json"].mkdir()
    for name, data in (("good", ES), ("good_sweep", SWEEP), ("good_effects", EFFECTS)):
        made[name] = write(data, tmp_path / f"{name}.toml")
    return made


def ident(value):
    return re.sub(r"[^\w.\[\]{}-]+", " ", str(value))[:40] if not isinstance(value, dict) else str(value.get("algorithm", "table"))


@pytest.mark.parametrize("base, name, value, says", CONFIGS, ids=ident)
def test_a_malformed_config_is_refused_in_one_line(refused, tmp_path, base, name, value, says):
    file = write(changed(base, name, value), tmp_path / "bad.toml")
    assert says in refused(command_of(base), file, "--out", tmp_path / "o" / "run")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("args, says", CALLS, ids=ident)
def test_a_malformed_call_is_refused_in_one_line(refused, files, args, says):
    assert says in refused(*(a.format(**files) if "{" in a else a for a in args))


def test_the_tables_are_as_long_as_they_must_be():
    assert len(CONFIGS) + len(CALLS) >= 108
    assert len({(id(b), n, repr(v)) for b, n, v, _ in CONFIGS}) == len(CONFIGS)


# -- what ships passes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ES, PPO, SAC, DQN, PAPER], ids=ident)
def test_the_bases_pass(base):
    from stepsmith.train.resolved import resolved

    assert resolved(configs.from_dict(copy.deepcopy(base)))["name"] == "toy"


def test_the_other_bases_pass(tmp_path):
    from stepsmith.train import sweep_space
    from stepsmith.train.neural_tasks import config, effects, learn, tasks

    for base in (TASK, REGULARISED):
        tasks.check(config.from_dict(copy.deepcopy(base)))
    assert learn.from_dict(copy.deepcopy(FIELDS)).fields.batch == 16
    assert sweep_space.load(write(SWEEP, tmp_path / "s.toml")).trials == 2
    assert len(effects.load(write(EFFECTS, tmp_path / "e.toml")).units) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "train" / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_config_passes(path):
    from stepsmith.train.neural_tasks import config, tasks
    from stepsmith.train.resolved import resolved

    data = configs.read(path)
    assert data == configs.read(path.stem)
    if "task" in data:
        tasks.check(config.from_dict(data))
    else:
        whole = resolved(configs.from_dict(data))
        assert all(whole["train"][k] == v for k, v in data["train"].items())


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.toml")), ids=lambda p: p.stem)
def test_every_benchmark_file_passes(path, monkeypatch):
    from stepsmith.train.neural_tasks import effects, learn

    monkeypatch.chdir(ROOT)  # their paths begin there
    data = configs.read(path)
    if "fields" in data:
        assert learn.from_dict(data).fields.warm
    else:
        assert effects.load(path).units


def test_the_example_of_a_sweep_passes():
    from stepsmith.train import sweep_space

    assert sweep_space.load(ROOT / "examples" / "three_body_sweep.toml").trials == 12


# -- the rules against what they are rules of --------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "dqn", "es"])
def test_every_argument_of_an_algorithm_has_a_rule_that_takes_its_default(algorithm):
    """The names and defaults are Stable-Baselines3's own."""
    from stepsmith.train import settings
    from stepsmith.train.resolved import train_defaults

    base = {"ppo": PPO, "sac": SAC, "dqn": DQN, "es": ES}[algorithm]
    defaults = train_defaults(configs.from_dict(copy.deepcopy(base)))
    assert set(defaults) == set(settings.TRAIN[algorithm])
    given = {k: v for k, v in defaults.items() if v is not None}
    assert settings.check("train", given, settings.TRAIN[algorithm]) == given


@pytest.mark.parametrize("base", [PPO, PAPER], ids=ident)
def test_every_argument_of_an_environment_has_a_rule(base):
    from stepsmith.train import settings
    from stepsmith.train.resolved import env_keys

    rules = settings.PAPER if base is PAPER else settings.ODE
    assert env_keys(configs.from_dict(copy.deepcopy(base))) | {"id"} == set(rules)


# -- late refusals, and help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ES, PPO], ids=ident)
def test_a_run_refused_late_leaves_its_place_to_the_corrected_one(base, tmp_path, monkeypatch):
    from stepsmith.train import run, splits

    def late(*args, **kwargs):
        raise ValueError("no reference passed its self-check")

    out = tmp_path / "runs" / "toy"
    with monkeypatch.context() as patch:
        patch.setattr(splits, "draw", late)
        patch.setattr("stepsmith.train.sb3.make_sb3", late)
        with pytest.raises(ValueError, match="self-check"):
            run.train(configs.from_dict(copy.deepcopy(base)), out=out, progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_holds_something_learnt_is_kept(tmp_path):
    from stepsmith.train.refused import leaving_nothing

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


@pytest.mark.parametrize("command, shows", [("train", "[task]"), ("train", "[-<algorit"), ("sweep", "[sweep]")])
def test_help_shows_brackets(capsys, monkeypatch, command, shows):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and shows in out and "\\" not in out


@pytest.mark.parametrize("change, says", [({"seed": -1}, "seed"), ({"hidden": "12"}, "hidden"), ({"settings": {}}, "settings")])
def test_the_papers_training_refuses_the_same(change, says):
    from stepsmith.train.evolution import Settings
    from stepsmith.train.paper import train_residual

    with pytest.raises(ValueError, match=f"{says} must be"):
        train_residual(**{"seed": 0, "settings": Settings(generations=1), "progress": False, **change})
