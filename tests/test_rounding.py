"""Coefficients in float64 whose sums are those of the exact ones."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.methods.explicit.rounding import rounded

LARGE = ("vern6", "vern7", "vern8")


@pytest.mark.parametrize("name", tableaus.NAMES)
def test_sums_are_exact_where_entries_are_large(name):
    tableau = tableaus.get(name)
    rows, weights = rounded(tableau)
    plain = tuple(tuple(float(x) for x in row) for row in (*tableau.a, tableau.b))
    assert ((*rows, weights) != plain) == (name in LARGE)
    for exact, floats in zip((*tableau.a, tableau.b), (*rows, weights), strict=True):
        assert [x == 0.0 for x in floats] == [x == 0 for x in exact]
        assert max((abs(float(x) - y) for x, y in zip(exact, floats, strict=True)), default=0.0) < 3e-14
        if name in LARGE:
            least = min((abs(x) for x in floats if x != 0.0), default=0.0)
            assert abs(sum(map(Fraction, floats)) - sum(map(Fraction, exact))) <= math.ulp(least)
    assert not tableau.fsal or rows[-1] == weights[:-1]


def orbit(t, y, p, dy):
    r2 = y[0] * y[0] + y[1] * y[1]
    r3 = r2 * math.sqrt(r2)
    dy[0], dy[1] = y[2], y[3]
    dy[2], dy[3] = -y[0] / r3, -y[1] / r3


@pytest.mark.parametrize("name", ["vern6", "vern8"])
def test_ten_orbits_close_to_round_off(name):
    """Eccentricity 1/2.  With coefficients rounded one by one the error is 4.6e-9 (vern6) and 1.3e-10 (vern8)."""
    start = np.array([0.5, 0.0, 0.0, math.sqrt(3.0)])
    sol = ss.solve(ss.Problem(orbit, start, (0.0, 20.0 * math.pi)), method=name, rtol=1e-13, atol=1e-16)
    assert sol.success and np.abs(sol.y[-1] - start).max() < 3e-11
