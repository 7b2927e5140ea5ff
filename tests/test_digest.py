"""Keys of functions: two right-hand sides that differ in one captured thing get two keys and their own right values."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
import types
from collections import namedtuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.integrators.compile import cache
from stepsmith.integrators.compile.digest import UndigestibleError, function_key, identity


def build(source, name="f", **names):
    scope = dict(names)
    exec(source, scope)
    return scope[name]


def negate(x):
    return -x


def square(x):
    return x * x


def half(x):
    return 0.5 * x


def compose(f1, f2, f3, jit=numba.njit):
    a, b, c = jit(f1), jit(f2), jit(f3)

    def rhs(t, y, p, dy):
        dy[0] = a(y[0]) + 10 * b(y[1])
        dy[1] = c(y[0])

    return rhs


def by_scipy(rhs, y0, t1, p=()):
    def f(t, y):
        dy = np.empty(len(y))
        rhs(t, y, p, dy)
        return dy

    return solve_ivp(f, (0.0, t1), y0, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]


def end(rhs, y0, t1, p=()):
    sol = ss.solve(ss.Problem(rhs, y0, (0.0, t1), p), "bs32", rtol=1e-10, atol=1e-10)
    assert sol.success
    return sol.y[-1]


def test_functions_captured_in_another_order():
    for functions in ((negate, square, negate), (negate, square, square)):
        rhs = compose(*functions)
        np.testing.assert_allclose(
            end(rhs, [1.0, 0.1], 0.2), by_scipy(compose(*functions, jit=lambda f: f), [1.0, 0.1], 0.2), rtol=1e-7
        )
    assert function_key(compose(negate, square, negate)) != function_key(compose(negate, square, square))
    assert function_key(compose(negate, square, square)) == function_key(compose(negate, square, square))


ONE = st.sampled_from([negate, square, half])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(ONE, min_size=3, max_size=3), st.integers(0, 2), ONE)
def test_one_changed_function_changes_the_key(functions, at, other):
    changed = list(functions)
    changed[at] = other
    keys = [function_key(compose(*f, jit=jit)) for f in (functions, changed) for jit in (numba.njit, lambda f: f)]
    assert (keys[0] == keys[2]) == (keys[1] == keys[3]) == (other is functions[at])
    assert keys[0] != keys[1]


VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, width=32), st.text(max_size=2), st.none(),
        st.sampled_from([np.float64(1.0), np.float32(1.0), np.int64(1), -0.0, 0.0, 1, 1.0, True]),
        st.frozensets(st.integers(0, 4), max_size=3),
        st.lists(st.floats(-1, 1), max_size=3).map(np.array),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)  # fmt: skip


def same(a, b):
    """Whether two captured values are one to compiled code."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return a.hex() == b.hex() if type(a) is float else a == b
    return a == b


@settings(max_examples=400, deadline=None, derandomize=True)
@given(VALUES, VALUES)
def test_captured_values_count(a, b):
    def outer(value):
        def f(x):
            return value

        return f

    for make in (outer, lambda v: build("def f(x):\n    return VALUE\n", VALUE=v)):
        assert (function_key(make(a)) == function_key(make(b))) == same(a, b)


Point = namedtuple("Point", "x y")
Turned = namedtuple("Turned", "y x")


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


@pytest.mark.parametrize(
    "a, b",
    [
        ("def f(i):\n    return i in {0, 1}\n", "def f(i):\n    return i in {0, 2}\n"),
        ("def f(i):\n    return (i, 1)\n", "def f(i):\n    return (i, 1.0)\n"),
        ("def f(i):\n    return (i, True)\n", "def f(i):\n    return (i, 1)\n"),
        ("def f(i, *, k=1):\n    return k\n", "def f(i, *, k=2):\n    return k\n"),
    ],
)
def test_constants_in_the_code(a, b):
    assert function_key(build(a)) == function_key(build(a)) != function_key(build(b))


@pytest.mark.parametrize(
    "a, b",
    [
        (Point(1.0, 2.0), Turned(1.0, 2.0)),
        (Kind.ONE, Kind.TWO),
        (np.zeros(2), np.zeros((1, 2))),
        (np.zeros(1), np.zeros(1, np.int64)),
        (numba.njit(square), numba.njit(fastmath=True)(square)),
        (numba.njit(square), square),
        (numba.float64, numba.float32),
        (np.sin, np.cos),
        (range(3), range(4)),
    ],
)
def test_globals_of_many_kinds(a, b):
    text = "def f(x):\n    return VALUE\n"
    assert (
        function_key(build(text, VALUE=a)) == function_key(build(text, VALUE=a)) != function_key(build(text, VALUE=b))
    )


class Thing:
    pass


@pytest.mark.parametrize("value", [{"a": 1}, Thing(), np.array([None]), (1, {}), iter(())])
def test_what_cannot_be_digested_is_refused(value):
    rhs = build("def f(t, y, p, dy):\n    dy[0] = y[0]*VALUE\n", VALUE=value)
    with pytest.raises(UndigestibleError, match="function 'f' uses 'VALUE'.*, which cannot be compiled in"):
        ss.solve(ss.Problem(rhs, [1.0], (0.0, 1.0)))


