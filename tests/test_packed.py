"""Lane loops around a call become packed instructions."""

from __future__ import annotations

import platform

import numba
import numpy as np
import pytest

from stepsmith.integrators.compile.lanes import frozen, inline, view
from stepsmith.integrators.compile.packed import packed
from stepsmith.integrators.kernels.loops import PACKED, UNROLL, Source
from stepsmith.integrators.problems.nbody.newtonian import pairwise_rhs

BODIES = 5
N, M = 4 * BODIES, BODIES + 1
PLAIN = pairwise_rhs(BODIES, 2, __name__)
rhs = inline(PLAIN)
PROGRAM = """
@numba.njit(fastmath={{"contract"}}, error_model="numpy")
def loop(A):
    for l in range({w}):
        {keep}
        rhs(0.0, frozen(A, l, {w}, N), frozen(A, 2*N*{w} + l, {w}, M), view(A, N*{w} + l, {w}, N))
"""


def compiled(width: int, keep: str):
    names = {"numba": numba, "packed": packed, "frozen": frozen, "view": view, "rhs": rhs, "N": N, "M": M}
    exec(PROGRAM.format(w=width, keep=keep), names)  # noqa: S102
    return names["loop"]


@pytest.mark.parametrize("width", [1, 8])
def test_slopes_are_those_of_plain_python(width):
    rows = np.random.default_rng(0).uniform(0.1, 1.0, (2 * N + M, width))
    block = rows.ravel().copy()
    loop = compiled(width, f"packed({width})")
    loop(block)
    found = block.reshape(-1, width)[N : 2 * N]
    for lane in range(width):
        want = np.empty(N)
        PLAIN(0.0, rows[:N, lane], rows[2 * N :, lane], want)
        assert np.abs(found[:, lane] - want).max() <= 1e-12 * np.abs(want).max()
    if width > 1 and platform.machine() in ("x86_64", "AMD64"):
        text = "".join(loop.inspect_asm().values())
        assert "sqrtpd" in text and "sqrtsd" not in text


def test_width_is_a_constant():
    @numba.njit
    def open_width(w):
        for _ in range(w):
            packed(w)

    with pytest.raises(numba.TypingError, match="compile-time constant"):
        open_width(3)


def test_loops_of_larger_systems_are_kept_and_those_of_small_ones_need_nothing():
    for n, count in ((UNROLL, 0), (UNROLL + 1, 2)):
        source = Source("attempt(A)")
        source.loop(n, 0, "A[G + j] = A[Y + j]\n", "", "rhs(A, l)")
        text = source.text()
        assert text.count("_packed(W)") == count and (PACKED in text) == (count > 0)
