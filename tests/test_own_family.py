"""Families of a caller's own: made from a problem and what varies in it, and named wherever a family is taken."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from scipy import stats

import stepsmith as ss
from stepsmith.controllers.laws import tuned
from stepsmith.integrators import problems
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.problems import suites
from stepsmith.integrators.problems.fingerprint import fingerprint
from stepsmith.integrators.problems.vary import varied
from stepsmith.train.config import from_dict, read
from stepsmith.train.config.resolved import resolved
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.tune.sweep_space import load

FILE = Path(__file__).parent / "helpers" / "own" / "duffing.py"
PLACE = f"{FILE}:FAMILY"


def linear(t, y, p, dy):
    dy[0] = -p[0] * y[0]
    dy[1] = -p[1] * y[1]


def robertson(t, y, p, dy):
    a = p[0] * y[0]
    b = p[1] * y[1] * y[1]
    c = p[2] * y[1] * y[2]
    dy[0] = -a + c
    dy[1] = a - b - c
    dy[2] = b


SWEEP = '[sweep]\ntrials = 2\n[sweep.parameters]\n"train.learning_rate" = { low = 1e-4, high = 1e-3, log = true }\n'
PROBLEM = ss.Problem(linear, [1.0, 2.0], (0.0, 3.0), [0.5, 1.5], name="pair")


@pytest.fixture(scope="module")
def duffing():
    return problems.family(PLACE)


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is taken away again."""
    before = dict(problems._REGISTERED)
    yield
    problems._REGISTERED.clear()
    problems._REGISTERED.update(before)


# -- what varies


def test_what_varies_is_drawn_as_it_is_said():
    sampler = varied(PROBLEM, {
        "p[0]": (1.0, 2.0), "p[-1]": ("log", 1e-3, 1.0), "y0[0]": stats.norm(5.0, 0.1), "y0[1]": [1.0, 4.0],
        "t1": lambda rng, n: 1.0 + rng.random(n),
    })  # fmt: skip
    batch = sampler(np.random.default_rng(0), 2000)
    assert len(batch) == 2000 and batch.rhs is linear
    assert 1.0 <= batch.p[:, 0].min() and batch.p[:, 0].max() <= 2.0 and abs(batch.p[:, 0].mean() - 1.5) < 0.02
    assert abs(np.log(batch.p[:, 1]).mean() - np.log(1e-3) / 2) < 0.2
    assert abs(batch.y0[:, 0].std() - 0.1) < 0.01 and set(batch.y0[:, 1]) == {1.0, 4.0}
    assert 1.0 <= batch.t1.min() and batch.t1.max() <= 2.0 and np.all(batch.t0 == 0.0)


def test_an_array_varies_number_by_number_about_its_own():
    batch = varied(PROBLEM, {"y0": ("relative", 0.1)})(np.random.default_rng(0), 500)
    assert np.all(np.abs(batch.y0 / [1.0, 2.0] - 1.0) <= 0.1)
    assert abs(np.corrcoef(batch.y0.T)[0, 1]) < 0.1 and np.all(batch.p == [0.5, 1.5])


def test_no_instances_are_an_empty_batch():
    assert len(varied(PROBLEM, {"p": (1.0, 2.0)})(np.random.default_rng(0), 0)) == 0


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ({}, "must say what varies"), ({"q[0]": (1, 2)}, "names no number"), ({"p[2]": (1, 2)}, "outside of p"),
        ({"p[0]": (2, 1)}, r"vary\['p\[0\]'\]"), ({"p[0]": ("log", 0.0, 1.0)}, "log"), ({"p[0]": "x"}, "must be"),
        ({"p[0]": (1, 2), "p[-2]": (1, 2)}, "more than once"), ({"p": (1, 2), "p[1]": (1, 2)}, "more than once"),
        ({"t1": lambda rng, n: np.ones(3)}, "finite numbers"), ({"y0": (1.0, np.inf)}, "must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_named(vary, message):
    with pytest.raises(OptionError, match=message):
        varied(PROBLEM, vary)(np.random.default_rng(0), 7)


# -- the probe


def test_a_family_is_found_and_said(capsys):
    fam = ss.family(PROBLEM, vary={"p[0]": (0.5, 1.0)}, wanted_error=1e-6)
    said = capsys.readouterr().err
    assert said.startswith("family pair:") and "not stiff" in said and "references: 16 of 16" in said
    assert not fam.stiff and fam.method == "dopri5" and fam.wanted == 1e-6
    assert np.allclose(fam.levels, (1e-7, 1e-5)) and fam.tolerances[0] > 1e-5 > fam.tolerances[-1]
    split = draw(fam, None, "validation", 8, 0)
    err = split.sweep(ss.controller("pi34")).err
    assert np.median(err[:, 0]) >= 1e-5 and np.median(err[:, -1]) <= 1e-7


def test_a_stiff_family_without_a_jacobian_has_references(capsys):
    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0.0, 1e4), [0.04, 3e7, 1e4])
    fam = ss.family(problem, vary={"p[0]": (0.03, 0.05)}, wanted_error=1e-5, error="final")
    assert fam.stiff and fam.method == "rodas5p" and fam.name == "robertson" and fam.atol_factor < 1e-6
    assert "components are of size" in capsys.readouterr().err
    assert fam.reference(fam.split("test", 3)).ok.all()


