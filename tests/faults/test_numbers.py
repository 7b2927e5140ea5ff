"""Faults of the numbers: NaN, infinities, blow-up, an end of the domain, too many steps, and a bad start, in every
host.

Each ends without success within bounded time, says why, keeps the last good state, and leaves the trajectories beside
it alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from fault_hosts import COMPILED, HOSTS, LANES, TORCH, run
from stepsmith.integrators.compile.vecmath import exp, sqrt, where

DECAY, NAN, INF, BLOW_UP, EDGE, STEEP = range(6)


def rhs(t, y, p, dy):
    late = t > 0.5
    k = p[0]
    slope = where(k == 1.0, where(late, sqrt(-1.0 - y[0] * y[0]), -y[0]), -y[0])
    slope = where(k == 2.0, where(late, 1.0 / (0.0 * y[0]), -y[0]), slope)
    slope = where(k == 3.0, 2.0 * y[0] * y[0], slope)
    slope = where(k == 4.0, -y[0] - sqrt(0.5 - t), slope)
    slope = where(k == 5.0, -1e9 * (y[0] - exp(-t)), slope)
    dy[0] = slope


def func(t, y, p):
    import torch

    k, late = p[:, :1], torch.as_tensor(t > 0.5)
    nan, inf = torch.full_like(y, np.nan), torch.full_like(y, np.inf)
    slope = torch.where((k == 1) & late, nan, -y)
    slope = torch.where((k == 2) & late, inf, slope)
    slope = torch.where(k == 3, 2 * y * y, slope)
    slope = torch.where(k == 4, -y - torch.sqrt(0.5 - t), slope)
    return torch.where(k == 5, -1e9 * (y - torch.exp(-t)), slope)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the simulator
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "kind, latest, says",
    [
        (NAN, 0.51, "non-finite|step size"),
        (INF, 0.51, "non-finite|step size"),
        (BLOW_UP, 0.5001, "non-finite|step size|step limit"),
        (EDGE, 0.51, "non-finite|step size"),
        (STEEP, 0.9, "step limit"),
    ],
)
def test_numbers(host, kind, latest, says):
    out = run(host, rhs, [1.0], p=[float(kind)], good=[float(DECAY)], func=func, max_steps=2000)
    assert not out.success
    assert np.isfinite(out.t) and out.t <= latest
    assert np.isfinite(out.y).all()
    if host != "env":
        import re

        assert re.search(says, out.message), out.message
    if kind in (NAN, INF) and out.t > 0.0:
        np.testing.assert_allclose(out.y[0], np.exp(-min(out.t, 0.5)), rtol=1e-2)
    if len(out.others):
        assert len(out.others) == LANES - 1
        np.testing.assert_allclose(out.others[:, 0], np.exp(-1.0), rtol=1e-4)
        healthy = run(host, rhs, [1.0], p=[float(DECAY)], func=func)
        assert healthy.success
        np.testing.assert_array_equal(out.others, np.broadcast_to(healthy.y, out.others.shape))


@pytest.mark.parametrize("host", HOSTS)
def test_the_right_answer(host):
    out = run(host, rhs, [1.0], p=[float(DECAY)], func=func)
    assert out.success
    if host != "env":  # its last state is that before the end
        np.testing.assert_allclose(out.y[0], np.exp(-1.0), rtol=1e-4)


@pytest.mark.parametrize("host", [*(h for h in COMPILED if h != "env"), *TORCH])
@pytest.mark.parametrize("start", [np.nan, np.inf])
def test_a_start_that_is_no_number(host, start):
    out = run(host, rhs, [start], p=[float(DECAY)], func=func)
    assert not out.success and out.t == 0.0
