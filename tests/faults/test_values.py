"""What a function names changes between two solves: the value is that of the call, in every host."""

from __future__ import annotations

import numpy as np
import pytest

from fault_hosts import HOSTS, run

RATE = 1.0
SCRIPT = "def slope(y):\n    return {}*y\n"


def by_global(t, y, p, dy):
    dy[0] = -RATE * y[0]


def torch_by_global(t, y, p):
    return -RATE * y


@pytest.mark.parametrize("host", [h for h in HOSTS if h != "env"])
def test_a_changed_global(host, monkeypatch):
    for rate in (1.0, 2.0, 1.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        out = run(host, by_global, [1.0], func=torch_by_global)
        assert out.success and out.y[0] == pytest.approx(np.exp(-rate), rel=1e-4)


@pytest.mark.parametrize("host", [h for h in HOSTS if h != "env"])
def test_a_changed_closure(host):
    shift, count = 0.0, 1

    def rhs(t, y, p, dy):
        dy[0] = shift - count * y[0]

    def func(t, y, p):
        return shift - count * y

    for value, whole in ((0.0, 1), (3.0, 1), (3.0, 2)):
        shift, count = value, whole
        end = shift / count + (1.0 - shift / count) * np.exp(-count)
        out = run(host, rhs, [1.0], func=func)
        assert out.success and out.y[0] == pytest.approx(end, rel=1e-4)


@pytest.mark.parametrize("host", [h for h in HOSTS if h != "env"])
def test_a_redefined_function(host):
    import numba

    scope: dict = {"numba": numba}
    exec("def rhs(t, y, p, dy):\n    dy[0] = slope(y[0])\n\ndef func(t, y, p):\n    return plain(y)\n", scope)
    for rate in (-1.0, -2.0):
        exec(SCRIPT.format(rate), scope)
        scope["plain"] = scope["slope"]
        scope["slope"] = numba.njit(scope["slope"])
        out = run(host, scope["rhs"], [1.0], func=scope["func"])
        assert out.success and out.y[0] == pytest.approx(np.exp(rate), rel=1e-4)


@pytest.mark.skipif("env" not in HOSTS, reason="the simulator's process runs the device kernel alone")
def test_an_environment_made_after_the_change(monkeypatch):
    """A core keeps the kernel that it was made with; one made afterwards has the new value."""
    from fault_hosts import env_core

    ends = []
    for rate in (1.0, 2.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        core = env_core(by_global, [1.0], (0.0, 1.0), [0.0], [0.0], lanes=1)
        core.seed(np.zeros(1, np.uint64))
        core.reset()
        t = y = 0.0
        for _ in range(1000):
            t, y = core.rows("T")[0, 0], core.rows("Y", 1)[0, 0]
            if core.step(np.zeros((1, core.decision.n_act), np.float32)):
                break
        ends.append((y, np.exp(-rate * t)))
    for y, exact in ends:
        assert y == pytest.approx(exact, rel=1e-4)
