"""Problems and families' right-hand sides against hand-written NumPy forms, published instances and invariants."""

import pickle

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith.integrators import problems
from stepsmith.integrators.problems.problem import Batch, Problem, vectorised


def decay(t, y, p, dy):
    dy[0] = -p[0] * y[0]


def value(problem, y=None, t=0.0):
    y = problem.y0 if y is None else y
    dy = np.empty(problem.n)
    problem.rhs(t, y, problem.p, dy)
    return dy


def gravity(y, p, bodies, dim):
    """Newton's law summed body by body, as a textbook has it."""
    x, v = y.reshape(2, bodies, dim)
    a = np.zeros_like(x)
    for i in range(bodies):
        for j in range(bodies):
            if i != j:
                d = x[j] - x[i]
                a[i] += p[0] * p[1 + j] * d / np.linalg.norm(d) ** 3
    return np.concatenate([v.ravel(), a.ravel()])


# --- Problem and Batch -------------------------------------------------------------------------------------------


def test_problem_converts_and_copies():
    y0 = np.array([1, 2], dtype=np.int32)
    problem = Problem(decay, y0, (0, 1), [3])
    assert problem.y0.dtype == np.float64 and problem.p.dtype == np.float64
    assert problem.t_span == (0.0, 1.0) and (problem.n, problem.m) == (2, 1)
    y0[0] = 9
    assert problem.y0[0] == 1.0


def test_zero_length_and_backward_spans_are_allowed():
    assert Problem(decay, [1.0], (2.0, 2.0), [1.0]).t_span == (2.0, 2.0)
    assert Problem(decay, [1.0], (2.0, -1.0), [1.0]).t_span == (2.0, -1.0)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"y0": [np.nan]}, "y0 must be finite"),
        ({"y0": [1.0, np.inf]}, "y0 must be finite"),
        ({"y0": []}, "y0 must not be empty"),
        ({"y0": [[1.0, 2.0]], "accel": decay}, "y0 must be one-dimensional"),
        ({"y0": [1j, 2j], "accel": decay}, "y0 must hold real numbers"),
        ({"y0": ["a"]}, "y0 must hold real numbers"),
        ({"t_span": (0.0, np.inf)}, "t_span must be finite"),
        ({"t_span": (0.0, np.nan)}, "t_span must be finite"),
        ({"t_span": (0.0,)}, "t_span must be"),
        ({"t_span": 1.0}, "t_span must be"),
        ({"p": [np.nan]}, "p must be finite"),
        ({"p": 1.0}, "p must be one-dimensional"),
        ({"rhs": 3}, "rhs must be a function"),
        ({"jac": 3}, "jac must be a function"),
        ({"accel": decay}, "accel needs"),
        ({"nbody": (3, 2)}, "3 bodies in 2 dimensions has 12"),
        ({"nbody": 3}, "nbody must be"),
        ({"nbody": (1, 4)}, "nbody must be"),
        ({"nbody": (1, 1), "y0": [0.0, 1.0], "p": [1.0]}, "p of an N-body problem"),
        ({"invariants": {"e": 1}}, "invariants must map"),
    ],
)
def test_bad_problems_name_the_field(change, word):
    with pytest.raises(ValueError, match=word.replace("(", r"\(")):
        Problem(**({"rhs": decay, "y0": [1.0], "t_span": (0.0, 1.0), "p": [1.0]} | change))


def test_validate_false_admits_bad_states_but_not_bad_shapes():
    assert np.isnan(Problem(decay, [np.nan], (0, 1), validate=False).y0[0])
    with pytest.raises(ValueError, match="one-dimensional"):
        Problem(decay, [[np.nan, 1.0]], (0, 1), accel=decay, validate=False)
    with pytest.raises(ValueError, match="t_span"):
        Problem(decay, [np.nan], (0, np.nan), validate=False)


