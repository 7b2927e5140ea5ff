"""What the rules of portfolios read, and when they switch: against plain counts, and Jacobians written down here."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.core import record

TOL = {"rtol": 1e-6, "atol": 1e-8}


def vdp(t, y, p):
    return [y[1], p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]]


def stints(sol):
    """Accepted steps between the changes of the method."""
    places = [int(np.flatnonzero(sol.t == t)[0]) for t, _ in sol.switches]
    return np.diff([*places, len(sol.t) - 1])


def test_hairer_counts_as_dopri5_does():
    """IASTI and NONSTI of dopri5.f, counted in plain Python over the log; the implicit side is their mirror image."""
    sol = ss.solve(ss.Problem(vdp, [2.0, 0.0], (0.0, 900.0), [1000.0]), "dopri5+rodas5p", "hairer", **TOL, log=True)
    assert sol.success and sol.stats.nswitch >= 2
    iasti = nonsti = here = 0
    found, t = [], 0.0
    for row in sol.record:
        if not row[record.N_RECORD]:
            continue
        t = t + row[record.H]
        stiff = abs(row[record.HS]) > 3.3066 - 0.05
        if stiff == (here == 0):
            iasti, nonsti = iasti + 1, 0
        else:
            nonsti += 1
            iasti = 0 if nonsti == 6 else iasti
        if iasti == 15:
            here, iasti, nonsti = 1 - here, 0, 0
            found.append(t)
    assert found == [s for s, _ in sol.switches[1:]]


def test_race_waits_twice_as_long_after_every_trial_that_is_lost():
    sol = ss.solve(ss.Problem(vdp, [2.0, 0.0], (0.0, 60.0), [0.5]), "tsit5+rodas5p", "race", **TOL)
    assert sol.success and [name for _, name in sol.switches[:6]] == ["tsit5", "rodas5p"] * 3
    waits, trials = stints(sol)[::2], stints(sol)[1::2]
    assert waits[:3].tolist() == [8, 16, 32] and (trials[:-1] <= 3).all()


def test_race_goes_where_the_steps_are_long_for_their_cost():
    stiff = ss.solve(ss.Problem(vdp, [2.0, 0.0], (0.0, 500.0), [1000.0]), "tsit5+rodas5p", "race", **TOL)
    assert stiff.success and stiff.switches[-1][1] == "rodas5p"
    assert stiff.stats.nfev < 0.01 * 500.0 * 1000.0 * 3.0 * 6.0 / 3.5  # what stability leaves the explicit method


def matrix(n, band=None):
    """A matrix whose largest row sum is not its largest column sum."""
    A = np.random.default_rng(n).normal(size=(n, n))
    A[0] *= 3.0
    if band is not None:
        A = np.triu(np.tril(A, band), -band)
    return A - 4.0 * np.eye(n)


FULL, BAND, LARGE = matrix(3), matrix(12, 1), matrix(20)
ARROW = np.diag(-np.linspace(1.0, 5.0, 40))
ARROW[0, 1:], ARROW[1:, 0] = 0.3, 0.1
A3, A12, A20, A40 = (tuple(map(tuple, A.tolist())) for A in (FULL, BAND, LARGE, ARROW))


def product(A, y):
    return np.array(A) @ y


def rhs3(t, y):
    return product(A3, y)


def rhs12(t, y):
    return product(A12, y)


def rhs20(t, y):
    return product(A20, y)


def rhs40(t, y):
    return product(A40, y)


def jac20(t, y):
    return np.array(A20)


@pytest.mark.parametrize(
    "rhs, A, more",
    [
        (rhs3, FULL, {}), (rhs12, BAND, {"sparsity": (1, 1)}), (rhs20, LARGE, {}), (rhs20, LARGE, {"jac": jac20}),
        (rhs40, ARROW, {"sparsity": ARROW != 0.0}),
    ],
)  # fmt: skip
def test_under_an_implicit_method_it_is_the_maximum_norm_of_the_jacobian(rhs, A, more):
    """Full, by differences and given, as a band, large (by columns), and sparse."""
    problem = ss.Problem(rhs, np.linspace(0.5, 1.0, len(A)), (0.0, 0.01), **more)
    sol = ss.solve(problem, "rodas5p+tsit5", "race", **TOL, log=True)
    rho = sol.record[:, record.HS] / sol.record[:, record.H]
    rows, columns = (np.abs(A).sum(axis=axis).max() for axis in (1, 0))
    assert sol.success and sol.stats.nswitch == 0 and abs(rows - columns) > 0.05 * rows
    np.testing.assert_allclose(rho, rows, rtol=1e-5)
