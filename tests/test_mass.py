"""Mass matrices: what a Problem takes for one, what carries it, who refuses it; regular ones against SciPy."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.sparse import csr_matrix, diags_array

import stepsmith as ss
from stepsmith.integrators import methods
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.problems import mass as masses
from stepsmith.integrators.problems.sparsity import structure
from stepsmith.integrators.reference.gbs import reference


def decay(t, y, p, dy):
    for i in range(len(y)):
        dy[i] = -(i + 1.0) * y[i]


def problem(mass, n=3, **more):
    return ss.Problem(decay, np.ones(n), (0.0, 1.0), mass=mass, **more)


FULL = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 3.0]])


def test_forms_of_a_matrix():
    kept = problem(FULL).mass
    assert np.array_equal(kept, FULL) and kept.dtype == np.float64 and not kept.flags.writeable
    assert np.array_equal(problem(csr_matrix(FULL)).mass, FULL)
    assert np.array_equal(problem(FULL.tolist()).mass, FULL)
    assert np.array_equal(problem([1, 2, 0]).mass, [1.0, 2.0, 0.0])
    assert np.array_equal(problem(np.diag([1.0, 2.0, 0.0])).mass, [1.0, 2.0, 0.0])
    # the identity is none
    for identity in (None, np.eye(3), np.ones(3), np.ones(3, dtype=bool), csr_matrix(np.eye(3))):
        assert problem(identity).mass is None


@pytest.mark.parametrize(
    ("mass", "words"),
    [
        (np.ones((2, 2)), r"mass must have shape \(3, 3\), or \(3,\) for a diagonal, got shape \(2, 2\)"),
        (2.0, r"got shape \(\)"),
        (np.ones((3, 3, 1)), "got shape"),
        ([[1.0, 2.0], [3.0]], "mass must be an array"),
        ([1.0, np.nan, 1.0], "mass must be finite, but entry 1 is nan"),
        (np.where(FULL == 3.0, np.inf, FULL), r"mass must be finite, but entry \(2, 2\) is inf"),
        (np.zeros(3), "mass is 0 everywhere.*root finder"),
        (np.zeros((3, 3)), "mass is 0 everywhere"),
        (np.eye(3) * 1j, "mass must hold real numbers, got dtype complex128"),
        (["a", "b", "c"], "mass must hold real numbers"),
    ],
)
def test_what_is_no_mass_matrix(mass, words):
    with pytest.raises(OptionError, match=words):
        problem(mass)
    with pytest.raises(OptionError, match=words):
        ss.Batch(decay, np.ones((2, 3)), np.zeros((2, 0)), 0.0, 1.0, mass=mass)


def rows_back(t, y, p):
    return -y


def test_states_of_another_shape():
    # in the state's own shape it is a diagonal
    own = np.arange(1.0, 7.0).reshape(2, 3)
    made = ss.Problem(rows_back, np.ones((2, 3)), (0.0, 1.0), mass=own)
    assert np.array_equal(made.mass, own.ravel())
    whole = np.eye(6) + np.eye(6, k=1)
    assert np.array_equal(ss.Problem(rows_back, np.ones((2, 3)), (0.0, 1.0), mass=whole).mass, whole)
    assert np.array_equal(ss.Problem(rows_back, 1.0, (0.0, 1.0), mass=2.0).mass, [2.0])
    with pytest.raises(OptionError, match=r"shape \(6, 6\), or \(2, 3\), the state's, for a diagonal"):
        ss.Problem(rows_back, np.ones((2, 3)), (0.0, 1.0), mass=np.ones((3, 2)))
    # complex numbers: a matrix of theirs, or one of real and imaginary parts
    z = np.array([1.0 + 2.0j, 3.0 - 1.0j])
    m = np.array([[2.0 + 1.0j, 0.5], [0.0, 1.0 - 3.0j]])
    real = ss.Problem(rows_back, z, (0.0, 1.0), mass=m).mass
    assert np.allclose(real @ z.view(float), (m @ z).view(float))
    assert np.array_equal(ss.Problem(rows_back, z, (0.0, 1.0), mass=real).mass, real)
    assert np.array_equal(ss.Problem(rows_back, z, (0.0, 1.0), mass=[2.0, 3.0]).mass, [2.0, 2.0, 3.0, 3.0])
    sol = ss.solve(ss.Problem(rows_back, z, (0.0, 1.0), mass=[1.0j, 2.0]), method="radau5", rtol=1e-8, atol=1e-10)
    assert np.abs(sol.y[-1] - z * np.exp([1.0j, -0.5])).max() < 1e-6


def test_null_spaces():
    for matrix in (FULL, np.array([[2.0, 1e-9], [0.0, 1e-9]])):
        assert not masses.analysed(masses.checked(matrix, len(matrix))).singular
    blocks = np.zeros((6, 6))
    blocks[0, 3] = blocks[3, 0] = 1e-6
    blocks[0, 0] = blocks[3, 3] = -1e-6
    blocks[1, 1] = 5.0
    blocks[2, 4] = 1.0  # one row more than it has rank, and a row of zeros
    blocks[5, 4] = 2.0
    found = masses.analysed(masses.checked(blocks, 6))
    null = found.null.dense()
    assert found.nullity == 6 - np.linalg.matrix_rank(blocks) == 3
    assert np.allclose(null @ null, null) and np.allclose(null, null.T)
    assert np.abs(null @ blocks).max() < 1e-15
    assert round(np.trace(null)) == 3


def test_everything_carries_it():
    one = problem(FULL, name="a")
    batch = one.batch(y0=np.ones((4, 3)))
    carried = [
        batch, batch[1], batch[:2], batch[[0, 3]], replace(one, name="b"), pickle.loads(pickle.dumps(one)),
        pickle.loads(pickle.dumps(batch)), ss.Batch.of([one, replace(one, y0=[1.0, 2.0, 3.0])]),
    ]  # fmt: skip
    for copy in carried:
        assert np.array_equal(copy.mass, FULL) and masses.key(copy.mass) == masses.key(one.mass)
    assert not pickle.loads(pickle.dumps(one)).mass.flags.writeable
    with pytest.raises(OptionError, match="differs from number 0 in its mass"):
        ss.Batch.of([one, problem(2.0 * FULL)])
    old = problem(None).__getstate__()
    del old["mass"]  # as of a version before there was one
    copy = object.__new__(ss.Problem)
    copy.__setstate__(old)
    assert copy.mass is None and ss.solve(copy, method="tsit5").success


def test_kernels_differ_by_it():
    keys = {methods.get("radau5").key(problem(m)) for m in (None, FULL, 2.0 * FULL, [1.0, 2.0, 3.0], [1.0, 2.0, 0.0])}
    assert len(keys) == 5
    # a solve that follows one with another matrix does not get its kernel
    for scale in (1.0, 2.0, 4.0):
        sol = ss.solve(problem([scale, 2.0 * scale, 3.0 * scale]), method="rodas5p", rtol=1e-8, atol=1e-10)
        assert np.abs(sol.y[-1] - np.exp(-1.0 / scale)).max() < 1e-7


@pytest.mark.parametrize("method", ["tsit5", "dopri5", "dop853", "bs32", "leapfrog", "hermite4"])
def test_explicit_methods_refuse_it(method):
    for call in (ss.solve, ss.solve_ensemble):
        more = {"controller": "pi34"} if method == "leapfrog" else {}
        with pytest.raises(OptionError, match=f"has a mass matrix, and method '{method}' takes none.*radau5"):
            call(problem(FULL), method=method, **more)


def test_others_refuse_it():
    batch = problem(FULL).batch()
    with pytest.raises(OptionError, match="has a mass matrix"):
        ss.solve_ensemble(batch, method="tsit5", device="cuda")
    with pytest.raises(OptionError, match="has a mass matrix, and families, references and environments take none"):
        reference(batch, np.ones(1), 1e-6)
    with pytest.raises(OptionError, match="problem has a mass matrix: families are compared"):
        ss.family(problem(FULL), vary={"y0[0]": (1.0, 2.0)}, wanted_error=1e-4)
    heavy = replace(ss.problems.family("orego"), sampler=lambda rng, n: problem(FULL).batch(y0=np.ones((n, 3))))
    with pytest.raises(OptionError, match="the instances of a family have no mass matrix"):
        heavy.draw(2, seed=0)


CELLS = 24


def heat(t, y, p, dy):
    """Stiffness matrix of linear finite elements on (0, 1), times -1, and a source that reads the time."""
    n = len(y)
    h = 1.0 / (n + 1.0)
    for i in range(n):
        left = y[i - 1] if i > 0 else 0.0
        right = y[i + 1] if i < n - 1 else 0.0
        dy[i] = (left - 2.0 * y[i] + right) / h + h * t


def heat_jac(t, y, p, J):
    n = len(y)
    h = 1.0 / (n + 1.0)
    for i in range(n):
        J[i, i] = -2.0 / h
        if i > 0:
            J[i, i - 1] = 1.0 / h
            J[i - 1, i] = 1.0 / h


def consistent_mass(n=CELLS):
    h = 1.0 / (n + 1.0)
    return diags_array([h / 6.0, 4.0 * h / 6.0, h / 6.0], offsets=[-1, 0, 1], shape=(n, n)).toarray()


def start(n=CELLS):
    x = np.arange(1, n + 1) / (n + 1.0)
    return np.sin(np.pi * x) + 0.3 * np.sin(5.0 * np.pi * x)


@pytest.fixture(scope="module")
def by_scipy():
    M, n = consistent_mass(), CELLS
    out = np.empty(n)

    def slope(t, y):
        heat(t, y, (), out)
        return np.linalg.solve(M, out)

    return solve_ivp(slope, (0.0, 0.1), start(), "Radau", rtol=1e-10, atol=1e-12).y[:, -1]


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("rodas5p", None), ("rodas5p", "band"), ("radau5", "band"), ("radau5", "pattern"), ("esdirk43", "pattern"),
     ("ros3prw", "band")],
)  # fmt: skip
def test_finite_elements(method, pattern, by_scipy):
    order = np.arange(CELLS)
    near = np.abs(np.subtract.outer(order, order)) <= 1
    sparsity, jac = {None: (None, None), "band": ((1, 1), heat_jac), "pattern": (near, None)}[pattern]
    given = ss.Problem(heat, start(), (0.0, 0.1), jac=jac, sparsity=sparsity, mass=consistent_mass())
    tolerance = 1e-6 if method == "ros3prw" else 1e-8
    sol = ss.solve(given, method=method, rtol=tolerance, atol=1e-9)
    assert sol.success, sol.message
    assert np.abs(sol.y[-1] - by_scipy).max() < 20.0 * tolerance


LEAVES = 29


def star(t, y, p, dy):
    """A centre and leaves, every third of which is algebraic; the centre's derivative holds the first leaf's too."""
    n = len(y)
    total = 0.0
    for i in range(1, n):
        total += y[i]
        dy[i] = 2.0 * y[0] - y[i] - 0.1 * y[i] * y[i] * y[i] + 0.01 * i if i % 3 == 0 else p[0] * y[0] - 0.5 * i * y[i]
    dy[0] = total / n - 3.0 * y[0]


def star_mass():
    matrix = np.diag([1.0, *[0.0 if i % 3 == 0 else 1.0 for i in range(1, LEAVES + 1)]])
    matrix[0, 1] = 0.5
    return matrix


def star_pattern():
    pattern = np.eye(LEAVES + 1, dtype=bool)
    pattern[0] = pattern[:, 0] = True
    return pattern


def test_structures():
    n, M, pattern = LEAVES + 1, star_mass(), star_pattern()
    kept = masses.checked(M, n)
    assert structure(problem(M, n, sparsity=pattern).sparsity, n, kept).factors is not None
    # where neither matrix has an entry on the diagonal rows have to be exchanged
    hole = pattern.copy()
    hole[3, 3] = False
    assert structure(problem(M, n, sparsity=hole).sparsity, n, kept).factors is None
    # places of M, and of what its null space mixes, belong to the pattern that is factored
    wide = np.eye(4)
    wide[0, 3] = 1.0
    assert np.array_equal(masses.pattern_with(np.eye(4, dtype=bool), masses.checked(wide, 4)), wide != 0.0)
    coupled = np.zeros((4, 4))
    coupled[:2, :2], coupled[2, 2], coupled[3, 3] = 1.0, 1.0, 1.0
    own = np.eye(4, dtype=bool)
    own[0, 2] = True
    found = masses.pattern_with(own, masses.checked(coupled, 4))
    assert found[1, 2] and not found[2, 0]


@pytest.mark.parametrize("method", ["rodas5p", "radau5"])
def test_sparse_factors_and_lanes(method):
    y0 = np.ones(LEAVES + 1)
    full = ss.consistent_start(ss.Problem(star, y0, (0.0, 2.0), p=[1.0], mass=star_mass()))
    sparse = replace(full, sparsity=star_pattern())
    one, two = (ss.solve(x, method=method, rtol=1e-8, atol=1e-10) for x in (full, sparse))
    assert one.success and two.success
    assert np.abs(one.y[-1] - two.y[-1]).max() < 1e-9
    f = np.zeros(LEAVES + 1)
    star(2.0, one.y[-1], [1.0], f)
    assert np.abs(f[3::3]).max() < 1e-7
    rates = np.linspace(0.5, 2.0, 5)
    sol = ss.solve_ensemble(sparse.batch(p=rates[:, None]), method=method, rtol=1e-8, atol=1e-10)
    assert sol.success.all()
    alone = ss.solve(replace(sparse, p=[rates[2]]), method=method, rtol=1e-8, atol=1e-10)
    assert np.abs(sol.y[2] - alone.y[-1]).max() < 1e-9
