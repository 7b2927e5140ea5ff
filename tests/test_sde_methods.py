"""Methods for SDEs: coefficients against Roessler's order conditions, descriptions, and what does not go together."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from stepsmith.integrators.methods import sde
from stepsmith.integrators.methods.sde import sra1

HALF, THREE_HALVES = Fraction(1, 2), Fraction(3, 2)


def times(rows, vector):
    return [sum(Fraction(a) * v for a, v in zip(row, vector, strict=False)) for row in rows]


def conditions(t):
    """(left side, right side) of the conditions for strong order 1.5, Roessler 2010, theorem 6.1, beside alpha e = 1.

    Numbered as in StochasticDiffEq.jl's checkSRIOrder.
    """
    e = [Fraction(1)] * t.stages
    a0e, a1e, b0e, b1e = (times(rows, e) for rows in (t.a0, t.a1, t.b0, t.b1))
    alpha, *beta = ([Fraction(x) for x in row] for row in (t.alpha, t.beta1, t.beta2, t.beta3, t.beta4))
    square = [x * x for x in b1e]
    twice, mixed = times(t.b1, b1e), times(t.a1, b0e)

    def dot(u, v):
        return sum(x * y for x, y in zip(u, v, strict=True))

    yield dot(alpha, e), 1
    for vector, sides in (
        (e, (1, 0, 0, 0)),
        (b1e, (0, 1, 0, 0)),
        (a1e, (1, 0, -1, 0)),
        (square, (1, 0, -1, 2)),
        (twice, (0, 0, 0, 1)),
    ):
        yield from ((dot(b, vector), side) for b, side in zip(beta, sides, strict=True))
    yield dot(alpha, a0e), HALF
    yield dot(alpha, b0e), 1
    yield dot(alpha, [x * x for x in b0e]), THREE_HALVES
    yield dot(beta[0], mixed) / 2 + dot(beta[2], mixed) / 3, 0


def test_sriw1_fulfils_the_conditions_of_order_one_and_a_half_exactly():
    found = list(conditions(sde.get("sriw1").sri))
    assert len(found) == 25
    assert [left for left, _ in found] == [right for _, right in found]


def test_sosri_fulfils_them_to_its_decimals():
    # the largest defect is that of a sum of decimals of size 10
    assert max(abs(left - right) for left, right in conditions(sde.get("sosri").sri)) < 2e-14


@pytest.mark.parametrize("row", ["a0", "a1", "b0", "b1", "alpha", "beta1", "beta2", "beta3", "beta4"])
def test_the_conditions_see_a_wrong_coefficient(row):
    """Swap the sign of the last coefficient of a row that the conditions read."""
    table = sde.get("sosri").sri
    values = getattr(table, row)
    wrong = (*values[:-1], tuple(-x for x in values[-1]) if isinstance(values[-1], tuple) else -values[-1])
    assert max(abs(left - right) for left, right in conditions(replace(table, **{row: wrong}))) > 1e-3


def test_sra1_fulfils_its_conditions_exactly():
    """Roessler 2010, theorem 6.2: as StochasticDiffEq.jl's checkSRAOrder."""
    b0, a0, c1 = [0, *sra1.B0], [0, *sra1.A0], sra1.C1
    alpha, beta1, beta2 = sra1.ALPHA, sra1.BETA1, sra1.BETA2
    pairs = [
        (sum(alpha), 1), (sum(beta1), 1), (sum(beta2), 0),
        (sum(x * y for x, y in zip(alpha, b0, strict=True)), 1),
        (sum(x * y for x, y in zip(alpha, a0, strict=True)), HALF),
        (sum(x * y * y for x, y in zip(alpha, b0, strict=True)), THREE_HALVES),
        (sum(x * y for x, y in zip(beta1, c1, strict=True)), 1),
        (sum(x * y for x, y in zip(beta2, c1, strict=True)), -1),
    ]  # fmt: skip
    assert [left for left, _ in pairs] == [right for _, right in pairs]


def test_nodes_and_stages_are_those_of_the_published_tables():
    sriw1, sosri = sde.get("sriw1").sri, sde.get("sosri").sri
    assert sriw1.c0 == (0, Fraction(3, 4), 0, 0)
    assert sriw1.c1 == (0, Fraction(1, 4), 1, Fraction(1, 4))
    assert sriw1.drift_stages() == (0, 1, 0, None)
    assert sosri.drift_stages() == (0, 1, 2, 3)
    assert sosri.beta4[3] == 0.17775911990655704
    for name in ("sriw1", "sosri"):
        method = sde.get(name)
        assert method.nf == len({i for i in method.sri.drift_stages() if i is not None})
        assert method.ng == method.sri.stages


def test_descriptions_hold_together():
    for name in sde.NAMES:
        method = sde.get(name)
        assert method.name == name
        assert method.interpretation in sde.INTERPRETATIONS
        assert set(method.adaptive) <= set(method.noises) <= set(sde.NOISES)
        assert method.nf >= method.nf_plain and method.ng >= method.ng_plain
        assert method.strong_additive >= method.strong
    assert [sde.get(n).order("diagonal") for n in ("sosri", "milstein_ito", "euler_maruyama")] == [2.0, 1.5, 1.0]
    assert sde.get("euler_maruyama").order("additive") == 1.5


def test_what_does_not_go_together_is_refused():
    sosri, euler = sde.get("sosri"), sde.get("euler_maruyama")
    sde.check(sosri, "diagonal", "ito", adaptive=True)
    sde.check(euler, "diagonal", None, adaptive=False)
    sde.check(euler, "additive", None, adaptive=True)
    sde.check(euler, "additive", "stratonovich", adaptive=True)  # the two solutions are the same
    with pytest.raises(ValueError, match="did you mean 'sosri'"):
        sde.get("sosr1")
    with pytest.raises(ValueError, match="solves Ito equations.*euler_heun"):
        sde.check(sosri, "diagonal", "stratonovich", adaptive=True)
    with pytest.raises(ValueError, match="wrong solution with diagonal noise: take fixed ones"):
        sde.check(euler, "diagonal", None, adaptive=True)
    with pytest.raises(ValueError, match="'sra1' takes additive noise, not scalar"):
        sde.check(sde.get("sra1"), "scalar", None, adaptive=True)
    with pytest.raises(ValueError, match="unknown noise 'diagnal': did you mean 'diagonal'"):
        sde.check(sosri, "diagnal", None, adaptive=True)
    with pytest.raises(ValueError, match="interpretation must be one of"):
        sde.check(sosri, "diagonal", 3, adaptive=True)


def test_the_descriptions_load_neither_torch_nor_numba():
    code = (
        "import sys; from stepsmith.integrators.methods import sde; [sde.get(n) for n in sde.NAMES]; "
        "print([m for m in ('torch', 'numba') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr
