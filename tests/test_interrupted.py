"""Interrupted commands: what was kept and the command that goes on are said, and that command goes on."""

import ctypes
import json
import os
import shlex
import signal
import sys
import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("cma")

from stepsmith.controllers.laws import tuned
from stepsmith.train.cli import program
from stepsmith.train.flows import __main__ as flows
from stepsmith.train.run import ending, progress
from stepsmith.train.run.interrupted import Kept, kept_by
from stepsmith.train.run.runfiles import RunError, RunFailed

ENV = '[env]\nfamily = "lotka_volterra"\nmethod = "tsit5"\npool_size = 8\n{}\n[evaluate]\ninstances = 4\nevery = {}\n'
FEATURES = 'features = ["log_err", "log_err_1"]'
CONFIGS = {
    "es": ENV.format("", 20_000) + "[policy]\nhidden = [3]\n[train]\ngenerations = 3\ninstances = 4\npopulation = 4\n",
    "closed_form": ENV.format(FEATURES, 1) + "[train]\ninstances = 4\npopulation = 4\n",
    "ppo": ENV.format("", 1024) + "[train]\ntotal_steps = 3072\nnum_envs = 16\nn_steps = 64\nbatch_size = 512\n",
}


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """call(main, *args) -> (exit code, standard output, lines of standard error), in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path / "data"))

    def called(main, *args):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        out, err = capsys.readouterr()
        return stop.value.code, out, err.splitlines()

    return called


@pytest.fixture
def cut(monkeypatch):
    """cut(n): the n-th report of progress is interrupted; cut(0): none any more."""
    whole, left = progress.Progress.update, [0]

    def update(self, *args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        whole(self, *args, **kwargs)

    monkeypatch.setattr(progress.Progress, "update", update)
    return lambda n: left.__setitem__(0, n)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def again(lines, begins):
    """The arguments of the command that the last line tells, after `begins`."""
    before, _, command = lines[-1].partition(" with: ")
    assert before == "stepsmith: go on" and command.startswith(begins)
    assert lines[-3] == "stepsmith: interrupted" and lines[-2].startswith("stepsmith: kept in ")
    return shlex.split(command.removeprefix(begins))


@pytest.mark.parametrize("algorithm", CONFIGS)
def test_a_training_says_how_it_goes_on_and_does(algorithm, call, cut, tmp_path):
    text = f'name = "toy"\nalgorithm = "{algorithm}"\n{CONFIGS[algorithm]}'
    (tmp_path / "a config.toml").write_text(text)
    cut(2)
    code, out, lines = call(program.main, "train", "a config.toml", "--out", "run")
    assert code == 130 and out == "" and "kept in run: checkpoint.npz, written" in lines[-2]
    args = again(lines, "stepsmith ")
    assert args == ["train", "a config.toml", "--out", "run", "--resume"]
    before = (tmp_path / "run" / "log.jsonl").read_text()
    cut(0)
    code, out, lines = call(program.main, *args)
    assert code == 0 and out == "run/controller.safetensors\n" and not any("begins again" in line for line in lines)
    after = (tmp_path / "run" / "log.jsonl").read_text()
    assert before and after.startswith(before) and len(after) > len(before)
    tags = events(tmp_path / "run")
    theirs = {"rollout/ep_rew_mean", "train/loss", "time/fps", "time/total_timesteps", "time/time_elapsed"}
    ours = {"stepsmith/validation_ratio", "stepsmith/best"}
    assert theirs | ours <= set(tags)
    assert {tag.partition("/")[0] for tag in tags} == {"rollout", "train", "time", "stepsmith"}
    rows = [json.loads(line) for line in after.splitlines()]
    name = "work" if algorithm == "closed_form" else "validation"
    assert tags["stepsmith/validation_ratio"] == pytest.approx({row["env_steps"]: row[name] for row in rows}, rel=1e-6)
    if algorithm == "ppo":  # what SB3's own log has
        assert {"rollout/ep_len_mean", "train/approx_kl", "train/value_loss", "stepsmith/rejected_share"} <= set(tags)


def events(folder):
    """What tensorboard's files hold: {tag: {step: value}}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for part in sorted({file.parent for file in (folder / "tensorboard").rglob("events*")}):
        board = EventAccumulator(str(part)).Reload()
        for tag in board.Tags()["scalars"]:
            found.setdefault(tag, {}).update({e.step: e.value for e in board.Scalars(tag)})
    return found


