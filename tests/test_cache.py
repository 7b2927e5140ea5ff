"""The kernel cache: keys, a second process, two at once, damaged files, a place that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

from stepsmith.integrators.compile import cache

PROGRAM = """
import json
from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine import solve as S
from stepsmith.integrators.problems.problem import Problem

def rhs(t, y, p, dy):
    dy[0] = -p[0]*y[0]

sol = S.solve(Problem(rhs, [1.0], (0.0, 1.0), [2.0]), "bs32", registry.get("i"), rtol=1e-6, atol=1e-9)
kernel, = S._KERNELS.values()
hits = sum(kernel.module.run_single.stats.cache_hits.values())
print(json.dumps({"y": sol.y[-1, 0], "hits": hits, "file": kernel.module.__file__}))
"""


def start(folder):
    environment = {**os.environ, "STEPSMITH_CACHE_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def result(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-2000:]
    return json.loads(out)


def test_processes_share_and_repair_the_cache(tmp_cache):
    both = [start(tmp_cache), start(tmp_cache)]
    first, second = (result(process) for process in both)
    assert first["y"] == second["y"] == pytest.approx(np.exp(-2.0), abs=1e-6)
    assert first["file"] == second["file"]

    warm = result(start(tmp_cache))
    assert warm["hits"] == 1 and warm["y"] == first["y"]
    assert [f.suffix for f in tmp_cache.rglob("*.tmp")] == []

    # every stored file cut in half: the next process compiles again, the one after that finds whole files
    for file in tmp_cache.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    repaired = result(start(tmp_cache))
    assert repaired["y"] == first["y"]
    assert result(start(tmp_cache))["hits"] == 1


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", str(tmp_path / "file" / "below"))
    elsewhere = cache.cache_dir()
    assert elsewhere.is_dir() and tmp_path not in elsewhere.parents
    module = cache.load_module("VALUE = 17\n", {})
    assert module.VALUE == 17

    closed = tmp_path / "closed"
    (closed / "kernels").mkdir(parents=True)
    monkeypatch.setenv("STEPSMITH_CACHE_DIR", str(closed))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.cache_dir() == elsewhere


def test_default_places(monkeypatch, tmp_path):
    monkeypatch.delenv("STEPSMITH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "stepsmith" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir() == tmp_path / "home" / ".cache" / "stepsmith" / "kernels"


SCALE = 2.0


def build(source, name="f", **names):
    scope = dict(names)
    exec(source, scope)
    return scope[name]


def test_function_keys():
    key = cache.function_key
    plain = build("def f(x):\n    return x + 1\n")
    assert key(plain) == key(build("def f(x):\n    # a comment\n    return x + 1\n"))
    assert key(plain) != key(build("def f(x):\n    return x + 2\n"))
    assert key(plain) != key(build("def f(x):\n    return x - 1\n"))
    # globals and closures count, and functions behind them
    by_global = "def f(x):\n    return x*SCALE\n"
    assert key(build(by_global, SCALE=2.0)) == key(build(by_global, SCALE=2.0)) != key(build(by_global, SCALE=3.0))
    nested = "def outer(a):\n    def f(x):\n        return x + a\n    return f\n"
    outer = build(nested, "outer")
    assert key(outer(1.0)) == key(outer(1.0)) != key(outer(2.0))
    calls = "def g(x):\n    return x*{}\ndef f(x):\n    return g(x)\n"
    assert key(build(calls.format(2))) != key(build(calls.format(3)))
    assert key(build(by_global, SCALE=np.ones(2))) != key(build(by_global, SCALE=np.zeros(2)))
    assert key(build("def f(x, a=1):\n    return x + a\n")) != key(build("def f(x, a=2):\n    return x + a\n"))
    # functions and numbers that are reached through a module of the user's, and through one in it
    through = {"m.g(x)": "def g(x):\n    return x*{}\n", "m.SCALE*x": "SCALE = {}\n"}
    for use, text in through.items():
        keys = []
        for number in (2, 2, 3):
            inner, module = types.ModuleType("stranger.inner"), types.ModuleType("stranger")
            exec(text.format(number), inner.__dict__)
            exec(text.format(number), module.__dict__)
            module.sub = inner
            bodies = use, use.replace("m.", "m.sub.")
            keys.append([key(build(f"def f(x):\n    return {body}\n", m=module)) for body in bodies])
        assert keys[0] == keys[1] and keys[0][0] != keys[2][0] and keys[0][1] != keys[2][1]
    recursive = build("def f(x):\n    return f(x - 1) if x > 0 else 0\n")
    assert key(recursive) == key(build("def f(x):\n    return f(x - 1) if x > 0 else 0\n"))


def test_equal_modules_are_one(tmp_cache):
    one = cache.load_module("VALUE = SHIFT + 1\n", {"SHIFT": 4})
    assert one.VALUE == 5
    assert cache.load_module("VALUE = SHIFT + 1\n", {"SHIFT": 4}) is one
    assert cache.load_module("VALUE = SHIFT + 1\n", {"SHIFT": 5}).VALUE == 6


def test_a_module_that_fails_is_not_kept(tmp_cache):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.load_module("VALUE = 1/0\n", {})
