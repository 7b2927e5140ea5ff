"""`fit`: what it recommends reaches the error, is no slower than the default, and goes into the next solve."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import stepsmith as ss
from stepsmith.integrators import methods, problems
from stepsmith.integrators.core.errors import OptionError, StiffnessWarning
from stepsmith.train.evaluate.splits import Sweep, draw
from stepsmith.train.fit import clock
from stepsmith.train.fit.against import against_scipy
from stepsmith.train.fit.candidates import FINER, Candidate, method_names, rank, settle

FILE = Path(__file__).parent / "helpers" / "own" / "duffing.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    return ss.fit(f"{FILE}:FAMILY", 1e-5, minutes=0.5, baseline="scipy:RK45,1e-5", out=out, progress=False)


def candidate(err, rtols=(1e-3, 1e-4, 1e-5)):
    err = np.asarray(err, dtype=float)
    work = np.tile([100.0, 200.0, 400.0], (len(err), 1))
    return Candidate("dopri5", "pi34", "published", None, np.array(rtols), Sweep(err, work, work, work, work))


def test_a_candidate_is_read_where_nine_of_ten_instances_have_the_error():
    rows = np.tile([1e-3, 1e-5, 1e-7], (20, 1))
    rows[:1] *= 10.0  # one of twenty may be worse
    point = candidate(rows).at(1e-4)
    assert point.rtol == 1e-4 and point.nfev == 200.0
    rows[:3] *= 10.0
    assert candidate(rows).at(1e-4).rtol == 1e-4
    assert candidate(rows).at(1e-8) is None
    assert candidate(rows).at(1.0).rtol == 1e-3  # nothing looser was measured


def test_an_error_that_is_small_by_luck_does_not_count():
    assert candidate(np.tile([1e-6, 1e-3, 1e-7], (20, 1))).at(1e-4).rtol == 1e-5
    assert candidate(np.tile([1e-6, 1e-6, 1e-3], (20, 1))).at(1e-4) is None


def test_how_many_instances_must_have_the_error():
    assert rank(20, False) == 19 and rank(1, False) == rank(1, True) == 1
    # with 76 of 80 below a limit, nine of ten of all are below it with probability .9; 75 do not suffice
    assert rank(80, True) == next(k for k in range(81) if stats.binom.cdf(k - 1, 80, 0.9) >= 0.9)
    assert rank(10, True) == 10  # ten are too few to be sure


def test_a_settled_tolerance_is_measured_between_those_of_the_grid():
    class Split:
        method = "dopri5"

        def sweep(self, controller, rtols, max_steps):
            err = np.tile(rtols, (30, 1))
            return Sweep(err, 1.0 / err, 1.0 / err, err, err)

    coarse = candidate(np.tile([1e-3, 1e-4, 1e-5], (30, 1)))
    found = settle(coarse, [Split(), Split()], 5e-4, 1000)
    assert len(found.rtols) == 3 + FINER and np.all(np.diff(found.rtols) < 0.0)
    assert np.array_equal(found.sweep.err[0], found.rtols) and found.sweep.err.shape[0] == 60
    point = found.at(5e-4)
    assert 1e-4 < point.rtol <= 5e-4 < 10.0 ** (1.0 / (FINER + 1)) * point.rtol
    assert settle(coarse, [Split()], 1.0, 1000).at(1.0).rtol == 1e-3
    assert settle(coarse, [Split()], 1e-9, 1000).at(1e-9) is None


def test_failed_runs_are_not_joined_over():
    rows = np.tile([np.inf, 1e-5, 1e-7], (20, 1))
    assert candidate(rows).at(1e-4).rtol == 1e-4


class _Solved:
    def __init__(self, success):
        self.success = success


def test_giving_up_early_does_not_pay():
    times = clock.seconds({"fails": [lambda: _Solved(False)], "solves": [lambda: _Solved(True)]}, rounds=2)
    assert times["fails"][0] >= 10.0 * times["solves"][0]
    assert list(clock.counts(np.array([1e-6, np.inf]), np.array([100.0, 5.0]))) == [100.0, 1000.0]


def test_references_are_a_hundred_times_better_than_what_is_wanted():
    from stepsmith.train.fit.notes import Notes
    from stepsmith.train.fit.search import _Search

    fam = problems.family("lorenz")
    assert fam.reference_bound > 1e-10  # not enough for an error of 1e-8
    seen = {}

    def stop(self):
        seen.update(bound=self.fam.reference_bound, tight=self.rtols[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Search, "run", stop)
        patch.setattr(Notes, "__init__", lambda self, *given: None)
        ss.fit("lorenz", 1e-8, progress=False)
    assert seen["bound"] <= 1e-10 and seen["tight"] <= 1.01e-13


def test_methods_that_make_sense_and_one_of_the_other_kind():
    smooth, check = method_names(problems.family("lorenz"), False)
    assert smooth == ["dopri5", "bs32", "tsit5", "dop853", "bs54", "vern8", "vern9"] and check == ["rodas5p"]
    own = dataclasses.replace(problems.family("lorenz"), method="dopri8")
    assert method_names(own, False)[0] == ["dopri8", "bs32", "dopri5", *smooth[2:]]
    stiff, check = method_names(problems.family("rober"), False)
    assert stiff[0] == "rodas5p" and {"radau5", "esdirk43", "kvaerno5"} <= set(stiff) and check == ["tsit5"]
    assert "hermite4" not in smooth
    waves, _ = method_names(problems.family("henon_heiles"), False, True)
    assert {"dprkn6", "dprkn12"} == set(waves) - set(smooth)
    stars, _ = method_names(problems.family("pleiades"), True, True)
    assert {"hermite4", "dprkn12"} <= set(stars)


@pytest.mark.parametrize("name", ["adams", "rkc", "gbs"])
def test_some_methods_are_tried_only_where_they_are_the_family_s_own(name):
    for family in map(problems.family, ("lorenz", "rober", "pleiades", "henon_heiles")):
        for kind in ((False, False), (True, True), (False, True)):
            tried, check = method_names(family, *kind)
            assert name not in (*tried, *check)
    own = dataclasses.replace(problems.family("lorenz"), method=name)
    assert method_names(own, False)[0][0] == name


def test_what_is_recommended_reaches_the_error_and_is_not_slower_than_the_default(found):
    split = draw(f"{FILE}:FAMILY", found.chosen.method, "test", 48, 0)
    row = found.rows[0]
    err = split.sweep(found.chosen.controller, np.array([row.rtol])).err
    assert np.quantile(err, 0.9, method="higher") == pytest.approx(row.error) and row.error < 3e-5
    default = found.against["default"]
    assert default["reached"] and default["wall"]["ratio"] < 1.1  # the clock of a busy machine
    assert found.rows[0].wall_ratio.ratio == 1.0
    # the sentence and the table say the same of the default
    name = (default["method"], default["controller"])
    for ratio in [row.wall_ratio for row in found.rows[1:] if (row.method, row.controller) == name]:
        assert default["wall"] == {"ratio": 1 / ratio.ratio, "low": 1 / ratio.high, "high": 1 / ratio.low}


def test_scipy_is_measured_at_its_own_error(found):
    host = found.against["scipy:RK45"]
    assert host["reached"] and host["wall"]["high"] < 1.0 and 1e-7 < host["error"] < 1e-1
    assert "scipy:RK45" in found.sentence


def test_the_files_go_into_the_next_solve(found):
    names = {p.name for p in found.folder.iterdir()}
    assert {"recommended.toml", "fit.json", "fit.png", "card.md"} <= names
    given = ss.settings(found.folder / "recommended.toml")
    assert set(given) == {"method", "controller", "rtol", "atol"} and Path(given["controller"]).is_file()
    problem = problems.make("duffing")
    sol, batch = ss.solve(problem, **given), ss.solve_ensemble(problems.sample("duffing", 5), **given)
    assert sol.success and batch.success.all()
    direct = ss.solve(problem, **found.recommended)
    assert direct.stats.nfev == sol.stats.nfev and np.array_equal(direct.y, sol.y)


def test_one_json_object_says_it_all(found):
    data = json.loads((found.folder / "fit.json").read_text())
    assert set(data["recommended"]) >= {"method", "controller", "rtol", "atol"}
    for row in data["rows"]:
        assert {"ratio", "low", "high"} == set(row["wall_ratio"]) == set(row["nfev_ratio"])
    assert {"ratio", "low", "high"} == set(data["against"]["default"]["wall"])
    assert data["sentence"] == found.sentence and data["wanted_error"] == 1e-5


def test_a_fit_goes_on_where_it_was_and_refuses_another(found, capsys):
    again = ss.fit(f"{FILE}:FAMILY", 1e-5, minutes=0.2, out=found.folder)
    said = capsys.readouterr().err
    assert "tsit5: a few laws" not in said and "rodas5p: a few laws" not in said  # measured before
    assert again.chosen.method in {row.method for row in found.rows} or f"{again.chosen.method}: " in said
    with pytest.raises(OptionError, match="another family, wanted error or seed"):
        ss.fit(f"{FILE}:FAMILY", 1e-6, out=found.folder, progress=False)


def test_what_a_baseline_says():
    assert clock.parse_baseline("scipy:LSODA") == ("LSODA", None, None)
    assert clock.parse_baseline("scipy:RK45,1e-6") == ("RK45", 1e-6, None)
    assert clock.parse_baseline("scipy:RK45,1e-6,1e-8") == ("RK45", 1e-6, pytest.approx(1e-2))


def test_scipy_without_a_tolerance_gets_the_one_for_the_wanted_error(found):
    valid, test = (draw(f"{FILE}:FAMILY", found.chosen.method, name, 32, 0) for name in ("validation", "test"))
    host = against_scipy(("RK45", None, None), found.chosen, valid, test, 1e-5, 1e-11)
    assert host["reached"] and 1e-7 < host["error"] < 3e-5 and host["wall"]["high"] < 1.0
    assert host["our_rtol"] == found.rows[0].rtol
    assert host["atol"] == host["rtol"] * valid.family.atol_factor  # as the recommended solver is run
    assert not against_scipy(("RK45", None, None), found.chosen, valid, test, 1e-5, 1e-3)["reached"]


@pytest.mark.parametrize("text", ["LSODA,1e-6", "scipy:LSODA,", "scipy:ODE45", "scipy:RK45,x", "scipy:RK45,-1", ""])
def test_a_baseline_that_is_none_is_refused(text):
    with pytest.raises(OptionError, match="baseline must be scipy:METHOD"):
        clock.parse_baseline(text)


def test_an_error_that_no_method_reaches_is_said(tmp_path):
    with pytest.raises(OptionError, match="no method reaches an error of 1.0e-15"):
        ss.fit(f"{FILE}:FAMILY", 1e-15, minutes=0.01, out=tmp_path / "f", progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('method = "dopri5"\n', "missing"), ("x = 1\n", "x"), ("method =", "not a TOML file"),
        ('method = "dopri"\ncontroller = "i"\nrtol = 1\natol = 1\n', "did you mean"),
        ('method = "dopri5"\ncontroller = "i"\nrtol = -1.0\natol = 1\n', "rtol"),
    ],
)  # fmt: skip
def test_settings_that_are_none_are_refused(text, message, tmp_path):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        ss.settings(tmp_path / "r.toml")


@pytest.mark.slow
def test_the_whole_journey_from_a_folder_of_its_own(tmp_path):
    """With the command line alone: fit, compare, train PPO by TOML, export; then the results in a solve."""
    shutil.copy(FILE, tmp_path / "mine.py")
    (tmp_path / "run.toml").write_text(
        'name = "mine"\nalgorithm = "ppo"\n[env]\nfamily = "mine.py:FAMILY"\npool_size = 4\n'
        "[train]\ntotal_steps = 256\nnum_envs = 8\nn_steps = 16\nbatch_size = 64\n[evaluate]\nevery = 256\ninstances = "
        "4\n"
    )
    env = {**os.environ, "STEPSMITH_DATA_DIR": str(tmp_path / "data")}

    def run(*args):
        code = "from stepsmith.train.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *args], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    found = json.loads(run("fit", "mine.py:FAMILY", "--error", "1e-5", "--minutes", "0.2", "--n", "8", "--json"))
    assert found["recommended"]["method"] and (tmp_path / "fits" / "duffing" / "recommended.toml").is_file()
    run("tune", "mine.py:FAMILY", "--n", "4", "--n-validation", "4", "--evaluations", "60", "--restarts", "1")
    assert "duffing" in run("compare", "mine.py:FAMILY", "--n", "6", "--no-wall", "--out", "out")
    run("train", "run.toml", "--out", "run")
    run("export", "run", "--out", "mine.safetensors")
    run("inspect", "mine.safetensors")
    code = (
        "import stepsmith as ss\n"
        "problem = ss.problems.make('mine.py:FAMILY')\n"
        "batch = ss.problems.sample('mine.py:FAMILY', 6)\n"
        "for given in (ss.settings('fits/duffing/recommended.toml'), dict(method='dopri5', "
        "controller='mine.safetensors')):\n"
        "    assert ss.solve(problem, **given).success and ss.solve_ensemble(batch, **given).success.all()\n"
        "print('solved')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.stdout == "solved\n", done.stderr[-2000:]


def rober(t, y, p):
    """Robertson's kinetics as a person writes it, without a Jacobian."""
    a, b, c = p["k1"] * y[0], p["k2"] * y[1] * y[1], p["k3"] * y[1] * y[2]
    return [c - a, a - b - c, b]


