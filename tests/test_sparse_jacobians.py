"""Declared sparsity: bands, reordered patterns, coloured differences give what full matrices give, for fewer
evaluations.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.integrators.compile.cache import load_module
from stepsmith.integrators.kernels import build
from stepsmith.integrators.kernels.implicit.linear import Algebra
from stepsmith.integrators.kernels.layout import block_layout
from stepsmith.integrators.problems.sparsity import checked, structure

N = 24
SHUFFLE = np.random.default_rng(3).permutation(N)  # SHUFFLE[i]: where component i of the line stands
PLACE = SHUFFLE


def line(t, y, p, dy):
    # stiff diffusion with a cubic sink, time-dependent at the left end
    for i in range(24):
        left = y[i - 1] if i > 0 else 1.0 / (1.0 + t)
        right = y[i + 1] if i < 23 else 0.0
        dy[i] = p[0] * (left - 2.0 * y[i] + right) - y[i] * y[i] * y[i]


def line_jac(t, y, p, J):
    for i in range(24):
        J[i, i] = -2.0 * p[0] - 3.0 * y[i] * y[i]
        if i > 0:
            J[i, i - 1] = p[0]
        if i < 23:
            J[i, i + 1] = p[0]


def shuffled(t, y, p, dy):
    for i in range(24):
        left = y[PLACE[i - 1]] if i > 0 else 1.0 / (1.0 + t)
        right = y[PLACE[i + 1]] if i < 23 else 0.0
        v = y[PLACE[i]]
        dy[PLACE[i]] = p[0] * (left - 2.0 * v + right) - v * v * v


def shuffled_jac(t, y, p, J):
    for i in range(24):
        v = y[PLACE[i]]
        J[PLACE[i], PLACE[i]] = -2.0 * p[0] - 3.0 * v * v
        if i > 0:
            J[PLACE[i], PLACE[i - 1]] = p[0]
        if i < 23:
            J[PLACE[i], PLACE[i + 1]] = p[0]


def full_jac(t, y, p, J):
    for i in range(24):
        for j in range(24):
            J[i, j] = -2.0 * p[0] - 3.0 * y[i] * y[i] if i == j else p[0] if abs(i - j) == 1 else 0.0


START = np.sin(np.arange(N))
PATTERN = np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 1
SHUFFLED_PATTERN = np.zeros((N, N), bool)
SHUFFLED_PATTERN[np.ix_(SHUFFLE, SHUFFLE)] = PATTERN


def straight(**more):
    return Problem(line, START, (0.0, 2.0), [800.0], **more)


def mixed(**more):
    y0 = np.empty(N)
    y0[SHUFFLE] = START
    return Problem(shuffled, y0, (0.0, 2.0), [800.0], **more)


@pytest.mark.parametrize("method", ["rodas5p", "radau5"])
def test_bands_and_reordered_patterns_solve_as_full_matrices_do(method):
    law = "rodas" if method == "rodas5p" else "radau5"
    # at fixed times: rounding moves the steps
    options = dict(method=method, controller=law, rtol=1e-6, atol=1e-9, t_eval=np.linspace(0.0, 2.0, 41))
    whole = solve(straight(jac=full_jac), **options)
    band = solve(straight(jac=line_jac, sparsity=(1, 1)), **options)
    order = solve(mixed(jac=shuffled_jac, sparsity=csr_matrix(SHUFFLED_PATTERN)), **options)
    assert whole.success and whole.stats.njev > 0
    for other, y in ((band, band.y), (order, order.y[:, SHUFFLE])):
        assert other.stats.naccept == whole.stats.naccept and other.stats.nlu == whole.stats.nlu
        np.testing.assert_allclose(y, whole.y, rtol=1e-5, atol=1e-7)


def test_coloured_differences_take_three_evaluations_a_jacobian():
    # rodas5p evaluates f once a step for J, and once for its derivative by time
    given = solve(straight(jac=line_jac, sparsity=(1, 1)), method="rodas5p", controller="rodas", rtol=1e-6, atol=1e-9)
    for problem, columns in ((straight(sparsity=(1, 1)), 3), (mixed(sparsity=SHUFFLED_PATTERN), 3), (straight(), N)):
        sol = solve(problem, method="rodas5p", controller="rodas", rtol=1e-6, atol=1e-9)
        assert sol.success and abs(sol.stats.naccept - given.stats.naccept) <= 1
        attempts = sol.stats.naccept + sol.stats.nreject
        rest = given.stats.nfev * attempts / (given.stats.naccept + given.stats.nreject)
        assert sol.stats.nfev == pytest.approx(rest + columns * sol.stats.njev, rel=0.02)
        end = sol.y[-1][SHUFFLE] if problem.rhs is shuffled else sol.y[-1]
        np.testing.assert_allclose(end, given.y[-1], rtol=1e-5, atol=1e-8)


def test_ensembles_of_bands_agree_with_single_solves():
    rates = np.geomspace(10.0, 1e4, 20)
    batch = Batch(line, np.tile(START, (20, 1)), rates[:, None], 0.0, 2.0, jac=line_jac, sparsity=(1, 1))
    many = solve_ensemble(batch, "radau5", "radau5", rtol=1e-6, atol=1e-9)
    assert many.success.all()
    for i in (0, 19):
        one = solve(batch[i], method="radau5", controller="radau5", rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-9)
        assert many.stats.nlu[i] == one.stats.nlu


def test_structures():
    assert structure(checked(None, 5), 5).dense and not structure(None, 5).coloured
    band = structure(checked((1, 2), 40), 40)
    assert (band.lower, band.upper, band.order, band.groups.max() + 1) == (1, 2, None, 4)
    # a band as wide as the matrix is kept in full, but its differences may still share evaluations
    assert structure(checked((4, 4), 6), 6).dense
    arrow = np.eye(30, dtype=bool)
    arrow[0] = arrow[:, 0] = True
    st = structure(checked(arrow, 30), 30)
    assert not st.dense and len(st.factors.row) == 88 and st.groups.max() + 1 == 30  # no band, and no fill either
    crossed = np.ones((30, 30), dtype=bool)
    crossed[10:20, 20:] = False
    st = structure(checked(crossed, 30), 30)
    assert st.dense and st.factors is None and st.order is None
    # five-point stencil on a grid: every column's rows are known, and no two columns of a group share one
    grid = np.zeros((144, 144), bool)
    for a in range(144):
        for b in (a, a - 1, a + 1, a - 12, a + 12):
            if 0 <= b < 144:
                grid[a, b] = True
    st = structure(checked(grid[np.ix_(np.arange(143, -1, -1), np.arange(143, -1, -1))], 144), 144)
    # less than its band takes
    assert (
        st.factors is not None and 3 * st.factors.work < 144 * 12 * 25 and st.groups.max() + 1 <= 9
    )
    for g in range(st.groups.max() + 1):
        rows = np.concatenate([st.row[st.ptr[q] : st.ptr[q + 1]] for q in np.flatnonzero(st.groups == g)])
        assert len(np.unique(rows)) == len(rows)
    shuffle = np.random.default_rng(0).permutation(144)
    away = np.abs(np.subtract.outer(shuffle, shuffle))
    st = structure(checked(away <= 2, 144), 144)
    want = reverse_cuthill_mckee(csr_matrix(away <= 2), symmetric_mode=True)
    assert st.factors is None and np.array_equal(st.order, want) and st.lower == st.upper == 2


@pytest.mark.parametrize("value", [(1,), (-1, 0), (0, N), (1.5, 1), "band", np.ones((3, 3)), np.ones(N)])
def test_wrong_sparsity_is_refused(value):
    with pytest.raises(ValueError, match="sparsity"):
        straight(sparsity=value)


def test_a_slice_of_a_batch_and_a_batch_of_one_keep_it():
    problem = straight(jac=line_jac, sparsity=(1, 1))
    assert (
        problem.batch().sparsity == (1, 1)
        and problem.batch()[0].sparsity == (1, 1)
        and problem.batch()[:1].sparsity == (1, 1)
    )
    assert replace(problem, jac=None, validate=False).sparsity == (1, 1)


M = 14
_RNG = np.random.default_rng(1)
_AWAY = np.subtract.outer(np.arange(M), np.arange(M))
_BAND = _RNG.standard_normal((M, M)) * np.where(_AWAY == 0, 0.01, 3.0) * ((_AWAY >= -1) & (_AWAY <= 2))
_SHUFFLE = _RNG.permutation(M)
LINEAR = np.zeros((M, M))
LINEAR[np.ix_(_SHUFFLE, _SHUFFLE)] = _BAND  # a small diagonal: pivots are exchanged all the time

ALGEBRA = """@_njit(nogil=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, re, im):
    spent = 0.0
    for l in range(W):
        rhs(A[T + l], view(A, Y + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        spent += jacobian(A, l)
        if not factor(A, l, re*(1.0 + l)):
            spent = math.nan
        back(A, l, K1)
        if not factor_complex(A, l, re*(1.0 + l), im):
            spent = math.nan
        back_complex(A, l, K2, YN)
    return spent
"""


def linear(t, y, p, dy):
    for i in range(14):
        s = 0.0
        for j in range(14):
            s += LINEAR[i, j] * y[j]
        dy[i] = s


def linear_jac(t, y, p, J):
    for i in range(14):
        for j in range(14):
            J[i, j] = LINEAR[i, j]


@pytest.mark.parametrize("given", [True, False])
def test_factors_of_a_reordered_unsymmetric_matrix_against_numpy(given):
    problem = Problem(
        linear, _RNG.standard_normal(M), (0.0, 1.0), jac=linear_jac if given else None, sparsity=LINEAR != 0
    )
    algebra, width = Algebra(problem, pair=True), 4
    assert not algebra.structure.dense and algebra.structure.order is not None
    lay = block_layout(width, M, 0, 3, 1, build.N_OUT, algebra.rows)
    text = build.header(lay, M, 0, 1) + build.substitute(
        algebra.lines + algebra.source() + ALGEBRA, lay, M, 0, 1, False
    )
    run = load_module(text, algebra.objects).run
    block = build.aligned(lay.size)
    rows = block.reshape(-1, width)
    block[lay.rows["X"] * width :] = np.nan  # whatever stood there

    def row(name):
        return rows[lay.rows[name] : lay.rows[name] + M]

    row("Y")[:] = problem.y0[:, None]
    rows[[lay.rows["RTOL"], lay.rows["HS"]]] = 1e-6
    row("ATOL")[:] = 1e-9
    b, re, im = np.random.default_rng(2).standard_normal((3, M, width)), 0.05, 0.3
    for name, values in zip(("K1", "K2", "YN"), b, strict=True):
        row(name)[:] = values
    if given:
        assert run(block, re, im) == 0.0
    else:  # one evaluation a group, and lane by lane; K1 is scratch of the differences
        groups = int(algebra.structure.groups.max()) + 1
        assert groups < 8 and run(block, re, im) == width * groups
        assert np.isfinite(row("K1")).all()
    tol = 1e-11 if given else 1e-5
    for l in range(width):  # noqa: E741 (a lane)
        if given:
            np.testing.assert_allclose(
                row("K1")[:, l], np.linalg.solve(re * (1 + l) * np.eye(M) - LINEAR, b[0][:, l]), rtol=tol, atol=tol
            )
        want = np.linalg.solve((re * (1 + l) + 1j * im) * np.eye(M) - LINEAR, b[1][:, l] + 1j * b[2][:, l])
        np.testing.assert_allclose(row("K2")[:, l] + 1j * row("YN")[:, l], want, rtol=tol, atol=tol)