def test_a_training_that_has_kept_nothing_says_so(call, cut, tmp_path, monkeypatch):
    from stepsmith.train.run import run

    monkeypatch.setattr(run, "folder_of", interrupt)
    code, _, lines = call(program.main, "train", "three_body_ppo")
    assert code == 130 and lines == [
        "stepsmith: interrupted", "stepsmith: nothing was kept",
        "stepsmith: begin anew with: stepsmith train three_body_ppo",
    ]  # fmt: skip


def test_a_search_keeps_its_best_law_and_goes_on_from_it(call, cut, tmp_path, monkeypatch):
    from stepsmith.train.tune import published, search

    args = ["tune", "lotka_volterra", "--method", "tsit5", "--n", 4, "--n-validation", 4, "--evaluations", 120]
    cut(len(published("tsit5")) + 2)  # in the second generation of the first search
    code, _, lines = call(program.main, *args, "--out", "law.json")
    assert code == 130
    on = again(lines, "stepsmith ")
    assert on == [str(a) for a in args] + ["--out", "law.json", "--start", "law.unfinished.json"]
    law, facts = tuned.read(tmp_path / "law.unfinished.json")
    assert facts["unfinished"] is True and facts["family"] == "lotka_volterra" and law.kind == "linear"
    assert not (tmp_path / "law.json").exists()
    cut(0)
    with monkeypatch.context() as early:  # interrupted again before it has tried anything: the law stays
        early.setattr(search, "candidates", interrupt)
        assert call(program.main, *on)[0] == 130
    assert tuned.read(tmp_path / "law.unfinished.json")[0].values == law.values
    code, _, _ = call(program.main, *on)
    assert code == 0 and "start" in json.loads((tmp_path / "law.json").read_text())


def test_a_comparison_keeps_nothing(call, cut):
    cut(1)
    code, _, lines = call(program.main, "compare", "lotka_volterra", "--method", "tsit5", "--n", "4", "-c", "none")
    assert code == 130 and lines[-2] == "stepsmith: nothing was kept"
    assert lines[-1] == "stepsmith: begin anew with: stepsmith compare lotka_volterra --method tsit5 --n 4 -c none"


def test_a_fit_goes_on_with_the_same_command(call, monkeypatch):
    from stepsmith.train.fit import search

    def stopped(self):
        self.notes.put("a step", 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(search._Search, "run", stopped)
    args = ["fit", "lotka_volterra", "--out", "f"]
    code, _, lines = call(program.main, *args)
    assert code == 130 and again(lines, "stepsmith ") == args and "f: fit-steps.json, written" in lines[-2]


def test_a_sweep_goes_on_with_the_same_command(call, monkeypatch, tmp_path):
    pytest.importorskip("optuna")
    from stepsmith.train.tune import sweep

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "train_apart", stopped)
    text = f'name = "toy"\nalgorithm = "es"\n{CONFIGS["es"]}[sweep]\ntrials = 2\nseeds = 1\nsampler = "random"\n'
    (tmp_path / "s.toml").write_text(text + '[sweep.parameters]\n"train.sigma" = [0.1, 0.2]\n')
    args = ["sweep", "s.toml", "--out", "s"]
    code, _, lines = call(program.main, *args)
    assert code == 130 and again(lines, "stepsmith ") == args and "s: sweep.journal, written" in lines[-2]


