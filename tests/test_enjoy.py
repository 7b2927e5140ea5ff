"""`stepsmith enjoy`: a controller on one instance beside its law, as numbers, picture and film."""

import json

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import problems
from stepsmith.train.cli import program as cli
from stepsmith.train.evaluate import enjoy, enjoy_picture

FAMILY = "lotka_volterra"


def net(scale=0.4, **rest):
    decision = Decision(["log_err", "log_err_1"], "i")
    rest = {"family": FAMILY, "provenance": {"method": "tsit5"}, "name": "net", **rest}
    return Learned.random(decision, hidden=(4,), rng=1, scale=scale, **rest)


@pytest.fixture(scope="module")
def watched():
    return enjoy.watch(net(), instance=2, seed=5, rtol=1e-4)


def call(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_the_numbers_are_those_of_the_solves(watched):
    family = problems.family(FAMILY)
    problem = family.split("test", 3, 5)[2]
    for seen, controller in ((watched.learned, net()), (watched.law, net().decision.law)):
        sol = ss.solve(problem, "tsit5", controller, 1e-4, 1e-4 * family.atol_factor)
        assert seen.counts["nfev"] == sol.stats.nfev and seen.counts["nreject"] == sol.stats.nreject > 0
        assert len(seen.at) == sol.stats.naccept + sol.stats.nreject and seen.accepted.sum() == sol.stats.naccept
        np.testing.assert_array_equal(seen.t, sol.t)
        np.testing.assert_allclose(seen.at[seen.accepted], sol.t[:-1], atol=1e-12)
        assert np.all(seen.size > 0) and 1e-8 < seen.error < 1e-1
        assert np.all(seen.scaled[~seen.accepted] > 0.5)
    assert watched.learned.counts != watched.law.counts and not watched.doubtful


def test_zero_weights_do_as_their_law():
    w = enjoy.watch(net(scale=0.0), instance=2, seed=5, rtol=1e-4)
    assert w.learned.counts == w.law.counts and w.learned.error == w.law.error
    np.testing.assert_array_equal(w.learned.size, w.law.size)


def test_pictures_and_films_are_written(watched, tmp_path, monkeypatch):
    from PIL import Image

    picture = enjoy_picture.draw(watched, tmp_path / "new" / "a.png")
    with Image.open(picture) as image:
        assert image.size == (1200, 960)
    monkeypatch.setattr(enjoy_picture, "FRAMES", 3)
    monkeypatch.setattr(enjoy_picture, "HOLD", 2)
    with Image.open(enjoy_picture.draw(watched, tmp_path / "a.gif")) as film:
        assert film.n_frames >= 3
    assert "net takes" in enjoy_picture.title(watched)


def test_a_film_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(enjoy_picture, "_has_ffmpeg", lambda: False)
    monkeypatch.setattr(enjoy, "watch", lambda *args: pytest.fail("solved"))
    file = save(net(), tmp_path / "net.safetensors")
    code, _, err = call(capsys, "enjoy", file, "--out", tmp_path / "a.mp4")
    assert code == 2 and "stepsmith[video]" in err and ".gif" in err
    code, _, err = call(capsys, "enjoy", file, "--out", tmp_path / "a.avi")
    assert code == 2 and ".png" in err


def test_the_command_prints_work_and_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    save(net(), run / "controller.safetensors")
    code, out, _ = call(capsys, "enjoy", run, "--instance", 2, "--seed", 5, "--rtol", "1e-4", "--json")
    found = json.loads(out)
    assert code == 0 and [row["controller"] for row in found["rows"]] == ["net", "its law, i"]
    assert found["picture"] == "out/enjoy/lotka_volterra-tsit5-2.png" and (tmp_path / found["picture"]).exists()
    code, out, _ = call(capsys, "enjoy", run, "--instance", 2, "--seed", 5, "--rtol", "1e-4", "--out", "b.png")
    assert code == 0 and f"{found['rows'][0]['nfev']:,}" in out and "b.png" in out


def test_what_cannot_be_watched_says_why(tmp_path, capsys):
    def refused(*args):
        code, _, err = call(capsys, "enjoy", *args, "--out", tmp_path / "a.png")
        assert code == 2 and len(err.splitlines()) == 1
        return err

    run = tmp_path / "run"
    run.mkdir()
    assert "is no run folder" in refused(run)
    (run / "config.json").write_text("{}")
    assert "no controller yet" in refused(run)
    (run / "policy.zip").write_text("")
    assert "plays another environment" in refused(run)
    (run / "config.json").write_text('{"env": {"id": "stepsmith/ThreeBodyPaper-v0"}}')
    assert "ThreeBodyPaper-v0" in refused(run)
    assert "did you mean 'three-body'" in refused("three-bodi")
    file = save(net(family=""), tmp_path / "net.safetensors")
    assert "give --family" in refused(file)
    assert "did you mean" in refused(file, "--family", "lotka_voltera")
    assert "rtol" in refused(file, "--family", FAMILY, "--rtol", "-1")
    assert "pi34 is a classical law" in refused("pi34")
    assert "stiff is a suite of rober, orego" in refused(file, "--family", "stiff")


def test_a_controller_of_a_suite_is_watched_on_its_first_family():
    seen = enjoy.watch(net(family="steppo", provenance={}), method="tsit5", rtol=1e-3)
    assert seen.family == "steppo_decay"


def test_the_folder_of_a_benchmark_s_seed_is_a_run_folder_s(tmp_path):
    run = tmp_path / "s0" / "run"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    save(net(), run / "controller.safetensors")
    assert enjoy.load(tmp_path / "s0").name == "net"
