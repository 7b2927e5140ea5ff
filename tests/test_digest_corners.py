"""Keys of functions in corners: modules called like Python's own, signatures, tuples, classes, overloads, wrappers."""

from __future__ import annotations

import enum
import functools
import gc
import subprocess
import sys
import types
import weakref

import numba
import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.compile import digest
from stepsmith.integrators.compile.digest import UndigestibleError, function_key, identity


def build(source, name="f", **names):
    scope = dict(names)
    exec(source, scope)
    return scope[name]


def square(x):
    return x * x


def end(rhs, y0, t1, p=()):
    sol = ss.solve(ss.Problem(rhs, y0, (0.0, t1), p), "bs32", rtol=1e-10, atol=1e-10)
    assert sol.success
    return sol.y[-1]


class Thing:
    pass


def test_defaults_of_closures_are_their_own():
    def make(rate, k):
        def rhs(t, y, p, dy, k=k):
            dy[0] = -rate * k

        return rhs

    for k in (1, 5):
        assert end(make(2.0, k), [1.0], 1.0)[0] == pytest.approx(1.0 - 2.0 * k)


@pytest.mark.parametrize("name", ["profile", "signal"])
def test_a_module_that_is_called_like_one_of_pythons(name, tmp_path):
    text = "import sys\nsys.path.insert(0, {place!r})\nimport {name} as mine\n"
    text += "from stepsmith.integrators.compile.digest import function_key\n"
    text += "keys = [function_key(mine.f)]\nmine.K = 5\nkeys.append(function_key(mine.f))\nprint(*keys)\n"
    keys = []
    for body in ("K*x", "K*K*x"):
        (tmp_path / f"{name}.py").write_text(f"K = 2\n\n\ndef f(x):\n    return {body}\n")
        done = subprocess.run(
            [sys.executable, "-B", "-c", text.format(place=str(tmp_path), name=name)],
            capture_output=True,
            text=True,
            check=True,
        )
        keys += done.stdout.split()
    if name == "signal":  # Python's own was loaded before: nothing here says otherwise
        assert len(set(keys)) in (1, 4)
    else:
        assert len(set(keys)) == 4


def test_explicit_signatures_stay():
    stair = numba.njit("float64(int64)")(lambda i: 1.0 * i)

    def rhs(t, y, p, dy):
        dy[0] = stair(2.9 * y[0] / y[0])

    assert end(rhs, [1.0], 1.0)[0] == pytest.approx(3.0)
    keys = [
        function_key(build("def f(x):\n    return g(x)\n", g=numba.njit(s)(square)))
        for s in ("f8(f8)", "f4(f4)", None)
        if s
    ]
    assert len(set(keys)) == len(keys)


def test_helpers_in_tuples_and_nested_modules():
    package, inner = types.ModuleType("mypkg"), types.ModuleType("mypkg.sub")
    package.sub = inner
    exec("import numba\nQ = 2.0\n\n@numba.njit\ndef h(x):\n    return Q*x\n", vars(inner))
    by_module = build("def f(t, y, p, dy):\n    dy[0] = pkg.sub.h(y[0])\n", pkg=package)
    by_tuple = build("def f(t, y, p, dy):\n    dy[0] = FS[0](y[0])\n", FS=(inner.h, inner.h))
    for rate in (2.0, 3.0):
        inner.Q = rate
        for rhs in (by_module, by_tuple):
            assert end(rhs, [1.0], 0.5)[0] == pytest.approx(np.exp(0.5 * rate), rel=1e-6)


def test_classes_modules_that_compute_and_getattr():
    def make(value):
        class Choice(enum.Enum):
            ONE = value

        return build("def f(x):\n    return x*C.ONE.value\n", C=Choice)

    assert function_key(make(1)) == function_key(make(1)) != function_key(make(2))
    with pytest.raises(UndigestibleError, match="a class of its own"):
        function_key(build("def f(x):\n    return C(x)\n", C=Thing))
    lazy = types.ModuleType("lazy")
    lazy.__getattr__ = lambda name: 2.0 if name == "K" else (_ for _ in ()).throw(AttributeError(name))
    with pytest.raises(UndigestibleError, match="'lazy.K', which that module computes"):
        function_key(build("def f(x):\n    return m.K*x\n", m=lazy))
    with pytest.raises(UndigestibleError, match="getattr"):
        function_key(build("def f(x):\n    return getattr(m, 'K')*x\n", m=lazy))


def test_overloads_are_part_of_a_key():
    from numba.extending import overload, register_jitable

    def make(rate):
        def stub(x):
            pass

        @overload(stub)
        def body(x):
            return lambda x: rate * x

        return build("def f(x):\n    return stub(x)\n", stub=stub)

    assert function_key(make(2.0)) == function_key(make(2.0)) != function_key(make(3.0))
    assert function_key(build("def f(x):\n    return g(x)\n", g=register_jitable(square)))


def test_a_function_that_wraps_a_compiled_one_is_itself():
    @numba.njit
    def base(t, y, p, dy):
        dy[0] = 1.0

    @functools.wraps(base)
    def rhs(t, y, p, dy):
        base(t, y, p, dy)
        dy[0] = 5.0 * dy[0]

    assert end(rhs, [1.0], 1.0)[0] == pytest.approx(6.0)


def test_functions_are_not_kept_for_ever():
    kept = []
    for k in range(300):
        fn = build("def f(x):\n    return x*K\n", K=np.full(10, float(k)))
        identity(fn)
        kept.append(weakref.ref(fn))
    del fn
    gc.collect()
    assert sum(r() is not None for r in kept) <= digest._REMEMBERED
