"""Adams methods: every step against its formula and that against the published tables, work against LSODA and VODE,
orders, dense output, lanes, jumps and failures.
"""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from scipy.integrate import ode, solve_ivp

from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import cos, where
from stepsmith.integrators.core import record
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.kernels.layout import BAD_START, NON_FINITE, UNDERFLOW

ACCEPT = record.N_RECORD
LAW = registry.get("universal_law").general()


def chased(t, y, p, dy):
    """y' = r (y - cos t), the rate r being p[0] before t = p[2] and p[1] after; an oscillator beside it."""
    dy[0] = where(t < p[2], p[0], p[1]) * (y[0] - cos(t))
    dy[1] = y[2]
    dy[2] = -y[1]


def chase(rate=-1.0, after=None, switch=1e9, span=(0.0, 20.0), y0=(0.0, 0.0, 1.0)):
    return Problem(chased, y0, span, [rate, rate if after is None else after, switch])


def exact(t, rate=-1.0):
    """From (0, 0, 1) at 0."""
    a, b = rate**2 / (1 + rate**2), -rate / (1 + rate**2)
    return np.stack([a * np.cos(t) + b * np.sin(t) - a * np.exp(rate * t), np.sin(t), np.cos(t)], -1)


def brusselator(t, y, p, dy):
    dy[0] = 1.0 + y[0] * y[0] * y[1] - 4.0 * y[0]
    dy[1] = 3.0 * y[0] - y[0] * y[0] * y[1]


def kepler(t, y, p, dy):
    r2 = y[0] * y[0] + y[1] * y[1]
    r3 = r2 * r2**0.5
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -y[0] / r3
    dy[3] = -y[1] / r3


# Formulas


