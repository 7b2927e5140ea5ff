"""The command line: what it prints, where it writes, and how it refuses."""

import importlib
import importlib.metadata
import json
import subprocess
import sys

import pytest

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.controllers.laws import registry, tuned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.train.cli import program as cli
from stepsmith.train.cli.showing import KINDS

FAMILY, METHOD = "lotka_volterra", "tsit5"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """run(*args) -> (exit code, standard output, standard error)."""
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(a) for a in args])
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def net(tmp_path):
    decision = Decision(["log_err", "log_err_1"], "i")
    return save(
        Learned.random(decision, hidden=(4,), rng=1, scale=0.3, name="net", provenance={"seed": 1}),
        tmp_path / "net.safetensors",
    )


def test_help_is_light():
    code = "import sys; from stepsmith.train import cli\n"
    code += "try: cli.main(['--help'])\nexcept SystemExit as e: assert e.code == 0\n"
    code += "heavy = {'numba', 'torch', 'scipy', 'matplotlib', 'cma'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("train", "tune", "compare", "enjoy", "export", "inspect", "list", "sweep"):
        assert command in done.stdout


def test_no_command_is_help(run):
    code, out, err = run()
    assert code == 0 and "compare" in out and err == ""


def test_version_is_that_of_the_installed_package(run):
    assert run("--version") == (0, f"stepsmith {importlib.metadata.version('stepsmith')}\n", "")


@pytest.mark.parametrize("kind", KINDS)
def test_lists(run, kind):
    code, out, _ = run("list", kind, "--json")
    rows = json.loads(out)
    assert code == 0 and all(set(r) == {"name", "doc"} and r["doc"] for r in rows)
    expected = {
        "laws": "pi34",
        "methods": "tsit5",
        "sde-methods": "sosri",
        "sde-families": "gbm",
        "families": "three_body",
        "envs": "stepsmith/ODE-v0",
        "rewards": "matched",
        "features": "log_err",
        "configs": "three_body_es",
        "tuned": "three_body-tsit5",
    }
    if kind in expected:
        assert expected[kind] in {r["name"] for r in rows}
    code, out, _ = run("list", kind)
    assert code == 0 and all(r["name"] in out for r in rows)


def test_compare_prints_the_object_and_writes_it(run, net, tmp_path):
    facts = {"family": FAMILY, "method": METHOD, "base": "i", "chosen": "i", "seed": 0, "commit": None}
    path = tuned.user_folder() / tuned.file_name(FAMILY, METHOD)
    tuned.write(path, registry.get("i", safety=0.95), {**facts, "budget": {"evaluations": 1, "solves": 1}})
    args = ("compare", FAMILY, "--method", METHOD, "-c", net, "--n", 4, "--seed", 3, "--no-wall")
    code, out, _ = run(*args, "--json", "--out", tmp_path / "o")
    data = json.loads(out)
    assert code == 0 and data["seed"] == 3 and data["instances"] == 4 and data["headline"]["controller"] == "net"
    assert json.loads((tmp_path / "o" / f"{FAMILY}-{METHOD}.json").read_text()) == data
    assert (tmp_path / "o" / f"{FAMILY}-{METHOD}.png").stat().st_size > 10_000
    same = ss.compare(FAMILY, METHOD, [str(net)], seed=3, n=4, wall=False, progress=False).to_json()
    assert {**same, "commit": None} == {**data, "commit": None}  # the checkout may move meanwhile
    code, out, _ = run(*args)
    assert code == 0 and "net against" in out


def test_tune_writes_a_law_that_controllers_find(run, tmp_path):
    args = ("tune", FAMILY, "--method", METHOD, "--n", 4, "--evaluations", 60, "--seed", 2)
    code, out, err = run(*args, "--json")
    data = json.loads(out)
    assert code == 0 and data["seed"] == 2 and "laws" in err  # progress is on standard error
    assert tuned.tuned(FAMILY, METHOD).as_dict() == pytest.approx({k: float(v) for k, v in data["law"].items()})
    code, out, _ = run(*args, "--out", tmp_path / "mine.json")
    assert code == 0 and "mine.json" in out and (tmp_path / "mine.json").exists()
    code, out, _ = run("inspect", tmp_path / "mine.json")
    assert code == 0 and "accept_err" in out
    code, out, _ = run("inspect", tmp_path / "mine.json", "--json")
    assert json.loads(out)["family"] == FAMILY


def test_inspect_a_controller_file(run, net):
    code, out, _ = run("inspect", net)
    assert code == 0 and "net" in out and "log_err_1" in out
    code, out, _ = run("inspect", net, "--json")
    assert json.loads(out)["provenance"] == {"seed": 1}


@pytest.mark.parametrize(
    "args, says",
    [
        (["nosuch"], "nosuch"),
        (["compare"], "Missing"),
        (["compare", "lorens"], "did you mean 'lorenz'"),
        (["compare", "lorenz", "--n", "x"], "--n"),
        (["compare", "lorenz", "--n", "0"], "--n"),
        (["compare", "lorenz", "--method", "tsit6"], "did you mean 'tsit5'"),
        (["compare", "lorenz", "-c", "pi43"], "unknown controller"),
        (["compare", "lorenz", "--seed", "-1"], "--seed"),
        (["tune", "lorens"], "did you mean 'lorenz'"),
        (["tune", "lorenz", "--evaluations", "5"], "evaluations"),
        (["inspect", "missing.safetensors"], "missing.safetensors"),
        (["inspect", "missing.json"], "missing.json"),
        (["list", "famlies"], "did you mean 'families'"),
        (["train", "nosuch"], "unknown config"),
        (["export", "missing", "--out", "x.safetensors"], "missing"),
    ],
)
def test_bad_input_is_one_line(run, args, says):
    code, out, err = run(*args)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2 and out == "" and says in lines[-1] and lines[-1].startswith("stepsmith: ")
    assert len(lines) == 1


def test_a_tampered_controller_is_refused(run, net):
    data = bytearray(net.read_bytes())
    data[-3] ^= 1
    net.write_bytes(bytes(data))
    code, _, err = run("inspect", net)
    assert code == 2 and "net.safetensors" in err
