"""A small benchmark protocol for tests, frozen in a folder of its own."""

from pathlib import Path

from stepsmith.controllers.laws import registry, tuned
from stepsmith.integrators import problems
from stepsmith.train.bench import instance_file, protocol

NAME = "toy-v1"
TEXT = """
name = "{name}"
doc = "predator and prey, for tests"

[problem]
family = "lotka_volterra"
method = "tsit5"
error = "grid"
tolerances = {{loose = 1e-2, tight = 1e-9, count = 16}}
atol_factor = 1e-3
levels = [1e-6, 1e-3]
max_attempts = 5000

[instances]
file = "{name}.csv"
count = 40
sha256 = "{instances}"

[law]
file = "{name}.law.json"
sha256 = "{law}"

[decision]
features = ["log_err", "log_err_1", "log_ratio_1"]
n_act = 2

[budget]
env_steps = 4096
seeds = 5
validations = 2
validation_instances = 4

[env]
band = true
reward = "matched"

[policy]
hidden = [3]
activation = "relu"

[rows.linear]
algorithm = "ppo"
hidden = []
train = {{num_envs = 16, n_steps = 32, batch_size = 128, n_epochs = 1}}

[rows.ppo]
algorithm = "ppo"
train = {{num_envs = 16, n_steps = 32, batch_size = 128, n_epochs = 1}}

[rows.es]
algorithm = "es"
train = {{population = 4, instances = 4, sigma = 0.3}}
"""


def freeze(folder: Path, name: str = NAME, law: str = "pi34") -> Path:
    """Write the files of a small protocol; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    family = problems.family("lotka_volterra")
    csv, kept = folder / f"{name}.csv", folder / f"{name}.law.json"
    csv.write_text(instance_file.text(name, family, 40))
    tuned.write(kept, registry.get(law), {"family": name, "method": "tsit5", "doc": "for tests"})
    digests = {k: instance_file.digest(p.read_bytes()) for k, p in (("instances", csv), ("law", kept))}
    (folder / f"{name}.toml").write_text(TEXT.format(name=name, **digests))
    return folder


def use(monkeypatch, folder: Path) -> None:
    """Let the protocols be those of `folder`."""
    monkeypatch.setattr(protocol, "FOLDER", folder)
    protocol.load.cache_clear()