def test_batch_indexing():
    batch = problems.sample("lorenz", 5, seed=1)
    one = batch[3]
    assert isinstance(one, Problem) and np.array_equal(one.y0, batch.y0[3]) and one.t_span == (0.0, 5.0)
    assert np.array_equal(batch[-1].y0, batch.y0[4]) and one.family == "lorenz"
    for key, want in [(slice(1, 3), [1, 2]), ([4, 0], [4, 0]), (np.arange(5) > 2, [3, 4]), ([], [])]:
        part = batch[key]
        assert isinstance(part, Batch) and len(part) == len(want)
        assert np.array_equal(part.y0, batch.y0[want]) and np.array_equal(part.p, batch.p[want])
    assert np.array_equal(one.batch().y0, batch.y0[3:4])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"y0": np.zeros(3)}, "y0 must be two-dimensional"),
        ({"p": np.zeros((2, 1))}, "p holds 2 instances, y0 holds 3"),
        ({"t1": np.zeros(2)}, "t1 holds 2"),
        ({"t0": np.array([0, np.nan, 0])}, "t0 must be finite"),
        ({"y0": np.array([[0.0], [np.nan], [0.0]])}, r"y0 must be finite, but entry \(1, 0\) is nan"),
    ],
)
def test_bad_batches_name_the_field(change, word):
    good = {"rhs": decay, "y0": np.zeros((3, 1)), "p": np.zeros((3, 1)), "t0": 0.0, "t1": np.ones(3)}
    assert np.array_equal(Batch(**good).t0, np.zeros(3))
    with pytest.raises(ValueError, match=word):
        Batch(**(good | change))


def test_batch_times_end_exactly():
    batch = Batch(decay, np.ones((2, 1)), np.ones((2, 1)), np.array([0.1, 0.3]), np.array([0.7, -2.9]))
    times = batch.times([0.0, 0.5, 1.0])
    assert np.array_equal(times[:, 0], batch.t0) and np.array_equal(times[:, -1], batch.t1)


def test_unknown_invariant():
    with pytest.raises(ValueError, match="it has: first_integral"):
        problems.make("lotka_volterra").invariant("energy", 0.0, [1.0, 1.0])


# --- right-hand sides --------------------------------------------------------------------------------------------


def lorenz(y, p):
    return [p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - p[2] * y[2]]


def lotka_volterra(y, p):
    return [y[0] * (p[0] - p[1] * y[1]), y[1] * (p[3] * y[0] - p[2])]


def vanderpol(y, p):
    return [y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]]


def brusselator(y, p):
    return [p[0] + y[0] ** 2 * y[1] - p[1] * y[0] - y[0], p[1] * y[0] - y[0] ** 2 * y[1]]


def fitzhugh_nagumo(y, p):
    return [y[0] - y[0] ** 3 / 3 - y[1] + p[0], (y[0] + p[1] - p[2] * y[1]) / p[3]]


def henon_heiles(y, p):
    return [y[2], y[3], -y[0] - 2 * y[0] * y[1], -y[1] - y[0] ** 2 + y[1] ** 2]


def double_pendulum(y, p):
    """The 2x2 mass matrix of the Lagrangian, solved by LAPACK."""
    m1, m2, l1, l2, g = p
    c, s = np.cos(y[0] - y[1]), np.sin(y[0] - y[1])
    mass = [[(m1 + m2) * l1**2, m2 * l1 * l2 * c], [m2 * l1 * l2 * c, m2 * l2**2]]
    force = [
        -m2 * l1 * l2 * s * y[3] ** 2 - (m1 + m2) * g * l1 * np.sin(y[0]),
        m2 * l1 * l2 * s * y[2] ** 2 - m2 * g * l2 * np.sin(y[1]),
    ]
    return [y[2], y[3], *np.linalg.solve(mass, force)]


