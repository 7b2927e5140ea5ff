"""Small training runs for tests: their configurations, and what their folders hold."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stepsmith.controllers.file import document, load_controller
from stepsmith.train.cli import program as cli
from stepsmith.train.config import config as configs

ENV = {
    "family": "lotka_volterra",
    "method": "tsit5",
    "law": "i",
    "features": ["log_err", "log_err_1", "log_ratio_1"],
    "pool_size": 12,
}
OFF = {
    "total_steps": 1024,
    "num_envs": 16,
    "buffer_size": 800,
    "batch_size": 32,
    "learning_starts": 128,
    "train_freq": 4,
}
TRAIN = {
    "es": {"generations": 30, "population": 4, "instances": 4, "sigma": 0.3},
    "ppo": {"total_steps": 2048, "num_envs": 16, "n_steps": 16, "batch_size": 128, "n_epochs": 1},
    "time_aware_ppo": {
        "total_steps": 2048,
        "num_envs": 16,
        "n_steps": 16,
        "batch_size": 128,
        "n_epochs": 1,
        "beta": 0.5,
    },
    "sac": OFF,
    "td3": {**OFF, "gradient_steps": 1, "value_hidden": [16]},
    "dqn": {**OFF, "actions": [[-0.5, 0.0], [0.0, 0.0], [0.5, 0.0]], "target_update_interval": 100},
}


def make(algorithm, **changes):
    every = 20_000 if algorithm == "es" else 300
    data = {"name": "toy", "algorithm": algorithm, "env": ENV, "policy": {"hidden": [3]},
            "train": TRAIN.get(algorithm, OFF),
            "evaluate": {"every": every, "instances": 4, "against": "i"}}  # fmt: skip
    return configs.from_dict({**data, **changes})


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def logged(folder):
    """Rows without their clock; every line must be JSON to the letter."""
    rows = [json.loads(line, parse_constant=refuse) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def content(folder):
    """A run's controller: what its file holds, but for the commit, which may move meanwhile."""
    learned = load_controller(folder / "controller.safetensors")
    said = document(learned)
    said["provenance"] = {k: v for k, v in learned.provenance.items() if k not in ("commit", "versions")}
    return said, learned.weights.tobytes()


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 0x10
    elif how == "foreign":
        data = bytearray(b"not a checkpoint")
    path.write_bytes(bytes(data[: {"truncated": len(data) // 2, "empty": 0}.get(how, len(data))]))


def command(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in args])
    return stop.value.code, capsys.readouterr().err.strip().splitlines()


def config_file(tmp_path):
    path = tmp_path / "toy.toml"
    tables = {"env": ENV, "policy": {"hidden": [3]}, "train": TRAIN["es"], "evaluate": make("es").as_dict()["evaluate"]}
    text = 'name = "toy"\nalgorithm = "es"\n'
    for name, table in tables.items():
        text += f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items())
    path.write_text(text)
    return path
