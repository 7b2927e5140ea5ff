"""Sparse factorisation with pivots on the diagonal, against SciPy's SuperLU and full matrices; solves of a reaction on
a grid.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix, csr_matrix, eye
from scipy.sparse.linalg import splu

from stepsmith import Problem, solve
from stepsmith.integrators.compile.cache import load_module
from stepsmith.integrators.kernels import build
from stepsmith.integrators.kernels.implicit.linear import Algebra
from stepsmith.integrators.kernels.layout import block_layout
from stepsmith.integrators.problems.sparse_factors import fill, minimum_degree
from stepsmith.integrators.problems.sparsity import checked, structure

WIDTH = 4
N = 60
ALGEBRA = """@_njit(nogil=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, re, im):
    good = 0.0
    for l in range(W):
        rhs(A[T + l], view(A, Y + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        jacobian(A, l)
        if factor(A, l, re):
            good += 1.0
            back(A, l, K1)
        if factor_complex(A, l, re, im):
            good += 100.0
            back_complex(A, l, K2, YN)
    return good
"""


def linear(t, y, p, dy):
    for i in range(60):
        s = 0.0
        for j in range(60):
            s += p[60 * i + j] * y[j]
        dy[i] = s


def linear_jac(t, y, p, J):
    for i in range(60):
        for j in range(60):
            if p[60 * i + j] != 0.0:
                J[i, j] = p[60 * i + j]


def scattered(seed: int) -> np.ndarray:
    """Pattern of no useful band: beside the diagonal an entry a row, and thirty pairs that mirror each other."""
    rng = np.random.default_rng(seed)
    pattern = np.eye(N, dtype=bool)
    pattern[np.arange(N), rng.integers(0, N, N)] = True
    i, j = rng.integers(0, N, (2, 30))
    pattern[i, j] = pattern[j, i] = True
    return pattern


PATTERN = scattered(0)


def factored(matrices: np.ndarray, b: np.ndarray, re: float, im: float, given: bool = True):
    """Solutions of (re I - J) x = b[0] and ((re + i im) I - J) x = b[1] + i b[2]; lane l has the Jacobian matrices[l].
    """
    problem = Problem(
        linear,
        np.ones(N),
        (0.0, 1.0),
        matrices[0].ravel(),
        jac=linear_jac if given else None,
        sparsity=PATTERN,
        validate=False,
    )
    algebra = Algebra(problem, pair=True)
    assert algebra.structure.factors is not None
    lay = block_layout(WIDTH, N, N * N, 3, 1, build.N_OUT, algebra.rows)
    text = build.header(lay, N, N * N, 1) + build.substitute(
        algebra.lines + algebra.source() + ALGEBRA, lay, N, N * N, 1, False
    )
    run = load_module(text, algebra.objects).run
    block = build.aligned(lay.size)
    rows = block.reshape(-1, WIDTH)
    block[lay.rows["X"] * WIDTH :] = np.nan  # whatever stood there

    def row(name, count=N):
        return rows[lay.rows[name] : lay.rows[name] + count]

    row("Y")[:] = np.random.default_rng(5).standard_normal(N)[:, None]
    row("P", N * N)[:] = matrices.reshape(WIDTH, -1).T
    rows[[lay.rows["RTOL"], lay.rows["HS"]]] = 1e-6
    row("ATOL")[:] = 1e-9
    if given:
        for name, values in zip(("K1", "K2", "YN"), b, strict=True):
            row(name)[:] = values
        good = run(block, re, im)
        return good, row("K1").T.copy(), (row("K2") + 1j * row("YN")).T.copy()
    row("K2")[:], row("YN")[:] = b[1], b[2]
    good = run(block, re, im)
    return good, None, (row("K2") + 1j * row("YN")).T.copy()


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((WIDTH, N, N)) * PATTERN


@pytest.mark.parametrize("given", [True, False])
def test_factors_against_superlu(given):
    matrices, b = values(1), np.random.default_rng(2).standard_normal((3, N, WIDTH))
    good, x, z = factored(matrices, b, 4.0, 3.0, given)
    assert good == 404.0
    for lane, J in enumerate(matrices):
        M = csc_matrix(4.0 * eye(N) - csr_matrix(J))
        if given:
            np.testing.assert_allclose(x[lane], splu(M).solve(b[0][:, lane]), rtol=1e-11, atol=1e-12)
        M = csc_matrix((4.0 + 3.0j) * eye(N) - csr_matrix(J))
        want = splu(M).solve(b[1][:, lane] + 1j * b[2][:, lane])
        np.testing.assert_allclose(z[lane], want, rtol=1e-11 if given else 1e-5, atol=1e-12 if given else 1e-6)


def test_units_do_not_matter():
    # J of the same system with components measured in units from 1e-12 to 1e12
    matrices, b = values(3), np.random.default_rng(4).standard_normal((3, N, WIDTH))
    units = 10.0 ** np.random.default_rng(6).uniform(-12, 12, N)
    good, x, z = factored(matrices, b, 4.0, 3.0)
    again, xs, zs = factored(matrices * units[:, None] / units, b * units[:, None], 4.0, 3.0)
    assert good == again == 404.0
    np.testing.assert_allclose(xs / units, x, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(zs / units, z, rtol=1e-9, atol=1e-10)


def test_a_pivot_of_noise_is_refused_in_its_lane_alone():
    st = structure(checked(PATTERN, N), N)
    kept = PATTERN[np.ix_(st.order, st.order)]
    ptr, diag, row = st.factors.ptr, st.factors.diag, st.factors.row
    # columns k < q that are kept with their mirror, q with something to eliminate: a block of two equal rows, the
    # second pivot 1 - 1
    pairs = [(row[ptr[q]], q) for q in range(N) if diag[q] > ptr[q] and ptr[q + 1] > diag[q] + 1]
    k, q = next((k, q) for k, q in pairs if kept[k, q] and kept[q, k])
    first, second = st.order[k], st.order[q]
    matrices = np.array([np.diag(np.full(N, -1.0))] * WIDTH)
    matrices[2][first, second] = matrices[2][second, first] = -1.0
    good, x, _ = factored(matrices, np.ones((3, N, WIDTH)), 0.0, 0.0)
    assert good == 303.0
    np.testing.assert_allclose(x[[0, 1, 3]], 1.0)
    # nearly equal, but by more than rounding: solved, as well as its condition allows
    matrices[2][second, second] = -1.0 - 1e-6
    good, x, _ = factored(matrices, np.ones((3, N, WIDTH)), 0.0, 0.0)
    assert good == 404.0
    np.testing.assert_allclose(-matrices[2] @ x[2], 1.0, rtol=1e-9)


def test_singular_and_non_finite_matrices_are_refused():
    for wrong in (0.0, np.nan, np.inf):
        matrices = np.array([np.diag(np.full(N, -1.0))] * WIDTH)
        matrices[1][7, 7] = wrong
        good, x, _ = factored(matrices, np.ones((3, N, WIDTH)), 0.0, 0.0)
        assert good == 303.0, wrong
        np.testing.assert_allclose(x[[0, 2, 3]], 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_fill_is_what_elimination_fills(seed):
    pattern = scattered(seed)
    order = minimum_degree(pattern)
    assert sorted(order) == list(range(N))
    permuted = pattern[np.ix_(order, order)]
    found = fill(permuted)
    # elimination on numbers that cannot cancel
    rng = np.random.default_rng(seed)
    M = np.where(permuted, rng.uniform(0.5, 1.0, (N, N)), 0.0) + np.diag(np.full(N, 50.0))
    work = 0
    for k in range(N):
        low = np.flatnonzero(M[k + 1 :, k]) + k + 1
        work += len(low) * (1 + np.count_nonzero(M[k, k + 1 :]))
        M[low, k] /= M[k, k]
        M[low, k + 1 :] -= np.outer(M[low, k], M[k, k + 1 :])
    for j in range(N):
        assert np.array_equal(found.row[found.ptr[j] : found.ptr[j + 1]], np.flatnonzero(M[:, j]))
        assert found.row[found.diag[j]] == j
    assert found.work == work and work < N**3 / 30
    assert fill(permuted, work) is None and fill(permuted, work + 1) is not None
    # an order that fills in less than SuperLU's own way with columns alone
    column = splu(csc_matrix(M * permuted), permc_spec="NATURAL", diag_pivot_thresh=0.0)
    assert len(found.row) <= column.L.nnz + column.U.nnz - N


SIDE = 8


def reaction(t, y, p, dy):
    # Brusselator with diffusion on a periodic grid, two species a point
    for a in range(8):
        for b in range(8):
            i = 2 * (8 * a + b)
            north, south = 2 * (8 * ((a + 1) % 8) + b), 2 * (8 * ((a + 7) % 8) + b)
            east, west = 2 * (8 * a + (b + 1) % 8), 2 * (8 * a + (b + 7) % 8)
            u, v = y[i], y[i + 1]
            dy[i] = p[0] * (y[north] + y[south] + y[east] + y[west] - 4.0 * u) + 1.0 + u * u * v - 4.4 * u
            dy[i + 1] = p[0] * (y[north + 1] + y[south + 1] + y[east + 1] + y[west + 1] - 4.0 * v) + 3.4 * u - u * u * v


def grid() -> np.ndarray:
    pattern = np.zeros((SIDE, SIDE, 2, SIDE, SIDE, 2), bool)
    for a, b in np.ndindex(SIDE, SIDE):
        pattern[a, b, :, a, b, :] = True
        for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
            for s in range(2):
                pattern[a, b, s, c % SIDE, d % SIDE, s] = True
    return pattern.reshape(2 * SIDE * SIDE, -1)


def start() -> np.ndarray:
    x = np.arange(SIDE) / SIDE
    y = np.empty((SIDE, SIDE, 2))
    y[..., 0], y[..., 1] = 22.0 * (x * (1.0 - x))[:, None] ** 1.5, 27.0 * (x * (1.0 - x))[None] ** 1.5
    return y.ravel()


def clearing_jac(t, y, p, J):
    for i in range(128):
        for j in range(128):
            J[i, j] = 0.0  # a full matrix has no declared zeros
    for a in range(8):
        for b in range(8):
            i = 2 * (8 * a + b)
            u, v = y[i], y[i + 1]
            for s in range(2):
                J[i + s, i + s] = -4.0 * p[0]
                J[i + s, 2 * (8 * ((a + 1) % 8) + b) + s] = p[0]
                J[i + s, 2 * (8 * ((a + 7) % 8) + b) + s] = p[0]
                J[i + s, 2 * (8 * a + (b + 1) % 8) + s] = p[0]
                J[i + s, 2 * (8 * a + (b + 7) % 8) + s] = p[0]
            J[i, i] += 2.0 * u * v - 4.4
            J[i, i + 1] = u * u
            J[i + 1, i] = 3.4 - 2.0 * u * v
            J[i + 1, i + 1] -= u * u


@pytest.fixture(scope="module")
def peer() -> np.ndarray:
    """End state of the grid by SciPy's BDF with its own sparse algebra."""

    def slope(t, y):
        dy = np.empty(128)
        reaction(t, y, [20.0], dy)
        return dy

    found = solve_ivp(slope, (0.0, 2.0), start(), method="BDF", rtol=1e-9, atol=1e-11, jac_sparsity=csr_matrix(grid()))
    assert found.success
    return found.y[:, -1]


def test_a_grid_solves_as_full_matrices_do_and_as_scipy_does(peer):
    sparsity = csr_matrix(grid())
    assert structure(checked(sparsity, 128), 128).factors is not None
    options = dict(method="rodas5p", controller="rodas", rtol=1e-7, atol=1e-9)
    # the same text: what a sparse view is told lies outside its pattern leaves no trace
    given = solve(
        Problem(reaction, start(), (0.0, 2.0), [20.0], jac=clearing_jac, sparsity=sparsity, validate=False), **options
    )
    whole = solve(Problem(reaction, start(), (0.0, 2.0), [20.0], jac=clearing_jac), **options)
    for sol in (given, whole):
        assert sol.success
        np.testing.assert_allclose(sol.y[-1], peer, rtol=3e-5)
    assert whole.stats.naccept == pytest.approx(given.stats.naccept, abs=1)
    np.testing.assert_allclose(given.y[-1], whole.y[-1], rtol=1e-6)


def test_a_grid_by_coloured_differences(peer):
    sol = solve(
        Problem(reaction, start(), (0.0, 2.0), [20.0], sparsity=grid()),
        method="radau5",
        controller="radau5",
        rtol=1e-7,
        atol=1e-9,
    )
    assert sol.success and sol.stats.nfev < 40 * sol.stats.naccept
    np.testing.assert_allclose(sol.y[-1], peer, rtol=3e-5)
