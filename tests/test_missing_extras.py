"""Without a package that an extra brings, what needs it says at once which extra that is."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import stepsmith as ss
from stepsmith.train.fit import search
from stepsmith.train.tune import pycma

ROOT = Path(__file__).parents[1]
#: by what cannot be imported, commands, what is missed first, and the extra that brings it
ALL = "torch stable_baselines3 tensorboard cma optuna sklearn torchdiffeq onnx huggingface_hub ray"
COMMANDS = {
    ALL: {
        "demo --quick": ("stable_baselines3", "demo"),
        "train three_body_ppo": ("stable_baselines3", "train"),
        "train three_body_es": ("cma", "train"),
        "train neural_digits": ("torch", "train"),
        "tune lotka_volterra": ("cma", "train"),
        "compare lotka_volterra": ("cma", "train"),
        "sweep sweep.toml": ("optuna", "sweep"),
        "effects nosuch.toml": ("torch", "train"),
        "export three-body --to onnx --out a.onnx": ("onnx", "onnx"),
        "bench run orbits-v1 --out o --algos es": ("cma", "train"),
        "tune lotka_volterra --cluster ray": ("ray", "cluster"),
        f"inspect hf:a/b/c.safetensors@{'0' * 40}#sha256={'0' * 64}": ("huggingface_hub", "hub"),
    },
    "sklearn": {"train neural_digits": ("sklearn", "neural-data")},
    "optuna": {"sweep sweep.toml": ("optuna", "sweep")},
}
RUN = """
import contextlib, importlib.machinery, io, json, sys

gone, commands = sys.argv[1].split(), json.loads(sys.argv[2])

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in gone else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder
from stepsmith.train.cli import program

for command in commands:
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            program.main(command.split())
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([command, code, err.getvalue().splitlines()[-1]]))
"""
PACKAGES = {
    "stable_baselines3": "stable-baselines3", "sklearn": "scikit-learn", "huggingface_hub": "huggingface_hub",
}  # fmt: skip


def brings(extra: str) -> set[str]:
    """The packages of an extra, those of the extras that it takes up among them."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = set()
    for one in extras[extra]:
        own = re.fullmatch(r"stepsmith\[(.+)\]", one)
        found |= set().union(*map(brings, own[1].split(","))) if own else {re.match(r"[\w.-]+", one)[0]}
    return found


@pytest.mark.parametrize("gone", COMMANDS, ids=lambda gone: gone.split()[0])
def test_every_command_names_the_extra_that_it_needs(gone, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", str(tmp_path / "cache" / "kernels"))  # data sets lie beside kernels
    monkeypatch.chdir(tmp_path)
    text = 'name = "a"\nalgorithm = "es"\n[env]\nfamily = "lotka_volterra"\n[sweep]\ntrials = 1\nseeds = 1\n'
    Path("sweep.toml").write_text(text + '[sweep.parameters]\n"train.sigma" = [0.1, 0.2]\n')
    expected = COMMANDS[gone]
    done = subprocess.run(
        [sys.executable, "-c", RUN, gone, json.dumps(list(expected))], capture_output=True, text=True, check=True
    )
    for command, code, line in map(json.loads, done.stdout.splitlines()):
        package, extra = expected[command]
        assert code == 1 and line.startswith("stepsmith: ") and f"pip install 'stepsmith[{extra}]'" in line, line
        assert PACKAGES.get(package, package) in brings(extra)
    assert len(done.stdout.splitlines()) == len(expected), done


def test_what_needs_pycma_says_so_before_it_solves_anything(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cma", None)
    monkeypatch.setattr(search.pycma, "there", lambda: False)
    said = []
    asked = SimpleNamespace(notes=SimpleNamespace(folder=tmp_path), say=said.append)
    assert search._Search.tuned(asked, SimpleNamespace(method="tsit5")) == []
    assert said == ["  no tuned law: the search of a tuned law needs pycma: pip install 'stepsmith[train]'"]
    with pytest.raises(ModuleNotFoundError, match=re.escape(pycma.NEEDED)) as error:
        ss.compare("lotka_volterra", method="bs54", controllers=(), n=2)
    assert error.value.name == "cma"


@pytest.mark.parametrize("name", ["stable_baselines3", "torch"])
def test_make_sb3_says_what_it_needs(name):
    """In a process of its own: here other tests have imported the packages, and parts of them stay imported."""
    code = (
        f"import sys\nsys.modules[{name!r}] = None\nimport stepsmith as ss\n"
        "try:\n    ss.envs.make_sb3('stepsmith/ODE-v0', 2)\n"
        "except ModuleNotFoundError as error:\n    print(error.name, error.__suppress_context__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    says = f"make_sb3 needs {name}, which is not installed: pip install 'stepsmith[train]'"
    assert done.stdout == f"{name} True {says}\n", done.stderr