def test_what_is_given_is_taken_and_what_was_found_is_kept(tmp_cache, monkeypatch):
    given = {"stiff": False, "levels": (1e-5, 1e-3), "atol_factor": 1e-2, "tolerances": np.geomspace(1e-2, 1e-8, 12)}
    fam = ss.family(PROBLEM, vary={"p": (0.5, 1.0)}, quiet=True, **given)
    assert fam.levels == (1e-5, 1e-3) and fam.atol_factor == 1e-2 and len(fam.tolerances) == 12
    assert len(list(tmp_cache.rglob("pair-*.json"))) == 1
    monkeypatch.setattr("stepsmith.train.fit.own.Probe", None)
    again = ss.family(PROBLEM, vary={"p": (0.5, 1.0)}, quiet=True, **given)
    assert again.tolerances == fam.tolerances and again.said == fam.said


def falls(t, y, p, dy):
    dy[0] = y[0] * y[0] * p[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say what varies"), ({"vary": {"p": (1, 2)}, "sampler": varied}, "say what varies"),
        ({"vary": {"p": (1, 2)}, "wanted_error": 2.0}, "wanted_error"),
        ({"vary": {"p": (1, 2)}, "error": "x"}, "error"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ss.family(PROBLEM, **arguments)


def test_instances_that_cannot_be_solved_are_named():
    problem = ss.Problem(falls, [1.0], (0.0, 5.0), [1.0], name="blow_up")
    with pytest.raises(OptionError, match="the instances cannot be solved"):
        ss.family(problem, vary={"p[0]": (0.9, 1.1)}, quiet=True)


# -- by its place, everywhere


def test_a_family_by_its_place(duffing):
    assert duffing.name == "duffing" and problems.family(str(FILE)) is duffing
    assert problems.named(PLACE) == problems.named(duffing) == "duffing" and problems.family("duffing") is duffing
    assert problems.make(PLACE).family == "duffing" and len(problems.sample(duffing, 3)) == 3
    assert suites.called(PLACE) == "duffing" and suites.members(duffing)[1] == "dopri5"


def test_a_changed_file_gives_the_new_family(tmp_path, duffing):
    file = tmp_path / "mine.py"
    shutil.copy(FILE, file)
    first = problems.family(f"{file}:FAMILY")
    assert problems.family(f"{file}:FAMILY") is first
    file.write_text(file.read_text().replace("wanted_error=1e-5", "wanted_error=1e-4"))
    assert problems.family(f"{file}:FAMILY").wanted == 1e-4
    assert problems.named(f"{file}:FAMILY") == "duffing" and problems.family("duffing").wanted == 1e-4


@pytest.mark.parametrize(
    ("place", "text", "message"),
    [
        ("gone.py:F", None, "no file of a family"), ("f.py:FAMILI", "import stepsmith as ss\nFAMILY = 3", "FAMILI"),
        ("f.py:X", "X = 3", "must be a stepsmith.Family"), ("f.py", "X = 3", "holds no stepsmith.Family"),
        ("f.py:X", "X = 1/0", "cannot be run: ZeroDivisionError"), ("no_such_module_x:F", None, "no module"),
        ("f.py:P", "import stepsmith as s\nP = s.Problem(lambda t, y, p, dy: None, [1.0], (0, 1))", "say what varies"),
    ],
)  # fmt: skip
def test_a_place_without_a_family_says_what_is_wrong(place, text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / place.split(":")[0]).write_text(text)
    with pytest.raises(ValueError, match=message):
        problems.family(place)


def test_the_name_of_a_shipped_family_is_taken(duffing):
    with pytest.raises(OptionError, match="ships with the package"):
        problems.named(dataclasses.replace(duffing, name="lorenz"))


@pytest.mark.parametrize("given", ["object", "place"])
def test_environments_take_it(duffing, given):
    family = duffing if given == "object" else PLACE
    env = gymnasium.make("stepsmith/ODE-v0", family=family, pool_size=4)
    venv = ss.envs.make_sb3("stepsmith/ODE-v0", num_envs=2, seed=1, family=family, pool_size=4)
    obs, _ = env.reset(seed=1)
    assert np.array_equal(obs, venv.reset()[0])
    assert np.isfinite(env.step(env.action_space.sample())[1])


def test_a_config_takes_it_and_goes_on_from_anywhere(tmp_path, monkeypatch, duffing):
    shutil.copy(FILE, tmp_path / "mine.py")
    (tmp_path / "run.toml").write_text(
        'name = "d"\nalgorithm = "ppo"\n[env]\nfamily = "mine.py:FAMILY"\npool_size = 4\n'
    )
    monkeypatch.chdir(tmp_path.parent)
    config = from_dict(read(tmp_path / "run.toml"))
    assert config.env["family"] == f"{(tmp_path / 'mine.py').resolve()}:FAMILY"
    found = resolved(config)
    assert found["env"]["family"] == "duffing" and found["env"]["rtol"] == list(
        (duffing.tolerances[0], duffing.tolerances[-1])
    )
    (tmp_path / "sweep.toml").write_text((tmp_path / "run.toml").read_text() + SWEEP)
    assert load(tmp_path / "sweep.toml").base["env"]["family"] == config.env["family"]
    named = from_dict({"name": "d", "algorithm": "es", "env": {"family": duffing}})
    assert named.env["family"] == "duffing" and json.dumps(named.as_dict())


def test_tuned_and_compared(duffing, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))
    from stepsmith.train.tune import tune

    result = tune(PLACE, n=4, n_validation=4, evaluations=70, restarts=1, progress=False)
    assert result.save().name == "duffing-dopri5.json" and tuned.tuned(PLACE) is not None
    report = ss.compare(duffing, n=6, n_validation=4, wall=False, progress=False)
    assert report.comparison.family == "duffing" and any(row.name == "tuned" for row in report.rows)
    assert ss.solve(problems.make(duffing), "dopri5", "tuned").success


def test_a_law_tuned_on_another_family_of_the_name_is_said(duffing, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))
    law = ss.controller("pi34")
    facts = {"method": "dopri5", "fingerprint": fingerprint(duffing)}
    tuned.write(tmp_path / "tuned" / "duffing-dopri5.json", law, facts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tuned.tuned(duffing)
    other = dataclasses.replace(duffing, rhs=linear, sampler=varied(PROBLEM, {"p": (0.5, 1.0)}))
    assert fingerprint(other) != fingerprint(duffing)
    with pytest.warns(UserWarning, match="another family called 'duffing'"):
        tuned.tuned(other)
    problems.register(duffing)


def test_a_run_does_not_go_on_with_a_changed_family(tmp_path, monkeypatch):
    from stepsmith.train.run.run import train

    shutil.copy(FILE, tmp_path / "mine.py")
    text = (
        'name = "d"\nalgorithm = "es"\n[env]\nfamily = "mine.py:FAMILY"\npool_size = 2\n[train]\ngenerations = 1\n'
        "population = 4\ninstances = 2\n[evaluate]\nevery = 1\ninstances = 2\n"
    )
    (tmp_path / "run.toml").write_text(text)
    train(tmp_path / "run.toml", out=tmp_path / "run", progress=False)
    (tmp_path / "mine.py").write_text(FILE.read_text().replace("1.2 * t", "1.3 * t"))
    with pytest.raises(ValueError, match="the family has changed since this run began"):
        train(tmp_path / "run.toml", out=tmp_path / "run", resume=True, progress=False)
