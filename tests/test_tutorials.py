"""The tutorials, how-to pages and notebooks run from their first block to their last, with small budgets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pages
import stepsmith as ss
from stepsmith.train.fit import search

MINUTES = "minutes=10"
COMPARED = 'ss.compare(family, best.recommended["method"], controllers=(), n=50, n_validation=50, wall=False)'


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """A folder of its own for what a page writes, and one method for `fit`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(search, "method_names", lambda *_: (["tsit5"], []))


def run(page, texts=None):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
        warnings.filterwarnings("ignore", "Mean of empty|invalid value", RuntimeWarning)  # no episode has ended yet
        return pages.run(page, texts or {})


def test_the_scientist(capsys):
    known = 'wanted_error=1e-6, name="satellite", stiff=False, method="tsit5"'
    names = run(
        "docs/tutorials/scientist.md",
        texts={
            MINUTES: "minutes=0.01, n=6, progress=False",
            'wanted_error=1e-6, name="satellite"': known,
            # another family, whose kernels the researcher's page compiles too, and for which a tuned law ships
            COMPARED: 'ss.compare("lorenz", "dopri5", controllers=(), n=4, n_validation=4, wall=False, progress=False)',
        },
    )
    said = capsys.readouterr().out
    assert "satellite: tsit5 under" in said and "[" in said.splitlines()[-1]
    # the energy of a satellite falls, and its angular momentum falls as exp(-drag t), which is exact
    y, t = names["sol"].y, names["sol"].t
    momentum = y[:, 0] * y[:, 3] - y[:, 1] * y[:, 2]
    assert momentum == pytest.approx(1.2 * np.exp(-1e-3 * t), rel=1e-5)


def test_its_notebook(capsys):
    names = run("docs/notebooks/fit.ipynb", texts={"minutes=0.02, n=8": "minutes=0.01, n=6"})
    assert names["sol"].success and "satellite: tsit5 under" in capsys.readouterr().out


def test_the_neural_user(capsys):
    names = run("docs/tutorials/neural.md", texts={"iterations = 200": "iterations = 20"})
    said = capsys.readouterr().out.splitlines()
    before, after = (float(line.split("loss ")[1].split(",")[0]) for line in said[:2])
    assert after == pytest.approx(before, rel=1e-2)  # the same training, to the tolerance of its solves
    assert names["sol"].success and len(said) == 6


def test_its_notebook_before_and_after(capsys):
    run("docs/notebooks/torchdiffeq.ipynb", texts={"iterations=100": "iterations=10"})
    rows = [line for line in capsys.readouterr().out.splitlines() if "calls of the field" in line]
    assert len(rows) == 3 and all(float(row.split("error of a solve")[1]) < 1e-3 for row in rows)


def test_the_researcher(capsys):
    run(
        "docs/tutorials/reinforcement.md",
        texts={
            "num_envs=256": "num_envs=32",
            "pool_size=64": "pool_size=8",
            "batch_size=4096": "batch_size=512",
            "1_000_000": "2_048",
            "n=100, n_validation=50, wall=False": "n=4, n_validation=4, wall=False, progress=False",
        },
    )
    said = capsys.readouterr().out
    assert "under mine" in said and "against " in said and "attempts" in said


def test_its_notebook_by_stable_baselines(capsys):
    names = run("docs/notebooks/sb3.ipynb", texts={"STEPS = 400_000": "STEPS = 4_096", "pool_size=32": "pool_size=8"})
    assert names["sol"].success and "steps a second" in capsys.readouterr().out


def test_its_notebook_of_an_own_controller():
    logs = run("docs/notebooks/own_controller.ipynb")["logs"]
    assert len(logs) == 3
    assert all(len(log["h"]) > log["accept"].sum() - 1 > 100 for log in logs.values())


@pytest.mark.parametrize("page", ["own_law", "choose_method", "tolerances"])
def test_a_how_to_page(page):
    run(f"docs/howto/{page}.md")


def test_questions_and_answers():
    names = run("docs/faq.md")
    after = 100.0 * (1.0 - np.exp(-0.05)) * np.exp(-0.5 * 9.9)  # the dose of .1 at 50 a unit of time, decayed
    sol = ss.solve(names["problem"], tstops=[10.0, 10.1])
    assert sol.y[-1, 0] == pytest.approx(after + 1e-3 * np.exp(-10.0), rel=1e-5)
    assert ss.solve(names["problem"]).y[-1, 0] < 1e-3 * after


def test_the_notebook_of_samplers(capsys):
    run("docs/notebooks/samplers.ipynb", texts={"steps=8, seed=0": "steps=8, seed=0, iterations=20"})
    assert "learned" in capsys.readouterr().out
