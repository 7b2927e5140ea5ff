"""Locks of run folders: one that another machine holds, and one of a trainer whose sweep was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stepsmith.train.run import lock
from stepsmith.train.run.lock import held
from stepsmith.train.run.runfiles import RunError
from toy_runs import config_file


def test_another_machines_lock_is_not_taken_over(tmp_path):
    owner = {"pid": 1, "host": "elsewhere", "boot": "another", "since": "2026-01-01 00:00:00"}
    (tmp_path / "run.lock").write_text(json.dumps(owner))
    with (
        pytest.raises(RunError, match=r"process 1 on elsewhere .*if that has ended, remove .*run\.lock"),
        held(tmp_path),
    ):
        pass


SWEEP = """
[sweep]
trials = 2
[sweep.parameters]
"train.sigma" = {low = 0.05, high = 0.2}
"""


def test_a_killed_sweep_takes_its_trainer_with_it(tmp_path):
    pytest.importorskip("optuna")
    file = config_file(tmp_path)
    file.write_text(file.read_text().replace("generations = 30", "generations = 1_000_000") + SWEEP)
    folder = tmp_path / "sweep"
    code = f"from stepsmith.train.tune.sweep import sweep; sweep({str(file)!r}, {str(folder)!r}, progress=False)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    log, end = folder / "trial-000" / "s0" / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.stat().st_size):
        assert parent.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    trainer = json.loads((log.parent / "run.lock").read_text())["pid"]
    assert trainer != parent.pid and json.loads((folder / "run.lock").read_text())["pid"] == parent.pid
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    lock.wait_free(log.parent, 20.0)  # as the next sweep does, before it starts a trainer of its own
    size = log.stat().st_size
    time.sleep(0.5)
    assert log.stat().st_size == size
    end = time.monotonic() + 10
    while (
        Path(f"/proc/{trainer}").exists() and Path(f"/proc/{trainer}/stat").read_text().split(")")[1].split()[0] != "Z"
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
