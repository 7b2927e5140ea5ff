"""A benchmark from end to end on a small protocol: cells, interruption, submissions, leaderboard, and bad input."""

import json
import shutil

import numpy as np
import pytest

import toy_bench

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("cma")

from stepsmith.controllers.file import load_controller
from stepsmith.controllers.laws import registry
from stepsmith.train import bench
from stepsmith.train.bench import cells, protocol, records
from stepsmith.train.bench.instance_file import BenchError
from stepsmith.train.cli import program as cli

STEPS = 2048


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The small protocol, in the place of those that ship."""
    with pytest.MonkeyPatch.context() as patch:
        toy_bench.use(patch, toy_bench.freeze(tmp_path_factory.mktemp("frozen")))
        yield protocol.load("toy-v1")
    protocol.load.cache_clear()


@pytest.fixture(scope="module")
def ran(toy, tmp_path_factory):
    """A folder in which all rows were run with two seeds, interrupted in the middle and taken up again."""
    out = tmp_path_factory.mktemp("bench")
    real, trained = cells.train, []

    def interrupted(config, **options):
        trained.append(config.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(config, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.run("toy-v1", out, seeds=2, steps=STEPS, progress=False)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("record.json")}
        assert len(before) == 3  # zero, random, linear
        paths = bench.run("toy-v1", out, seeds=2, steps=STEPS, progress=False)
    assert len(paths) == 10 and all(path.is_file() for path in paths)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())  # not measured again
    assert len(trained) == 7  # six trained cells, one of which was begun twice
    return out


def record(out, row, seed=0):
    return records.read(out / "toy-v1" / row / f"s{seed}" / "record.json")


def test_the_law_s_own_row_is_1(ran, toy):
    zero = record(ran, "zero")
    assert zero["ratio"]["ratio"] == pytest.approx(1.0, abs=1e-12)
    assert zero["failures"] == 0 and zero["share_lost"] == 0.0
    assert set(zero["instances"]) <= set(toy.ids("test")) and len(zero["instances"]) == toy.size("test")


def test_random_actions_cost_more_and_differ_by_seed(ran):
    a, b = (record(ran, "random", s)["ratio"]["ratio"] for s in (0, 1))
    assert a > 1.0 and b > 1.0 and a != b


def test_a_record_says_what_made_it(ran, toy):
    found = record(ran, "ppo", 1)
    assert (found["protocol"], found["row"], found["seed"], found["digest"]) == ("toy-v1", "ppo", 1, toy.digest)
    assert {"python", "numpy", "numba", "torch"} <= set(found["versions"]) and "commit" in found
    assert found["training"]["asked"] == STEPS and STEPS <= found["training"]["env_steps"] < 2 * STEPS
    assert len(found["training"]["curve"]) >= 2
    logs = [v["log_ratio"] for v in found["instances"].values()]
    assert found["ratio"]["ratio"] == pytest.approx(np.exp(np.mean(logs)))


def test_linear_has_no_hidden_layer_and_the_strategy_keeps_to_its_budget(ran):
    linear = load_controller(ran / "toy-v1" / "linear" / "s0" / "run" / "controller.safetensors")
    assert len(linear.shapes) == 1
    made = record(ran, "es")["training"]
    assert made["env_steps"] >= STEPS
    log = [json.loads(line) for line in (ran / "toy-v1" / "es" / "s0" / "run" / "log.jsonl").read_text().splitlines()]
    assert len(log) < 2 or log[-2]["env_steps"] < STEPS


def test_a_policy_is_measured_as_its_controller_is(ran, toy):
    """The environment that a policy plays in and the solver that runs a controller give the same work and errors."""
    file = ran / "toy-v1" / "linear" / "s0" / "run" / "controller.safetensors"
    (weight, bias, _), = load_controller(file).layers

    def policy(obs):
        return np.clip(obs @ weight.T + bias, -1.0, 1.0)

    one, other = bench.evaluate(file, toy), bench.evaluate(policy, toy)
    assert one["row"] == "toy-v1-linear" and other["row"] == "policy"
    each = [[v["log_ratio"] for v in r["instances"].values()] for r in (one, other)]
    assert np.median(np.abs(np.subtract(*each))) < 2e-3  # the policy rounds to float32, the controller does not


def test_a_policy_with_a_memory_is_reset(toy):
    class Counting:
        lanes = ()

        def reset(self, lanes):
            self.lanes = (*self.lanes, lanes)

        def __call__(self, obs):
            assert obs.dtype == np.float32 and obs.shape == (self.lanes[-1], 3)
            return np.zeros((len(obs), 2))

    policy = Counting()
    assert bench.evaluate(policy, "toy-v1", name="counting")["row"] == "counting"
    assert policy.lanes == (toy.size("test"),) * 16


def test_laws_are_submissions_and_can_be_timed(toy):
    found = bench.evaluate("i", "toy-v1", clock=True)
    assert found["row"] == "i" and found["ratio"]["ratio"] != 1.0 and found["clock"]["ratio"] > 0.0
    assert bench.evaluate(registry.get("pi34"), toy)["ratio"]["ratio"] == pytest.approx(1.0, abs=1e-12)


def test_leaderboard(ran, tmp_path):
    text, files = bench.leaderboard(ran)
    assert [f.name for f in files] == ["leaderboard.md", "leaderboard.json", "leaderboard.png"]
    for row in ("zero", "random", "linear", "ppo", "es"):
        assert f"\n| {row} |" in text
    assert "2 training seeds" in text and "not the protocol's 4,096: a trial" in text
    data = json.loads(files[1].read_text())
    assert set(data["rows"]["ppo"]["ratios"]["toy-v1"]) == {record(ran, "ppo", s)["ratio"]["ratio"] for s in (0, 1)}
    assert files[2].stat().st_size > 10_000
    copied = tmp_path / "copied"  # from the records alone
    for path in ran.rglob("record.json"):
        (to := copied / path.relative_to(ran)).parent.mkdir(parents=True)
        shutil.copy(path, to)
    assert bench.leaderboard(copied, picture=False)[0] == text


def test_a_submission_joins_the_table(ran, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(ran, out)
    (tmp_path / "mine.py").write_text("def act(obs):\n    return 0.0 * obs[:, :2]\n")
    what = f"{tmp_path}/mine.py:act"
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", "evaluate", "toy-v1", f"{what},{what}", "--name", "mine", "--out", str(out)])
    assert end.value.code == 0 and "mine" in capsys.readouterr().out
    assert "\n| mine | 1.000 [1.000, 1.000] |" in bench.leaderboard(out, picture=False)[0]
    with pytest.raises(BenchError, match="is there already"):
        bench.submit("toy-v1", [what], "mine", out)


def test_folders_that_do_not_fit(ran, tmp_path, toy):
    with pytest.raises(BenchError, match="no records of the benchmark"):
        bench.leaderboard(tmp_path)
    out = tmp_path / "out"
    shutil.copytree(ran, out)
    with pytest.raises(BenchError, match="its budget was 2,048 env steps, not 4,096"):
        bench.run("toy-v1", out, seeds=2, progress=False)
    path = out / "toy-v1" / "ppo" / "s1" / "record.json"
    whole = path.read_text()
    path.write_text(whole.replace(toy.digest, "0" * 64))
    with pytest.raises(BenchError, match="measured under toy-v1 with digest 000000000000"):
        bench.run("toy-v1", out, seeds=2, steps=STEPS, progress=False)
    with pytest.raises(BenchError, match="different versions of toy-v1"):
        bench.leaderboard(out)
    path.write_text(whole.replace('"asked": 2048', '"asked": 1024'))
    with pytest.raises(BenchError, match="a table takes one"):
        bench.leaderboard(out)
    path.write_text(whole[:100])
    with pytest.raises(BenchError, match="record.json is damaged"):
        bench.leaderboard(out)
    path.unlink()
    with pytest.raises(BenchError, match="1 cells are missing: toy-v1 ppo s1"):
        bench.leaderboard(out)
    assert "| ppo |" not in bench.leaderboard(out, partial=True, picture=False)[0]
    shutil.rmtree(path.parent)
    shutil.move(out / "toy-v1" / "es" / "s0", path.parent)
    with pytest.raises(BenchError, match="holds a record of toy-v1 es s0, which belongs elsewhere"):
        bench.leaderboard(out)


def test_submissions_that_do_not_fit(toy, tmp_path):
    with pytest.raises(BenchError, match=r"must return real numbers of shape \(\d+, 2\)"):
        bench.evaluate(lambda obs: obs[:, 0], toy)
    with pytest.raises(BenchError, match="a submission is a controller .* got 3"):
        bench.evaluate(3, toy)
    with pytest.raises(BenchError, match="does not fit toy-v1"):
        bench.evaluate(registry.get("amuse"), toy)
    with pytest.raises(BenchError, match="name what is to be evaluated in it"):
        bench.evaluate("mine.py", toy)
    with pytest.raises(BenchError, match="cannot be read"):
        bench.evaluate(str(tmp_path / "no.py:act"), toy)
    (tmp_path / "mine.py").write_text("1/0\n")
    with pytest.raises(BenchError, match="ZeroDivisionError"):
        bench.evaluate(f"{tmp_path}/mine.py:act", toy)
    with pytest.raises(ValueError, match="unknown controller 'pi43'"):
        bench.evaluate("pi43", toy)
    with pytest.raises(BenchError, match="no compiled solve can time"):
        bench.evaluate(lambda obs: obs, toy, clock=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nothing-v1"], "unknown protocol 'nothing-v1'"),
        (["toy-v1", "--algos", "ppo,td4"], "unknown row of toy-v1 'td4'"),
        (["toy-v1", "--steps", "3"], "steps"),
        (["toy-v1", "--seeds", "0"], "seeds"),
    ],
)
def test_bad_commands_leave_one_line_and_no_folder(toy, tmp_path, capsys, options, said):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", "run", *options, "--out", str(out)])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1
    assert not out.exists()
