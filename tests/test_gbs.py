"""Gragg-Bulirsch-Stoer extrapolation: the table in exact numbers, every step against its formula, published end points,
columns, lanes, jumps and failures.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction as F
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith import Batch, Problem, problems, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.core import record
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.kernels.layout import BAD_START, NON_FINITE, UNDERFLOW
from stepsmith.integrators.methods.extrapolation.gbs import FORMULAS
from two_bodies import ACCEPT, LAW, body, columns_of, exact, orbit, rate

REFERENCE = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())


# The table


def table(first, substeps):
    """Rows of the table, by Aitken and Neville, from their first elements."""
    rows = []
    for j, value in enumerate(first):
        row = [value]
        for k in range(1, j + 1):
            ratio = F(substeps[j], substeps[j - k]) ** 2
            row.append(row[-1] + (row[-1] - rows[j - 1][k - 1]) / (ratio - 1))
        rows.append(row)
    return rows


def test_the_weights_are_those_of_the_scheme():
    n = FORMULAS.substeps
    assert n == (2, 4, 6, 8, 10, 12, 14, 16, 18)
    for j in range(1, 10):
        for r in range(9):
            want = 1 / (F(n[j - 1], n[j - r - 2]) ** 2 - 1) if r < j - 1 else 0
            assert FORMULAS.weight(j, r) == want
    # A_k of Hairer, Norsett and Wanner, (9.22): with the slope at the start
    assert [FORMULAS.cost(k) for k in range(1, 6)] == [3, 7, 13, 21, 31]
    assert (FORMULAS.most, FORMULAS.cost(9)) == (9, 91)


@pytest.mark.parametrize("k", range(1, 10))
def test_the_table_satisfies_its_order_conditions(k):
    """With w_j the weights of T_kk: sum w_j = 1, sum w_j n_j^(-2m) = 0 for m < k, and not for m = k."""
    n = FORMULAS.substeps[:k]
    weights = [table([F(i == j) for i in range(k)], n)[-1][-1] for j in range(k)]
    moments = [sum(w / F(m) ** (2 * q) for w, m in zip(weights, n, strict=True)) for q in range(k + 1)]
    assert moments[0] == 1 and not any(moments[1:k]) and moments[k] != 0


def ends(f, t, y, h, n):
    """The last value of the midpoint rule, and what smoothing makes of it."""
    a, b = y, y + h * f(t, y)
    for i in range(1, n):
        a, b = b, a + 2 * h * f(t + i * h, b)
    return b, (a + b + h * f(t + n * h, b)) / 2


def midpoint(f, t, y, h, n):
    return ends(f, t, y, h, n)[1]


def test_the_error_of_the_midpoint_rule_has_even_powers():
    with mpmath.workdps(60):
        one = mpmath.mpf(1)
        errors = [(m, midpoint(lambda t, y: y * y, 0, one, one / (4 * m), m) - one / (1 - one / 4)) for m in
                  (32, 64, 128, 256)]  # fmt: skip
        # e n^2 = a + b/n^2 + ...; with a term of the third power it would be a + c/n
        scaled = [float(e * m * m) for m, e in errors]
    first, second = (np.diff(scaled)[i] / np.diff(scaled)[i + 1] for i in (0, 1))
    assert first == pytest.approx(4.0, rel=0.05) and second == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("k", range(1, 7))
def test_a_fixed_column_has_its_order(k):
    """On y' = y in fractions, against the Taylor series of e; on y' = y^2, whose solution is 1/(1 - t)."""
    n = FORMULAS.substeps[:k]
    taylor = [F(1, math.factorial(q)) for q in range(2 * k + 2)]

    def plus(a, b, scale=F(1)):
        return [x + scale * y for x, y in zip(a, b, strict=True)]

    def times_h(a):
        return [F(0), *a[:-1]]

    firsts = []
    for m in n:
        a = [F(1)] + [F(0)] * (2 * k + 1)
        b = plus(a, times_h(a), F(1, m))
        for _ in range(m - 1):
            a, b = b, plus(a, times_h(b), F(2, m))
        firsts.append([x / 2 for x in plus(plus(a, b), times_h(b), F(1, m))])
    found = [table([row[q] for row in firsts], n)[-1][-1] for q in range(2 * k + 2)]
    assert found[: 2 * k + 1] == taylor[: 2 * k + 1] and found[-1] != taylor[-1]
    with mpmath.workdps(80):
        sizes, errors = [mpmath.mpf(1) / q for q in (64, 128)], []
        for h in sizes:
            rows = [midpoint(lambda t, y: y * y, 0, mpmath.mpf(1), h / m, m) for m in n]
            while len(rows) > 1:
                c = k - len(rows) + 1
                rows = [b + (b - a) / (mpmath.mpf(n[i + c]) ** 2 / n[i] ** 2 - 1) for i, (a, b) in
                        enumerate(zip(rows, rows[1:], strict=False))]  # fmt: skip
            errors.append(rows[0] - 1 / (1 - h))
        assert float(mpmath.log(errors[0] / errors[1], 2)) == pytest.approx(2 * k + 1, abs=0.4)


# Steps


def attempt(f, t, y, h, c, rtol):
    """The increments T_cc, and the scaled errors of columns 2 to c."""
    n = FORMULAS.substeps
    rows, errors, changes = [], {}, []
    for j in range(c):
        last, smooth = ends(lambda s, d: f(s, y + d), t, np.zeros_like(y), h / n[j], n[j])
        changes.append(np.sqrt(np.mean(((smooth - last) / (rtol + rtol * np.abs(y))) ** 2)))
        row = [smooth]
        for k in range(1, j + 1):
            row.append(row[-1] + (row[-1] - rows[j - 1][k - 1]) / ((n[j] / n[j - k]) ** 2 - 1.0))
        rows.append(row)
        if j > 0:
            scale = rtol + rtol * np.maximum(np.abs(y), np.abs(y + row[-1]))
            errors[j + 1] = np.sqrt(np.mean(((row[-1] - row[-2]) / scale) ** 2))
            if changes[j] > 4.0 / (j + 1) ** 2 * changes[0]:  # the row is unstable
                errors[j + 1] = max(errors[j + 1], changes[j] / 12.0)
    return rows[-1][-1], errors


def reported(errors, c, aim, good):
    """What the record is to hold: the error of the column that comes next."""
    if not good:
        return max(errors[aim], errors[c])
    if aim <= c:
        return min(errors[aim], 1.0)
    if c == 2:  # of the size that costs as much a unit of time
        return (FORMULAS.cost(3) / FORMULAS.cost(2) * errors[2] ** (-1.0 / 3.0)) ** -5.0
    return errors[c] * min(errors[c] / errors[c - 1], 1.0) * (c / (c + 1.0)) ** 2


@pytest.mark.parametrize("law", ["universal_law", "i"])
def test_every_step_is_that_of_the_formula_and_the_law_sees_the_next_columns_error(law):
    rtol = 1e-9
    sol = solve(body(), "gbs", registry.get(law).general(), rtol=rtol, atol=rtol, log=True)
    rows, n, aim, steps = sol.record, 0, 0, []
    used = columns_of(rows)
    for row, c in zip(rows, used, strict=True):
        y, good, free = sol.y[n], row[ACCEPT] == 1.0, row[record.TRUNCATED] == 1.0 or n == 0
        best, errors = attempt(rate, sol.t[n], y, row[record.H], c, rtol)
        assert good == (errors[c] <= 1.0) and (free or abs(c - aim) <= 1)
        if good:
            assert np.abs(y + best - sol.y[n + 1]).max() < 1e-13
            n += 1
        steps.append((c - aim, good))
        aim = int(row[record.ORDER] + 1) // 2
        assert row[record.ORDER] == 2 * aim - 1 and 2 <= aim <= 8
        want = errors[c] if row[record.TRUNCATED] == 1.0 else reported(errors, c, aim, good)
        assert row[record.ERR] == pytest.approx(want, rel=1e-2, abs=1e-9)
    assert n == sol.stats.naccept and min(used) >= 2 and max(used) >= 6
    assert {(-1, True), (0, True), (1, True)} <= set(steps) and (law != "i" or sol.stats.nreject > 0)
    assert sol.stats.nfev == 2 + rows[:, record.NF].sum()  # two evaluations choose the first size


@pytest.mark.filterwarnings("ignore:counted runs as plain Python")
def test_evaluations_are_those_that_are_made():
    count = [0]

    def counted(t, y):
        count[0] += 1
        return rate(t, y)

    for options in ({}, {"t_eval": np.linspace(0.0, 3.0, 7)}):
        count[0] = 0
        problem = Problem(counted, [0.5, 0.0, 0.0, 3.0**0.5], (0.0, 3.0), compiled=False)
        sol = solve(problem, "gbs", LAW, rtol=1e-6, atol=1e-6, **options)
        # beside, the problem is called to see whether it can be
        assert sol.success and 0 <= count[0] - sol.stats.nfev <= 3


# Accuracy


def test_the_error_follows_the_tolerance_and_columns_rise():
    tolerances = 10.0 ** -np.arange(3.0, 13.1)
    errors, most = [], []
    for tol in tolerances:
        sol = solve(body(), "gbs", LAW, rtol=tol, atol=tol, log=True)
        errors.append(np.abs(sol.y - exact(sol.t)).max())
        most.append(max(columns_of(sol.record)))
        assert sol.success and sol.stats.nreject < 0.2 * sol.stats.naccept
    slope = np.polyfit(np.log10(tolerances), np.log10(errors), 1)[0]
    assert 0.8 < slope < 1.2 and errors[-1] < 1e-10
    assert most[0] <= 5 and most[-1] >= 7 and np.polyfit(np.arange(11.0), most, 1)[0] > 0.2
    method = methods.get("gbs")
    assert (method.order, method.embedded_order, method.dense_order, method.implicit) == (18, 16, 18, False)


@pytest.mark.parametrize(("name", "grows"), [("arenstorf", 1e5), ("pleiades", 1e4)])
def test_published_end_points(name, grows):
    """An orbit that closes after its period, and seven stars, whose end is in the CWI/Bari test set.  grows: what an
    error grows by until the end.
    """
    problem = problems.family(name).published()
    if name == "arenstorf":
        end = np.array(problem.y0)
    else:  # there the coordinates x_1, ..., x_7 come before y_1, ..., y_7
        end = np.array(REFERENCE[name]["ref"]).reshape(2, 2, 7).swapaxes(1, 2).ravel()
    for tol in (1e-6, 1e-9, 1e-13):
        sol = solve(problem, "gbs", LAW, rtol=tol, atol=1e-2 * tol)
        assert sol.success and np.abs(sol.y[-1] - end).max() < grows * tol + 1e-9


def test_steps_that_grow_fast_are_not_given_up_again_and_again():
    """Out of a close encounter at a tight tolerance the size grows tenfold a step, and columns by one."""
    problem = problems.family("arenstorf").published()
    quick = solve(problem, "gbs", registry.get("i").general(), rtol=1e-11, atol=1e-14)
    usual = solve(problem, "gbs", LAW, rtol=1e-11, atol=1e-14)
    assert quick.stats.nreject < 0.4 * quick.stats.naccept and quick.stats.nfev < 1.5 * usual.stats.nfev


def test_lanes_are_single_solves_and_scipys_solution():
    family = problems.family("lorenz")
    drawn = problems.sample("lorenz", n=20, seed=3)
    y0 = drawn.y0.copy()
    y0[3] = np.nan
    batch = Batch(drawn.rhs, y0, drawn.p, drawn.t0, drawn.t0 + 2.0, validate=False)
    # sizes and columns differ from lane to lane, and lanes are refilled
    many = solve_ensemble(batch, "gbs", LAW, rtol=1e-11, atol=1e-13)
    assert many.status[3] == BAD_START and many.success.sum() == 19 and family.n == 3

    def f(t, y, p):
        dy = np.empty(3)
        drawn.rhs(t, y, p, dy)
        return dy

    for i in (0, 7, 19):
        one = solve(batch[i], "gbs", LAW, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-9)
        assert many.stats.nfev[i] == pytest.approx(one.stats.nfev, rel=0.1)
        span = (batch.t0[i], batch.t1[i])
        best = solve_ivp(f, span, y0[i], "DOP853", rtol=1e-13, atol=1e-14, args=(drawn.p[i],)).y[:, -1]
        np.testing.assert_allclose(many.y[i], best, rtol=1e-8)


@pytest.mark.parametrize("law", ["i", "h211b", "pi34", "dop853", "pc11"])
def test_laws_of_other_methods_drive_it(law):
    sol = solve(body(), "gbs", registry.get(law).general(), rtol=1e-8, atol=1e-8)
    assert sol.success and np.abs(sol.y - exact(sol.t)).max() < 1e-4
    assert sol.stats.nfev < 2.5 * solve(body(), "gbs", LAW, rtol=1e-8, atol=1e-8).stats.nfev


def relaxation(t, y, p, dy):
    dy[0] = -p[0] * (y[0] - np.cos(t))


def relaxed(t, fast):
    """Its solution from 2 at the time 0."""
    a, b = fast**2 / (1.0 + fast**2), fast / (1.0 + fast**2)
    return a * np.cos(t) + b * np.sin(t) + (2.0 - a) * np.exp(-fast * t)


@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8, 1e-10])
def test_steps_that_stability_holds_have_the_tolerance(tol):
    """There the difference of columns has zeros at sizes at which a step multiplies errors by 100 and more."""
    for fast in (300.0, 3000.0, 30000.0):
        problem = Problem(relaxation, [2.0], (0.0, 2.0), [fast])
        sol = solve(problem, "gbs", rtol=tol, atol=tol)
        assert sol.success and np.abs(sol.y[:, 0] - relaxed(sol.t, fast)).max() < 30.0 * tol


def test_what_smoothing_changes_tells_an_unstable_step_from_a_stable_one():
    """On y' = z y, one step of size 1: where a column multiplies errors, and its own error is small beside that, row c
    says so; and says nothing where steps are short.
    """
    n = FORMULAS.substeps
    for z in -np.arange(0.25, 16.0, 0.125):
        rows, changes = [], []
        for j in range(9):
            last, smooth = ends(lambda t, y: z * y, 0.0, 1.0, 1.0 / n[j], n[j])  # noqa: B023
            changes.append(abs(smooth - last))
            row = [smooth]
            for k in range(1, j + 1):
                row.append(row[-1] + (row[-1] - rows[j - 1][k - 1]) / ((n[j] / n[j - k]) ** 2 - 1.0))
            rows.append(row)
            c = j + 1
            seen = changes[j] > 4.0 / c**2 * changes[0]
            assert c == 1 or seen or abs(row[-1]) < max(2.0, 40.0 * abs(row[-1] - row[-2]))
            assert c == 1 or not seen or z < -2.0


# Events, stops, jumps, failures


def test_events_are_found_and_stops_begin_anew():
    """The crossings of the axis of apsides are at multiples of half a revolution."""
    found = solve(body(), "gbs", LAW, rtol=1e-11, atol=1e-11, events=lambda t, y, p: y[1])
    np.testing.assert_allclose(found.t_events[0], np.pi * np.arange(1, 7), rtol=0, atol=1e-7)
    jump = body(after=0.5, switch=7.3)
    sol = solve(jump, "gbs", LAW, rtol=1e-10, atol=1e-10, tstops=[7.3], log=True)

    def f(t, y, gm):
        r3 = np.hypot(y[0], y[1]) ** 3
        return [y[2], y[3], -gm * y[0] / r3, -gm * y[1] / r3]

    want = solve_ivp(f, (7.3, 20.0), exact(7.3), "DOP853", rtol=1e-13, atol=1e-14, args=(0.5,)).y[:, -1]
    assert sol.success and np.abs(sol.y[-1] - want).max() < 1e-7 and 7.3 in sol.t
    # a stop costs the step that ends there and a new start; a jump that is not told costs rejections
    through = solve(jump, "gbs", LAW, rtol=1e-10, atol=1e-10)
    assert through.success and np.abs(through.y[-1] - want).max() < 1e-5
    assert sol.stats.nreject < through.stats.nreject


def test_a_bound_on_the_step_lowers_the_column():
    sol = solve(body(), "gbs", LAW, rtol=1e-9, atol=1e-9, max_step=0.02, log=True)
    used = columns_of(sol.record)
    assert sol.success and np.diff(sol.t).max() <= 0.02 * (1 + 1e-12)
    assert np.median(used) <= 3 and np.abs(sol.y - exact(sol.t)).max() < 1e-6


def test_failures_end_with_a_status():
    fall = solve(body(3.0, y0=(1.0, 0.0, 0.0, 0.0)), "gbs", LAW, rtol=1e-8, atol=1e-8)  # meets the centre
    assert fall.status in (UNDERFLOW, NON_FINITE) and np.all(np.isfinite(fall.y))
    assert fall.t[-1] == pytest.approx(np.pi / 2**1.5, abs=1e-3)
    broken = solve(body(after=1e308, switch=5.0), "gbs", LAW, rtol=1e-8, atol=1e-8)
    assert broken.status in (UNDERFLOW, NON_FINITE) and broken.t[-1] == pytest.approx(5.0, abs=1e-6)
    nowhere = Problem(orbit, [np.nan, 0.0, 0.0, 1.0], (0.0, 1.0), [1.0, 1.0, 1e9], validate=False)
    assert solve(nowhere, "gbs", LAW).status == BAD_START
    short = solve(body(), "gbs", LAW, rtol=1e-8, max_steps=5)
    assert not short.success and short.stats.naccept + short.stats.nreject == 5


def test_it_has_no_cuda_kernel():
    with pytest.raises(ValueError, match="gbs"):
        cuda.ensemble_kernel(body().batch(), methods.get("gbs"), LAW)
