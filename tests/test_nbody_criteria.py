"""Time scales of N-body methods, and the criteria that choose steps by them, against independent formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from bodies import cloud, constant, derivatives, eights
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.nbody import three_body
from stepsmith.integrators.problems.problem import Problem


@pytest.mark.parametrize("case", ["three", "ten"])
def test_criteria_against_numpy(case):
    """Record of PECE steps against independent formulas; three bodies unrolled, ten by loops."""
    if case == "three":
        problem, bodies, dim = replace(three_body.published(), t_span=(0.0, 0.5)), 3, 2
    else:
        problem, bodies, dim = cloud(10, 3, 0.3)
    h = 0.01
    s = solve(problem, "hermite4", constant(h), 1e-6, 1e-6, log=True)
    column = {name: s.record[:, i] for i, name in enumerate(s.record_names)}
    norm = np.linalg.norm
    for n in range(5):
        a0, j0, _ = derivatives(s.y[n], problem.p, bodies, dim)
        a1, j1, amuse = derivatives(s.y[n + 1], problem.p, bodies, dim)
        # derivatives of the quintic through a, j at both ends, at its end: solve for them instead of quoting them
        lhs = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, h, h**2 / 2, h**3 / 6], [0, 1, h, h**2 / 2]])
        _, _, snap0, crackle = np.linalg.solve(lhs, np.stack([a0, j0, a1, j1]).reshape(4, -1)).reshape(4, bodies, dim)
        snap = snap0 + h * crackle
        A, J, S, C = (norm(q, axis=1) for q in (a1, j1, snap, crackle))
        assert column["tau_amuse"][n] == pytest.approx(amuse, rel=1e-10)
        assert column["tau_aarseth"][n] == pytest.approx(np.sqrt(((A * S + J**2) / (J * C + S**2)).min()), rel=1e-6)
        assert column["tau_prs"][n] == pytest.approx(
            np.sqrt((2 * A**2 / (J**2 + np.sqrt(S**2 * A**2))).min()), rel=1e-6
        )
        # the error: what the crackle term contributes, h^5/120 and h^4/24, as the corrector's evaluation (at the
        # predictor) saw it
        size = np.concatenate([(h**5 / 120 * crackle).ravel(), (h**4 / 24 * crackle).ravel()])
        scale = 1e-6 + 1e-6 * np.maximum(np.abs(s.y[n]), np.abs(s.y[n + 1]))
        assert column["err"][n] == pytest.approx(np.sqrt(np.mean((size / scale) ** 2)), rel=0.05)
        assert column["order"][n] == 4


def test_many_bodies():
    """Ten bodies in space run through loops over pairs: against SciPy."""
    problem, bodies, dim = cloud(10, 3, 0.3)

    def f(t, y):
        return np.concatenate([y[30:], derivatives(y, problem.p, bodies, dim)[0].ravel()])

    ref = solve_ivp(f, problem.t_span, problem.y0, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    assert np.abs(solve(problem, "hermite4", constant(0.01), 1e-6, 1e-6, log=True).y[-1] - ref).max() < 1e-8
    assert np.abs(solve(problem, "leapfrog", constant(0.01)).y[-1] - ref).max() < 1e-4


@pytest.mark.parametrize(
    ("law", "tau"), [(registry.get("amuse", mu=0.01), "tau_amuse"), (registry.get("aarseth", eta=1e-3), "tau_aarseth"),
                     (registry.get("ias15"), "tau_prs")],
)  # fmt: skip
def test_criterion_steps(law, tau):
    """Steps h are a constant times tau of the step before; the first comes from the start: AMUSE's exactly, the others'
    from |a|/|j| too.
    """
    problem = replace(eights(1)[0], t_span=(0.0, 0.7))
    s = solve(problem, "hermite4_pec", law, log=True)
    column = {name: s.record[:, i] for i, name in enumerate(s.record_names)}
    c = law[{"tau_amuse": "amuse", "tau_aarseth": "aarseth", "tau_prs": "prs"}[tau]]
    a, j, amuse = derivatives(problem.y0, problem.p, 3, 2)
    first = amuse if tau == "tau_amuse" else min(amuse, np.linalg.norm(a) / np.linalg.norm(j))
    assert column["h"][0] == pytest.approx(c * first, rel=1e-12)
    assert np.allclose(column["h_free"][1:], c * column[tau][:-1], rtol=1e-12)
    assert s.stats.nreject == 0
    # a step of the caller's own choice comes before it
    assert solve(problem, "hermite4_pec", law, first_step=1e-5, log=True).t[1] == 1e-5


def test_vanishing_acceleration_stalls_prs():
    """The exact figure eight starts with one body free of force: sqrt(2) c < 1/4, so every step is repeated, until
    underflow ends it.
    """
    for law, fine in (("ias15", False), ("aarseth", True), ("amuse", True)):
        s = solve(replace(three_body.published(), t_span=(0.0, 0.7)), "hermite4_pec", registry.get(law), log=True)
        assert s.success == fine and np.isfinite(s.y).all(), law


def test_circular_orbit_scales_agree():
    """Lagrange's rotating triangle: every derivative turns with the same angular velocity, here 1."""
    angle = 2 * np.pi * np.arange(3) / 3
    radius = 3 ** (-1 / 6)  # r^3 w^2 = G m / sqrt(3)
    x = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    v = x[:, ::-1] * [-1, 1]
    problem = replace(three_body.published(), y0=np.concatenate([x.ravel(), v.ravel()]), t_span=(0.0, 0.3))
    s = solve(problem, "hermite4", constant(1e-3), 1e-6, 1e-6, log=True)
    for name in ("tau_amuse", "tau_aarseth", "tau_prs"):
        assert np.allclose(s.record[:-1, rec.NAMES.index(name)], 1.0, atol=1e-4), name


def test_single_body_moves_straight():
    problem = Problem(three_body.rhs, [0.0, 0.0, 1.0, 2.0], (0.0, 3.0), [1.0, 1.0], nbody=(1, 2))
    for law in (registry.get("amuse"), registry.get("aarseth")):
        s = solve(problem, "hermite4", law, log=True)
        assert s.success and np.allclose(s.y[-1], [3, 6, 1, 2], rtol=1e-14)
