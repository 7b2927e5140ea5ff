"""The three journeys run as they stand, and stay short."""

import runpy
import sys
from pathlib import Path

import pytest

from stepsmith.controllers.file import save
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned

# y'' = -y - y^3/2 from (1, 0): (y, y') at t = 20 by mpmath's Taylor solver with 20 digits
EXACT = (-0.13935911357834674, 1.1092721685935279)
FOLDER = Path(__file__).resolve().parent.parent / "examples"


def run(monkeypatch, name, *args):
    monkeypatch.setattr(sys, "argv", [name, "--quick", *args])
    runpy.run_path(str(FOLDER / name), run_name="__main__")


def test_all_are_short_and_tested():
    assert {p.name for p in FOLDER.glob("*.py")} == {
        "scientist.py", "neural_de.py", "neural_regularised.py", "neural_identification.py", "rl_researcher.py",
    }  # fmt: skip
    assert all(len(p.read_text().splitlines()) <= 40 for p in FOLDER.glob("*.py"))


def test_scientist(monkeypatch, capsys):
    run(monkeypatch, "scientist.py")
    said = capsys.readouterr().out
    assert "100 of 100 orbits" in said and "tuned" in said.splitlines()[-1]
    y, v = (float(x) for x in said.split("[")[1].split("]")[0].split())
    assert (y, v) == pytest.approx(EXACT, abs=1e-6)


def test_neural_de(monkeypatch, capsys, tmp_path):
    file = save(Learned.random(Decision(), hidden=(8,), rng=0, scale=0.3, name="net"), tmp_path / "net.safetensors")
    run(monkeypatch, "neural_de.py", str(file))
    first, last = capsys.readouterr().out.splitlines()
    assert float(last.split("miss ")[1].split()[0]) < float(first.split("miss ")[1].split()[0])


def test_neural_regularised(monkeypatch, capsys):
    run(monkeypatch, "neural_regularised.py")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["none", "er_mean", "local_unbiased"]
    assert all(int(line.split("f-evaluations")[1].split()[0]) > 6 for line in lines)


def test_neural_identification(monkeypatch, capsys):
    run(monkeypatch, "neural_identification.py")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["none", "er_mean", "kinetic"]
    assert all(2.7 < float(line.split("omega")[1].split()[0]) < 3.0 for line in lines)


def test_rl_researcher(monkeypatch, capsys):
    run(monkeypatch, "rl_researcher.py")
    said = capsys.readouterr().out
    assert "mine.safetensors in the solver" in said and "at equal error" in said.splitlines()[-1]