def test_several_seeds_go_on(call, monkeypatch, tmp_path):
    from stepsmith.train.run import seeds

    def stopped(runs, executor, taken):
        runs[0][1].mkdir(parents=True)
        (runs[0][1] / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(seeds, "train_all", stopped)
    code, _, lines = call(program.main, "train", "three_body_ppo", "--seeds", "3", "--out", "o")
    assert code == 130 and lines[-2] == "stepsmith: kept in o: 1 of 3 runs, finished or begun"
    assert again(lines, "stepsmith ") == ["train", "three_body_ppo", "--seeds", "3", "--out", "o", "--resume"]


def test_a_flow_goes_on(call, cut):
    small = ["moons", "--width", "8", "--layers", "1", "--iterations", "1000", "--out", "flow"]
    cut(1)
    code, _, lines = call(flows.main, *small)
    args = again(lines, "python -m stepsmith.train.flows ")
    assert code == 130 and args == [*small, "--resume"] and "iteration 500" in lines[-2]
    code, out, _ = call(flows.main, *args)
    assert code == 0 and out == "flow\n"


def test_a_note_says_it_in_python_too(cut, monkeypatch, tmp_path):
    from stepsmith.train.flows import FlowConfig, train

    cut(1)
    with pytest.raises(KeyboardInterrupt) as stop:
        train(FlowConfig("moons", width=8, layers=1, iterations=600), tmp_path / "flow")
    assert stop.value.__notes__ == [f"kept in {tmp_path / 'flow'}: {kept_by(stop.value)[0].what}"]


def _nothing(kept: tuple[Kept, ...]) -> str:
    return "begin anew"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_interrupt(number, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def work():
        os.kill(os.getpid(), number)
        time.sleep(30.0)

    assert ending.code_of(work, _nothing) == 130
    assert capsys.readouterr().err.splitlines()[0] == "stepsmith: interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interruption_that_falls_into_a_callback_of_c_is_not_lost(capsys):
    hook = sys.unraisablehook
    called = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM))

    def work():
        called()
        time.sleep(30.0)

    assert ending.code_of(work, _nothing) == 130 and sys.unraisablehook is hook


@pytest.mark.parametrize(
    "error, code",
    [
        (ValueError("bad"), 2),
        (FileNotFoundError(2, "No such file or directory", "x"), 2),
        (OSError(28, "No space left on device", "x"), 1),
        (RunError("in use"), 1),
        (RunFailed("diverged"), 1),
        (MemoryError("8 GiB"), 1),
        (ModuleNotFoundError("No module named 'cma'", name="cma"), 1),
    ],
)
def test_exit_codes(error, code, capsys):
    def work():
        raise error

    assert ending.code_of(work, _nothing) == code
    err = capsys.readouterr().err
    assert err.startswith("stepsmith: ") and err.count("\n") == 1


def test_a_diverged_training_is_a_failure_and_not_wrong_usage():
    from stepsmith.train.bench.cells import NoController
    from stepsmith.train.neural.loop import Diverged

    assert issubclass(Diverged, RunFailed) and issubclass(NoController, RunFailed)


def test_progress_in_a_file_is_lines_that_are_out_at_once(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with (tmp_path / "log").open("w") as f:
        monkeypatch.setattr(sys, "stderr", f)
        bar = progress.Progress("train [x]", 1000, "env steps")
        first = (tmp_path / "log").read_text()
        for k in range(1, 1001):
            clock[0] += 1.0
            bar.update(k, validation=0.5)
        bar.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert first == "train [x]: 0 of 1,000 env steps\n" and "\r" not in "".join(lines) and "\x1b" not in "".join(lines)
    assert lines[1] == "train [x]: 2 of 1,000 env steps, validation 0.500, 0:00:02 so far, 0:16:38 left"
    assert lines[-1] == "train [x]: 1,000 of 1,000 env steps, validation 0.500, 0:16:40 so far"
    assert 20 < len(lines) < 100  # ever more seldom


def test_standard_output_goes_out_line_by_line(tmp_path, monkeypatch):
    with (tmp_path / "log").open("w") as f:
        monkeypatch.setattr(sys, "stdout", f)

        def work():
            print("begun")
            assert (tmp_path / "log").read_text() == "begun\n"

        assert ending.code_of(work, _nothing) == 0
        assert not f.line_buffering
