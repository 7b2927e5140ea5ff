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
        "strength_torchdiffeq.py", "strength_torchode.py",
    }  # fmt: skip
    assert all(len(p.read_text().splitlines()) <= 60 for p in FOLDER.glob("strength_*.py"))
    assert all(len(p.read_text().splitlines()) <= 40 for p in set(FOLDER.glob("*.py")) - set(FOLDER.glob("strength_*")))


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


def strengths(monkeypatch, capsys, host, *args):
    """(name, f-evaluations of training, f-evaluations of a test solve, accuracy) of the two lines."""
    pytest.importorskip(host)
    pytest.importorskip("sklearn")
    monkeypatch.setattr(sys, "argv", [f"strength_{host}.py", *args])
    runpy.run_path(str(FOLDER / f"strength_{host}.py"), run_name="__main__")
    lines = [line.replace(",", "").split() for line in capsys.readouterr().out.splitlines()]
    return [(line[0], int(line[2]), int(line[5]), float(line[-1])) for line in lines]


@pytest.mark.parametrize("kind", ["constant", "exponential", "dual_ascent", "bandit"])
@pytest.mark.parametrize("host", ["torchdiffeq", "torchode"])
def test_strengths_in_other_solvers(monkeypatch, capsys, host, kind):
    without, with_it = strengths(monkeypatch, capsys, host, "--quick", "--strength", kind)
    assert (without[0], with_it[0]) == ("none", kind)
    # the solves begin alike, and the penalty's own step and its first size take nine evaluations
    assert 5 < with_it[1] - without[1] <= 5 * 9 and with_it[3] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("host", ["torchdiffeq", "torchode"])
def test_strengths_in_other_solvers_save_evaluations(monkeypatch, capsys, host):
    without, with_it = strengths(monkeypatch, capsys, host)
    assert with_it[1] < 0.8 * without[1] and with_it[2] < 0.6 * without[2] and with_it[3] > without[3] - 0.03


def test_rl_researcher(monkeypatch, capsys):
    run(monkeypatch, "rl_researcher.py")
    said = capsys.readouterr().out
    assert "mine.safetensors in the solver" in said and "at equal error" in said.splitlines()[-1]