def test_an_attribute_is_no_global():
    """A name that is only looked up on an object does not pull in a global that is called the same."""
    assert function_key(build("def f(x):\n    return x.shape\n", shape={})) == function_key(
        build("def f(x):\n    return x.shape\n")
    )


# -- values that change between solves ---------------------------------------------------------------------------------

RATE = 2.0
RATES = np.array([2.0, 5.0])


def by_global(t, y, p, dy):
    dy[0] = RATE * y[0]


def by_array(t, y, p, dy):
    dy[0] = RATES[0] * y[0]


@numba.njit
def helper(x):
    return RATE * x


def by_compiled_helper(t, y, p, dy):
    dy[0] = helper(y[0])


@numba.njit
def compiled_itself(t, y, p, dy):
    dy[0] = RATE * y[0]


@pytest.mark.parametrize("rhs", [by_global, by_compiled_helper, compiled_itself])
@pytest.mark.parametrize("lanes", [False, True])
def test_a_changed_global(rhs, lanes, monkeypatch):
    problem = ss.Problem(rhs, [1.0], (0.0, 1.0))
    for rate in (2.0, 3.0, 2.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        if lanes:
            y = ss.solve_ensemble(problem.batch(), "bs32", rtol=1e-9).y[0, 0]
        else:
            y = ss.solve(problem, "bs32", rtol=1e-9).y[-1, 0]
        assert y == pytest.approx(np.exp(rate), rel=1e-7)


def test_an_array_written_in_place():
    problem = ss.Problem(by_array, [1.0], (0.0, 1.0))
    for rate in (2.0, 3.0):
        RATES[0] = rate
        assert ss.solve(problem, "bs32", rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(rate), rel=1e-7)


def test_a_changed_cell_and_a_redefined_helper():
    rate = 2.0

    def rhs(t, y, p, dy):
        dy[0] = rate * y[0]

    problem = ss.Problem(rhs, [1.0], (0.0, 1.0))
    for value in (2.0, 3.0):
        rate = value
        assert ss.solve(problem, "bs32", rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(rate), rel=1e-7)
    module = types.ModuleType("notebook")
    exec(
        "import numba\n@numba.njit\ndef g(x):\n    return 2.0*x\ndef f(t, y, p, dy):\n    dy[0] = g(y[0])\n",
        vars(module),
    )
    problem = ss.Problem(module.f, [1.0], (0.0, 1.0))
    assert ss.solve(problem, "bs32", rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(2.0), rel=1e-7)
    exec("@numba.njit\ndef g(x):\n    return 3.0*x\n", vars(module))
    assert ss.solve(problem, "bs32", rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(3.0), rel=1e-7)


def test_a_memo_sees_every_change():
    fn = build("def f(x):\n    return RATE*x + shift\n", RATE=2.0)
    keys = [identity(fn)]
    fn.__globals__["RATE"] = 3.0
    keys.append(identity(fn))
    fn.__globals__["shift"] = 1.0  # a builtin until now
    keys.append(identity(fn))
    fn.__code__ = build("def f(x):\n    return RATE*x - shift\n").__code__
    keys.append(identity(fn))
    assert len(set(keys)) == len(keys)
    assert identity(fn) == keys[-1] == function_key(fn)


# -- the package's own lowerings ---------------------------------------------------------------------------------------

HEADER = """
import os, sys, shutil
sys.path.insert(0, {place!r})
import stepsmith
from stepsmith.integrators.compile import sources
from stepsmith.integrators.kernels import build
from stepsmith.integrators.kernels.layout import block_layout
source = build.header(block_layout(1, 2, 0, 7, 5, 4), 2, 0, 5)
print(sources.source_digest(source), sources.module_digest("stepsmith.integrators.core.names"))
"""


@pytest.mark.parametrize(
    "changed",
    [
        "compile/lane_matrix",
        "compile/band_matrix",
        "compile/sparse_matrix",
        "compile/noted",
        "compile/trace",
        "core/names",
    ],
)
def test_a_changed_lowering_changes_the_digest(changed, tmp_path):
    """Whatever a generated module imports is part of its key, and what that imports; what it does not import is not."""
    import stepsmith

    root = os.path.dirname(os.path.abspath(stepsmith.__file__))
    found = []
    for edit in ("", "\n# changed\n"):
        place = tmp_path / str(len(edit))
        (place / "stepsmith").mkdir(parents=True)
        for room in os.listdir(root):
            source = os.path.join(root, room)
            if room == "integrators":
                shutil.copytree(
                    source, place / "stepsmith" / room, ignore=shutil.ignore_patterns("__pycache__", "neural")
                )
            elif room != "__pycache__":
                (place / "stepsmith" / room).symlink_to(os.path.realpath(source))
        file = place / "stepsmith" / "integrators" / f"{changed}.py"
        file.write_text(file.read_text() + edit)
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", HEADER.format(place=str(place))], capture_output=True, text=True, env=env, check=True
        )
        found.append(done.stdout.split())
    assert (found[0][0] != found[1][0]) == (changed != "core/names")


def test_kernels_that_were_not_used_for_long_are_dropped():
    recent = cache.Recent(2)
    recent["a"], recent["b"] = 1, 2
    assert recent.get("a") == 1
    recent["c"] = 3
    assert list(recent) == ["a", "c"]
    assert recent.made("d", lambda: 4) == 4 and recent.get("a") is None