def test_a_stiff_problem_of_ones_own_says_so_and_gets_an_implicit_method(tmp_path, monkeypatch):
    monkeypatch.setattr(problems, "_REGISTERED", dict(problems._REGISTERED))
    rates = {"k1": 0.04, "k2": 3e7, "k3": 1e4}
    problem = ss.Problem(rober, [1.0, 0.0, 0.0], (0.0, 40.0), rates, name="kinetics")
    with pytest.warns(StiffnessWarning, match="rodas5p"):
        sol = ss.solve(problem)
    assert "stiff" in sol.message and "rodas5p" in sol.message
    fam = ss.family(problem, vary={"k1": ("relative", 0.2), "k3": ("relative", 0.2)}, wanted_error=1e-4, quiet=True)
    assert fam.stiff and any("stiff" in line for line in fam.said)
    best = ss.fit(fam, minutes=0.01, out=tmp_path / "f", n=8, progress=False)
    assert methods.get(best.chosen.method).implicit and best.against["default"]["wall"]["high"] < 1.0
    again = ss.solve(problem, **ss.settings(tmp_path / "f" / "recommended.toml"))
    exact = [0.7158270687, 9.185534765e-06, 0.2841637458]  # at t = 40: Hindmarsh, and CVODE's example cvRoberts_dns
    assert again.success and again.y[-1] == pytest.approx(exact, rel=2e-4)
