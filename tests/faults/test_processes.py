"""Threads, forked and spawned processes, and a kernel cache that is damaged, read-only or full: every host, one program
each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fault_hosts import HOSTS, SIMULATOR

pytestmark = pytest.mark.skipif(SIMULATOR, reason="the simulator compiles nothing")
HELPERS = Path(__file__).resolve().parent.parent / "helpers"

PROGRAM = """
import multiprocessing, os, sys, threading, time
sys.path.insert(0, {helpers!r})
import numpy as np
from fault_hosts import HOSTS, run

def rhs(t, y, p, dy):
    dy[0] = -p[0]*y[0]

def func(t, y, p):
    return -p*y

def everything(rate=1.0):
    for host in HOSTS:
        out = run(host, rhs, [1.0], p=[rate], func=func)
        assert out.success, (host, out)
        if host != "env":
            assert abs(out.y[0] - np.exp(-rate)) < 1e-4, (host, out)

def guarded(found):
    try:
        everything()
        found.append("right")
    except BaseException as error:
        found.append(repr(error))

def main(kind):
    if kind == "threads":
        found = []
        threads = [threading.Thread(target=guarded, args=(found,)) for _ in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert found == ["right"]*4, found
        return
    everything()
    if kind in ("fork", "spawn"):
        process = multiprocessing.get_context(kind).Process(target=everything, args=(2.0,))
        process.start()
        process.join(200)
        assert process.exitcode == 0, process.exitcode

if __name__ == "__main__":
    main(sys.argv[1])
    print("right", len(HOSTS))
"""


def program(tmp_path, kind, cache=None):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(helpers=str(HELPERS)))
    env = {**os.environ, **({"STEPSMITH_CACHE_DIR": str(cache)} if cache else {})}
    done = subprocess.run(
        [sys.executable, "-W", "always", str(file), kind], capture_output=True, text=True, timeout=400, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["right", str(len(HOSTS))]
    return done.stderr


@pytest.mark.parametrize("kind", ["threads", "fork", "spawn"])
def test_threads_and_processes(kind, tmp_path):
    if kind == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    program(tmp_path, kind)


def mounted(place: Path, options: str) -> bool:
    place.mkdir(exist_ok=True)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return (
        root
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], stderr=subprocess.DEVNULL
        ).returncode
        == 0
    )


@pytest.mark.parametrize("options, warns", [("size=40k", True), ("ro", False)])
def test_a_cache_that_cannot_be_written(options, warns, tmp_path):
    place = tmp_path / "cache"
    if not mounted(place, options):
        pytest.skip("this needs the right to mount a small disk")
    try:
        err = program(tmp_path, "plain", place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
    assert ("compiled kernels cannot be stored in" in err) == warns


def test_a_damaged_cache(tmp_path):
    cache = tmp_path / "cache"
    program(tmp_path, "plain", cache)
    files = sorted(file for file in cache.rglob("*") if file.is_file())
    machine_code = [file for file in files if file.suffix in (".nbi", ".nbc")]
    assert len(machine_code) >= 4
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for file in machine_code[::2]:  # of each second one nothing is left
        file.write_bytes(b"")
    program(tmp_path, "plain", cache)
