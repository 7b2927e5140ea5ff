"""Workers by their name on the command line, and Ray's as an executor."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.engine.spread import PartLost, spread
from stepsmith.train.machines import cluster
from stepsmith.train.machines.ray_workers import RayExecutor

BATCH = ss.problems.sample("lotka_volterra", n=20, seed=3)


def test_none_is_no_executor_and_processes_are_spawned():
    with cluster(None) as none:
        assert none is None
    with cluster("processes:1") as pool:
        assert pool.submit(os.getppid).result() == os.getpid()
        found = ss.solve_ensemble(BATCH, executor=pool, chunk=12)
    assert np.array_equal(found.y, ss.solve_ensemble(BATCH).y)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(os.getpid)


INTERRUPTED = """
import time
from stepsmith.integrators.engine.spread import spread
from stepsmith.train.machines import cluster

def slow(shared, part):
    open(f"{shared}/{part}", "w").close()
    time.sleep(300)

if __name__ == "__main__":
    with cluster("processes:2") as pool:
        spread(slow, range(8), pool, shared="begun")
"""


def test_ctrl_c_ends_the_workers(tmp_path):
    """An interrupt of all processes of the terminal, as the keys send it, in the midst of two parts."""
    (tmp_path / "begun").mkdir()
    (tmp_path / "script.py").write_text(INTERRUPTED)
    run = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        while len(list((tmp_path / "begun").iterdir())) < 2 and run.poll() is None:
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert said.strip().endswith("KeyboardInterrupt") and run.returncode != 0
    assert len(list((tmp_path / "begun").iterdir())) == 2


@pytest.mark.parametrize("name", ["processes", "processes:", "processes:0", "processes:-1", "ray:", "ray://", "x", ""])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="cluster must be processes:N"), cluster(name):
        pass


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'stepsmith\[cluster\]'"), cluster("ray"):
        pass


@pytest.fixture(scope="module")
def workers():
    """Two Ray workers on this machine."""
    ray = pytest.importorskip("ray")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield RayExecutor()
    ray.shutdown()


def test_ray_solves_to_the_same_numbers(workers):
    found = ss.solve_ensemble(BATCH, executor=workers, chunk=7)
    whole = ss.solve_ensemble(BATCH)
    assert found.y.tobytes() == whole.y.tobytes() and np.array_equal(found.stats.nfev, whole.stats.nfev)
    with cluster("ray") as same:  # the cluster that this process is connected to already
        assert same._max_workers == 2


def test_ray_takes_a_part_up_again_whose_worker_was_killed(workers, tmp_path):
    def dies(folder, part):
        number, times = part
        tries = len(list(Path(folder).glob(f"{number}-*")))
        (Path(folder) / f"{number}-{tries}").touch()
        if tries < times:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert spread(dies, [(0, 0), (1, 1), (2, 0)], workers, shared=str(tmp_path)) == [0, 1, 2]
    assert len(list(tmp_path.glob("1-*"))) == 2
    with pytest.raises(PartLost, match="part 1 of 1 was lost 2 times"):
        spread(dies, [(7, 9)], workers, shared=str(tmp_path), retries=1)


def test_ray_raises_what_a_part_raises(workers):
    def refuses(shared, part):
        raise ss.integrators.core.errors.OptionError("no such law")

    with pytest.raises(ss.integrators.core.errors.OptionError, match="no such law") as caught:
        spread(refuses, [1], workers, what="law")
    assert caught.value.__notes__ == ["raised in law 1 of 1"]

