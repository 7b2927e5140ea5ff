"""Events of known systems: Poincare sections, spiking neurons, random crossings of dense output."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

import stepsmith as ss


def oscillator(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0]


def henon(t, y, p, dy):
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -y[0] - 2.0 * y[0] * y[1]
    dy[3] = -y[1] - y[0] * y[0] + y[1] * y[1]


def section(t, y, p):
    return y[0]


section.direction = 1


def test_poincare_sections_of_henon_heiles_agree_with_scipy():
    start, span = [0.0, 0.1, 0.35, 0.05], (0.0, 300.0)
    sol = ss.solve(ss.Problem(henon, start, span), method="dop853", events=section, rtol=1e-12, atol=1e-14)

    def rhs(t, y):
        return [y[2], y[3], -y[0] - 2 * y[0] * y[1], -y[1] - y[0] ** 2 + y[1] ** 2]

    def zero(t, y):
        return y[0]

    zero.direction = 1
    peer = solve_ivp(rhs, span, start, "DOP853", events=zero, rtol=1e-12, atol=1e-14)
    found, theirs = sol.t_events[0], peer.t_events[0]
    theirs = theirs[theirs > 1e-9]  # SciPy counts the zero at the start
    assert len(found) == len(theirs) > 40
    assert np.abs(found - theirs).max() < 1e-7
    assert np.abs(sol.y_events[0][:, 1:] - peer.y_events[0][-len(theirs) :, 1:]).max() < 1e-7


def leaky(t, y, p, dy):
    dy[0] = (p[0] - y[0]) / p[1]


def threshold(t, y, p):
    return y[0] - 1.0


threshold.direction = 1
threshold.reset = lambda t, y, p: [0.0]


def test_spiking_neurons_in_lanes_and_alone():
    rng = np.random.default_rng(3)
    count = 100
    drive, tau = rng.uniform(0.9, 3.0, count), rng.uniform(0.5, 2.0, count)
    p = np.stack([drive, tau], 1)
    batch = ss.Batch(leaky, np.zeros((count, 1)), p, np.zeros(count), np.full(count, 20.0))
    ens = ss.solve_ensemble(batch, events=threshold, rtol=1e-10, atol=1e-12)
    assert ens.success.all()
    for i in range(count):
        spikes = ens.t_events[0][i]
        if drive[i] <= 1.0:
            assert len(spikes) == 0
            continue
        period = tau[i] * np.log(drive[i] / (drive[i] - 1.0))
        assert len(spikes) == int(20.0 / period)
        assert np.abs(spikes - period * np.arange(1, len(spikes) + 1)).max(initial=0.0) < 1e-7
    alone = ss.solve(batch[1], events=threshold, rtol=1e-10, atol=1e-12)
    assert np.array_equal(alone.t_events[0], ens.t_events[0][1])


def wavy(t, y, p):
    return p[1] * y[0] + p[2] * y[1] + p[3] * np.sin(p[4] * t) + p[0]


def test_no_sign_change_of_dense_output_is_missed():
    rng = np.random.default_rng(11)
    count = 160
    p = np.stack([rng.normal(0, 0.6, count), *rng.normal(0, 1, (3, count)), rng.uniform(0.2, 3.0, count)], 1)
    batch = ss.Batch(oscillator, np.tile([0.0, 1.0], (count, 1)), p, np.zeros(count), np.full(count, 40.0))
    ens = ss.solve_ensemble(batch, events=wavy, dense=True, rtol=1e-5, atol=1e-6)
    crossings = 0
    for i in range(count):
        t = np.linspace(0.0, 40.0, 20_001)
        y = ens.dense[i](t)
        g = p[i, 1] * y[:, 0] + p[i, 2] * y[:, 1] + p[i, 3] * np.sin(p[i, 4] * t) + p[i, 0]
        at = np.flatnonzero(np.sign(g[:-1]) * np.sign(g[1:]) < 0)
        found = ens.t_events[0][i]
        crossings += len(found)
        inside = np.histogram(found, t)[0]
        assert np.all(inside[at] % 2 == 1), "a sign change without an event"
        assert np.all(inside[np.setdiff1d(np.arange(20_000), at)] % 2 == 0), "an event without a sign change"
    assert crossings > 2000
