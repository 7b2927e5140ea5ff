"""A compilation that takes long says so on stderr, at the time and in the words that are promised."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

import stepsmith as ss
from stepsmith.integrators.compile import progress

FIRST = "stepsmith: compiling tsit5 for mine (first use on this machine; kept on disk)...\n"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.delenv("STEPSMITH_QUIET", raising=False)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.05)


def test_long_ones_are_told(capfd):
    with progress.told("tsit5 for mine"):
        time.sleep(0.3)
        assert capfd.readouterr().err == FIRST
    assert capfd.readouterr().err == "stepsmith: ... done in 0.3 s\n"


def test_short_ones_are_not(capfd):
    with progress.told("tsit5 for mine"):
        pass
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value, silent", [("1", True), ("yes", True), ("0", False), ("", False)])
def test_silence(capfd, monkeypatch, value, silent):
    monkeypatch.setenv("STEPSMITH_QUIET", value)
    with progress.told("tsit5 for mine"):
        time.sleep(0.2)
    assert (capfd.readouterr().err == "") is silent


def test_failures_and_what_cannot_be_kept(capfd):
    with pytest.raises(ValueError, match="wrong"), progress.told("tsit5 for mine", lasts=False):
        time.sleep(0.2)
        raise ValueError("wrong")
    first, second = capfd.readouterr().err.splitlines()
    assert "in this process; it cannot be kept on disk" in first and "failed after" in second


def test_an_interruption_is_no_failure(capfd):
    with pytest.raises(KeyboardInterrupt), progress.told("tsit5 for mine"):
        time.sleep(0.2)
        raise KeyboardInterrupt
    assert capfd.readouterr().err.splitlines()[1].startswith("stepsmith: ... interrupted after ")


def test_a_name_that_was_given_comes_before_that_of_the_function():
    def kinetics(t, y, p):
        return [-y[0]]

    problem = ss.Problem(kinetics, [1.0], (0.0, 1.0))
    assert progress.whose(problem) == progress.whose(problem.batch(t1=[1.0, 2.0])) == "kinetics"
    assert progress.whose(ss.Problem(kinetics, [1.0], (0.0, 1.0), name="decay")) == "decay"


def test_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress.told("tsit5 for mine"):
        time.sleep(0.2)


def test_from_threads(capfd):
    def work():
        with progress.told("tsit5 for mine"):
            time.sleep(0.3)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if "compiling" in line] == [FIRST.strip()] * 3
    assert sum("done in" in line for line in lines) == 3 and len(lines) == 6


#: the clock that the line is timed by begins just before the solve
SCRIPT = """
import sys, time
import stepsmith as ss
from stepsmith.integrators.compile import cache
cache._import_lanes()

def kinetics(t, y, p, dy):
    dy[0] = -0.04*y[0] + 1e4*y[1]*y[2]
    dy[1] = 0.04*y[0] - 1e4*y[1]*y[2] - 3e7*y[1]*y[1]
    dy[2] = 3e7*y[1]*y[1]

problem = ss.Problem(kinetics, [1.0, 0.0, 0.0], (0.0, 1.0))
print("start", file=sys.stderr, flush=True)
ss.solve(problem, "radau5")
"""


def test_a_first_solve_says_so_and_the_next_process_does_not(tmp_cache, tmp_path):
    script, env = tmp_path / "first.py", {**os.environ, "STEPSMITH_CACHE_DIR": str(tmp_cache)}
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], env=env, stderr=subprocess.PIPE, text=True)
    seen = [(time.perf_counter(), line) for line in process.stderr]
    assert process.wait() == 0 and len(seen) == 3, seen
    (start, _), (first, words), (_, last) = seen
    assert words == FIRST.replace("tsit5 for mine", "radau5 under radau5 for kinetics")
    assert 1.9 < first - start < 4.5  # after two seconds of compiling; the thread waits for its turn
    assert last.startswith("stepsmith: ... done in ")
    again = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True)
    assert again.returncode == 0 and again.stderr == "start\n"


def test_an_environment_tells_of_its_kernels(capfd, monkeypatch):
    from stepsmith.envs.ode import ODEEnv

    env = ODEEnv(family="lotka_volterra", pool_size=2)
    module, seen = env.core.kernel.module, []

    class Slow:
        """A kernel that takes long to compile."""

        def __init__(self, function):
            self.function, self.py_func = function, function.py_func

        def compile(self, signature):
            seen.append(self.function)
            time.sleep(0.2)
            return self.function.compile(signature)

        def __call__(self, *args):
            return self.function(*args)

        def __getattr__(self, name):
            return getattr(self.function, name)

    for name in ("env_reset", "env_step"):
        monkeypatch.setattr(module, name, Slow(getattr(module, name)))
    capfd.readouterr()
    for _ in range(2):  # the second time without a word
        env.reset(seed=0)
        env.step(env.action_space.sample())
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith(f"stepsmith: compiling {env.core.method} for environments of lotka_volterra (first use")
    assert second.startswith("stepsmith: ... done in") and len(seen) == 2