def arenstorf(y, p):
    """Hairer, Norsett, Wanner, equation (0.1) of section II.0."""
    mu, x, z = p[0], y[0], y[1]
    d1 = ((x + mu) ** 2 + z**2) ** 1.5
    d2 = ((x - (1 - mu)) ** 2 + z**2) ** 1.5
    return [
        y[2],
        y[3],
        x + 2 * y[3] - (1 - mu) * (x + mu) / d1 - mu * (x - (1 - mu)) / d2,
        z - 2 * y[2] - (1 - mu) * z / d1 - mu * z / d2,
    ]


def neural_field(y, p, t, units=16):
    w1, b1, w2, b2 = np.split(p, np.cumsum([5 * units, units, 4 * units]))
    w1, w2 = w1.reshape(units, 5), w2.reshape(4, units)
    return w2 @ np.tanh(w1 @ np.append(y, t) + b1) + b2


SYSTEMS = [lorenz, lotka_volterra, vanderpol, brusselator, fitzhugh_nagumo, henon_heiles, double_pendulum, arenstorf]


@pytest.mark.parametrize("want", SYSTEMS, ids=lambda f: f.__name__)
def test_systems_against_numpy(want):
    batch = problems.sample(want.__name__, 5, seed=3)
    for i in range(5):
        assert value(batch[i]) == pytest.approx(np.array(want(batch.y0[i], batch.p[i])), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("name", "sites"), [("lorenz96", 40), ("lorenz96_4", 4)])
