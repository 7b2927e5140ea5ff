"""Large dense matrices: factors and solutions against SciPy's LAPACK, a stiff solve against SciPy's Radau, threads, and
machine code that another process loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import lapack, lu_factor, lu_solve

from stepsmith import Problem, solve, solve_ensemble
from stepsmith.integrators.compile.cache import load_module
from stepsmith.integrators.kernels import build
from stepsmith.integrators.kernels.implicit import dense_linear
from stepsmith.integrators.kernels.implicit.linear import Algebra
from stepsmith.integrators.kernels.layout import block_layout

WIDTH = 3
#: where plain loops end, multiples of a panel and not, with one and more panels to the right
SIZES = (15, 16, 21, 33)
EPS = np.finfo(float).eps
ALGEBRA = """@_njit(nogil=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, good, re, im):
    for l in range(W):
        jacobian(A, l)
        good[0, l] = 1.0 if factor(A, l, re) else 0.0
        if good[0, l] == 1.0:
            back(A, l, K1)
        good[1, l] = 1.0 if factor_complex(A, l, re, im) else 0.0
        if good[1, l] == 1.0:
            back_complex(A, l, K2, YN)
"""


@cache
def kernel(n: int):
    """(run, layout) of the pieces for n unknowns whose Jacobian is the parameters."""

    def rhs(t, y, p, dy):
        for i in range(n):
            dy[i] = y[i]

    def jac(t, y, p, J):
        for i in range(n):
            for j in range(n):
                J[i, j] = p[n * i + j]

    algebra = Algebra(Problem(rhs, np.ones(n), (0.0, 1.0), np.ones(n * n), jac=jac, validate=False), pair=True)
    assert ("lu_solve" in algebra.source()) == (n >= dense_linear.FROM)
    lay = block_layout(WIDTH, n, n * n, 3, 1, build.N_OUT, algebra.rows)
    text = build.header(lay, n, n * n, 1)
    text += build.substitute(algebra.lines + algebra.source() + ALGEBRA, lay, n, n * n, 1, False)
    return load_module(text, algebra.objects).run, lay


def factored(matrices: np.ndarray, b: np.ndarray, re: float, im: float):
    """What became of re I - J and (re + i im) I - J, J a lane's matrix: (2, WIDTH) whether they were factored, and the
    solutions for b[0] and b[1] + i b[2], (WIDTH, n) each.
    """
    n = matrices.shape[-1]
    run, lay = kernel(n)
    block = build.aligned(lay.size)
    rows = block.reshape(-1, WIDTH)
    block[lay.rows["X"] * WIDTH :] = np.nan  # whatever stood there
    row = {name: rows[at : at + n] for name, at in lay.rows.items()}
    rows[lay.rows["P"] : lay.rows["P"] + n * n] = matrices.reshape(WIDTH, -1).T
    for name, values in zip(("K1", "K2", "YN"), b, strict=True):
        row[name][:] = values.T
    good = np.full((2, WIDTH), np.nan)
    run(block, good, re, im)
    return good, row["K1"].T.copy(), (row["K2"] + 1j * row["YN"]).T.copy()


def kinds(n: int) -> dict[str, np.ndarray]:
    """J so that I/2 - J is a matrix of each kind, one a lane."""
    rng = np.random.default_rng(n)
    normal = rng.standard_normal((WIDTH, n, n))
    scales = 10.0 ** rng.uniform(-9, 9, (WIDTH, n, 1))
    permuted = np.stack([(10.0 * np.eye(n))[rng.permutation(n)] for _ in range(WIDTH)]) + 0.1 * normal
    growing = np.tril(-np.ones((n, n)), -1) + np.eye(n)
    growing[:, -1] = 1.0  # Wilkinson's matrix, whose last column grows as 2^n
    wanted = {"random": normal, "ill-scaled": scales * normal, "permuted": permuted,
              "growing": np.stack([growing] * WIDTH)}  # fmt: skip
    return {name: 0.5 * np.eye(n) - m for name, m in wanted.items()}


@pytest.mark.parametrize("n", SIZES)
def test_solutions_are_as_good_as_lapacks(n):
    b = np.random.default_rng(1).standard_normal((3, WIDTH, n))
    for name, J in kinds(n).items():
        good, x, z = factored(J, b, 0.5, 0.25)
        assert (good == 1.0).all(), name
        for lane in range(WIDTH):
            both = (x[lane], 0.5, b[0, lane]), (z[lane], 0.5 + 0.25j, b[1, lane] + 1j * b[2, lane])
            for found, shift, side in both:
                matrix = shift * np.eye(n) - J[lane]
                theirs = lu_solve(lu_factor(matrix), side)

                def residual(v, matrix=matrix, side=side):  # row by row: scales do not matter
                    return (np.abs(matrix @ v - side) / (np.abs(matrix) @ np.abs(v) + np.abs(side))).max()

                assert residual(found) <= 20 * residual(theirs) + 20 * n * EPS, (name, lane)
                if name == "random":
                    condition = np.linalg.cond(matrix)
                    np.testing.assert_allclose(found, theirs, rtol=0, atol=condition * n * EPS * np.abs(theirs).max())


@pytest.mark.parametrize("n", SIZES)
def test_matrices_that_have_no_factors(n):
    rng = np.random.default_rng(2)
    sound = rng.standard_normal((n, n))
    b = np.ones((3, WIDTH, n))

    def outcome(matrix):
        """Beside sound matrices in the other lanes."""
        J = np.stack([0.5 * np.eye(n) - m for m in (sound, matrix, sound)])
        good, x, z = factored(J, b, 0.5, 0.25)
        assert (good[:, [0, 2]] == 1.0).all() and np.array_equal(x[0], x[2]) and np.array_equal(z[0], z[2])
        assert np.isfinite(x[0]).all() and np.isfinite(z[0]).all()
        return good[:, 1]

    assert outcome(sound).all()
    for i, j in ((0, 0), (n - 1, 0), (n // 2, n - 1), (n - 1, n - 1), (9, 8)):
        for bad in (np.nan, np.inf, -np.inf):
            broken = sound.copy()
            broken[i, j] = bad
            assert not outcome(broken).any(), (i, j, bad)
    for k in (0, 9, n - 1):  # exactly singular: a column of zeros, real and then complex
        broken = sound.copy()
        broken[:, k] = 0.0
        assert outcome(broken).tolist() == [0.0, 1.0]
        assert lapack.dgetrf(broken)[2] > 0
    J = np.stack([np.zeros((n, n))] * WIDTH)
    assert not factored(J, b, 0.0, 0.0)[0].any()


N = 40
SPAN = (0.0, 2.0)


def nonlocal_rhs(t, y, p, dy):
    """Fisher's equation with non-local competition, diffusion by differences: every unknown acts on every other."""
    for i in range(40):
        s = 0.0
        for j in range(40):
            d = (i - j) / 8.0
            s += y[j] / (1.0 + d * d)
        left = y[i - 1] if i > 0 else y[0]
        right = y[i + 1] if i < 39 else y[39]
        dy[i] = p[0] * (left - 2.0 * y[i] + right) + 20.0 * y[i] * (1.0 - 0.05 * s)


