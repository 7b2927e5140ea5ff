"""Views of a block keep to their own memory, whatever index the data ask for."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from stepsmith.integrators.compile.band_matrix import band
from stepsmith.integrators.compile.lane_matrix import matrix
from stepsmith.integrators.compile.lanes import FROZEN, frozen, view


@numba.njit
def through_views(block, i, x):
    view(block, 2, 1, 3)[i] = x
    return frozen(block, 2, 1, 3)[i]


@numba.njit
def through_matrix(block, i, j, x):
    J = matrix(block, 1, 1, 2, 2)
    J[i, j] = x
    return J[i, j]


@numba.njit
def through_band(block, i, j, x):
    J = band(block, 1, 2, 0, 0, None)
    J[i, j] = x
    return J[i, j]


@pytest.mark.parametrize("index", [-4, -3, -1, 0, 2, 3, 10**15, -(10**15), 2**62])
def test_views_keep_to_their_memory(index):
    """As Python's lists where the index is theirs; else NaN, in the view and nowhere else."""
    block = np.arange(8.0)
    want = block[2:5].tolist()
    try:
        want[index] = 9.0
        read = 9.0
    except IndexError:
        want[0], read = np.nan, np.nan
    np.testing.assert_equal(through_views(block, index, 9.0), read)
    np.testing.assert_array_equal(block, [0, 1, *want, 5, 6, 7])


@pytest.mark.parametrize(
    "i, j", [(0, 0), (1, 1), (-1, -1), (-2, 0), (2, 0), (0, 2), (-3, 0), (2**61, 2**61), (0, -(2**62))]
)
def test_matrices_keep_to_their_memory(i, j):
    inside = -2 <= i < 2 and -2 <= j < 2
    block = np.zeros(7)
    np.testing.assert_equal(through_matrix(block, i, j, 9.0), 9.0 if inside else np.nan)
    want = np.zeros((2, 2))
    want[(i, j) if inside else (0, 0)] = 9.0 if inside else np.nan
    np.testing.assert_array_equal(block, [0, *want.ravel(), 0, 0])
    block = np.zeros(7)
    np.testing.assert_equal(through_band(block, i, j, 9.0), np.nan if not inside else 9.0 if (i - j) % 2 == 0 else 0.0)
    assert block[0] == 0 and not block[4:].any() and np.isnan(block[1]) == (not inside)


def test_frozen_views_cannot_be_written():
    @numba.njit
    def at_a_constant(block):
        frozen(block, 0, 1, 3)[1] = 1.0

    @numba.njit
    def anywhere(block, i):
        frozen(block, 0, 1, 3)[i] += 1.0

    for call in (lambda: at_a_constant(np.zeros(3)), lambda: anywhere(np.zeros(3), 1)):
        with pytest.raises(numba.TypingError, match=FROZEN):
            call()
