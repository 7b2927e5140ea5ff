"""Right-hand sides of the stiff families against the same systems written in another form, with NumPy."""

import numpy as np
import pytest

from stepsmith.integrators import problems


def value(problem, y, t):
    dy = np.full(problem.n, np.nan)
    problem.rhs(t, y, problem.p, dy)
    return dy


def rober(y, p, t):
    r = [p[0] * y[0], p[1] * y[1] ** 2, p[2] * y[1] * y[2]]
    return np.array([[-1, 0, 1], [1, -1, -1], [0, 1, 0]]) @ r


def orego(y, p, t):
    s, q, w = p
    return [s * (y[1] - y[0] * y[1] + y[0] - q * y[0] ** 2), (-y[1] - y[0] * y[1] + y[2]) / s, w * (y[0] - y[2])]


def e5(y, p, t):
    """The test set's four equations, of which the third is the second less the fourth."""
    a, b, c, m = p
    y1, y2, y4 = y
    y3 = y2 - y4
    d = [
        -a * y1 - b * y1 * y3,
        a * y1 - m * c * y2 * y3,
        a * y1 - b * y1 * y3 - m * c * y2 * y3 + c * y4,
        b * y1 * y3 - c * y4,
    ]
    assert d[1] - d[2] - d[3] == pytest.approx(0.0, abs=1e-9 * np.abs(d).max())
    return [d[0], d[1], d[3]]


def vdpol_stiff(y, p, t):
    return [y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]]


def laplacian(n, h, ends):
    m = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    m[0, 0] = m[-1, -1] = ends
    return m / h**2


def steppo_vdpol(y, p, t):
    return vdpol_stiff(y, p, t)


def steppo_brusselator(y, p, t):
    """Mass action: A -> X, 2 X + Y -> 3 X, B + X -> Y + D, X -> E at unit rates."""
    rates = np.array([p[0], y[0] ** 2 * y[1], p[1] * y[0], y[0]])
    return np.array([[1, 1, -1, -1], [0, -1, 1, 0]]) @ rates


def steppo_decay(y, p, t):
    return -p[0] * y


def brusselator_1d(y, p, t):
    u, v = y[::2], y[1::2]
    a, b, alpha = p
    n = u.size
    h, m = 1 / (n + 1), laplacian(n, 1 / (n + 1), -2.0)
    edge = np.zeros(n)
    edge[[0, -1]] = 1 / h**2
    du = a + u**2 * v - (b + 1) * u + alpha * (m @ u + a * edge)
    dv = b * u - u**2 * v + alpha * (m @ v + b / a * edge)
    return np.stack([du, dv], axis=1).ravel()


def gray_scott_1d(y, p, t):
    u, v = y[::2], y[1::2]
    m = laplacian(u.size, p[4] / u.size, -1.0)
    du = p[0] * (m @ u) - u * v**2 + p[2] * (1 - u)
    dv = p[1] * (m @ v) + u * v**2 - (p[2] + p[3]) * v
    return np.stack([du, dv], axis=1).ravel()


def medical_akzo(y, p, t):
    """The test set's statement, 1-based: y[-1] = phi, y[2N + 1] = y[2N - 1]."""
    k, c, phi, jump = p
    n = y.size // 2
    w = dict(enumerate(y, 1)) | {-1: phi if t <= jump else 0.0, 2 * n + 1: y[2 * n - 2]}
    dz, f = 1 / n, {}
    for j in range(1, n + 1):
        a, b = 2 * (j * dz - 1) ** 3 / c**2, (j * dz - 1) ** 4 / c**2
        f[2 * j - 1] = (
            a * (w[2 * j + 1] - w[2 * j - 3]) / (2 * dz) + b * (w[2 * j - 3] - 2 * w[2 * j - 1] + w[2 * j + 1]) / dz**2
            - k * w[2 * j - 1] * w[2 * j]
        )
        f[2 * j] = -k * w[2 * j] * w[2 * j - 1]
    return [f[i] for i in range(1, 2 * n + 1)]


