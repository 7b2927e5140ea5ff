"""Run folders: killed runs that go on to the last bit, damaged and foreign files, full and read-only disks."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stepsmith.train.run import lock
from stepsmith.train.run import run as runs
from stepsmith.train.run.lock import held
from stepsmith.train.run.runfiles import RunError
from toy_runs import TRAIN, command, config_file, content, damage, logged, make

KILLED = """
import json, os, signal, sys
from pathlib import Path
from stepsmith.train import config as configs, evolution, run, rundir, sb3
out, given = Path(sys.argv[1]), json.loads(sys.argv[2])
step, log = sb3.Validate._on_step, rundir.RunDir.log
def killed_in_a_rollout(self):
    go = step(self)
    if self.num_timesteps >= 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return go
def killed_in_a_line(self, **values):
    log(self, **values)
    if values.get("generation", 0) > 25:
        with (self.path / "log.jsonl").open("a") as f:
            f.write('{"seconds": 3.1, "gene')
        os.kill(os.getpid(), signal.SIGKILL)
sb3.Validate._on_step, rundir.RunDir.log = killed_in_a_rollout, killed_in_a_line
for data in given:
    # imports are shared, the processes that are killed are not; nothing has run in this one
    if (child := os.fork()) == 0:
        run.train(configs.from_dict(data), out=out / data["algorithm"], progress=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (data["algorithm"], status)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of runs that were ended by kill -9."""
    out = tmp_path_factory.mktemp("killed")
    given = json.dumps([make(name).as_dict() for name in TRAIN])
    done = subprocess.run([sys.executable, "-c", KILLED, str(out), given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole(algorithm) -> folder of an unbroken run, made once."""
    out, made = tmp_path_factory.mktemp("whole"), {}

    def get(algorithm):
        if algorithm not in made:
            runs.train(make(algorithm), out=out / algorithm, progress=False)
            made[algorithm] = out / algorithm
        return made[algorithm]

    return get


@pytest.mark.parametrize("algorithm", list(TRAIN))
def test_a_killed_run_goes_on_to_the_last_bit(killed, whole, algorithm, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(killed / algorithm, out)
    before = (out / "log.jsonl").read_bytes()
    assert json.loads((out / "run.lock").read_text())["pid"] != os.getpid()  # it could not take its lock away
    runs.train(make(algorithm), out=out, resume=True, progress=False)
    said = capsys.readouterr().err
    assert "has ended without a word" in said and not (out / "run.lock").exists()
    assert ("cut short" in said) == (not before.endswith(b"\n")) == (algorithm == "es")
    assert logged(out) == logged(whole(algorithm)) and content(out) == content(whole(algorithm))
    lines = (out / "log.jsonl").read_bytes()
    assert lines.startswith(before[: before.rfind(b"\n") + 1])  # no line was written again
    runs.train(make(algorithm), out=out, resume=True, progress=False)  # nothing is left to do
    assert (out / "log.jsonl").read_bytes() == lines and content(out) == content(whole(algorithm))


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "foreign", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(killed, whole, how, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(killed / "ppo", out)
    if how == "missing":
        (out / "checkpoint.npz").unlink()
    else:
        damage(out / "checkpoint.npz", how)
    runs.train(make("ppo"), out=out, resume=True, progress=False)
    said = capsys.readouterr().err
    assert "checkpoint.npz is" in said and "checkpoint.previous.npz" in said
    assert logged(out) == logged(whole("ppo")) and content(out) == content(whole("ppo"))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (
            lambda p: [damage(p / n, "empty") for n in ("checkpoint.npz", "checkpoint.previous.npz")],
            "no checkpoint is whole",
        ),
        (
            lambda p: [damage(p / n, "truncated") for n in ("checkpoint.npz", "checkpoint.previous.npz")],
            "no checkpoint is whole",
        ),
        (lambda p: damage(p / "config.json", "truncated"), "config.json is damaged or cut short"),
        (lambda p: damage(p / "config.json", "empty"), "config.json is damaged or cut short"),
        (lambda p: damage(p / "provenance.json", "truncated"), "provenance.json is damaged or cut short"),
        (lambda p: (p / "log.jsonl").write_text('{"a": 1}\n{"b": \n{"c": 3}\n'), "log.jsonl, line 2: damaged"),
        (lambda p: (p / "config.json").unlink(), "there is no run to resume"),
    ],
)
def test_what_cannot_be_resumed_is_named_in_one_line(killed, spoil, says, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(killed / "es", out)
    (out / "run.lock").unlink()
    spoil(out)
    kept = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    code, lines = command(capsys, "train", config_file(tmp_path), "--out", out, "--resume")
    assert code == (2 if says == "there is no run to resume" else 1) and says in lines[-1] and str(out) in lines[-1]
    assert not [line for line in lines if "Traceback" in line or "interrupted" in line]
    unchanged = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    if "log.jsonl" in unchanged and unchanged["log.jsonl"] != kept["log.jsonl"]:  # the cut last line may have gone
        kept["log.jsonl"] = kept["log.jsonl"][: kept["log.jsonl"].rfind(b"\n") + 1]
    assert unchanged == kept


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "code ran")


@pytest.mark.parametrize("name", ["checkpoint.pickle", "checkpoint.zip", "checkpoint.npz"])
def test_a_folder_that_somebody_sent_runs_no_code(killed, name, tmp_path, capsys):
    mark, out = tmp_path / "mark", tmp_path / "run"
    shutil.copytree(killed / "ppo", out)
    for path in out.glob("checkpoint*"):
        path.unlink()
    if name == "checkpoint.npz":
        np.savez(out / name, about=np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    elif name == "checkpoint.zip":
        with zipfile.ZipFile(out / name, "w") as file:
            file.writestr("data", pickle.dumps(Bomb(mark)))
    else:
        (out / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(
        RunError, match="allow_pickle|could run any code, so it is not read any more: begin the run anew"
    ):
        runs.train(make("ppo"), out=out, resume=True, progress=False)
    assert not mark.exists()


def test_another_runs_checkpoint_is_refused(killed, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(killed / "sac", out)
    (out / "checkpoint.previous.npz").unlink()
    shutil.copy(killed / "dqn" / "checkpoint.npz", out)
    with pytest.raises(RunError, match="belongs to another run"):
        runs.train(make("sac"), out=out, resume=True, progress=False)


def test_without_a_checkpoint_the_run_begins_again_and_says_so(killed, whole, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(killed / "ppo", out)
    for path in out.glob("checkpoint*"):
        path.unlink()
    runs.train(make("ppo"), out=out, resume=True, progress=False)
    assert "holds no checkpoint: the run begins again from its start" in capsys.readouterr().err
    assert logged(out) == logged(whole("ppo")) and content(out) == content(whole("ppo"))


def test_a_run_refused_late_leaves_no_folder(tmp_path, monkeypatch):
    from stepsmith.train.algorithms import sb3

    out = tmp_path / "deep" / "run"

    def refuse(*args, **kwargs):
        assert (out / "config.json").exists()
        raise ValueError("an environment that cannot be made")

    monkeypatch.setattr(sb3, "make_sb3", refuse)
    with pytest.raises(ValueError, match="cannot be made"):
        runs.train(make("ppo"), out=out, progress=False)
    assert not (tmp_path / "deep").exists()


# -- disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_checkpoint_that_cannot_be_written_loses_nothing(whole, code, tmp_path, monkeypatch, capsys):
    """The disk fills up at the second checkpoint of the evolution strategy."""
    real, calls = os.replace, []

    def full(a, b):
        calls.append(b)
        if str(b).endswith("checkpoint.npz") and sum(str(c).endswith("checkpoint.npz") for c in calls) > 1:
            raise OSError(code, os.strerror(code))
        return real(a, b)

    out, file = tmp_path / "run", config_file(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        status, lines = command(capsys, "train", file, "--out", out)
    assert status == 1 and os.strerror(code) in lines[-1] and "resume" in lines[-1] and not list(out.glob("*.tmp"))
    runs.train(file, out=out, resume=True, progress=False)
    assert logged(out) == logged(whole("es")) and content(out) == content(whole("es"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB, skipped where this user may mount none."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no command `mount` to make a small disk with")
def test_a_full_disk_and_a_read_only_one(small_disk, whole, tmp_path, capsys):
    out, file = small_disk / "run", config_file(tmp_path)
    (small_disk / "filler").write_bytes(bytes(360_000))
    code, lines = command(capsys, "train", file, "--out", out)
    assert code == 1 and "the disk is full (No space left on device)" in lines[-1] and str(out) in lines[-1]
    (small_disk / "filler").unlink()
    runs.train(file, out=out, resume=(out / "config.json").exists(), progress=False)
    assert logged(out) == logged(whole("es")) and content(out) == content(whole("es"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for extra in (["--out", out, "--resume"], ["--out", small_disk / "new"]):
        code, lines = command(capsys, "train", file, *extra)
        assert code == 2 and "cannot be written into" in lines[-1] and len(lines) == 1
    with pytest.raises(RunError, match="the disk is read-only"), held(out):
        pass


# -- one process a folder

HOLDS = "import sys, time; from pathlib import Path; from stepsmith.train.run.lock import held\n"
HOLDS += "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"


def test_two_processes_on_one_folder(killed, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(killed / "es", out)
    other = subprocess.Popen([sys.executable, "-c", HOLDS, str(out)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    try:
        code, lines = command(capsys, "train", config_file(tmp_path), "--out", out, "--resume")
        assert code == 1 and f"is in use by process {other.pid} on " in lines[-1] and len(lines) == 1
        with pytest.raises(RunError, match=f"process {other.pid}"):
            lock.wait_free(out, 0.2)
    finally:
        other.kill()
        other.wait()
    capsys.readouterr()
    # one that begins a new run at the same time as another leaves the other's folder alone
    with held(tmp_path / "new"), monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path, real=Path.exists: path.name != "new" and real(path))
        with pytest.raises(RunError, match=f"process {os.getpid()}"):
            runs.train(make("es"), out=tmp_path / "new", progress=False)
        patch.undo()
        assert (tmp_path / "new" / "run.lock").exists()
    lock.wait_free(out, 0.2)
    with held(out):  # one thread against another, too
        with pytest.raises(RunError, match=f"process {os.getpid()}"), held(out):
            pass
    assert not (out / "run.lock").exists()
