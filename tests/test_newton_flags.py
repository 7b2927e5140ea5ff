"""What a controller's flags do to an implicit method: Jacobian kept or renewed, LU factors kept although the size
changes.
"""

from __future__ import annotations

import numpy as np
import pytest

from stepsmith import Problem, solve
from stepsmith.controllers.laws import registry
from stepsmith.integrators import problems
from stepsmith.integrators.core import record
from stepsmith.integrators.core.contract import FLAGS, KEEP_JACOBIAN, KEEP_LU, REFRESH_JACOBIAN

PUBLISHED = problems.family("vdpol_stiff").published()  # to t = 2000, mu = 1000
VDP = np.array([1.706167732170469, -8.928097010248125e-4])  # its end point in the Bari/CWI test set

COLUMN = record.N_RECORD + FLAGS
BASE = registry.get("predictive")


def run(law, method="esdirk43", tol=1e-5, problem=None):
    # one kernel for all laws
    return solve(problem or PUBLISHED, method, law.general(), rtol=tol, atol=tol, log=True)


def test_a_law_with_radaus_threshold_does_what_the_method_does_by_itself():
    named, own = run(BASE.replace(jac_rate=1e-3)), run(BASE)
    assert np.array_equal(named.y, own.y) and named.stats.njev == own.stats.njev
    flags = named.record[:, COLUMN].astype(int)
    assert set(np.unique(flags)) <= {0, int(KEEP_JACOBIAN), int(REFRESH_JACOBIAN)}
    rate = named.record[:, record.NEWTON_RATE]
    assert np.array_equal(flags == REFRESH_JACOBIAN, rate > 1e-3)


@pytest.mark.parametrize("method", ["esdirk43", "radau5"])
def test_thresholds_trade_jacobians_for_iterations(method):
    eager, lazy = run(BASE.replace(jac_rate=0.0), method), run(BASE.replace(jac_rate=0.5), method)
    for sol in (eager, lazy):
        assert sol.success and np.abs(sol.y[-1] / VDP - 1.0).max() < 1e-3
    attempts = eager.stats.naccept + eager.stats.nreject
    assert eager.stats.njev > 0.7 * attempts and lazy.stats.njev < 0.5 * eager.stats.njev
    iterations = [s.stats.nsolve / (s.stats.naccept + s.stats.nreject) for s in (eager, lazy)]
    assert iterations[1] > iterations[0]


@pytest.mark.parametrize("method", ["esdirk43", "radau5"])
def test_factors_are_kept_while_the_size_stays_near_their_own(method):
    law = BASE.replace(lu_keep=1.3, jac_rate=0.3)
    kept, plain = run(law, method), run(BASE.replace(jac_rate=0.3), method)
    assert kept.success and np.abs(kept.y[-1] / VDP - 1.0).max() < 1e-3
    assert kept.stats.nlu < 0.7 * plain.stats.nlu
    shift, renewed = kept.record[:, record.LU_SHIFT], kept.record[:, record.NLU] > 0
    assert np.all(shift[renewed] == 0.0) and np.any(shift != 0.0)
    flags = kept.record[:, COLUMN].astype(int) & int(KEEP_LU)
    # the flag of one attempt binds the next: factors of another size only under it, and never far from their own
    used = np.flatnonzero(shift[1:] != 0.0)
    assert np.all(flags[used] > 0) and np.abs(shift).max() <= np.log(1.3) + 1e-9
    assert np.all(plain.record[:, record.LU_SHIFT] == 0.0)


def test_factors_of_another_size_do_not_spoil_the_answer():
    exact = run(BASE, tol=1e-9).y[-1]
    for lu_keep in (1.0, 1.5):
        sol = run(BASE.replace(lu_keep=lu_keep, band_hi=1.0), tol=1e-7)
        assert np.abs(sol.y[-1] / exact - 1.0).max() < 1e-5


def decay(t, y, p, dy):
    dy[0] = -p[0] * (y[0] - np.cos(t))


def test_explicit_methods_ignore_flags():
    problem = Problem(decay, [0.0], (0.0, 5.0), [3.0])
    law = BASE.replace(newton_m=0.0, lu_keep=1.5, jac_rate=0.1)
    plain = solve(problem, "tsit5", BASE.replace(newton_m=0.0).general(), rtol=1e-6, atol=1e-6)
    flagged = solve(problem, "tsit5", law.general(), rtol=1e-6, atol=1e-6, log=True)
    assert np.array_equal(plain.y, flagged.y) and np.all(flagged.record[:, COLUMN] == 0.0)


def pair(t, y, p, dy):
    dy[0] = -50.0 * y[0] + y[1]
    dy[1] = -0.3 * y[1]


def pair_jac(t, y, p, J):
    J[0, 0] = -50.0
    J[0, 1] = 1.0
    J[1, 0] = 0.0
    J[1, 1] = -0.3


def test_kept_factors_do_not_pass_for_convergence():
    """On a linear problem the collocation step is known: what Newton leaves must stay below its own tolerance."""
    s6 = 6**0.5
    table = np.array([
        [(88 - 7 * s6) / 360, (296 - 169 * s6) / 1800, (-2 + 3 * s6) / 225],
        [(296 + 169 * s6) / 1800, (88 + 7 * s6) / 360, (-2 - 3 * s6) / 225],
        [(16 - s6) / 36, (16 + s6) / 36, 1 / 9],
    ])  # fmt: skip
    matrix = np.array([[-50.0, 1.0], [0.0, -0.3]])
    problem = Problem(pair, [1.0, 1.0], (0.0, 20.0), jac=pair_jac)
    for tol in (1e-3, 1e-6):
        sol = run(BASE.replace(lu_keep=2.0, jac_rate=0.5), "radau5", tol, problem)
        shifts = sol.record[sol.record[:, record.N_RECORD] > 0.5][:, record.LU_SHIFT]
        assert np.any(np.abs(shifts) > 0.1)
        worst = 0.0
        for y, new, h in zip(sol.y[:-1], sol.y[1:], np.diff(sol.t), strict=True):
            k = np.linalg.solve(np.eye(6) - h * np.kron(table, matrix), np.tile(matrix @ y, 3)).reshape(3, 2)
            worst = max(worst, float(np.sqrt(np.mean(((new - y - h * (table[2] @ k)) / (tol + tol * np.abs(y))) ** 2))))
        assert worst < 3 * min(0.03, tol**0.5)
