"""Lane views and traces: one source for a trajectory and for lanes, every kind of right-hand side, packed instructions.
"""

from __future__ import annotations

import math
import re

import numba
import numpy as np
import pytest
from llvmlite import binding
from scipy.integrate import solve_ivp

from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile import trace
from stepsmith.integrators.compile.inner import piece
from stepsmith.integrators.compile.lanes import FASTMATH, inline, view
from stepsmith.integrators.compile.vecmath import exp, log, maximum, where
from stepsmith.integrators.engine import ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.nonstiff import lorenz
from stepsmith.integrators.problems.problem import Batch, Problem

LAW = registry.get("pi34")
COUNT = 3
DECAY = 0.25


def helper(a, b):
    return a * b - DECAY * a


@numba.njit
def jitted_helper(a):
    return -a


def make_rhs(rate):
    drive = lambda t: math.sin(t)  # noqa: E731

    def rhs(t, y, p, dy):
        total = 0.0
        for i in range(COUNT):
            total += y[i]
        dy[0] = rate * (y[1] - y[0]) + numba_drive(t)
        if y[1] > 0.5:
            dy[1] = jitted_helper(y[1])
        else:
            dy[1] = p[0] - total / len(y)
        dy[-1] = numba_helper(y[2], y[0])

    numba_drive, numba_helper = numba.njit(drive), numba.njit(helper)
    return rhs