def times(p, factor):
    """A polynomial (lowest power first) times one."""
    out = [F(0)] * (len(p) + len(factor) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(factor):
            out[i + j] += a * b
    return out


def integral(p):
    """Over -1 .. 0."""
    return -sum(a * F(-1) ** (i + 1) / (i + 1) for i, a in enumerate(p))


def weights(nodes):
    """Exact weights of the integral over -1 .. 0, and of the value at 0, of the polynomial through values at nodes."""
    out = []
    for i, a in enumerate(nodes):
        p = [F(1)]
        for m, b in enumerate(nodes):
            if m != i:
                p = times(p, [-b / (a - b), 1 / (a - b)])
        out.append((integral(p), p[0]))
    return [w for w, _ in out], [v for _, v in out]


BASHFORTH = {1: "1", 2: "3/2 -1/2", 3: "23/12 -4/3 5/12", 4: "55/24 -59/24 37/24 -3/8",
             5: "1901/720 -1387/360 109/30 -637/360 251/720"}  # fmt: skip
MOULTON = {1: "1", 2: "1/2 1/2", 3: "5/12 2/3 -1/12", 4: "3/8 19/24 -5/24 1/24",
           5: "251/720 323/360 -11/30 53/360 -19/720"}  # fmt: skip


@pytest.mark.parametrize("k", range(1, 6))
def test_with_equal_steps_the_weights_are_those_that_are_published(k):
    back = [F(-i) for i in range(1, k + 1)]
    assert weights(back)[0] == [F(w) for w in BASHFORTH[k].split()]
    assert weights([F(0), *back[: k - 1]])[0] == [F(w) for w in MOULTON[k].split()]


def rate_of(t, y, r):
    return np.array([r * (y[0] - np.cos(t)), y[2], -y[1]])


def attempt(t, h, y, slopes, sizes, k, r):
    """y_n and the differences f* - p_j(t_n) of an attempt of order k; slopes, sizes: the last ones first."""
    x = [F(1)]
    for size in sizes[: len(slopes) - 1]:
        x.append(x[-1] + F(float(size)) / F(float(h)))
    w = weights([-a for a in x[:k]])[0]
    ahead = y + h * sum(float(a) * f for a, f in zip(w, slopes, strict=False))
    slope = rate_of(t + h, ahead, r)
    w = weights([F(0), *(-a for a in x[:k])])[0]
    new = y + h * (float(w[0]) * slope + sum(float(a) * f for a, f in zip(w[1:], slopes, strict=False)))

    def estimate(j):
        value = weights([-a for a in x[:j]])[1]
        d = slope - sum(float(a) * f for a, f in zip(value, slopes, strict=False))
        p = [F(0), F(1)]
        for a in x[: j - 1]:
            p = times(p, [a, F(1)])
        share = integral(p) / np.prod(x[:j])
        return abs(h * float(share)) * d

    return new, estimate


@pytest.mark.parametrize("law", ["universal_law", "multistep"])
def test_every_step_is_that_of_the_formula_on_the_steps_that_there_were(law):
    rtol, r = 1e-9, -2.0
    sol = solve(chase(r, span=(0.0, 6.0)), "adams", registry.get(law).general(), rtol=rtol, atol=rtol, log=True)
    assert sol.success
    n, order, slopes, sizes, used = 0, 1, [rate_of(0.0, sol.y[0], r)], [], []
    for row in sol.record:
        j = int(row[record.ORDER]) - 1
        if row[ACCEPT] == 1.0:
            h = sol.t[n + 1] - sol.t[n]
            tried = [(k, *attempt(sol.t[n], h, sol.y[n], slopes, sizes, k, r)) for k in {order, max(order - 1, 1)}]
            k, new, estimate = min(tried, key=lambda found: np.abs(found[1] - sol.y[n + 1]).max())
            assert np.abs(new - sol.y[n + 1]).max() < 1e-13
            scale = rtol + rtol * np.maximum(np.abs(sol.y[n]), np.abs(sol.y[n + 1]))
            assert row[record.ERR] == pytest.approx(np.sqrt(np.mean((estimate(j) / scale) ** 2)), rel=1e-2, abs=1e-6)
            used.append(k)
            slopes.insert(0, rate_of(sol.t[n + 1], sol.y[n + 1], r))
            sizes.insert(0, h)
            n += 1
        order = j
    assert used[0] == 1 and max(used) >= 7 and np.all(np.diff(used) <= 1) and n == sol.stats.naccept
    s = sol.stats  # an attempt costs one evaluation, and one more where the last was accepted
    assert s.nfev == 2 + s.naccept + s.nreject + s.naccept - 1


# Work


@pytest.mark.parametrize(
    ("rhs", "y0", "end"), [(brusselator, [1.5, 3.0], 20.0), (kepler, [0.5, 0.0, 0.0, 3.0**0.5], 20.0)]
)
def test_fewer_evaluations_than_lsoda_and_vode_at_equal_error(rhs, y0, end):
    def f(t, y):
        count[0] += 1
        dy = np.empty(len(y))
        rhs(t, y, (), dy)
        return dy

    count = [0]
    best = solve_ivp(f, (0.0, end), y0, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    last = np.inf
    for tol in (1e-5, 1e-7, 1e-9):
        sol = solve(Problem(rhs, y0, (0.0, end), []), "adams", rtol=tol, atol=tol)
        error = np.abs(sol.y[-1] - best).max()
        assert sol.success and error < 1000 * tol and error < last / 5 and sol.stats.nreject < 0.1 * sol.stats.naccept
        last = error
        theirs = solve_ivp(f, (0.0, end), y0, "LSODA", rtol=tol, atol=tol)
        other = np.abs(theirs.y[:, -1] - best).max()
        # at equal error: work grows as the error's power -1/8
        assert (error / other) ** 0.125 * sol.stats.nfev < 1.0 * theirs.nfev
        count[0] = 0
        vode = ode(f).set_integrator("vode", method="adams", rtol=tol, atol=tol, nsteps=10**5)
        other = np.abs(vode.set_initial_value(y0, 0.0).integrate(end) - best).max()
        assert (error / other) ** 0.125 * sol.stats.nfev < 1.1 * count[0]


def test_the_error_follows_the_tolerance_and_orders_rise():
    tolerances = 10.0 ** -np.arange(3.0, 12.1)
    errors, most = [], []
    for tol in tolerances:
        sol = solve(chase(), "adams", LAW, rtol=tol, atol=tol, log=True)
        errors.append(np.abs(sol.y - exact(sol.t)).max())
        most.append(sol.record[sol.record[:, ACCEPT] == 1.0, record.ORDER].max() - 1)
    slope = np.polyfit(np.log10(tolerances), np.log10(errors), 1)[0]
    assert 0.8 < slope < 1.2 and np.all(np.array(errors) < 100 * tolerances)
    assert most[0] <= 8 and most[-1] >= 11
    method = methods.get("adams")
    assert (method.order, method.embedded_order, method.dense_order, method.implicit) == (13, 12, 13, False)


# Dense output, direction, lanes, devices


def test_dense_output_has_the_accuracy_of_the_steps_also_backwards():
    tol, at = 1e-8, np.linspace(0.05, 20.0, 200)
    sol = solve(chase(), "adams", LAW, rtol=tol, atol=tol, t_eval=at)
    plain = solve(chase(), "adams", LAW, rtol=tol, atol=tol)
    steps = np.abs(plain.y - exact(plain.t)).max()
    assert np.abs(sol.y - exact(at)).max() < 3 * steps < 300 * tol
    assert (sol.stats.naccept, sol.stats.nfev) == (plain.stats.naccept, plain.stats.nfev)
    # a rate that is stable backwards
    at = np.linspace(0.0, 6.0, 60)[::-1]
    sol = solve(chase(1.0, span=(6.0, 0.0), y0=exact(6.0, 1.0)), "adams", LAW, rtol=tol, atol=tol, t_eval=at)
    assert sol.success and np.abs(sol.y - exact(at, 1.0)).max() < 2000 * tol


def test_lanes_are_single_solves():
    rates = -np.geomspace(0.5, 20.0, 20)
    y0 = np.tile([0.0, 0.0, 1.0], (20, 1))
    y0[3] = np.nan
    p = np.column_stack([rates, rates, np.full(20, 1e9)])
    many = solve_ensemble(Batch(chased, y0, p, 0.0, 20.0, validate=False), "adams", LAW, rtol=1e-7, atol=1e-9)
    assert many.status[3] == BAD_START and many.success.sum() == 19
    for i in (0, 7, 19):
        one = solve(chase(rates[i]), "adams", LAW, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-8, atol=1e-9)
        assert many.stats.nfev[i] == pytest.approx(one.stats.nfev, rel=0.03)


def test_it_has_no_cuda_kernel():
    with pytest.raises(ValueError, match="adams"):
        cuda.ensemble_kernel(chase().batch(), methods.get("adams"), LAW)


# Jumps and failures


def test_after_a_jump_of_the_right_hand_side_the_order_falls():
    sol = solve(chase(-1.0, after=-5.0, switch=3.0, span=(0.0, 6.0)), "adams", LAW, rtol=1e-8, atol=1e-8, log=True)
    a, b = 25 / 26, 5 / 26
    c = exact(3.0)[0] - a * np.cos(3.0) - b * np.sin(3.0)
    want = np.where(
        sol.t > 3.0, a * np.cos(sol.t) + b * np.sin(sol.t) + c * np.exp(-5.0 * (sol.t - 3.0)), exact(sol.t)[:, 0]
    )
    assert sol.success and np.abs(sol.y[:, 0] - want).max() < 1e-5 and sol.stats.nreject < 60
    taken = np.where(sol.record[:, ACCEPT] == 1.0, sol.record[:, record.H], 0.0)
    t = np.concatenate([[0.0], np.cumsum(taken)])[:-1]
    near = sol.record[(t > 2.5) & (t < 3.2), record.ORDER]
    assert near.max() >= near.min() + 4 and sol.record[-1, record.ORDER] >= 5


def test_failures_end_with_a_status():
    def run(y0, rate, end=2.0, **options):
        def square(t, y, p, dy):
            dy[0] = p[0] * y[0] * y[0]

        return solve(Problem(square, [y0], (0.0, end), [rate], validate=False), "adams", LAW, 1e-6, 1e-9, **options)

    sol = run(1.0, 1.0)  # blows up at 1
    assert sol.status in (UNDERFLOW, NON_FINITE) and 0.9 < sol.t[-1] < 1.1
    early = sol.t < 0.9
    assert np.all(np.isfinite(sol.y)) and np.abs(sol.y[early, 0] * (1 - sol.t[early]) - 1.0).max() < 1e-3
    assert run(np.nan, 1.0).status == BAD_START
    assert not run(1.0, -1.0, 1e3, max_steps=10).success and run(1.0, -1.0, 1e3).success


def test_stiffness_costs_steps_and_no_accuracy():
    sol = solve(chase(-2000.0, span=(0.0, 2.0)), "adams", LAW, rtol=1e-5, atol=1e-7)
    assert sol.success and np.abs(sol.y - exact(sol.t, -2000.0)).max() < 1e-3 and sol.stats.naccept > 500
