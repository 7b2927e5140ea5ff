"""The engine in threads, in forked and spawned processes, interrupted, and without a place for its kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.compile.cache import cache_dir
from stepsmith.integrators.core.errors import OptionError

HEAD = """
import os, signal, sys, threading, time
import numpy as np
import stepsmith as ss

def rhs(t, y, p, dy):
    dy[0] = -p[0]*y[0]

def check(y, rate=1.0):
    assert abs(y - np.exp(-rate)) < 1e-5, y

problem = ss.Problem(rhs, [1.0], (0.0, 1.0), [1.0])
batch = problem.batch()[np.zeros(500, int)]
"""

THREADS = HEAD + """
found = []
def work():
    try:
        found.append(ss.solve(problem, "bs32").y[-1, 0])
        found.append(ss.solve_ensemble(batch, "bs32", threads=2).y[-1, 0])
    except BaseException as error:
        found.append(error)
threads = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(found) == 12, found
[check(y) for y in found]
print("right")
"""

FORK = HEAD + """
check(ss.solve_ensemble(batch, "bs32", threads=2).y[-1, 0])
check(ss.solve(problem, "bs32").y[-1, 0])
child = os.fork()
if child == 0:
    check(ss.solve_ensemble(batch, "bs32", threads=2).y[-1, 0])
    check(ss.solve(problem, "bs32").y[-1, 0])
    def other(t, y, p, dy):
        dy[0] = -2.0*p[0]*y[0]
    check(ss.solve(ss.Problem(other, [1.0], (0.0, 1.0), [1.0]), "bs32").y[-1, 0], 2.0)
    os._exit(0)
end = time.time() + 120
while time.time() < end:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        sys.exit(os.waitstatus_to_exitcode(status) or print("right"))
    time.sleep(0.05)
os.kill(child, 9)
sys.exit("the forked process hangs")
"""

INTERRUPT = HEAD + """
def slow(t, y, p, dy):
    dy[0] = np.cos(1e6*t)

problem = ss.Problem(slow, [1.0], (0.0, 1e9), [1.0])
batch = problem.batch()[np.zeros(64, int)]
run = {
    "single": lambda n: ss.solve(problem, "bs32", rtol=1e-9, t_eval=[1e9], max_steps=n),
    "one thread": lambda n: ss.solve_ensemble(batch, "bs32", rtol=1e-9, max_steps=n, threads=1),
    "threads": lambda n: ss.solve_ensemble(batch[np.zeros(2000, int)], "bs32", rtol=1e-9, max_steps=n, threads=2),
}[sys.argv[1]]
run(10)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
print("ready", flush=True)
try:
    run(10**15)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def program(text, *args, timeout=240, **env):
    done = subprocess.run(
        [sys.executable, "-c", text, *args], capture_output=True, text=True, timeout=timeout, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_first_solve_of_a_kernel_from_several_threads(tmp_cache):
    assert program(THREADS).stdout.split() == ["right"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process(tmp_cache):
    assert program(FORK).stdout.split() == ["right"]


@pytest.mark.parametrize("host", ["single", "one thread", "threads"])
def test_an_interrupt_is_answered(host):
    import signal

    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPT, host], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == "interrupted\n", err[-2000:]


def test_many_calls_of_a_driver_are_one_solve(monkeypatch):
    """Returning to Python between attempts changes nothing."""
    from stepsmith.integrators.engine import pace
    from stepsmith.integrators.engine import solve as solve_module

    problem = ss.problems.make("lorenz", seed=1)
    batch = ss.problems.sample("lorenz", n=70, seed=1)
    sizes = []
    for first, enough in ((pace.FIRST, pace.ENOUGH_S), (1, 0.0)):
        monkeypatch.setattr(pace, "FIRST", first)
        monkeypatch.setattr(solve_module, "FIRST", first)
        monkeypatch.setattr(pace, "ENOUGH_S", enough)
        one, many = ss.solve(problem, "bs32", log=True), ss.solve_ensemble(batch, "bs32", threads=1)
        sizes.append((one.t, one.y, one.record, one.stats.nfev, many.y, many.stats.nfev, many.t))
    for a, b in zip(*sizes, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_empty_cache_directory_is_refused(monkeypatch):
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", "")
    with pytest.raises(OptionError, match="STEPSMITH_CACHE_DIR must be a directory's path, got ''"):
        cache_dir()


TEMPORARY = HEAD + """
from stepsmith.integrators.compile.cache import cache_dir
check(ss.solve(problem, "bs32").y[-1, 0])
print(cache_dir())
"""


def test_a_temporary_place_vanishes_with_the_process(tmp_path):
    (tmp_path / "file").write_text("no folder")
    place = program(TEMPORARY, STEPSMITH_CACHE_DIR=str(tmp_path / "file" / "below")).stdout.strip()
    assert "stepsmith-kernels-" in place and not os.path.exists(place)


def test_a_full_disk(tmp_path):
    """Kernels work where nothing can be stored: once a warning, right numbers."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "none", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("a full disk needs the right to mount a small one")
    try:
        done = program(
            HEAD + 'check(ss.solve(problem, "bs32").y[-1, 0])\nprint("right")\n', STEPSMITH_CACHE_DIR=str(place)
        )
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    assert done.stdout.split() == ["right"]
    assert done.stderr.count("compiled kernels cannot be stored in") == 1 and "STEPSMITH_CACHE_DIR" in done.stderr
