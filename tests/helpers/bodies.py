"""Bodies that attract each other, for tests: orbits with a known solution, clouds, figure eights, and their
derivatives.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq

from stepsmith.controllers.laws import registry
from stepsmith.integrators.problems.nbody import kepler, three_body
from stepsmith.integrators.problems.problem import Batch, Problem

E, SHARE, START = 0.3, 0.4, 0.2  # Kepler orbit: eccentricity, mass share, eccentric anomaly at t = 0
PERIOD = 2 * np.pi


def orbit(t1=PERIOD):
    y0, p = kepler.orbit(E, SHARE, START, 0.3)
    return replace(kepler.published(), y0=y0[0], p=p[0], t_span=(0.0, t1))


def exact(t):
    """State at time t by Kepler's equation, SciPy's root finder."""
    mean = START - E * np.sin(START) + t
    anomaly = brentq(lambda x: x - E * np.sin(x) - mean, mean - 1, mean + 1, xtol=1e-15)
    return kepler.orbit(E, SHARE, anomaly, 0.3)[0][0]


def constant(h):
    return registry.get("constant", h=h)


def derivatives(y, p, bodies, dim):
    """Accelerations and jerks (bodies, dim), AMUSE's time scale: plain NumPy, every pair twice."""
    x, v = y.reshape(2, bodies, dim)
    a, j, tau4 = np.zeros_like(x), np.zeros_like(x), np.inf
    for i in range(bodies):
        for k in range(bodies):
            if i != k:
                d, u = x[k] - x[i], v[k] - v[i]
                r, m = np.linalg.norm(d), p[0] * p[k + 1]
                a[i] += m * d / r**3
                j[i] += m * (u / r**3 - 3 * (d @ u) * d / r**5)
                free = p[0] * (p[i + 1] + p[k + 1]) / r**2
                tau4 = min(tau4, 1 / max((u @ u) ** 2 / r**4, free**2 / r**2))
    return a, j, tau4**0.25


def cloud(bodies, dim, t1, seed=1):
    """`bodies` bodies of different masses on a jittered lattice: a regular field."""
    rng = np.random.default_rng(seed)
    x = np.stack(np.unravel_index(np.arange(bodies), (3,) * dim), axis=1) + rng.uniform(-0.2, 0.2, (bodies, dim))
    v = rng.normal(0, 0.2, (bodies, dim))
    p = np.concatenate([[1.0], rng.uniform(0.05, 0.2, bodies)])
    y0 = np.concatenate([x.ravel(), v.ravel()])
    return Problem(three_body.rhs, y0, (0.0, t1), p, name="cloud", nbody=(bodies, dim)), bodies, dim


def eights(count):
    """Perturbed figure eights, which are not chaotic over their 1 to 3 time units."""
    base = three_body.published()
    rng = np.random.default_rng(3)
    y0 = base.y0 + 1e-2 * rng.normal(size=(count, 12))
    return Batch(base.rhs, y0, np.tile(base.p, (count, 1)), np.zeros(count), rng.uniform(1, 3, count), nbody=(3, 2))
