"""Malformed training configs, one change of a sound one each, and how to write them."""

from __future__ import annotations

import copy
import json
import math
import re


class Raw(str):
    """TOML as it is to stand in the file."""


ENV = {"family": "lotka_volterra", "method": "tsit5", "law": "i", "features": ["log_err", "log_err_1"], "pool_size": 8}
ES = {"name": "toy", "algorithm": "es", "env": ENV, "train": {"generations": 2, "population": 4, "instances": 4}}
PPO = {
    "name": "toy",
    "algorithm": "ppo",
    "env": ENV,
    "train": {"total_steps": 4096, "num_envs": 16, "n_steps": 64, "batch_size": 512},
}
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
    (ES, "policy.hidden", {}, "hidden"),
    (ES, "policy.critic", [8], "es has no critic: ppo, time_aware_ppo, sac, td3, ddpg have one"),
    (PPO, "policy.critic", [0], "critic"),
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
    (TASK, "solver.options", {"maxstep": 3}, "maxstep"),
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


def ident(value):
    return (
        re.sub(r"[^\w.\[\]{}-]+", " ", str(value))[:40]
        if not isinstance(value, dict)
        else str(value.get("algorithm", "table"))
    )