def test_lorenz96_site_by_site(name, sites):
    """Lorenz 1996, equation 1, with indices modulo the number of sites."""
    batch = problems.sample(name, 3, seed=5)
    for i in range(3):
        x, force = batch.y0[i], batch.p[i, 0]
        want = [
            (x[(j + 1) % sites] - x[(j - 2) % sites]) * x[(j - 1) % sites] - x[j] + force
            for j in range(sites)
        ]  # fmt: skip
        assert value(batch[i]) == pytest.approx(want, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize(("name", "count"), [("kuramoto", 32), ("kuramoto_2", 2)])
def test_kuramoto_pair_by_pair(name, count):
    """Strogatz 2000, equation 2.1: every oscillator is pulled by every other one."""
    batch = problems.sample(name, 3, seed=5)
    for i in range(3):
        theta, coupling, omega = batch.y0[i], batch.p[i, 0], batch.p[i, 1:]
        pulls = np.sin(theta[None, :] - theta[:, None]).sum(axis=1)
        assert value(batch[i]) == pytest.approx(omega + coupling / count * pulls, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("name", "count"), [("species", 20), ("species_2", 2)])
def test_species_against_numpy(name, count):
    """Bunin 2017, equation 1, with the species' own carrying capacity as the unit of abundance."""
    batch = problems.sample(name, 3, seed=5)
    for i in range(3):
        x, r, a = batch.y0[i], batch.p[i, :count], batch.p[i, count:].reshape(count, count)
        off = a - np.eye(count)
        assert np.diag(off).tolist() == [0.0] * count
        assert value(batch[i]) == pytest.approx(r * x * (1.0 - x - off @ x), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("name", "count"), [("rate_network", 20), ("rate_network_1", 1)])
def test_rate_network_against_numpy(name, count):
    """Rajan, Abbott and Sompolinsky 2010, equation 1, at the start and a while later."""
    batch = problems.sample(name, 3, seed=5)
    for i in range(3):
        x, (amplitude, omega), rest = batch.y0[i], batch.p[i, :2], batch.p[i, 2:]
        phases, weights = rest[:count], rest[count:].reshape(count, count).T
        for t in (0.0, 0.7):
            want = amplitude * np.cos(omega * t + phases) - x + weights @ np.tanh(x)
            assert value(batch[i], t=t) == pytest.approx(want, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("name", "units"), [("neural_field", 16), ("neural_field_64", 64)])
def test_neural_field_against_numpy(name, units):
    batch = problems.sample(name, 5, seed=3)
    for i in range(5):
        want = neural_field(batch.y0[i], batch.p[i], 0.3, units)
        assert value(batch[i], t=0.3) == pytest.approx(want, rel=1e-12, abs=1e-12)


NBODY = ["three_body", "three_body_paper", "kepler", "pleiades", "plummer", "plummer_3", "plummer_16", "plummer_32"]


@pytest.mark.parametrize("name", NBODY)
def test_nbody_against_textbook_sum(name):
    batch = problems.sample(name, 3, seed=4)
    bodies, dim = batch.nbody
    for i in range(3):
        want = gravity(batch.y0[i], batch.p[i], bodies, dim)
        assert value(batch[i]) == pytest.approx(want, rel=1e-11, abs=1e-12 * np.abs(want).max())


def test_pleiades_right_hand_side_in_the_test_sets_form():
    problem = problems.make("pleiades")
    x, y = problem.y0[:14].reshape(7, 2).T
    ax, ay = np.zeros(7), np.zeros(7)
    for i in range(7):
        for j in range(7):
            if i != j:  # Solving ODEs I, equation (10.3): masses are the star's number
                r = ((x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2) ** 1.5
                ax[i] += (j + 1) * (x[j] - x[i]) / r
                ay[i] += (j + 1) * (y[j] - y[i]) / r
    assert value(problem)[14:].reshape(7, 2).T == pytest.approx(np.array([ax, ay]), rel=1e-13)


def test_acceleration_agrees_with_right_hand_side():
    batch = problems.sample("henon_heiles", 3, seed=1)
    for y in batch.y0:
        a = np.empty(2)
        batch.accel(0.0, y[:2], batch.p[0], a)
        assert np.array_equal(a, value(batch[0], y)[2:])


def test_right_hand_sides_pickle():
    for name in problems.names():
        assert pickle.loads(pickle.dumps(problems.family(name).rhs)) is problems.family(name).rhs


INVARIANTS = {
    "lotka_volterra": "first_integral", "henon_heiles": "energy", "double_pendulum": "energy", "arenstorf": "jacobi",
    "kepler": "energy", "three_body": "energy", "three_body_paper": "energy", "pleiades": "energy",
    "plummer": "energy",
}


@pytest.mark.parametrize("name", INVARIANTS)
def test_invariants_are_conserved_along_scipy_solutions(name):
    problem = problems.sample(name, 1, seed=11)[0]
    t1 = problem.t_span[1] * 0.05
    sol = solve_ivp(lambda t, y: value(problem, y, t), (0.0, t1), problem.y0, method="DOP853", rtol=1e-12, atol=1e-13)
    assert sol.success
    e = problem.invariant(INVARIANTS[name], sol.t, sol.y.T)
    assert e.shape == sol.t.shape
    assert np.abs(e - e[0]).max() < 1e-9 * abs(e[0])


def test_invariants_of_a_batch():
    batch = problems.sample("three_body", 4, seed=2)
    y = np.stack([batch.y0, 1.1 * batch.y0], axis=1)
    e = batch.invariant("energy", np.zeros((4, 2)), y)
    assert e.shape == (4, 2)
    for i in range(4):
        assert e[i, 1] == pytest.approx(float(batch[i].invariant("energy", 0.0, y[i, 1])), rel=1e-14)


def test_vectorised_replaces_elementary_functions():
    energy = vectorised(problems.make("double_pendulum").invariants["energy"])
    y = np.random.default_rng(0).normal(size=(4, 7))
    p = [1.0, 1.0, 1.0, 1.0, 9.8]
    want = [
        v[2] ** 2 + 0.5 * v[3] ** 2 + v[2] * v[3] * np.cos(v[0] - v[1]) - 19.6 * np.cos(v[0]) - 9.8 * np.cos(v[1])
        for v in y.T
    ]
    assert energy(0.0, y, p) == pytest.approx(np.array(want), rel=1e-14)