def test_closures_globals_lambdas_branches_and_math():
    rhs = make_rhs(2.0)
    y0, span, p = [1.0, 0.2, 0.5], (0.0, 3.0), [0.7]

    def plain(t, y):
        total = y.sum()
        slope = -y[1] if y[1] > 0.5 else 0.7 - total / 3
        return [2.0 * (y[1] - y[0]) + math.sin(t), slope, y[2] * y[0] - 0.25 * y[2]]

    exact = solve_ivp(plain, span, y0, "DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    problem = Problem(rhs, y0, span, p)
    single = solve(problem, "tsit5", LAW, rtol=1e-9, atol=1e-11)
    many = ensemble.solve_ensemble(problem.batch(), "tsit5", LAW, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(single.y[-1], exact, atol=1e-6)
    np.testing.assert_allclose(many.y[0], exact, atol=1e-6)


def test_closure_values_are_part_of_the_kernel():
    def kernel(rate):
        problem = Problem(make_rhs(rate), [1.0, 0.2, 0.5], (0.0, 0.5), [0.7])
        return ensemble.ensemble_kernel(problem, methods.get("tsit5"), LAW, 8).module.__name__

    assert kernel(2.0) == kernel(2.0) != kernel(3.0)


@inline
def swap_ends(v):
    first = v[0]
    v[0] = v[-1]
    v[len(v) - 1] = first


@numba.njit(fastmath=FASTMATH)
def swap_all(block):
    for l in range(4):
        swap_ends(view(block, l, 4, 3))


def test_view_indexing():
    block = np.arange(12.0)
    swap_all(block)
    np.testing.assert_array_equal(block.reshape(3, 4), [[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]])


@pytest.mark.parametrize("index", [3, -4])
def test_view_refuses_constant_places_outside(index):
    @numba.njit
    def read(block):
        return view(block, 0, 4, 3)[index]

    @numba.njit
    def write(block):
        view(block, 0, 4, 3)[index] = 1.0

    for fn in (read, write):
        with pytest.raises(numba.TypingError, match=f"index {index} .* length 3"):
            fn(np.zeros(12))


def test_view_wants_constants():
    @numba.njit
    def bad(block, width):
        return view(block, 0, width, 3)[0]

    with pytest.raises(numba.TypingError, match="compile-time"):
        bad(np.zeros(12), 4)


@trace.traced
def formula(params, v, out):
    x = v[0]
    for k in range(3):
        x = x * params[k] + 1
    big = (x > 2.0) & ~(v[1] == 0.0)
    out[0] = where(big, exp(-x), log(maximum(x, 1e-3)))
    out[1] = -v[-1] / 2 + (3 - x) * True
    out[2] = where(big | (v[1] < 0), 1, 0)


@numba.njit(fastmath=FASTMATH)
def apply_formula(params, block, out):
    for l in range(8):
        formula(params, view(block, l, 8, 2), view(out, l, 8, 3))


def test_traced_function_equals_numpy():
    rng = np.random.default_rng(1)
    params, block = rng.normal(size=3), rng.normal(size=16)
    block[9] = 0.0
    out = np.empty(24)
    apply_formula(params, block, out)
    v, w = block[:8], block[8:]
    x = ((v * params[0] + 1) * params[1] + 1) * params[2] + 1
    big = (x > 2) & (w != 0)
    np.testing.assert_allclose(out[:8], np.where(big, np.exp(-x), np.log(np.maximum(x, 1e-3))), rtol=1e-13)
    np.testing.assert_allclose(out[8:16], -w / 2 + 3 - x, rtol=1e-13)
    np.testing.assert_array_equal(out[16:], big | (w < 0))


def branching(params, v, out):
    if v[0] > 0.0:
        out[0] = 1.0


def far(params, v, out):
    out[0] = v[7]


def run_time_place(params, v, out):
    out[0] = params[v[0]]


def odd_value(params, v, out):
    out[0] = "text"


def test_what_can_be_traced():
    assert trace.traceable(formula.__wrapped__, (None, 2, 3))
    for fn in (branching, far, run_time_place, odd_value):
        assert not trace.traceable(fn, (None, 2, 3)), fn.__name__


def _loops(asm):
    """Bodies of the innermost loops: from a label to a backward jump to it, without other labels in between."""
    bodies, labels, lines = [], {}, asm.splitlines()
    for number, line in enumerate(lines):
        if match := re.match(r"(\.L\w+):", line):
            labels = {match[1]: number}
        elif (match := re.match(r"\s+(?:j\w+|b\.\w+|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)) and match[1] in labels:
            bodies.append("\n".join(lines[labels[match[1]] : number]))
    return bodies


PACKED = r"\b(?:v?(?:mul|add|sub)pd|vfn?m\w+pd|f(?:mul|add|sub|mla|mls)\tv\S+2d)\b"
SCALAR = r"\b(?:v?(?:mul|add|sub)sd|vfn?m\w+sd|f(?:mul|add|sub|madd|msub)\td\S+)\b"


def test_lane_loops_are_packed():
    """Of the arithmetic in the innermost loops of an ensemble kernel nearly all is packed, and as wide as the machine
    has it.
    """
    problem = lorenz.published()
    ensemble.solve_ensemble(problem.batch(), "tsit5", LAW, rtol=1e-4, atol=1e-4)
    kernel = ensemble.ensemble_kernel(problem, methods.get("tsit5"), LAW)
    # machine code that was loaded from the disk cache has no listing: compile once more
    again = numba.njit(fastmath=FASTMATH, error_model="numpy", nogil=True)(kernel.module.run.py_func)
    again.compile(kernel.module.run.signatures[0])
    loops = _loops(next(iter(again.inspect_asm().values())))
    packed = sum(len(re.findall(PACKED, body)) for body in loops)
    scalar = sum(len(re.findall(SCALAR, body)) for body in loops)
    assert packed > 150, (packed, scalar)
    assert scalar < 0.2 * packed, (packed, scalar)  # dense output serves one lane at a time
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        assert any("zmm" in body for body in loops)
    elif features.get("avx"):
        assert any("ymm" in body for body in loops)


def test_single_and_lanes_agree_to_rounding():
    batch = lorenz.sampler(np.random.default_rng(2), 40)
    many = ensemble.solve_ensemble(Batch(batch.rhs, batch.y0, batch.p, 0.0, 0.5), "tsit5", LAW, rtol=1e-7, atol=1e-9)
    for i in range(0, 40, 13):
        one = solve(Problem(batch.rhs, batch.y0[i], (0.0, 0.5), batch.p[i]), "tsit5", LAW, rtol=1e-7, atol=1e-9)
        assert one.stats.naccept == many.stats.naccept[i] and one.stats.nfev == many.stats.nfev[i]
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-11)


@pytest.mark.parametrize("made", [inline, piece])
def test_python_may_call_what_is_meant_for_compiled_code(made):
    one = made(lambda t, y: t + y)

    @numba.njit
    def caller(t):
        return one(t, 1.0)

    assert one(1.0, 2.0) == 3.0 and caller(2.0) == 3.0
    assert one(1.0, 2.0) == 3.0  # now that there is machine code without an entry for Python