PROBLEM = Problem(nonlocal_rhs, 0.2 + 0.1 * np.cos(np.arange(N)), SPAN, [200.0])


def plain(t, y):
    i = np.arange(N)
    s = (1.0 / (1.0 + ((i[:, None] - i) / 8.0) ** 2)) @ y
    left, right = y[np.maximum(i - 1, 0)], y[np.minimum(i + 1, N - 1)]
    return 200.0 * (left - 2.0 * y + right) + 20.0 * y * (1.0 - 0.05 * s)


@pytest.mark.parametrize("method", ["radau5", "rodas5p", "kvaerno5"])
def test_a_dense_stiff_problem_against_scipy(method):
    exact = solve_ivp(plain, SPAN, PROBLEM.y0, "Radau", rtol=1e-10, atol=1e-12).y[:, -1]
    loose, tight = (solve(PROBLEM, method, rtol=tol, atol=tol) for tol in (1e-4, 1e-8))
    assert loose.success and tight.success and tight.stats.nlu < 400
    errors = [np.abs(sol.y[-1] - exact).max() for sol in (loose, tight)]
    assert errors[1] < 1e-6 and errors[1] < errors[0] / 20


def test_lanes_and_threads_give_what_a_single_solve_gives():
    batch = PROBLEM.batch()[np.zeros(6, int)]
    one = solve(PROBLEM, "radau5", rtol=1e-6, atol=1e-6)
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda _: solve(PROBLEM, "radau5", rtol=1e-6, atol=1e-6), range(8)))
    assert all(np.array_equal(sol.y, one.y) for sol in several)
    lanes = solve_ensemble(batch, "radau5", rtol=1e-6, atol=1e-6, threads=2)
    assert np.abs(lanes.y - one.y[-1]).max() < 1e-8 and lanes.success.all()


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from test_dense_linear import PROBLEM
from stepsmith import solve
from stepsmith.integrators.engine.solve import _KERNELS
sol = solve(PROBLEM, "radau5", rtol=1e-6, atol=1e-6)
kernel, = _KERNELS.values()
hits = sum(kernel.module.run_single.stats.cache_hits.values())
print(hits, [x.hex() for x in sol.y[-1].tolist()])
"""


def test_another_process_loads_the_machine_code(tmp_path):
    environment = {**os.environ, "STEPSMITH_CACHE_DIR": str(tmp_path), "STEPSMITH_QUIET": "1"}
    command = [sys.executable, "-c", PROGRAM, os.path.dirname(__file__)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.split(" ", 1)
        for _ in range(2)
    )
    assert (first[0], second[0]) == ("0", "1") and first[1] == second[1]