def hodgkin_huxley(y, p, t):
    current, gna, gk, gl, q = p
    v, gates = y[0], y[1:]
    alpha = np.array([0.1 * (v + 40) / -np.expm1(-(v + 40) / 10), 0.07 * np.exp(-(v + 65) / 20),
                      0.01 * (v + 55) / -np.expm1(-(v + 55) / 10)])
    beta = np.array([4 * np.exp(-(v + 65) / 18), 1 / (1 + np.exp(-(v + 35) / 10)), 0.125 * np.exp(-(v + 65) / 80)])
    m, h, n = gates
    dv = current - gna * m**3 * h * (v - 50) - gk * n**4 * (v + 77) - gl * (v + 54.387)
    return [dv, *(q * (alpha * (1 - gates) - beta * gates))]


def ignition(y, p, t):
    a, e, q, f = p
    w = a * np.exp(e - e / y[1])
    return [f - (f + w) * y[0], f - f * y[1] + q * w * y[0]]


def flame(y, p, t):
    return [y[0] ** 2 - y[0] ** 3]


def friction(y, p, t):
    k, belt, force, delta, eps = p
    slip = y[1] - belt
    return [y[1], -k * y[0] - 2 * force / np.pi * np.arctan2(eps * slip, 1.0) / (1 + delta * abs(slip))]


def chua(y, p, t):
    alpha, beta, m0, m1, g, vc = p
    corners = np.array([-vc - 1, -vc, -1, 1, vc, vc + 1])
    values = np.array([-m0 - m1 * vc + m1 - m1 - g, -m0 - m1 * (vc - 1), -m0, m0, m0 + m1 * (vc - 1), m0 + m1 * vc + g])
    return [alpha * (y[1] - y[0] - np.interp(y[0], corners, values)), y[0] - y[1] + y[2], -beta * y[1]]


FORMS = [
    rober,
    orego,
    e5,
    vdpol_stiff,
    brusselator_1d,
    gray_scott_1d,
    medical_akzo,
    hodgkin_huxley,
    ignition,
    flame,
    friction,
    chua,
    steppo_vdpol,
    steppo_brusselator,
    steppo_decay,
]


@pytest.mark.parametrize("want", FORMS, ids=lambda f: f.__name__)
def test_systems_against_numpy(want):
    rng = np.random.default_rng(2)
    batch = problems.sample(want.__name__, 4, seed=3)
    for i in range(4):
        for t in (0.0, 0.9 * batch.t1[i]):
            y = np.abs(batch.y0[i] * rng.uniform(0.5, 1.5, batch.n)) + 0.1 * rng.uniform(size=batch.n)
            full = np.array(want(y, batch.p[i], t))
            assert value(batch[i], y, t) == pytest.approx(full, rel=1e-11, abs=1e-12 * np.abs(full).max())


def test_pollution_reactions():
    """Rates of the test set's table at unit concentrations and distinct constants, and what each species gets from
    them.
    """
    p = 2.0 ** np.arange(25)
    got = np.empty(20)
    problems.family("pollu").rhs(0.0, np.ones(20), p, got)
    r = dict(enumerate(p, 1))
    assert got[0] == -r[1] - r[10] - r[14] - r[23] - r[24] + r[2] + r[3] + r[9] + r[11] + r[12] + r[22] + r[25]
    assert got[1] == -r[2] - r[3] - r[9] - r[12] + r[1] + r[21]
    assert got[4] == -r[3] + 2 * r[4] + r[6] + r[7] + r[13] + r[20]
    assert got[5] == -r[6] - r[8] - r[14] - r[20] + r[3] + 2 * r[18]
    assert got[18] == -r[21] - r[22] - r[24] + r[23] + r[25] and got[19] == r[24] - r[25]
